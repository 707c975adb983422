"""One comparison: what is compared, where its interval has to lie, and whether it does."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from sweeper.claims.interval_estimates import UNDEFINED_INTERVAL, IntervalEstimate, IntervalPredictor, find_p_value
from sweeper.config.axes import format_arm_name
from sweeper.statistics.intervals import Interval
from sweeper.statistics.paired import EffectEstimate

ComparisonTest = Literal[
    "superior", "superior-by", "no-better", "at-least", "at-most", "about", "reduces", "exceeds", "stays-below"
]
ComparisonMetric = Literal[
    "pass_rate",
    "divergence_rate",
    "pass_rate_spread",
    "val_loss_spread",
    "val_loss",
    "loss_spikes",
    "gradient_tail",
    "agreement",
    "cost_per_solved",
]
ComparisonUnit = Literal["points", "nats", "ratio", "coefficient"]
_UNITS_BY_METRIC: dict[str, ComparisonUnit] = {
    "val_loss_spread": "nats",
    "val_loss": "nats",
    "agreement": "coefficient",
}
_UNITS_BY_METRIC |= {"cost_per_solved": "ratio"}


@dataclass(frozen=True)
class DecisionBounds:
    """Shown when the whole interval is between `above` and `below`; contradicted when it is all under `not_under` or
    all over `not_over`."""

    support_low: float
    support_high: float
    refute_below: float
    refute_above: float


def make_decision_bounds(test: ComparisonTest, margin: float) -> DecisionBounds:
    """Where the interval has to be. `margin` is the bound itself for `exceeds` and `stays-below`."""
    inf = math.inf
    return {
        "superior": DecisionBounds(0.0, inf, 0.0, inf),
        "superior-by": DecisionBounds(margin, inf, margin, inf),
        "no-better": DecisionBounds(-inf, margin, -inf, margin),
        "at-least": DecisionBounds(-margin, inf, -margin, inf),
        "at-most": DecisionBounds(-inf, margin, -inf, margin),
        "about": DecisionBounds(-margin, margin, -margin, margin),
        # An effect that is shown to be smaller than counts is none.
        "reduces": DecisionBounds(0.0, inf, margin, inf),
        "exceeds": DecisionBounds(margin, inf, margin, inf),
        "stays-below": DecisionBounds(-inf, margin, -inf, margin),
    }[test]


@dataclass(frozen=True)
class Comparison:
    """One comparison: value of `first` minus value of `second` (`agreement` and `cost_per_solved`: the value itself).

    `superior` wants a difference above 0: shown when the whole interval is, contradicted when it is all below 0.
    `no-better` wants a difference below the margin: shown when the whole interval is, contradicted when it is above.
    `superior-by` wants it above the margin, `at-least` above -margin, `at-most` below margin, `about` between both.
    `reduces` wants it above 0 and is contradicted below the margin. `exceeds` and `stays-below` take `margin` as bound.
    """

    test: ComparisonTest
    axis: str
    first: str | float | None
    second: str | float | None
    margin: float
    estimate: EffectEstimate
    is_refuted: bool
    """Contradicted at the level that is corrected for the number of comparisons."""
    metric: ComparisonMetric = "pass_rate"
    labels: tuple[str, str] | None = None
    """Both sides in words, where they are no arms of an axis."""
    is_deciding: bool = True
    """Whether the claim rests on it; else it is reported beside the claim."""
    p: float = math.nan
    """Smallest two-sided level at which this comparison would be shown; NaN where undefined."""
    refute_alpha: float = math.nan
    """The level at which contradiction is tested."""
    predict_interval: IntervalPredictor = field(
        default=lambda queries, seeds, alpha: UNDEFINED_INTERVAL, compare=False, repr=False
    )

    @property
    def names(self) -> tuple[str, str]:
        """Both arms in words."""
        return self.labels or (format_arm_name(self.axis, self.first), format_arm_name(self.axis, self.second))

    @property
    def unit(self) -> ComparisonUnit:
        """Of estimate, interval and margin: `points` are percentage points of a rate, held here as a rate."""
        return _UNITS_BY_METRIC.get(self.metric, "points")

    @property
    def bounds(self) -> DecisionBounds:
        """Where the interval has to lie."""
        return make_decision_bounds(self.test, self.margin)

    @property
    def is_established(self) -> bool:
        """Whether this comparison says what the claim says."""
        return self.support_margin > 0

    @property
    def support_margin(self) -> float:
        """Distance from the interval to what would not be shown, as a rate; negative where not shown, NaN undefined."""
        return compute_support_margin(self.bounds, Interval(self.estimate.low, self.estimate.high))

    @property
    def refute_margin(self) -> float:
        """Distance by which the interval contradicts the claim; negative where it does not."""
        return compute_refute_margin(self.bounds, Interval(self.estimate.low, self.estimate.high))

    @property
    def result(self) -> Literal["shown", "contradicted", "open"]:
        """The comparison's result in one word."""
        return "contradicted" if self.is_refuted else "shown" if self.is_established else "open"


def compute_support_margin(bounds: DecisionBounds, interval: Interval) -> float:
    """How far inside its bounds an interval lies; NaN where undefined."""
    if math.isnan(interval.low) or math.isnan(interval.high):
        return math.nan
    return min(interval.low - bounds.support_low, bounds.support_high - interval.high)


def compute_refute_margin(bounds: DecisionBounds, interval: Interval) -> float:
    """How far an interval lies in what contradicts; NaN where undefined."""
    if math.isnan(interval.low) or math.isnan(interval.high):
        return math.nan
    return max(bounds.refute_below - interval.high, interval.low - bounds.refute_above)


def make_comparison(
    test: ComparisonTest,
    sides: tuple[str, str | float | None, str | float | None],
    margin: float,
    interval_estimate: IntervalEstimate,
    *,
    alpha: float,
    n_comparisons: int,
    metric: ComparisonMetric = "pass_rate",
    labels: tuple[str, str] | None = None,
    is_deciding: bool = True,
) -> Comparison:
    """Hold evidence against a test. `sides`: axis, first, second; `count`: comparisons the claim rests on.

    All have to be shown, so each is tested at alpha; one refutes, so that side is Bonferroni's alpha / count. A
    two-sided interval at 1 - alpha already gives alpha / 2 to a side.
    """
    bounds = make_decision_bounds(test, margin)
    level = 2 * alpha / n_comparisons if n_comparisons > 2 else alpha
    return Comparison(
        test=test,
        axis=sides[0],
        first=sides[1],
        second=sides[2],
        margin=margin,
        estimate=interval_estimate.estimate_at_level(alpha),
        is_refuted=compute_refute_margin(bounds, interval_estimate.compute_interval(level)) > 0,
        metric=metric,
        labels=labels,
        is_deciding=is_deciding,
        p=find_p_value(
            interval_estimate.compute_interval, lambda interval: compute_support_margin(bounds, interval) > 0
        ),
        refute_alpha=level,
        predict_interval=interval_estimate.predict_interval,
    )


def describe_comparison(comparison: Comparison, *, is_contradicted: bool = False) -> str:
    """What a comparison has to show, in words; `against`: the contrary, which contradicts the claim."""
    first, second = comparison.names
    by, test = format_magnitude(comparison, comparison.margin), comparison.test
    if comparison.metric == "agreement":
        return f"agreement of the judges {'below' if is_contradicted else 'above'} {by}"
    if comparison.metric == "cost_per_solved":
        return (
            f"a solved query of {first} at {'more' if is_contradicted else 'less'} than {by} times the cost of {second}"
        )
    what = {"pass_rate": ""}.get(comparison.metric, f"{METRIC_NAMES[comparison.metric]} of ")
    if test == "superior":
        return f"{what}{first} {'below' if is_contradicted else 'above'} {second}"
    if test == "reduces":
        return f"{what}{first} {f'less than {by} above' if is_contradicted else 'above'} {second}"
    if test == "about":
        return f"{what}{first} {'more' if is_contradicted else 'less'} than {by} from {second}"
    if test in ("superior-by", "no-better", "at-most"):
        more = (test == "superior-by") != is_contradicted
        return f"{what}{first} {'more' if more else 'less'} than {by} above {second}"
    return f"{what}{first} {'more' if is_contradicted else 'less'} than {by} below {second}"


METRIC_NAMES: dict[str, str] = {
    "pass_rate": "pass rate",
    "divergence_rate": "share of diverged runs",
    "pass_rate_spread": "spread of the pass rate over seeds",
    "val_loss_spread": "spread of the validation loss over seeds",
    "val_loss": "validation loss",
    "loss_spikes": "share of logged steps with a loss spike",
    "gradient_tail": "share of logged steps with a gradient norm above the clip",
    "agreement": "agreement",
    "cost_per_solved": "cost per solved query",
}
"""Metrics in words."""


def format_magnitude(comparison: Comparison, value: float) -> str:
    """An amount in the component's unit, unsigned."""
    if comparison.unit == "points":
        return f"{100 * abs(value):g} points"
    return f"{abs(value):g} nats" if comparison.unit == "nats" else f"{value:g}"

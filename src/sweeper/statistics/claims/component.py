"""One comparison: what is compared, where its interval has to lie, and whether it does."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from sweeper.statistics.claims.evidence import UNDEFINED, Evidence, Predict, p_value
from sweeper.statistics.intervals import Interval
from sweeper.statistics.outcomes import arm_name
from sweeper.statistics.paired import Estimate

Test = Literal[
    "superior", "superior-by", "no-better", "at-least", "at-most", "about", "reduces", "exceeds", "stays-below"
]
Metric = Literal[
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
Unit = Literal["points", "nats", "ratio", "coefficient"]
_UNIT: dict[str, Unit] = {"val_loss_spread": "nats", "val_loss": "nats", "agreement": "coefficient"}
_UNIT |= {"cost_per_solved": "ratio"}


@dataclass(frozen=True)
class Bounds:
    """Shown when the whole interval is between `above` and `below`; contradicted when it is all under `not_under` or
    all over `not_over`."""

    above: float
    below: float
    not_under: float
    not_over: float


def bounds_of(test: Test, margin: float) -> Bounds:
    """Where the interval has to be. `margin` is the bound itself for `exceeds` and `stays-below`."""
    inf = math.inf
    return {
        "superior": Bounds(0.0, inf, 0.0, inf),
        "superior-by": Bounds(margin, inf, margin, inf),
        "no-better": Bounds(-inf, margin, -inf, margin),
        "at-least": Bounds(-margin, inf, -margin, inf),
        "at-most": Bounds(-inf, margin, -inf, margin),
        "about": Bounds(-margin, margin, -margin, margin),
        # An effect that is shown to be smaller than counts is none.
        "reduces": Bounds(0.0, inf, margin, inf),
        "exceeds": Bounds(margin, inf, margin, inf),
        "stays-below": Bounds(-inf, margin, -inf, margin),
    }[test]


@dataclass(frozen=True)
class Component:
    """One comparison: value of `first` minus value of `second` (`agreement` and `cost_per_solved`: the value itself).

    `superior` wants a difference above 0: shown when the whole interval is, contradicted when it is all below 0.
    `no-better` wants a difference below the margin: shown when the whole interval is, contradicted when it is above.
    `superior-by` wants it above the margin, `at-least` above -margin, `at-most` below margin, `about` between both.
    `reduces` wants it above 0 and is contradicted below the margin. `exceeds` and `stays-below` take `margin` as bound.
    """

    test: Test
    axis: str
    first: str | float | None
    second: str | float | None
    margin: float
    estimate: Estimate
    refuted: bool
    """Contradicted at the level that is corrected for the number of comparisons."""
    metric: Metric = "pass_rate"
    labels: tuple[str, str] | None = None
    """Both sides in words, where they are no arms of an axis."""
    decides: bool = True
    """Whether the claim rests on it; else it is reported beside the claim."""
    p: float = math.nan
    """Smallest two-sided level at which this comparison would be shown; NaN where undefined."""
    level: float = math.nan
    """The level at which contradiction is tested."""
    predict: Predict = field(default=lambda queries, seeds, alpha: UNDEFINED, compare=False, repr=False)

    @property
    def names(self) -> tuple[str, str]:
        """Both arms in words."""
        return self.labels or (arm_name(self.axis, self.first), arm_name(self.axis, self.second))

    @property
    def unit(self) -> Unit:
        """Of estimate, interval and margin: `points` are percentage points of a rate, held here as a rate."""
        return _UNIT.get(self.metric, "points")

    @property
    def bounds(self) -> Bounds:
        """Where the interval has to lie."""
        return bounds_of(self.test, self.margin)

    @property
    def shown(self) -> bool:
        """Whether this comparison says what the claim says."""
        return self.slack > 0

    @property
    def slack(self) -> float:
        """Distance from the interval to what would not be shown, as a rate; negative where not shown, NaN undefined."""
        return slack_of(self.bounds, Interval(self.estimate.low, self.estimate.high))

    @property
    def against(self) -> float:
        """Distance by which the interval contradicts the claim; negative where it does not."""
        return against_of(self.bounds, Interval(self.estimate.low, self.estimate.high))

    @property
    def word(self) -> Literal["shown", "contradicted", "open"]:
        """The comparison's result in one word."""
        return "contradicted" if self.refuted else "shown" if self.shown else "open"


def slack_of(bounds: Bounds, interval: Interval) -> float:
    """How far inside its bounds an interval lies; NaN where undefined."""
    if math.isnan(interval.low) or math.isnan(interval.high):
        return math.nan
    return min(interval.low - bounds.above, bounds.below - interval.high)


def against_of(bounds: Bounds, interval: Interval) -> float:
    """How far an interval lies in what contradicts; NaN where undefined."""
    if math.isnan(interval.low) or math.isnan(interval.high):
        return math.nan
    return max(bounds.not_under - interval.high, interval.low - bounds.not_over)


def compare(
    test: Test,
    sides: tuple[str, str | float | None, str | float | None],
    margin: float,
    evidence: Evidence,
    *,
    alpha: float,
    count: int,
    metric: Metric = "pass_rate",
    labels: tuple[str, str] | None = None,
    decides: bool = True,
) -> Component:
    """Hold evidence against a test. `sides`: axis, first, second; `count`: comparisons the claim rests on.

    All have to be shown, so each is tested at alpha; one refutes, so that side is Bonferroni's alpha / count. A
    two-sided interval at 1 - alpha already gives alpha / 2 to a side.
    """
    bounds = bounds_of(test, margin)
    level = 2 * alpha / count if count > 2 else alpha
    return Component(
        test=test,
        axis=sides[0],
        first=sides[1],
        second=sides[2],
        margin=margin,
        estimate=evidence.at(alpha),
        refuted=against_of(bounds, evidence.interval(level)) > 0,
        metric=metric,
        labels=labels,
        decides=decides,
        p=p_value(evidence.interval, lambda interval: slack_of(bounds, interval) > 0),
        level=level,
        predict=evidence.predict,
    )


def describe(component: Component, *, against: bool = False) -> str:
    """What a comparison has to show, in words; `against`: the contrary, which contradicts the claim."""
    first, second = component.names
    by, test = size(component, component.margin), component.test
    if component.metric == "agreement":
        return f"agreement of the judges {'below' if against else 'above'} {by}"
    if component.metric == "cost_per_solved":
        return f"a solved query of {first} at {'more' if against else 'less'} than {by} times the cost of {second}"
    what = {"pass_rate": ""}.get(component.metric, f"{WORDS[component.metric]} of ")
    if test == "superior":
        return f"{what}{first} {'below' if against else 'above'} {second}"
    if test == "reduces":
        return f"{what}{first} {f'less than {by} above' if against else 'above'} {second}"
    if test == "about":
        return f"{what}{first} {'more' if against else 'less'} than {by} from {second}"
    if test in ("superior-by", "no-better", "at-most"):
        more = (test == "superior-by") != against
        return f"{what}{first} {'more' if more else 'less'} than {by} above {second}"
    return f"{what}{first} {'more' if against else 'less'} than {by} below {second}"


WORDS: dict[str, str] = {
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


def size(component: Component, value: float) -> str:
    """An amount in the component's unit, unsigned."""
    if component.unit == "points":
        return f"{100 * abs(value):g} points"
    return f"{abs(value):g} nats" if component.unit == "nats" else f"{value:g}"

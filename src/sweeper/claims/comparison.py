"""One comparison of a claim: its hypothesis, the interval that decides it, and its result."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Literal

from sweeper.claims.interval_estimates import IntervalEstimate, IntervalPredictor, SeedAssumption, find_p_value
from sweeper.claims.probability import Posterior
from sweeper.config.axes import format_arm_name
from sweeper.statistics.aliases import ArmValue, Array
from sweeper.statistics.intervals import UNDEFINED_INTERVAL, Interval
from sweeper.statistics.paired import EffectEstimate

ComparisonTest = Literal[
    "superior",
    "superior-by",
    "no-better",
    "at-least",
    "at-most",
    "about",
    "reduces",
    "exceeds",
    "stays-below",
    "lower",
    "lower-by",
    "not-lower",
]
ComparisonUnit = Literal["points", "nats", "ratio", "coefficient"]


@dataclass(frozen=True)
class Metric:
    """A quantity that comparisons are about.

    Example:
        >>> Metric("val_loss", "validation loss", unit="nats").name
        'val_loss'
    """

    name: str
    """Its name in JSON."""
    title: str
    """Its name in sentences."""
    unit: ComparisonUnit = "points"
    """Of estimates, intervals and margins: `points` are percentage points of a rate, held as a rate."""
    observations: str = "paired outcomes"
    """What n counts."""
    value_sentence: str = ""
    """Sentence about the value, with `{first}`, `{second}` and `{value}`; '' where it is a difference."""
    hypothesis: tuple[str, str] = ("", "")
    """What the claim says and what contradicts it, with `{first}`, `{second}` and `{bound}`; '' where it is a
    difference."""


PASS_RATE = Metric("pass_rate", "pass rate")
PAIRS_OF_RUNS = "pairs of runs"


@dataclass(frozen=True)
class DecisionBounds:
    """Where an interval decides a comparison.

    Established: the whole interval lies between `support_low` and `support_high`. Contradicted: it lies below
    `refute_below` or above `refute_above`.
    """

    support_low: float
    support_high: float
    refute_below: float
    refute_above: float


def make_decision_bounds(test: ComparisonTest, margin: float) -> DecisionBounds:
    """Return the bounds of a test; `margin` is the bound itself for `exceeds` and `stays-below`.

    Raises:
        KeyError: an unknown test.
    """
    inf = math.inf
    return {
        "superior": DecisionBounds(0.0, inf, 0.0, inf),
        "superior-by": DecisionBounds(margin, inf, margin, inf),
        "no-better": DecisionBounds(-inf, margin, -inf, margin),
        "at-least": DecisionBounds(-margin, inf, -margin, inf),
        "at-most": DecisionBounds(-inf, margin, -inf, margin),
        "about": DecisionBounds(-margin, margin, -margin, margin),
        # An effect established to be smaller than the margin counts as none.
        "reduces": DecisionBounds(0.0, inf, margin, inf),
        "exceeds": DecisionBounds(margin, inf, margin, inf),
        "stays-below": DecisionBounds(-inf, margin, -inf, margin),
        "lower": DecisionBounds(-inf, 0.0, -inf, 0.0),
        "lower-by": DecisionBounds(-inf, -margin, -inf, -margin),
        "not-lower": DecisionBounds(-margin, inf, -margin, inf),
    }[test]


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """What a comparison tests: the value of `first` minus that of `second`, or a value that is no difference.

    `superior`: above 0, and contradicted below 0. `superior-by`: above the margin. `no-better` and `at-most`: below
    the margin. `at-least`: above -margin. `about`: between both. `reduces`: above 0, and contradicted below the margin.
    `exceeds` and `stays-below` use the margin as the bound of a value. Of a loss, less is better: `lower` is below 0,
    `lower-by` below -margin, and `not-lower` above it.
    """

    test: ComparisonTest
    axis: str
    first: ArmValue
    second: ArmValue
    margin: float
    metric: Metric = PASS_RATE
    labels: tuple[str, str] | None = None
    """Both sides in words, where they are not arms of an axis."""
    preposition: str = ""
    """Between the metric and a side, as in `the pass rate under judge A`; '' for `of` a model and `with` other arms."""
    observations: str = ""
    """What n counts, where it is not what the metric counts."""
    equality_sentence: str = ""
    """Sentence where the difference rounds to 0, if it is not the metric's."""
    is_reference: bool = False
    """Whether `second` is a fixed number."""
    is_deciding: bool = True
    """Whether the claim rests on it; otherwise it is supplementary."""

    @property
    def names(self) -> tuple[str, str]:
        """Both sides in words."""
        return self.labels or (format_arm_name(self.axis, self.first), format_arm_name(self.axis, self.second))

    def tests_the_same(self, other: Hypothesis) -> bool:
        """Return whether `other` tests the same quantity of the same arms."""
        identity = ("test", "metric", "axis", "first", "second", "names")
        return all(getattr(self, name) == getattr(other, name) for name in identity)

    @property
    def is_about_second(self) -> bool:
        """Whether it asks that `first` is not better than `second`, which the claim is about."""
        return self.test in ("no-better", "not-lower")

    @property
    def unit(self) -> ComparisonUnit:
        """The metric's unit."""
        return self.metric.unit

    @property
    def bounds(self) -> DecisionBounds:
        """Where the interval decides."""
        return make_decision_bounds(self.test, self.margin)


@dataclass(frozen=True, kw_only=True)
class Comparison(Hypothesis):
    """A hypothesis with its estimate and result."""

    estimate: EffectEstimate
    is_refuted: bool
    """Contradicted, at the level corrected for the number of comparisons."""
    p: float = math.nan
    """Smallest two-sided level at which the comparison would be established; NaN where undefined."""
    refute_alpha: float = math.nan
    """Level at which contradiction is tested."""
    p_refuted: float = math.nan
    """One-sided, and corrected for the number of comparisons: the probability, at most, of so strong a contradiction of
    a true claim; NaN where undefined."""
    posterior: Posterior | None = field(default=None, compare=False, repr=False)
    arm_rates: tuple[Array, ...] = field(default=(), compare=False, repr=False)
    """Pass rates of each arm's seeds, where it compares those."""
    seed_assumption: SeedAssumption | None = field(default=None, compare=False)
    """What the interval assumes about the arms' seeds; None where seeds are matched or there is one arm."""
    predict_interval: IntervalPredictor = field(
        default=lambda queries, seeds, alpha: UNDEFINED_INTERVAL, compare=False, repr=False
    )

    @property
    def is_established(self) -> bool:
        """Whether the interval lies where the claim requires it."""
        return self.support_margin > 0

    @property
    def support_margin(self) -> float:
        """Distance of the interval from leaving its bounds; negative where not established, NaN where undefined."""
        return compute_support_margin(self.bounds, Interval(self.estimate.low, self.estimate.high))

    @property
    def refute_margin(self) -> float:
        """Distance by which the interval contradicts the claim; negative where it does not, NaN where undefined."""
        return compute_refute_margin(self.bounds, Interval(self.estimate.low, self.estimate.high))

    @property
    def result(self) -> Literal["shown", "contradicted", "open"]:
        """The result, as reports hold it in JSON."""
        return "contradicted" if self.is_refuted else "shown" if self.is_established else "open"


def compute_support_margin(bounds: DecisionBounds, interval: Interval) -> float:
    """Return how far inside its bounds an interval lies; NaN where undefined."""
    if math.isnan(interval.low) or math.isnan(interval.high):
        return math.nan
    return min(interval.low - bounds.support_low, bounds.support_high - interval.high)


def compute_refute_margin(bounds: DecisionBounds, interval: Interval) -> float:
    """Return how far an interval lies in the region that contradicts; NaN where undefined."""
    if math.isnan(interval.low) or math.isnan(interval.high):
        return math.nan
    return max(bounds.refute_below - interval.high, interval.low - bounds.refute_above)


def make_comparison(
    hypothesis: Hypothesis, interval_estimate: IntervalEstimate, *, alpha: float, n_comparisons: int
) -> Comparison:
    """Test a hypothesis by the interval of its estimate.

    A claim needs all of its comparisons, so each is established at alpha. One contradicted comparison refutes it, so
    contradiction is tested at Bonferroni's alpha / n_comparisons. A two-sided interval at 1 - alpha already gives
    alpha / 2 to a side.

    Args:
        hypothesis: what is tested.
        interval_estimate: the estimate, with its interval at any level.
        alpha: the claim's level.
        n_comparisons: comparisons that the claim rests on.
    """
    bounds = hypothesis.bounds
    level = 2 * alpha / n_comparisons if n_comparisons > 2 else alpha
    p_refuted = find_p_value(
        interval_estimate.compute_interval, lambda interval: compute_refute_margin(bounds, interval) > 0
    )
    return Comparison(
        **{item.name: getattr(hypothesis, item.name) for item in fields(Hypothesis)},
        estimate=interval_estimate.estimate_at_level(alpha),
        is_refuted=compute_refute_margin(bounds, interval_estimate.compute_interval(level)) > 0,
        p=find_p_value(
            interval_estimate.compute_interval, lambda interval: compute_support_margin(bounds, interval) > 0
        ),
        refute_alpha=level,
        p_refuted=min(1.0, n_comparisons * p_refuted / 2) if p_refuted == p_refuted else math.nan,
        posterior=interval_estimate.posterior,
        arm_rates=interval_estimate.arm_rates,
        seed_assumption=interval_estimate.seed_assumption,
        predict_interval=interval_estimate.predict_interval,
    )


def describe_hypothesis(hypothesis: Hypothesis, *, is_contradicted: bool = False) -> str:
    """Describe what a comparison has to establish, or with `is_contradicted` what contradicts it."""
    first, second = hypothesis.names
    bound = format_magnitude(hypothesis, hypothesis.margin)
    if template := hypothesis.metric.hypothesis[is_contradicted]:
        return template.format(first=first, second=second, bound=bound)
    metric = "" if hypothesis.metric == PASS_RATE else f"{hypothesis.metric.title} of "
    goal, contrary = {
        "superior": ("above", "below"),
        "reduces": ("above", f"less than {bound} above"),
        "about": (f"less than {bound} from", f"more than {bound} from"),
        "superior-by": (f"more than {bound} above", f"less than {bound} above"),
        "no-better": (f"less than {bound} above", f"more than {bound} above"),
        "at-most": (f"less than {bound} above", f"more than {bound} above"),
        "at-least": (f"less than {bound} below", f"more than {bound} below"),
        "exceeds": (f"more than {bound} above", f"less than {bound} above"),
        "stays-below": (f"less than {bound} above", f"more than {bound} above"),
        "lower": ("below", "above"),
        "lower-by": (f"more than {bound} below", f"less than {bound} below"),
        "not-lower": (f"less than {bound} below", f"more than {bound} below"),
    }[hypothesis.test]
    return f"{metric}{first} {contrary if is_contradicted else goal} {second}"


def format_magnitude(hypothesis: Hypothesis, value: float) -> str:
    """Format an amount in the comparison's unit, unsigned."""
    match hypothesis.unit:
        case "points":
            return f"{100 * abs(value):g} points"
        case "nats":
            return f"{abs(value):g} nats"
        case "ratio" | "coefficient":
            return f"{value:g}"

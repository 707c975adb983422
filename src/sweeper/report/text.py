"""The sentences of a report. None can be rendered without its estimate, its interval and its n."""

from __future__ import annotations

import math

from sweeper.claims.comparison import METRIC_NAMES, Comparison
from sweeper.claims.verdict import Verdict
from sweeper.errors import DataError


def format_comparison(comparison: Comparison) -> str:
    """One comparison in words. Raises DataError where estimate, interval or n is missing."""
    found = comparison.estimate
    numbers = (found.estimate, found.low, found.high)
    if any(not math.isfinite(number) for number in numbers) or found.n < 1:
        raise DataError(
            "a report's sentence",
            requested=f"{comparison.first} against {comparison.second}",
            found=f"estimate {found.estimate}, interval {found.low} to {found.high}, n = {found.n}",
            hint="give it all three, or say that it is not decided",
        )
    unit = {"points": " points", "nats": " nats"}.get(comparison.unit, "")
    interval = (
        f"{format_comparison_value(comparison, found.low)} to {format_comparison_value(comparison, found.high)}{unit}"
    )
    return f"{_format_difference(comparison)} ({100 * (1 - found.alpha):g} % interval {interval}; {_format_sample_size(comparison)})"


def format_verdict(verdict: Verdict) -> str:
    """The verdict's deciding comparison and what it was held against. Raises DataError where a number is missing."""
    if verdict.binding_comparison is None:
        raise DataError("a report's sentence", requested=f"claim {verdict.claim_id}", found="no comparison to render")
    return f"{format_comparison(verdict.binding_comparison)}; {_format_claim_requirement(verdict.binding_comparison)}."


def format_percentage_points(rate: float) -> str:
    """A difference of rates in percentage points, signed; a true minus sign, and no signed zero."""
    text = f"{100 * rate:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def format_comparison_value(comparison: Comparison, value: float) -> str:
    """A number in the component's own unit: points, signed; nats, signed; a ratio or a coefficient."""
    if not math.isfinite(value):
        return "–" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if comparison.unit == "points":
        return format_percentage_points(value)
    if comparison.unit == "nats":
        text = f"{value:+.3f}"
        return "0.000" if text in ("+0.000", "-0.000") else text.replace("-", "−")
    return f"{value:.2f}".replace("-", "−")


def format_requirement(comparison: Comparison) -> str:
    """Where the interval has to lie for the comparison to be shown: `above 0`, `below 5 points`."""
    bound = format_margin(comparison)
    return {
        "superior": "above 0",
        "reduces": "above 0",
        "superior-by": f"above {bound}",
        "no-better": f"below {bound}",
        "at-least": f"above −{bound}",
        "at-most": f"below {bound}",
        "about": f"between −{bound} and {bound}",
        "exceeds": f"above {bound}",
        "stays-below": f"below {bound}",
    }[comparison.test]


def format_margin(comparison: Comparison) -> str:
    """The claim's margin, or the bound, with its unit."""
    if comparison.unit == "points":
        return f"{100 * comparison.margin:g} points"
    return f"{comparison.margin:g} nats" if comparison.unit == "nats" else f"{comparison.margin:g}"


def _format_claim_requirement(comparison: Comparison) -> str:
    if comparison.test in ("superior", "reduces"):
        return "the claim needs more than 0"
    if comparison.test in ("superior-by", "exceeds"):
        return f"the claim needs more than {format_margin(comparison)}"
    if comparison.test == "at-least":
        return f"the claim needs more than −{format_margin(comparison)}"
    if comparison.test == "about":
        return f"the claim allows less than {format_margin(comparison)} either way"
    return f"the claim allows less than {format_margin(comparison)}"


def _format_sample_size(comparison: Comparison) -> str:
    found = comparison.estimate
    queries = f"{found.n_queries:,} {'query' if found.n_queries == 1 else 'queries'}"
    seeds = f"{found.n_seeds} {'seed' if found.n_seeds == 1 else 'seeds'}"
    if found.n_queries == 0:
        spread = comparison.metric in ("pass_rate_spread", "val_loss_spread")
        what = "runs of each" if spread else ("pair of runs" if found.n == 1 else "pairs of runs")
        return f"n = {found.n:,} {what} over {seeds}"
    if comparison.metric == "agreement" or comparison.axis == "judge":
        return f"n = {found.n:,} answers to {queries} of {seeds}"
    # One arm has nothing to pair.
    alone = comparison.axis == "subset" or comparison.test in ("at-least", "at-most", "about")
    return f"n = {found.n:,} {'outcomes' if alone else 'paired outcomes'} of {queries} and {seeds}"


def _format_difference(comparison: Comparison) -> str:
    estimate = comparison.estimate.estimate
    first, second = comparison.names
    if comparison.metric == "agreement":
        return f"Gwet's AC1 of {first} is {estimate:.2f}"
    if comparison.metric == "cost_per_solved":
        return f"A solved query of {first} costs {estimate:.2f} times that of {second}"
    what, plural = METRIC_NAMES[comparison.metric], METRIC_NAMES[comparison.metric].replace("rate", "rates", 1)
    at = _choose_preposition(comparison)
    of_reference = comparison.labels is not None and second.startswith("the reference")
    joined = f"{at} {first}", second if of_reference else f"{at} {second}"
    nothing = format_comparison_value(comparison, estimate) in ("0.0", "0.000")
    if nothing and comparison.metric == "pass_rate" and not of_reference:
        return f"The {plural} {joined[0]} and {joined[1]} are equal to a tenth of a point"
    if nothing:
        near = "tenth of a point" if comparison.unit == "points" else "thousandth of a nat"
        return f"The {what} {joined[0]} is equal to {'' if of_reference else 'that '}{joined[1]} to a {near}"
    where = "above" if estimate > 0 else "below"
    how_far = f"{abs(100 * estimate):.1f} points" if comparison.unit == "points" else f"{abs(estimate):.3f} nats"
    return f"The {what} {joined[0]} is {how_far} {where} {'' if of_reference else 'that '}{joined[1]}"


def _choose_preposition(comparison: Comparison) -> str:
    if comparison.axis == "subset":
        return "on"
    if comparison.axis == "judge":
        return "under"
    return "of" if comparison.axis == "model" else "with"

"""The sentences of a report. None can be rendered without its estimate, its interval and its n."""

from __future__ import annotations

import math
from typing import assert_never

from sweeper.claims.comparison import PAIRS_OF_RUNS, Comparison, format_magnitude
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
    level = f"{100 * (1 - found.alpha):g} % interval"
    return f"{_format_difference(comparison)} ({level} {interval}; {_format_sample_size(comparison)})"


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
    """Format where the interval has to lie for the comparison to be established: `above 0`, `below 5 points`."""
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
    """Format the claim's margin, or the bound, with its unit."""
    return format_magnitude(comparison, comparison.margin)


def _format_claim_requirement(comparison: Comparison) -> str:
    margin = format_margin(comparison)
    match comparison.test:
        case "superior" | "reduces":
            return "the claim needs more than 0"
        case "superior-by" | "exceeds":
            return f"the claim needs more than {margin}"
        case "at-least":
            return f"the claim needs more than −{margin}"
        case "about":
            return f"the claim allows less than {margin} either way"
        case "no-better" | "at-most" | "stays-below":
            return f"the claim allows less than {margin}"
        case _:
            assert_never(comparison.test)


def _format_sample_size(comparison: Comparison) -> str:
    estimate = comparison.estimate
    queries = f", {estimate.n_queries:,} {'query' if estimate.n_queries == 1 else 'queries'}"
    seeds = f"{estimate.n_seeds} {'seed' if estimate.n_seeds == 1 else 'seeds'}"
    observations = comparison.observations or comparison.metric.observations
    if observations == PAIRS_OF_RUNS and estimate.n == 1:
        observations = "pair of runs"
    return f"n = {estimate.n:,} {observations}{queries if estimate.n_queries else ''}, {seeds}"


def _format_difference(comparison: Comparison) -> str:
    estimate, metric = comparison.estimate.estimate, comparison.metric
    first, second = comparison.names
    if metric.value_sentence:
        return metric.value_sentence.format(first=first, second=second, value=f"{estimate:.2f}")
    preposition = comparison.preposition or ("of" if comparison.axis == "model" else "with")
    subject = f"{metric.title} {preposition} {first}"
    other = second if comparison.is_reference else f"that {preposition} {second}"
    if format_comparison_value(comparison, estimate) in ("0.0", "0.000"):
        if comparison.equality_sentence:
            return comparison.equality_sentence
        resolution = "tenth of a point" if comparison.unit == "points" else "thousandth of a nat"
        return f"The {subject} is equal to {other} to a {resolution}"
    side = "above" if estimate > 0 else "below"
    distance = f"{abs(100 * estimate):.1f} points" if comparison.unit == "points" else f"{abs(estimate):.3f} nats"
    return f"The {subject} is {distance} {side} {other}"

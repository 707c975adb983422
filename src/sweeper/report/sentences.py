"""The sentences of a report. None can be rendered without its estimate, its interval and its n."""

from __future__ import annotations

import math

from sweeper.errors import DataError
from sweeper.statistics import Component, Verdict


def comparison_sentence(component: Component) -> str:
    """One comparison in words. Raises DataError where estimate, interval or n is missing."""
    found = component.estimate
    numbers = (found.estimate, found.low, found.high)
    if any(not math.isfinite(number) for number in numbers) or found.n < 1:
        raise DataError(
            "a report's sentence",
            asked=f"{component.first} against {component.second}",
            found=f"estimate {found.estimate}, interval {found.low} to {found.high}, n = {found.n}",
            do="give it all three, or say that it is not decided",
        )
    queries = f"{found.n_queries:,} {'query' if found.n_queries == 1 else 'queries'}"
    seeds = f"{found.n_seeds} {'seed' if found.n_seeds == 1 else 'seeds'}"
    return (
        f"{_difference(component)} "
        f"({100 * (1 - found.alpha):g} % interval {points(found.low)} to {points(found.high)} points; "
        f"n = {found.n:,} paired outcomes of {queries} and {seeds})"
    )


def verdict_sentence(verdict: Verdict) -> str:
    """The verdict's deciding comparison and what it was held against. Raises DataError where a number is missing."""
    if verdict.binding is None:
        raise DataError("a report's sentence", asked=f"claim {verdict.claim_id}", found="no comparison to render")
    superior = verdict.binding.test == "superior"
    wanted = "the claim needs more than 0" if superior else f"the claim allows less than {margin(verdict.binding)}"
    return f"{comparison_sentence(verdict.binding)}; {wanted}."


def points(rate: float) -> str:
    """A difference of rates in percentage points, signed; a true minus sign, and no signed zero."""
    text = f"{100 * rate:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def margin(component: Component) -> str:
    """The claim's margin with its unit."""
    return f"{100 * component.margin:g} points"


def _difference(component: Component) -> str:
    at = "of" if component.axis == "model" else "with"
    first, second = (f"{at} {name}" for name in component.names)
    size = f"{abs(100 * component.estimate.estimate):.1f}"
    if size == "0.0":
        return f"The pass rates {first} and {second} are equal to a tenth of a point"
    where = "above" if component.estimate.estimate > 0 else "below"
    return f"The pass rate {first} is {size} points {where} that {second}"

"""The sentences of a report. None can be rendered without its estimate, its interval and its n."""

from __future__ import annotations

import math

from sweeper.errors import DataError
from sweeper.statistics import Component, Verdict
from sweeper.statistics.claims.component import WORDS


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
    unit = {"points": " points", "nats": " nats"}.get(component.unit, "")
    interval = f"{amount(component, found.low)} to {amount(component, found.high)}{unit}"
    return f"{_difference(component)} ({100 * (1 - found.alpha):g} % interval {interval}; {_counted(component)})"


def verdict_sentence(verdict: Verdict) -> str:
    """The verdict's deciding comparison and what it was held against. Raises DataError where a number is missing."""
    if verdict.binding is None:
        raise DataError("a report's sentence", asked=f"claim {verdict.claim_id}", found="no comparison to render")
    return f"{comparison_sentence(verdict.binding)}; {_wanted_by_claim(verdict.binding)}."


def points(rate: float) -> str:
    """A difference of rates in percentage points, signed; a true minus sign, and no signed zero."""
    text = f"{100 * rate:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def amount(component: Component, value: float) -> str:
    """A number in the component's own unit: points, signed; nats, signed; a ratio or a coefficient."""
    if not math.isfinite(value):
        return "–" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if component.unit == "points":
        return points(value)
    if component.unit == "nats":
        text = f"{value:+.3f}"
        return "0.000" if text in ("+0.000", "-0.000") else text.replace("-", "−")
    return f"{value:.2f}".replace("-", "−")


def wanted(component: Component) -> str:
    """Where the interval has to lie for the comparison to be shown: `above 0`, `below 5 points`."""
    bound = margin(component)
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
    }[component.test]


def margin(component: Component) -> str:
    """The claim's margin, or the bound, with its unit."""
    if component.unit == "points":
        return f"{100 * component.margin:g} points"
    return f"{component.margin:g} nats" if component.unit == "nats" else f"{component.margin:g}"


def _wanted_by_claim(component: Component) -> str:
    if component.test in ("superior", "reduces"):
        return "the claim needs more than 0"
    if component.test in ("superior-by", "exceeds"):
        return f"the claim needs more than {margin(component)}"
    if component.test == "at-least":
        return f"the claim needs more than −{margin(component)}"
    if component.test == "about":
        return f"the claim allows less than {margin(component)} either way"
    return f"the claim allows less than {margin(component)}"


def _counted(component: Component) -> str:
    found = component.estimate
    queries = f"{found.n_queries:,} {'query' if found.n_queries == 1 else 'queries'}"
    seeds = f"{found.n_seeds} {'seed' if found.n_seeds == 1 else 'seeds'}"
    if found.n_queries == 0:
        spread = component.metric in ("pass_rate_spread", "val_loss_spread")
        what = "runs of each" if spread else ("pair of runs" if found.n == 1 else "pairs of runs")
        return f"n = {found.n:,} {what} over {seeds}"
    if component.metric == "agreement" or component.axis == "judge":
        return f"n = {found.n:,} answers to {queries} of {seeds}"
    # One arm has nothing to pair.
    alone = component.axis == "subset" or component.test in ("at-least", "at-most", "about")
    return f"n = {found.n:,} {'outcomes' if alone else 'paired outcomes'} of {queries} and {seeds}"


def _difference(component: Component) -> str:
    estimate = component.estimate.estimate
    first, second = component.names
    if component.metric == "agreement":
        return f"Gwet's AC1 of {first} is {estimate:.2f}"
    if component.metric == "cost_per_solved":
        return f"A solved query of {first} costs {estimate:.2f} times that of {second}"
    what, plural = WORDS[component.metric], WORDS[component.metric].replace("rate", "rates", 1)
    at = _preposition(component)
    of_reference = component.labels is not None and second.startswith("the reference")
    joined = f"{at} {first}", second if of_reference else f"{at} {second}"
    nothing = amount(component, estimate) in ("0.0", "0.000")
    if nothing and component.metric == "pass_rate" and not of_reference:
        return f"The {plural} {joined[0]} and {joined[1]} are equal to a tenth of a point"
    if nothing:
        near = "tenth of a point" if component.unit == "points" else "thousandth of a nat"
        return f"The {what} {joined[0]} is equal to {'' if of_reference else 'that '}{joined[1]} to a {near}"
    where = "above" if estimate > 0 else "below"
    how_far = f"{abs(100 * estimate):.1f} points" if component.unit == "points" else f"{abs(estimate):.3f} nats"
    return f"The {what} {joined[0]} is {how_far} {where} {'' if of_reference else 'that '}{joined[1]}"


def _preposition(component: Component) -> str:
    if component.axis == "subset":
        return "on"
    if component.axis == "judge":
        return "under"
    return "of" if component.axis == "model" else "with"

"""The sentences of a report. Each requires an estimate, an interval and n."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sweeper.claims.bracket import Bracket
from sweeper.claims.collapse import BOUND_LEVEL, COLLAPSE_RATES
from sweeper.claims.comparison import PAIRS_OF_RUNS, Comparison, ComparisonTest, ComparisonUnit, format_magnitude
from sweeper.claims.looks import Look
from sweeper.claims.probability import Probabilities
from sweeper.claims.verdict import Verdict
from sweeper.config.axes import format_arm_name
from sweeper.errors import DataError
from sweeper.report.claim_document import ClaimEntry
from sweeper.report.formatting import format_estimate

_UNIT_SUFFIXES: dict[ComparisonUnit, str] = {"points": " points", "nats": " nats", "ratio": "", "coefficient": ""}
_REQUIREMENTS: dict[ComparisonTest, str] = {
    "superior": "above 0",
    "reduces": "above 0",
    "superior-by": "above {bound}",
    "no-better": "below {bound}",
    "at-least": "above −{bound}",
    "at-most": "below {bound}",
    "about": "between −{bound} and {bound}",
    "exceeds": "above {bound}",
    "stays-below": "below {bound}",
    "lower": "below 0",
    "lower-by": "below −{bound}",
    "not-lower": "above −{bound}",
}
_CLAIM_REQUIREMENTS: dict[ComparisonTest, str] = {
    "superior": "the claim requires more than 0",
    "reduces": "the claim requires more than 0",
    "superior-by": "the claim requires more than {bound}",
    "no-better": "the claim allows less than {bound}",
    "at-least": "the claim requires more than −{bound}",
    "at-most": "the claim allows less than {bound}",
    "about": "the claim allows less than {bound} in either direction",
    "exceeds": "the claim requires more than {bound}",
    "stays-below": "the claim allows less than {bound}",
    "lower": "the claim requires less than 0",
    "lower-by": "the claim requires less than −{bound}",
    "not-lower": "the claim requires more than −{bound}",
}


def format_comparison(comparison: Comparison) -> str:
    """Format a comparison as a sentence, without its full stop.

    Raises:
        DataError: the estimate, the interval or n is missing.
    """
    effect = comparison.estimate
    if any(not math.isfinite(number) for number in (effect.estimate, effect.low, effect.high)) or effect.n < 1:
        raise DataError(
            "a sentence of the report",
            requested=f"{comparison.first} against {comparison.second}",
            found=f"estimate {effect.estimate}, interval {effect.low} to {effect.high}, n = {effect.n}",
            hint="give all three numbers, or report the comparison as undecided",
        )
    interval = " to ".join(format_estimate(end, comparison.unit) for end in (effect.low, effect.high))
    return (
        f"{_format_difference(comparison)} ({100 * (1 - effect.alpha):g} % interval "
        f"{interval}{_UNIT_SUFFIXES[comparison.unit]}; {_format_sample_size(comparison)})"
    )


def format_verdict(verdict: Verdict) -> str:
    """Format the comparison that decides a verdict, and what the claim requires of it.

    Raises:
        DataError: a number is missing.
    """
    comparison = verdict.binding_comparison
    if comparison is None:
        where, found = "a sentence of the report", "no comparison to render"
        raise DataError(where, requested=f"claim {verdict.claim_id}", found=found)
    requirement = _CLAIM_REQUIREMENTS[comparison.test].format(bound=format_margin(comparison))
    sentence = f"{format_comparison(comparison)}; {requirement}."
    assumption = comparison.seed_assumption
    if assumption is not None and assumption.is_contradicted:
        observed, limit = f"{assumption.observed_ratio:.3g}", f"{assumption.sd_ratio:g}"
        sentence += (
            f" The observed ratio of the seeds' standard deviations, {observed}, contradicts the assumed {limit}."
        )
    return sentence


def format_seed_assumption(comparison: Comparison) -> str:
    """Format what an interval assumes about the seeds of both arms, what was observed, and the interval without it.

    Raises:
        DataError: the comparison assumes nothing.
    """
    assumption, unit = comparison.seed_assumption, comparison.unit
    if assumption is None:
        raise DataError("a sentence of the report", requested="an assumption about seeds", found="none")
    without = assumption.compute_interval_without(comparison.estimate.alpha)
    ends = " to ".join(format_estimate(end, unit) for end in (without.low, without.high))
    observed = "none" if math.isnan(assumption.observed_ratio) else f"{assumption.observed_ratio:.3g}"
    return (
        f"Seeds of the arms are independent; their standard deviations are assumed to differ by a factor of at most "
        f"{assumption.sd_ratio:g} (observed {observed}; without this assumption {ends}{_UNIT_SUFFIXES[unit]})."
    )


def format_collapse(verdict: Verdict) -> str:
    """Format how many runs collapsed, what that leaves open, and the estimate of the other estimand.

    Raises:
        DataError: collapse was not counted.
    """
    collapsed, other, comparison = verdict.collapsed, verdict.other_estimand, verdict.binding_comparison
    if collapsed is None or other is None:
        raise DataError("a sentence of the report", requested="a count of collapsed runs", found="none")
    text = f"{len(collapsed.names)} of {collapsed.n_runs} finished runs collapsed ({collapsed.rule})"
    if math.isfinite(collapsed.upper_bound):
        text += f"; up to {100 * collapsed.upper_bound:.1f} % could ({100 * BOUND_LEVEL:g} %)"
    if verdict.tolerated_collapse_rate == 0:
        text += (
            f". By simulation the interval of the mean over all runs does not hold its level at a collapse rate of "
            f"{100 * COLLAPSE_RATES[0]:g} %"
        )
    elif math.isfinite(verdict.tolerated_collapse_rate):
        text += (
            f". By simulation the interval of the mean over all runs holds its level up to a collapse rate of "
            f"{100 * verdict.tolerated_collapse_rate:g} %"
        )
    if not collapsed.names and not collapsed.unknown:
        text += ". All finished runs trained, so both estimands are about the same runs"
    elif comparison is not None and math.isfinite(other.interval.low) and math.isfinite(other.interval.high):
        ends = " to ".join(format_estimate(end, comparison.unit) for end in (other.interval.low, other.interval.high))
        estimate = format_estimate(other.estimate, comparison.unit)
        runs = "Among the runs that trained" if other.estimand == "trained-runs" else "Over all runs"
        text += f". {runs}: {estimate} ({ends}){_UNIT_SUFFIXES[comparison.unit]}, {other.label}"
    return text + "."


def format_look(look: Look) -> str:
    """Format the registered look at which a claim was decided."""
    return (
        f"Look {look.number} of {look.n_looks}, on {look.n_seeds} seeds: it may spend {100 * look.level:.2g} of the "
        f"{100 * look.alpha:g} % over all looks."
    )


def format_unregistered_looks(taken: Sequence[int], other_seeds: Sequence[Sequence[int]], alpha: float) -> str:
    """Format what it means that a claim was looked at without registering it; '' where it was not.

    Args:
        taken: numbers of seeds, where they are not those registered.
        other_seeds: seeds of looks that were not the first ones of the sweep.
        alpha: the claim's level.
    """
    parts = []
    if taken:
        *others, last = [str(count) for count in taken]
        parts.append(f"{len(taken)} times, on {', '.join(others)} and {last} seeds, without registering it (`looks`)")
    if other_seeds:
        listed = "; ".join(", ".join(map(str, own)) for own in other_seeds)
        parts.append(f"on other seeds than the first of the sweep ({listed})")
    return f"Looked at {', and '.join(parts)}: the error level of {100 * alpha:g} % does not hold." if parts else ""


def format_bracket(bracket: Bracket, axis: str) -> str:
    """Format where the best arm lies, and what that assumes."""
    level = f"{100 * (1 - bracket.alpha):g} %, if there is one peak; Bonferroni over {bracket.n_pairs} pairs"
    if not bracket.arms:
        return f"The data contradict a single peak over {axis} ({level})."
    if not bracket.has_lower_end and not bracket.has_upper_end:
        return f"Any arm may be the best one ({level})."
    names = ", ".join(format_arm_name(axis, arm) for arm in bracket.arms)
    ends = []
    if bracket.has_lower_end:
        ends.append(f"above {format_arm_name(axis, bracket.below)}")
    if bracket.has_upper_end:
        ends.append(f"below {format_arm_name(axis, bracket.above)}")
    return f"The best arm lies {' and '.join(ends)}: {names} ({level})."


def format_probabilities(comparison: Comparison, probabilities: Probabilities) -> str:
    """Format how likely the claim's candidate is better, equal or worse."""
    first, second = comparison.names[::-1] if comparison.is_about_second else comparison.names
    margin = format_margin(comparison)
    shares = [f"{100 * share:.0f} %" for share in (probabilities.better, probabilities.equal, probabilities.worse)]
    return (
        f"Probability that {first} is better than {second} by more than {margin}: {shares[0]}; within {margin}: "
        f"{shares[1]}; worse by more: {shares[2]} (prior: {probabilities.prior})."
    )


def list_claim_notes(claim: ClaimEntry) -> list[str]:
    """Return what a reader of a verdict should know besides its reason, each a sentence or more.

    Args:
        claim: a claim of a report's document.

    Returns:
        How often it was looked at, what its interval assumes, how many runs collapsed and, of an inconclusive claim,
        how likely each side is.
    """
    notes = [claim["unregistered_looks"], claim["look"]["sentence"] if claim["look"] else "", claim["assumption"]]
    if claim["collapsed"] is not None:
        notes.append(claim["collapsed"]["sentence"])
    if claim["bracket"] is not None:
        notes.append(claim["bracket"]["sentence"])
    if claim["probability"] is not None and claim["verdict"] == "inconclusive":
        notes.append(claim["probability"]["sentence"])
    return [note for note in notes if note]


def format_requirement(comparison: Comparison) -> str:
    """Format where the interval must lie for the comparison to be established: `above 0`, `below 5 points`."""
    return _REQUIREMENTS[comparison.test].format(bound=format_margin(comparison))


def format_margin(comparison: Comparison) -> str:
    """Format the margin, or the bound, with its unit."""
    return format_magnitude(comparison, comparison.margin)


def _format_sample_size(comparison: Comparison) -> str:
    effect = comparison.estimate
    queries = f", {effect.n_queries:,} {'query' if effect.n_queries == 1 else 'queries'}"
    seeds = f"{effect.n_seeds} {'seed' if effect.n_seeds == 1 else 'seeds'}"
    observations = comparison.observations or comparison.metric.observations
    if observations == PAIRS_OF_RUNS and effect.n == 1:
        observations = "pair of runs"
    return f"n = {effect.n:,} {observations}{queries if effect.n_queries else ''}, {seeds}"


def _format_difference(comparison: Comparison) -> str:
    estimate, unit, metric = comparison.estimate.estimate, comparison.unit, comparison.metric
    first, second = comparison.names
    if metric.value_sentence:
        return metric.value_sentence.format(first=first, second=second, value=f"{estimate:.2f}")
    preposition = comparison.preposition or ("of" if comparison.axis == "model" else "with")
    subject = f"The {metric.title} {preposition} {first}"
    other = second if comparison.is_reference else f"that {preposition} {second}"
    if format_estimate(estimate, unit) in ("0.0", "0.000"):
        if comparison.equality_sentence:
            return comparison.equality_sentence
        precision = "tenth of a point" if unit == "points" else "thousandth of a nat"
        return f"{subject} equals {other}" + ("" if estimate == 0 else f" to within a {precision}")
    side = "above" if estimate > 0 else "below"
    distance = f"{abs(100 * estimate):.1f}" if unit == "points" else f"{abs(estimate):.3f}"
    return f"{subject} is {distance}{_UNIT_SUFFIXES[unit]} {side} {other}"

"""Claim + tables -> verdict. A claim is decided by comparisons, every one of which must be shown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from sweeper.errors import DataError
from sweeper.statistics.claims.component import Component, describe
from sweeper.statistics.claims.kinds import Comparisons, Tables, best_of, comparisons
from sweeper.statistics.claims.needed import Needed, needed_for, nothing
from sweeper.statistics.claims.protocols import Choice, Selected, select
from sweeper.statistics.claims.sensitivity import KINDS as BY_PASS_RATE
from sweeper.statistics.claims.sensitivity import Query, Variant, judge_variants, variants
from sweeper.statistics.intervals import Interval
from sweeper.statistics.multiple import holm
from sweeper.statistics.outcomes import AXES, COUNTED, arm_name, pass_matrix
from sweeper.statistics.paired import Excluded, equals

if TYPE_CHECKING:
    import pandas as pd

    from sweeper.spec import Claim

Word = Literal["supported", "refuted", "inconclusive"]
READINGS = {
    "beats-smaller": "superior to every smaller arm, and no larger one better by the margin",
    "interior": "superior to both neighbours",
    "smallest-non-inferior": "no arm better by the margin, and every smaller arm worse by more than it",
}
"""What "best" means, in words."""


@dataclass(frozen=True)
class Reading:
    """What a claim would have come to in another of its readings."""

    name: str
    text: str
    verdict: Word
    reason: str


@dataclass(frozen=True)
class Sensitivity:
    """The claim's result on the tables read otherwise. `verdict` is None where the data do not hold that reading, and
    `reason` says why. `estimate` and `interval` are those of the comparison that binds there."""

    name: str
    verdict: Word | None
    estimate: float
    interval: Interval
    n_queries: int
    reason: str


@dataclass(frozen=True)
class Verdict:
    """The claim's result. `estimate`, `interval` and the counts are those of `binding`, the comparison that decides:
    the one closest to failing when supported, the most violated when refuted, the furthest from shown otherwise."""

    claim_id: str
    text: str
    verdict: Word
    estimate: float
    interval: Interval
    n: int
    n_queries: int
    n_seeds: int
    components: tuple[Component, ...]
    binding: Component | None
    excluded: Excluded
    incomplete: tuple[str, ...]
    reason: str
    alpha: float
    kind: str = "best-of"
    metric: str = "pass_rate"
    protocol: str = "identical"
    choices: tuple[Choice, ...] = ()
    """What each arm was given by the protocol."""
    reading: str = ""
    """The reading that the verdict uses, where the kind has several."""
    readings: tuple[Reading, ...] = ()
    """The other readings."""
    sensitivity: tuple[Sensitivity, ...] = ()
    by_judge: Mapping[str, Mapping[str, Word]] | None = None
    """Judge -> claim -> its verdict under that judge alone, for `judge-independent`."""
    needed: Needed | None = None
    """What would settle it; None unless it is inconclusive."""
    p: float = math.nan
    """Smallest two-sided level at which all comparisons would be shown (the largest of theirs); NaN where the claim is
    undecidable: at most alpha wherever it is supported."""
    p_adjusted: float = math.nan
    """The same by Holm's method, over all claims of the report; an undecidable claim counts there as 1."""
    family: bool | None = None
    """Whether it is supported at alpha over all claims of the report together; None where it was decided alone."""


def decide(
    claim: Claim,
    trials: pd.DataFrame,
    outcomes: pd.DataFrame,
    *,
    axes: Sequence[str] = AXES,
    matrix: pd.DataFrame | None = None,
    histories: Mapping[str, pd.DataFrame] | None = None,
    leaked: Iterable[Query] | None = None,
    solvable: Iterable[Query] | None = None,
    others: Sequence[Claim] = (),
    sensitivity: bool = True,
    readings: Sequence[Variant] | None = None,
) -> Verdict:
    """Decide one claim. `trials`: one row per planned trial; `outcomes`: one per (trial, query, judge, vote), of one
    judge unless the claim is about judges; `histories`: fingerprint -> logged steps; `leaked` and `solvable`: queries
    (subset, query_id) for the `sensitivity`, or its `readings`, made already; `others`: the claims that must not hang
    on the judge.

    Supported needs all comparisons (an intersection-union test: each at alpha, no correction; the two-sided interval
    at 1 - alpha spends only alpha / 2 on the side that matters, which is conservative). Refuted needs one, so that
    side is corrected by Bonferroni to alpha over all of them. Never more than inconclusive: with a planned run
    of the compared arms not finished, an arm or a side of the candidate missing, or one seed only, since then the
    spread between training runs is unknown (in simulation such intervals cover as little as 56 % of the time).
    Raises DataError for tables that break their contract.
    """
    if claim.kind == "judge-independent":
        return _over_judges(claim, trials, outcomes, axes=axes, histories=histories, others=others)
    matrix = pass_matrix(trials, outcomes) if matrix is None else matrix
    rows = _where(claim, trials)
    selected = select(claim, rows, axes)
    tables = Tables(selected.rows, matrix, outcomes, selected.axes, histories)
    found = _settle(claim, tables, selected)
    if claim.kind == "best-of":
        found = replace(found, reading=claim.reading, readings=_readings(claim, tables, selected))
    if not sensitivity or claim.kind not in BY_PASS_RATE:
        return found
    again = []
    if readings is None:
        own = outcomes[outcomes["fingerprint"].isin(set(rows["fingerprint"]))] if not outcomes.empty else outcomes
        readings = variants(rows, own, matrix, leaked, solvable)
    for variant in readings:
        if variant.matrix is None:
            undefined = Interval(math.nan, math.nan)
            again.append(Sensitivity(variant.name, None, math.nan, undefined, 0, variant.reason))
            continue
        other = Tables(selected.rows, variant.matrix, outcomes, selected.axes, histories)
        then = _settle(claim, other, selected)
        reason = f"{variant.reason}. {then.reason}" if variant.reason else then.reason
        again.append(Sensitivity(variant.name, then.verdict, then.estimate, then.interval, then.n_queries, reason))
    return replace(found, sensitivity=tuple(again))


def decide_all(
    claims: Sequence[Claim],
    trials: pd.DataFrame,
    outcomes: pd.DataFrame,
    *,
    judge: str | None = None,
    axes: Sequence[str] = AXES,
    matrix: pd.DataFrame | None = None,
    histories: Mapping[str, pd.DataFrame] | None = None,
    leaked: Iterable[Query] | None = None,
    solvable: Iterable[Query] | None = None,
) -> list[Verdict]:
    """Decide the claims of one report, with p-values adjusted over all of them by Holm's method.

    `judge`: whose outcomes decide, where there are several judges. Raises DataError as `decide` does.
    """
    own = outcomes_of(outcomes, judge)
    matrix = pass_matrix(trials, own) if matrix is None else matrix
    readings = None
    if any(claim.kind in BY_PASS_RATE for claim in claims):
        readings = variants(trials, own, matrix, leaked, solvable) + judge_variants(trials, outcomes, judge)
    found = []
    for claim in claims:
        about_judges = claim.kind == "judge-independent"
        verdict = decide(
            claim,
            trials,
            outcomes if about_judges else own,
            axes=axes,
            matrix=None if about_judges else matrix,
            histories=histories,
            readings=readings,
            others=[other for other in claims if other.kind != "judge-independent"],
        )
        found.append(verdict)
    return adjust(found)


def outcomes_of(outcomes: pd.DataFrame, judge: str | None) -> pd.DataFrame:
    """The outcomes of one judge; all where none is named. Raises DataError where that judge has none."""
    if judge is None or outcomes.empty:
        return outcomes
    own = outcomes[outcomes["judge"].astype(str) == judge]
    if own.empty:
        known = sorted(outcomes["judge"].astype(str).unique())
        raise DataError("outcomes table", asked=f"outcomes of the judge {judge}", found=f"of {known}")
    return own


def one_family(p_values: Sequence[float], alpha: float) -> list[float]:
    """Holm's adjusted p of claims. One that could not be decided (NaN) was registered all the same: it counts as 1."""
    adjusted = holm([1.0 if math.isnan(p) else p for p in p_values], alpha)["adjusted"]
    return [math.nan if math.isnan(p) else float(q) for p, q in zip(p_values, adjusted, strict=True)]


def adjust(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts with Holm's adjusted p (Holm 1979) and what they come to as one family."""
    if not verdicts:
        return []
    adjusted = one_family([verdict.p for verdict in verdicts], min(verdict.alpha for verdict in verdicts))
    return [
        replace(
            verdict,
            p_adjusted=p,
            family=bool(verdict.verdict == "supported" and p <= verdict.alpha),
        )
        for verdict, p in zip(verdicts, adjusted, strict=True)
    ]


def _where(claim: Claim, trials: pd.DataFrame) -> pd.DataFrame:
    rows = trials
    for name, value in claim.where.items():
        if name not in rows.columns:
            raise DataError("trials table", asked=f"claim {claim.id}: where {name}", found="no such column")
        rows = rows.loc[equals(rows[name], value)]
    return rows


def _settle(claim: Claim, tables: Tables, selected: Selected) -> Verdict:
    """The verdict on the selected runs, without what stands beside it."""
    if selected.problem:
        nothing_found = Comparisons((), selected.problem, selected.planned)
        return _verdict(claim, nothing_found, tables, selected)
    found = comparisons(claim, tables)
    if selected.planned is not selected.rows:
        # What chose the arms has to be whole as well.
        found = replace(found, rows=selected.planned)
    return _verdict(claim, found, tables, selected)


def _verdict(
    claim: Claim,
    found: Comparisons,
    tables: Tables,
    selected: Selected,
    by_judge: Mapping[str, Mapping[str, Word]] | None = None,
) -> Verdict:
    deciding = tuple(c for c in found.components if c.decides)
    incomplete = _incomplete(claim, found, tables, selected)
    word, reason = _word(deciding, found, incomplete)
    if by_judge is not None:
        word, reason = _unchanged(word, reason, by_judge, settled=bool(deciding) and not incomplete)
    binding = _binding(deciding, word)
    estimate = binding.estimate if binding else None
    seeds = min((c.estimate.n_seeds for c in deciding), default=0)
    decidable = bool(deciding) and not found.problem and not incomplete and seeds > 1
    return Verdict(
        claim_id=claim.id,
        text=claim.text,
        verdict=word,
        estimate=estimate.estimate if estimate else math.nan,
        interval=Interval(estimate.low, estimate.high) if estimate else Interval(math.nan, math.nan),
        n=estimate.n if estimate else 0,
        n_queries=estimate.n_queries if estimate else 0,
        n_seeds=estimate.n_seeds if estimate else 0,
        components=found.components,
        binding=binding,
        excluded=estimate.excluded if estimate else Excluded(),
        incomplete=incomplete,
        reason=reason + (found.note + selected.note if deciding else ""),
        alpha=claim.alpha,
        kind=claim.kind,
        metric=claim.metric,
        protocol=claim.protocol,
        choices=selected.choices,
        by_judge=by_judge,
        needed=_needed(deciding, found, incomplete) if word == "inconclusive" else None,
        # Of an intersection-union test: the largest. What cannot be decided has none.
        p=float(np.max([c.p for c in deciding])) if decidable else math.nan,
    )


def _needed(deciding: tuple[Component, ...], found: Comparisons, incomplete: tuple[str, ...]) -> Needed:
    if found.problem:
        return nothing(f"Not decidable: {found.problem}.")
    if incomplete:
        return nothing("First the planned runs without a result.")
    return needed_for(deciding)


def _readings(claim: Claim, tables: Tables, selected: Selected) -> tuple[Reading, ...]:
    readings = []
    for name, text in READINGS.items():
        if name == claim.reading:
            continue
        if selected.problem:
            found = Comparisons((), selected.problem, selected.planned)
        else:
            found = replace(best_of(claim, tables, name), rows=selected.planned)
        word, reason = _word(found.components, found, _incomplete(claim, found, tables, selected))
        readings.append(Reading(name, text, word, reason))
    return tuple(readings)


def _over_judges(
    claim: Claim,
    trials: pd.DataFrame,
    outcomes: pd.DataFrame,
    *,
    axes: Sequence[str],
    histories: Mapping[str, pd.DataFrame] | None,
    others: Sequence[Claim],
) -> Verdict:
    rows = _where(claim, trials)
    selected = select(claim, rows, axes)
    judges = [] if outcomes.empty else list(dict.fromkeys(outcomes["judge"].astype(str)))
    matrix = pass_matrix(trials, outcomes_of(outcomes, judges[0] if judges else None))
    tables = Tables(rows, matrix, outcomes, selected.axes, histories)
    words: dict[str, dict[str, Word]] = {}
    for judge in judges if len(judges) > 1 else ():
        own = outcomes_of(outcomes, judge)
        words[judge] = {
            other.id: decide(
                other,
                trials,
                own,
                axes=axes,
                histories=histories,
                sensitivity=False,
            ).verdict
            for other in others
        }
    return _verdict(claim, comparisons(claim, tables), tables, selected, by_judge=words)


def _unchanged(
    word: Word, reason: str, by_judge: Mapping[str, Mapping[str, Word]], *, settled: bool
) -> tuple[Word, str]:
    """The verdict on the judges' agreement, held against what the other claims come to under each judge."""
    if not settled or not by_judge:
        return word, reason
    claims = list(next(iter(by_judge.values())))
    ends = {claim: {judge: words[claim] for judge, words in by_judge.items()} for claim in claims}
    changed = {claim: words for claim, words in ends.items() if len(set(words.values())) > 1}
    said = "; ".join(
        f"{claim}: {', '.join(f'{word} under {judge}' for judge, word in words.items())}"
        for claim, words in changed.items()
    )
    if any({"supported", "refuted"} <= set(words.values()) for words in changed.values()):
        return "refuted", f"A verdict turns with the judge ({said}). {reason}"
    if changed and word == "supported":
        return "inconclusive", f"A verdict is not the same under every judge ({said}). {reason}"
    if changed:
        return word, f"{reason} A verdict is not the same under every judge ({said})."
    decided = sum("inconclusive" not in words.values() for words in ends.values())
    return word, f"{reason} Other claims that end alike under every judge: {len(ends)}, of them decided: {decided}."


def _incomplete(claim: Claim, found: Comparisons, tables: Tables, selected: Selected) -> tuple[str, ...]:
    """Planned runs without a result, as `model, epochs, seed: status`; a run without outcomes is UNEVALUATED."""
    names = []
    # What only chose an arm needs a validation loss, and no outcomes.
    choosing = set(claim.selection_seeds)
    scored = set(tables.matrix.columns)
    for row in found.rows.to_dict("records"):
        status = row["status"]
        needs_outcomes = found.scored and row["seed"] not in choosing
        if status in COUNTED and (not needs_outcomes or row["fingerprint"] in scored):
            continue
        what = "UNEVALUATED" if status in COUNTED else status
        arm = [str(row["model"]), arm_name("num_train_epochs", row.get("num_train_epochs", math.nan))]
        if claim.axis not in (None, "model", "num_train_epochs"):
            arm.append(arm_name(str(claim.axis), row[claim.axis]))
        names.append(f"{', '.join(arm)}, seed {row['seed']}: {what}")
    return tuple(names)


def _word(components: tuple[Component, ...], found: Comparisons, incomplete: tuple[str, ...]) -> tuple[Word, str]:
    if found.problem and not any(c.refuted for c in components):
        return "inconclusive", f"Not decidable: {found.problem}."
    if incomplete:
        listed = "; ".join(incomplete[:4]) + ("; …" if len(incomplete) > 4 else "")
        return "inconclusive", f"Planned runs without a result: {len(incomplete)} of {len(found.rows)} ({listed})."
    defined = [c for c in components if not math.isnan(c.estimate.estimate)]
    if not defined or (len(defined) < len(components) and not any(c.refuted for c in defined)):
        return "inconclusive", _undefined(components)
    note = _note(components, found.rows)
    if min(c.estimate.n_seeds for c in defined) < 2:
        return "inconclusive", "One seed: the spread between training runs is unknown, so no verdict." + note
    for component in components:
        if component.refuted:
            return "refuted", f"Contradicted: {describe(component, against=True)}." + note
    still_open = [c for c in components if not c.shown]
    if not still_open:
        every = {1: "Its one comparison shows", 2: "Both comparisons show"}
        return "supported", every.get(len(components), f"All {len(components)} comparisons show") + " it." + note
    return "inconclusive", f"Not shown: {'; '.join(describe(c) for c in still_open)}." + note


def _undefined(components: tuple[Component, ...]) -> str:
    if all(c.metric == "pass_rate" for c in components):
        return "Some arms share no scored query."
    gone = [c for c in components if math.isnan(c.estimate.estimate)]
    return f"Undefined: {'; '.join(f'{describe(c)} ({c.estimate.method})' for c in gone)}."


def _note(components: tuple[Component, ...], rows: pd.DataFrame) -> str:
    diverged = int((rows["status"] == "DIVERGED").sum())
    text = f" Diverged runs count as passing nothing (here {diverged})." if diverged else ""
    left_out = max(c.estimate.excluded.queries for c in components)
    return text + (f" Up to {left_out} queries not scored in every compared run are left out." if left_out else "")


def _binding(components: tuple[Component, ...], word: Word) -> Component | None:
    if not components:
        return None
    refuted = [c for c in components if c.refuted]
    # A rate and a ratio have no common scale but their intervals' widths.
    mixed = len({c.unit for c in components}) > 1
    if word == "refuted" and refuted:
        return max(refuted, key=lambda c: c.against / _width(c, mixed=mixed))
    return min(components, key=lambda c: -math.inf if math.isnan(c.slack) else c.slack / _width(c, mixed=mixed))


def _width(component: Component, *, mixed: bool) -> float:
    width = component.estimate.high - component.estimate.low
    return width if mixed and width > 0 else 1.0

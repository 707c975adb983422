"""Claim + tables -> verdict. A claim is decided by comparisons, every one of which must be shown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from sweeper.claims.comparison import Comparison, describe_comparison
from sweeper.claims.kinds import ClaimTables, ComparisonSet, build_claim_comparisons, compare_with_interpretation
from sweeper.claims.protocols import AxisChoice, RunSelection, select_runs
from sweeper.claims.robustness import PASS_RATE_KINDS as BY_PASS_RATE
from sweeper.claims.robustness import OutcomeVariant, Query, build_judge_variants, build_outcome_variants
from sweeper.claims.sample_size import RequiredSampleSize, estimate_required_sample_size, make_unknown_sample_size
from sweeper.config.axes import format_arm_name
from sweeper.errors import DataError
from sweeper.statistics.intervals import Interval
from sweeper.statistics.multiple_testing import holm_step_down
from sweeper.statistics.paired import Exclusions, equals_value
from sweeper.statistics.pass_matrix import COUNTED_STATUSES, DEFAULT_AXES, build_pass_matrix

if TYPE_CHECKING:
    import pandas as pd

    from sweeper.config import Claim

VerdictLabel = Literal["supported", "refuted", "inconclusive"]
INTERPRETATIONS = {
    "beats-smaller": "superior to every smaller arm, and no larger one better by the margin",
    "interior": "superior to both neighbours",
    "smallest-non-inferior": "no arm better by the margin, and every smaller arm worse by more than it",
}
"""What "best" means, in words."""


@dataclass(frozen=True)
class Interpretation:
    """What a claim would have come to in another of its readings."""

    name: str
    text: str
    verdict: VerdictLabel
    reason: str


@dataclass(frozen=True)
class RobustnessCheck:
    """The claim's result on the tables read otherwise. `verdict` is None where the data do not hold that reading, and
    `reason` says why. `estimate` and `interval` are those of the comparison that binds there."""

    name: str
    label: VerdictLabel | None
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
    label: VerdictLabel
    estimate: float
    interval: Interval
    n: int
    n_queries: int
    n_seeds: int
    comparisons: tuple[Comparison, ...]
    binding_comparison: Comparison | None
    exclusions: Exclusions
    incomplete_runs: tuple[str, ...]
    reason: str
    alpha: float
    kind: str = "best-of"
    metric: str = "pass_rate"
    protocol: str = "identical"
    choices: tuple[AxisChoice, ...] = ()
    """What each arm was given by the protocol."""
    interpretation: str = ""
    """The reading that the verdict uses, where the kind has several."""
    other_interpretations: tuple[Interpretation, ...] = ()
    """The other readings."""
    robustness_checks: tuple[RobustnessCheck, ...] = ()
    labels_by_judge: Mapping[str, Mapping[str, VerdictLabel]] | None = None
    """Judge -> claim -> its verdict under that judge alone, for `judge-independent`."""
    required_sample_size: RequiredSampleSize | None = None
    """What would settle it; None unless it is inconclusive."""
    p: float = math.nan
    """Smallest two-sided level at which all comparisons would be shown (the largest of theirs); NaN where the claim is
    undecidable: at most alpha wherever it is supported."""
    p_adjusted: float = math.nan
    """The same by Holm's method, over all claims of the report; an undecidable claim counts there as 1."""
    is_supported_in_family: bool | None = None
    """Whether it is supported at alpha over all claims of the report together; None where it was decided alone."""


def decide_claim(
    claim: Claim,
    trials: pd.DataFrame,
    outcomes: pd.DataFrame,
    *,
    axes: Sequence[str] = DEFAULT_AXES,
    matrix: pd.DataFrame | None = None,
    histories: Mapping[str, pd.DataFrame] | None = None,
    leaked_queries: Iterable[Query] | None = None,
    solvable_queries: Iterable[Query] | None = None,
    other_claims: Sequence[Claim] = (),
    with_robustness_checks: bool = True,
    outcome_variants: Sequence[OutcomeVariant] | None = None,
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
        return _decide_across_judges(claim, trials, outcomes, axes=axes, histories=histories, other_claims=other_claims)
    matrix = build_pass_matrix(trials, outcomes) if matrix is None else matrix
    rows = _filter_claim_trials(claim, trials)
    selected = select_runs(claim, rows, axes)
    tables = ClaimTables(selected.rows, matrix, outcomes, selected.axes, histories)
    found = _decide_selection(claim, tables, selected)
    if claim.kind == "best-of":
        found = replace(
            found,
            interpretation=claim.reading,
            other_interpretations=_decide_other_interpretations(claim, tables, selected),
        )
    if not with_robustness_checks or claim.kind not in BY_PASS_RATE:
        return found
    again = []
    if outcome_variants is None:
        own = outcomes[outcomes["fingerprint"].isin(set(rows["fingerprint"]))] if not outcomes.empty else outcomes
        outcome_variants = build_outcome_variants(rows, own, matrix, leaked_queries, solvable_queries)
    for variant in outcome_variants:
        if variant.matrix is None:
            undefined = Interval(math.nan, math.nan)
            again.append(RobustnessCheck(variant.name, None, math.nan, undefined, 0, variant.reason))
            continue
        other = ClaimTables(selected.rows, variant.matrix, outcomes, selected.axes, histories)
        then = _decide_selection(claim, other, selected)
        reason = f"{variant.reason}. {then.reason}" if variant.reason else then.reason
        again.append(RobustnessCheck(variant.name, then.label, then.estimate, then.interval, then.n_queries, reason))
    return replace(found, robustness_checks=tuple(again))


def decide_claims(
    claims: Sequence[Claim],
    trials: pd.DataFrame,
    outcomes: pd.DataFrame,
    *,
    judge: str | None = None,
    axes: Sequence[str] = DEFAULT_AXES,
    matrix: pd.DataFrame | None = None,
    histories: Mapping[str, pd.DataFrame] | None = None,
    leaked_queries: Iterable[Query] | None = None,
    solvable_queries: Iterable[Query] | None = None,
) -> list[Verdict]:
    """Decide the claims of one report, with p-values adjusted over all of them by Holm's method.

    `judge`: whose outcomes decide, where there are several judges. Raises DataError as `decide` does.
    """
    own = select_judge_outcomes(outcomes, judge)
    matrix = build_pass_matrix(trials, own) if matrix is None else matrix
    readings = None
    if any(claim.kind in BY_PASS_RATE for claim in claims):
        readings = build_outcome_variants(trials, own, matrix, leaked_queries, solvable_queries) + build_judge_variants(
            trials, outcomes, judge
        )
    found = []
    for claim in claims:
        about_judges = claim.kind == "judge-independent"
        verdict = decide_claim(
            claim,
            trials,
            outcomes if about_judges else own,
            axes=axes,
            matrix=None if about_judges else matrix,
            histories=histories,
            outcome_variants=readings,
            other_claims=[other for other in claims if other.kind != "judge-independent"],
        )
        found.append(verdict)
    return adjust_verdicts(found)


def select_judge_outcomes(outcomes: pd.DataFrame, judge: str | None) -> pd.DataFrame:
    """The outcomes of one judge; all where none is named. Raises DataError where that judge has none."""
    if judge is None or outcomes.empty:
        return outcomes
    own = outcomes[outcomes["judge"].astype(str) == judge]
    if own.empty:
        known = sorted(outcomes["judge"].astype(str).unique())
        raise DataError("outcomes table", requested=f"outcomes of the judge {judge}", found=f"of {known}")
    return own


def holm_adjusted(p_values: Sequence[float], alpha: float) -> list[float]:
    """Holm's adjusted p of claims. One that could not be decided (NaN) was registered all the same: it counts as 1."""
    adjusted = holm_step_down([1.0 if math.isnan(p) else p for p in p_values], alpha)["adjusted"]
    return [math.nan if math.isnan(p) else float(q) for p, q in zip(p_values, adjusted, strict=True)]


def adjust_verdicts(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts with Holm's adjusted p (Holm 1979) and what they come to as one family."""
    if not verdicts:
        return []
    adjusted = holm_adjusted([verdict.p for verdict in verdicts], min(verdict.alpha for verdict in verdicts))
    return [
        replace(
            verdict,
            p_adjusted=p,
            is_supported_in_family=bool(verdict.label == "supported" and p <= verdict.alpha),
        )
        for verdict, p in zip(verdicts, adjusted, strict=True)
    ]


def _filter_claim_trials(claim: Claim, trials: pd.DataFrame) -> pd.DataFrame:
    rows = trials
    for name, value in claim.where.items():
        if name not in rows.columns:
            raise DataError("trials table", requested=f"claim {claim.id}: where {name}", found="no such column")
        rows = rows.loc[equals_value(rows[name], value)]
    return rows


def _decide_selection(claim: Claim, tables: ClaimTables, selection: RunSelection) -> Verdict:
    """The verdict on the selected runs, without what stands beside it."""
    if selection.problem:
        nothing_found = ComparisonSet((), selection.problem, selection.required_rows)
        return _build_verdict(claim, nothing_found, tables, selection)
    found = build_claim_comparisons(claim, tables)
    if selection.required_rows is not selection.rows:
        # What chose the arms has to be whole as well.
        found = replace(found, required_rows=selection.required_rows)
    return _build_verdict(claim, found, tables, selection)


def _build_verdict(
    claim: Claim,
    comparison_set: ComparisonSet,
    tables: ClaimTables,
    selection: RunSelection,
    labels_by_judge: Mapping[str, Mapping[str, VerdictLabel]] | None = None,
) -> Verdict:
    deciding = tuple(c for c in comparison_set.comparisons if c.is_deciding)
    incomplete = _list_incomplete_runs(claim, comparison_set, tables, selection)
    word, reason = _choose_label(deciding, comparison_set, incomplete)
    if labels_by_judge is not None:
        word, reason = _combine_judge_labels(
            word, reason, labels_by_judge, is_settled=bool(deciding) and not incomplete
        )
    binding = _find_binding_comparison(deciding, word)
    estimate = binding.estimate if binding else None
    seeds = min((c.estimate.n_seeds for c in deciding), default=0)
    decidable = bool(deciding) and not comparison_set.problem and not incomplete and seeds > 1
    return Verdict(
        claim_id=claim.id,
        text=claim.text,
        label=word,
        estimate=estimate.estimate if estimate else math.nan,
        interval=Interval(estimate.low, estimate.high) if estimate else Interval(math.nan, math.nan),
        n=estimate.n if estimate else 0,
        n_queries=estimate.n_queries if estimate else 0,
        n_seeds=estimate.n_seeds if estimate else 0,
        comparisons=comparison_set.comparisons,
        binding_comparison=binding,
        exclusions=estimate.exclusions if estimate else Exclusions(),
        incomplete_runs=incomplete,
        reason=reason + (comparison_set.note + selection.note if deciding else ""),
        alpha=claim.alpha,
        kind=claim.kind,
        metric=claim.metric,
        protocol=claim.protocol,
        choices=selection.choices,
        labels_by_judge=labels_by_judge,
        required_sample_size=_explain_required_sample_size(deciding, comparison_set, incomplete)
        if word == "inconclusive"
        else None,
        # Of an intersection-union test: the largest. What cannot be decided has none.
        p=float(np.max([c.p for c in deciding])) if decidable else math.nan,
    )


def _explain_required_sample_size(
    comparisons: tuple[Comparison, ...], comparison_set: ComparisonSet, incomplete_runs: tuple[str, ...]
) -> RequiredSampleSize:
    if comparison_set.problem:
        return make_unknown_sample_size(f"Not decidable: {comparison_set.problem}.")
    if incomplete_runs:
        return make_unknown_sample_size("First the planned runs without a result.")
    return estimate_required_sample_size(comparisons)


def _decide_other_interpretations(
    claim: Claim, tables: ClaimTables, selection: RunSelection
) -> tuple[Interpretation, ...]:
    readings = []
    for name, text in INTERPRETATIONS.items():
        if name == claim.reading:
            continue
        if selection.problem:
            found = ComparisonSet((), selection.problem, selection.required_rows)
        else:
            found = replace(compare_with_interpretation(claim, tables, name), required_rows=selection.required_rows)
        word, reason = _choose_label(found.comparisons, found, _list_incomplete_runs(claim, found, tables, selection))
        readings.append(Interpretation(name, text, word, reason))
    return tuple(readings)


def _decide_across_judges(
    claim: Claim,
    trials: pd.DataFrame,
    outcomes: pd.DataFrame,
    *,
    axes: Sequence[str],
    histories: Mapping[str, pd.DataFrame] | None,
    other_claims: Sequence[Claim],
) -> Verdict:
    rows = _filter_claim_trials(claim, trials)
    selected = select_runs(claim, rows, axes)
    judges = [] if outcomes.empty else list(dict.fromkeys(outcomes["judge"].astype(str)))
    matrix = build_pass_matrix(trials, select_judge_outcomes(outcomes, judges[0] if judges else None))
    tables = ClaimTables(rows, matrix, outcomes, selected.axes, histories)
    words: dict[str, dict[str, VerdictLabel]] = {}
    for judge in judges if len(judges) > 1 else ():
        own = select_judge_outcomes(outcomes, judge)
        words[judge] = {
            other.id: decide_claim(
                other,
                trials,
                own,
                axes=axes,
                histories=histories,
                with_robustness_checks=False,
            ).label
            for other in other_claims
        }
    return _build_verdict(claim, build_claim_comparisons(claim, tables), tables, selected, labels_by_judge=words)


def _combine_judge_labels(
    label: VerdictLabel, reason: str, labels_by_judge: Mapping[str, Mapping[str, VerdictLabel]], *, is_settled: bool
) -> tuple[VerdictLabel, str]:
    """The verdict on the judges' agreement, held against what the other claims come to under each judge."""
    if not is_settled or not labels_by_judge:
        return label, reason
    claims = list(next(iter(labels_by_judge.values())))
    ends = {claim: {judge: words[claim] for judge, words in labels_by_judge.items()} for claim in claims}
    changed = {claim: words for claim, words in ends.items() if len(set(words.values())) > 1}
    said = "; ".join(
        f"{claim}: {', '.join(f'{word} under {judge}' for judge, word in words.items())}"
        for claim, words in changed.items()
    )
    if any({"supported", "refuted"} <= set(words.values()) for words in changed.values()):
        return "refuted", f"A verdict turns with the judge ({said}). {reason}"
    if changed and label == "supported":
        return "inconclusive", f"A verdict is not the same under every judge ({said}). {reason}"
    if changed:
        return label, f"{reason} A verdict is not the same under every judge ({said})."
    decided = sum("inconclusive" not in words.values() for words in ends.values())
    return label, f"{reason} Other claims that end alike under every judge: {len(ends)}, of them decided: {decided}."


def _list_incomplete_runs(
    claim: Claim, comparison_set: ComparisonSet, tables: ClaimTables, selection: RunSelection
) -> tuple[str, ...]:
    """Planned runs without a result, as `model, epochs, seed: status`; a run without outcomes is UNEVALUATED."""
    names = []
    # What only chose an arm needs a validation loss, and no outcomes.
    choosing = set(claim.selection_seeds)
    scored = set(tables.matrix.columns)
    for row in comparison_set.required_rows.to_dict("records"):
        status = row["status"]
        needs_outcomes = comparison_set.needs_outcomes and row["seed"] not in choosing
        if status in COUNTED_STATUSES and (not needs_outcomes or row["fingerprint"] in scored):
            continue
        what = "UNEVALUATED" if status in COUNTED_STATUSES else status
        arm = [str(row["model"]), format_arm_name("num_train_epochs", row.get("num_train_epochs", math.nan))]
        if claim.axis not in (None, "model", "num_train_epochs"):
            arm.append(format_arm_name(str(claim.axis), row[claim.axis]))
        names.append(f"{', '.join(arm)}, seed {row['seed']}: {what}")
    return tuple(names)


def _choose_label(
    comparisons: tuple[Comparison, ...], comparison_set: ComparisonSet, incomplete_runs: tuple[str, ...]
) -> tuple[VerdictLabel, str]:
    if comparison_set.problem and not any(c.is_refuted for c in comparisons):
        return "inconclusive", f"Not decidable: {comparison_set.problem}."
    if incomplete_runs:
        listed = "; ".join(incomplete_runs[:4]) + ("; …" if len(incomplete_runs) > 4 else "")
        return (
            "inconclusive",
            f"Planned runs without a result: {len(incomplete_runs)} of {len(comparison_set.required_rows)} ({listed}).",
        )
    defined = [c for c in comparisons if not math.isnan(c.estimate.estimate)]
    if not defined or (len(defined) < len(comparisons) and not any(c.is_refuted for c in defined)):
        return "inconclusive", _describe_undefined(comparisons)
    note = _describe_exclusions(comparisons, comparison_set.required_rows)
    if min(c.estimate.n_seeds for c in defined) < 2:
        return "inconclusive", "One seed: the spread between training runs is unknown, so no verdict." + note
    for component in comparisons:
        if component.is_refuted:
            return "refuted", f"Contradicted: {describe_comparison(component, is_contradicted=True)}." + note
    still_open = [c for c in comparisons if not c.is_established]
    if not still_open:
        every = {1: "Its one comparison shows", 2: "Both comparisons show"}
        return "supported", every.get(len(comparisons), f"All {len(comparisons)} comparisons show") + " it." + note
    return "inconclusive", f"Not shown: {'; '.join(describe_comparison(c) for c in still_open)}." + note


def _describe_undefined(comparisons: tuple[Comparison, ...]) -> str:
    if all(c.metric == "pass_rate" for c in comparisons):
        return "Some arms share no scored query."
    gone = [c for c in comparisons if math.isnan(c.estimate.estimate)]
    return f"Undefined: {'; '.join(f'{describe_comparison(c)} ({c.estimate.method})' for c in gone)}."


def _describe_exclusions(comparisons: tuple[Comparison, ...], rows: pd.DataFrame) -> str:
    diverged = int((rows["status"] == "DIVERGED").sum())
    text = f" Diverged runs count as passing nothing (here {diverged})." if diverged else ""
    left_out = max(c.estimate.exclusions.queries for c in comparisons)
    return text + (f" Up to {left_out} queries not scored in every compared run are left out." if left_out else "")


def _find_binding_comparison(comparisons: tuple[Comparison, ...], label: VerdictLabel) -> Comparison | None:
    if not comparisons:
        return None
    refuted = [c for c in comparisons if c.is_refuted]
    # A rate and a ratio have no common scale but their intervals' widths.
    mixed = len({c.unit for c in comparisons}) > 1
    if label == "refuted" and refuted:
        return max(refuted, key=lambda c: c.refute_margin / _compute_scale(c, has_mixed_units=mixed))
    return min(
        comparisons,
        key=lambda c: (
            -math.inf if math.isnan(c.support_margin) else c.support_margin / _compute_scale(c, has_mixed_units=mixed)
        ),
    )


def _compute_scale(comparison: Comparison, *, has_mixed_units: bool) -> float:
    width = comparison.estimate.high - comparison.estimate.low
    return width if has_mixed_units and width > 0 else 1.0

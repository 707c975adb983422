"""Decide claims: a claim and the tables of a study -> its verdict."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, assert_never

import numpy as np

from sweeper.claims.bracket import Bracket
from sweeper.claims.collapse import CollapsedRuns, find_collapsed_runs, find_tolerated_rate
from sweeper.claims.comparison import Comparison
from sweeper.claims.family import adjust_verdicts
from sweeper.claims.kinds.base import CLAIM_KINDS, ComparisonSet, LabelsByJudge, VerdictLabel
from sweeper.claims.protocols import AxisChoice, RunSelection, select_runs
from sweeper.claims.reasons import MIN_SEEDS, choose_label, find_binding_comparison, list_incomplete_runs
from sweeper.claims.robustness import OutcomeVariant, build_judge_variants, build_outcome_variants
from sweeper.claims.sample_size import RequiredSampleSize, estimate_required_sample_size, make_unknown_sample_size
from sweeper.claims.tables import ClaimTables, StudyEvidence
from sweeper.errors import DataError
from sweeper.statistics.intervals import UNDEFINED_INTERVAL, Interval
from sweeper.statistics.paired import Exclusions, equals_value
from sweeper.statistics.pass_matrix import build_pass_matrix

if TYPE_CHECKING:
    import pandas as pd

    from sweeper.config import Claim


@dataclass(frozen=True)
class Interpretation:
    """The verdict under another interpretation of the claim."""

    name: str
    text: str
    verdict: VerdictLabel
    reason: str


@dataclass(frozen=True)
class RobustnessCheck:
    """The verdict on a variant of the outcomes."""

    name: str
    label: VerdictLabel | None
    """None where the data do not allow the variant; `reason` says why."""
    estimate: float
    """Of the claim's binding comparison, like `interval`: the same comparison in every variant."""
    interval: Interval
    n_queries: int
    reason: str


@dataclass(frozen=True)
class EstimandResult:
    """The verdict on the estimand that the claim is not about. Its numbers are those of the binding comparison."""

    estimand: str
    label: VerdictLabel
    estimate: float
    interval: Interval


@dataclass(frozen=True)
class Verdict:
    """The result of a claim.

    `estimate`, `interval` and the counts are those of the binding comparison: the one closest to failing when the claim
    is supported, the most violated when it is refuted, the furthest from established otherwise.
    """

    claim_id: str
    text: str
    kind: str
    metric: str
    protocol: str
    label: VerdictLabel
    own_label: VerdictLabel
    """The verdict of the claim alone, before the correction over all claims of the report."""
    reason: str
    alpha: float
    estimate: float
    interval: Interval
    n: int
    n_queries: int
    n_seeds: int
    comparisons: tuple[Comparison, ...]
    binding_comparison: Comparison | None
    exclusions: Exclusions
    incomplete_runs: tuple[str, ...]
    estimand: str | None = None
    """None for a kind that is not about pass rates of runs."""
    collapsed: CollapsedRuns | None = None
    other_estimand: EstimandResult | None = None
    tolerated_collapse_rate: float = math.nan
    """Largest simulated collapse rate at which the interval of a mean over all runs holds its level; NaN for another
    estimand."""
    bracket: Bracket | None = None
    """Where the best arm lies; None for a claim that is not about it, and with one seed."""
    choices: tuple[AxisChoice, ...] = ()
    """What the protocol assigned to each arm."""
    interpretation: str = ""
    """The interpretation that the verdict uses, where the kind has several."""
    other_interpretations: tuple[Interpretation, ...] = ()
    robustness_checks: tuple[RobustnessCheck, ...] = ()
    labels_by_judge: LabelsByJudge | None = None
    """Judge -> claim -> its verdict under that judge alone, for a claim about the judges."""
    required_sample_size: RequiredSampleSize | None = None
    """What would settle it; None unless it is inconclusive."""
    p: float = math.nan
    """Smallest two-sided level at which all comparisons would be established, the largest of theirs: at most alpha
    wherever the claim is supported. NaN where it is not decidable."""
    p_adjusted: float = math.nan
    """Holm-adjusted over all claims of the report; a claim that is not decidable counts as 1."""
    p_refuted: float = math.nan
    """Probability, at most, of so strong a contradiction of a true claim: one-sided, over all comparisons."""
    p_refuted_adjusted: float = math.nan
    holds_in_family: bool | None = None
    """Whether `own_label`, supported or refuted, stands at alpha over all claims of the report; None where it was
    decided alone."""


def decide_claim(
    claim: Claim,
    study: StudyEvidence,
    *,
    other_claims: Sequence[Claim] = (),
    with_robustness_checks: bool = True,
    outcome_variants: Sequence[OutcomeVariant] | None = None,
) -> Verdict:
    """Decide one claim.

    Supported needs all comparisons (an intersection-union test: each at alpha, without correction; the two-sided
    interval at 1 - alpha spends only alpha / 2 on the side that matters, which is conservative). Refuted needs one, so
    that side is corrected by Bonferroni to alpha over all of them. Inconclusive at most: where a planned run of the
    compared arms has no result, an arm or a side of the candidate is missing, or there is one seed only, since the
    spread between training runs is then unknown (in simulation such intervals cover as little as 56 % of the time).

    Args:
        claim: the claim.
        study: the tables, with the outcomes of one judge unless the claim is about the judges.
        other_claims: the claims whose verdicts a claim about the judges depends on.
        with_robustness_checks: whether to decide it on variants of the outcomes as well.
        outcome_variants: those variants; built where not given.

    Returns:
        The verdict with its comparisons.

    Raises:
        DataError: a table that breaks its contract.
    """
    kind = CLAIM_KINDS.load(claim.kind)
    if kind.compares_judges:
        return _decide_across_judges(claim, study, other_claims)
    matrix = build_pass_matrix(study.trials, study.outcomes) if study.matrix is None else study.matrix
    rows = _filter_claim_trials(claim, study.trials)
    selection = select_runs(claim, rows, study.axes)
    tables = ClaimTables(selection.rows, matrix, study.outcomes, selection.axes, study.histories)
    has_estimand = "estimand" in kind.optional_fields
    collapsed = find_collapsed_runs(claim, selection.rows) if has_estimand else CollapsedRuns(frozenset(), 0, "")
    match claim.estimand:
        case "mean":
            pass
        case "trained-runs":
            tables, selection = _leave_out_collapsed(tables, selection, collapsed)
        case _:
            assert_never(claim.estimand)
    verdict = _decide_selection(claim, tables, selection)
    if has_estimand and with_robustness_checks:
        verdict = _add_other_estimand(claim, verdict, tables, selection, collapsed)
    if kind.interpretations:
        others = _decide_other_interpretations(claim, tables, selection)
        verdict = replace(verdict, interpretation=claim.reading, other_interpretations=others)
    if not with_robustness_checks or not kind.rests_on_pass_rate:
        return verdict
    if outcome_variants is None:
        outcomes = study.outcomes
        own = outcomes if outcomes.empty else outcomes[outcomes["fingerprint"].isin(set(rows["fingerprint"]))]
        outcome_variants = build_outcome_variants(replace(study, trials=rows, outcomes=own), matrix)
    binding = verdict.binding_comparison
    checks = tuple(_check_variant(claim, tables, selection, variant, binding) for variant in outcome_variants)
    return replace(verdict, robustness_checks=checks)


def decide_claims(claims: Sequence[Claim], study: StudyEvidence, *, judge: str | None = None) -> list[Verdict]:
    """Decide the claims of one report, with p-values adjusted over all of them by Holm's method.

    Args:
        claims: all claims of a report.
        study: the tables, with the outcomes of every judge.
        judge: whose outcomes decide, where there are several judges.

    Returns:
        One verdict per claim, in order.

    Raises:
        DataError: a table that breaks its contract.
    """
    kinds = [CLAIM_KINDS.load(claim.kind) for claim in claims]
    outcomes = select_judge_outcomes(study.outcomes, judge)
    matrix = build_pass_matrix(study.trials, outcomes) if study.matrix is None else study.matrix
    own = replace(study, outcomes=outcomes, matrix=matrix)
    variants = None
    if any(kind.rests_on_pass_rate for kind in kinds):
        variants = [
            *build_outcome_variants(own, matrix),
            *build_judge_variants(study.trials, study.outcomes, judge),
        ]
    others = [claim for claim, kind in zip(claims, kinds, strict=True) if not kind.compares_judges]
    verdicts = [
        decide_claim(
            claim,
            replace(study, matrix=None) if kind.compares_judges else own,
            outcome_variants=variants,
            other_claims=others,
        )
        for claim, kind in zip(claims, kinds, strict=True)
    ]
    return adjust_verdicts(verdicts)


def select_judge_outcomes(outcomes: pd.DataFrame, judge: str | None) -> pd.DataFrame:
    """Return the outcomes of one judge; all where `judge` is None.

    Args:
        outcomes: one row per trial, query, judge and vote.
        judge: name of the judge; None takes all.

    Returns:
        The rows of that judge.

    Raises:
        DataError: the judge has none.

    Example:
        >>> import pandas as pd
        >>> outcomes = pd.DataFrame({"judge": ["rules", "llm"], "passed": [1.0, 0.0]})
        >>> len(select_judge_outcomes(outcomes, "rules"))
        1
    """
    if judge is None or outcomes.empty:
        return outcomes
    own = outcomes[outcomes["judge"].astype(str) == judge]
    if own.empty:
        known = sorted(outcomes["judge"].astype(str).unique())
        raise DataError("outcomes table", requested=f"outcomes of the judge {judge}", found=f"outcomes of {known}")
    return own


def _filter_claim_trials(claim: Claim, trials: pd.DataFrame) -> pd.DataFrame:
    rows = trials
    for name, value in claim.where.items():
        if name not in rows.columns:
            raise DataError("trials table", requested=f"claim {claim.id}: where {name}", found="no such column")
        rows = rows.loc[equals_value(rows[name], value)]
    return rows


def _build_comparisons(
    claim: Claim, tables: ClaimTables, selection: RunSelection, interpretation: str | None = None
) -> ComparisonSet:
    """Return the comparisons on the selected runs."""
    kind = CLAIM_KINDS.load(claim.kind)
    if selection.problem:
        return ComparisonSet((), selection.problem, selection.required_rows)
    if interpretation is None:
        comparison_set = kind.build_comparisons(claim, tables)
    else:
        comparison_set = kind.build_interpretation(claim, tables, interpretation)
    if selection.required_rows is not selection.rows:
        # The runs that selected the arms need results as well.
        comparison_set = replace(comparison_set, required_rows=selection.required_rows)
    return comparison_set


def _decide_selection(claim: Claim, tables: ClaimTables, selection: RunSelection) -> Verdict:
    """Return the verdict on the selected runs, without anything supplementary."""
    return _build_verdict(claim, _build_comparisons(claim, tables, selection), tables, selection)


def _leave_out_collapsed(
    tables: ClaimTables, selection: RunSelection, collapsed: CollapsedRuns
) -> tuple[ClaimTables, RunSelection]:
    """Return the tables and runs of a claim about the runs that trained."""
    if collapsed.unknown and not selection.problem:
        problem = f"{len(collapsed.unknown)} finished runs lack the loss that decides whether they collapsed"
        selection = replace(selection, problem=problem)
    return replace(tables, left_out_runs=collapsed.names, cached_differences={}), selection


def _add_other_estimand(
    claim: Claim, verdict: Verdict, tables: ClaimTables, selection: RunSelection, collapsed: CollapsedRuns
) -> Verdict:
    """Add the count of collapsed runs, and the verdict on the estimand that the claim is not about."""
    binding, other = verdict.binding_comparison, verdict
    if claim.estimand == "trained-runs" and collapsed.names:
        all_runs = replace(tables, left_out_runs=frozenset(), cached_differences={})
        other = _decide_selection(claim, all_runs, selection)
    elif collapsed.names or collapsed.unknown:
        other = _decide_selection(claim, *_leave_out_collapsed(tables, selection, collapsed))
    same = next((c for c in other.comparisons if binding is not None and c.tests_the_same(binding)), None)
    trained = same if claim.estimand == "mean" else binding
    estimate = UNDEFINED_INTERVAL if same is None else Interval(same.estimate.low, same.estimate.high)
    is_mean = claim.estimand == "mean"
    return replace(
        verdict,
        estimand=claim.estimand,
        collapsed=collapsed,
        other_estimand=EstimandResult(
            estimand="trained-runs" if is_mean else "mean",
            label=other.label,
            estimate=math.nan if same is None else same.estimate.estimate,
            interval=estimate,
        ),
        tolerated_collapse_rate=find_tolerated_rate(trained.arm_rates, claim.alpha, _find_sd_ratio(claim, trained))
        if is_mean and trained is not None and trained.arm_rates
        else math.nan,
    )


def _find_sd_ratio(claim: Claim, comparison: Comparison) -> float | None:
    """Return the ratio that the interval of two arms with independent seeds allows for."""
    return claim.sd_ratio if len(comparison.arm_rates) == 2 else None


def _check_variant(
    claim: Claim,
    tables: ClaimTables,
    selection: RunSelection,
    variant: OutcomeVariant,
    binding: Comparison | None,
) -> RobustnessCheck:
    """Decide the claim on a variant. Its numbers are those of `binding`, even where another one binds there."""
    if variant.matrix is None:
        return RobustnessCheck(variant.name, None, math.nan, UNDEFINED_INTERVAL, 0, variant.reason)
    own = replace(tables, matrix=variant.matrix, cached_differences={})
    verdict = _decide_selection(claim, own, selection)
    reason = f"{variant.reason}. {verdict.reason}" if variant.reason else verdict.reason
    same = next((c for c in verdict.comparisons if binding is not None and c.tests_the_same(binding)), None)
    if same is None:
        return RobustnessCheck(variant.name, verdict.label, math.nan, UNDEFINED_INTERVAL, 0, reason)
    effect = same.estimate
    interval = Interval(effect.low, effect.high)
    return RobustnessCheck(variant.name, verdict.label, effect.estimate, interval, effect.n_queries, reason)


def _decide_other_interpretations(
    claim: Claim, tables: ClaimTables, selection: RunSelection
) -> tuple[Interpretation, ...]:
    interpretations = []
    for name, text in CLAIM_KINDS.load(claim.kind).interpretations.items():
        if name == claim.reading:
            continue
        comparison_set = _build_comparisons(claim, tables, selection, name)
        incomplete = list_incomplete_runs(claim, comparison_set, tables.matrix)
        label, reason = choose_label(comparison_set.comparisons, comparison_set, incomplete)
        interpretations.append(Interpretation(name, text, label, reason))
    return tuple(interpretations)


def _decide_across_judges(claim: Claim, study: StudyEvidence, other_claims: Iterable[Claim]) -> Verdict:
    outcomes = study.outcomes
    rows = _filter_claim_trials(claim, study.trials)
    selection = select_runs(claim, rows, study.axes)
    judges = [] if outcomes.empty else list(dict.fromkeys(outcomes["judge"].astype(str)))
    matrix = build_pass_matrix(study.trials, select_judge_outcomes(outcomes, judges[0] if judges else None))
    tables = ClaimTables(rows, matrix, outcomes, selection.axes, study.histories)
    labels: dict[str, dict[str, VerdictLabel]] = {}
    for judge in judges if len(judges) > 1 else ():
        own = replace(study, outcomes=select_judge_outcomes(outcomes, judge), matrix=None)
        labels[judge] = {
            other.id: decide_claim(other, own, with_robustness_checks=False).label for other in other_claims
        }
    comparison_set = CLAIM_KINDS.load(claim.kind).build_comparisons(claim, tables)
    return _build_verdict(claim, comparison_set, tables, selection, labels)


def _build_verdict(
    claim: Claim,
    comparison_set: ComparisonSet,
    tables: ClaimTables,
    selection: RunSelection,
    labels_by_judge: Mapping[str, Mapping[str, VerdictLabel]] | None = None,
) -> Verdict:
    deciding = tuple(c for c in comparison_set.comparisons if c.is_deciding)
    incomplete = list_incomplete_runs(claim, comparison_set, tables.matrix)
    label, reason = choose_label(deciding, comparison_set, incomplete)
    if labels_by_judge and deciding and not incomplete:
        label, reason = CLAIM_KINDS.load(claim.kind).combine_judge_labels(label, reason, labels_by_judge)
    binding = find_binding_comparison(deciding, label)
    estimate = binding.estimate if binding else None
    n_seeds = min((c.estimate.n_seeds for c in deciding), default=0)
    is_decidable = bool(deciding) and not comparison_set.problem and not incomplete and n_seeds >= MIN_SEEDS
    return Verdict(
        claim_id=claim.id,
        text=claim.text,
        kind=claim.kind,
        metric=claim.metric,
        protocol=claim.protocol,
        label=label,
        own_label=label,
        reason=reason + (comparison_set.note + selection.note if deciding else ""),
        alpha=claim.alpha,
        estimate=estimate.estimate if estimate else math.nan,
        interval=Interval(estimate.low, estimate.high) if estimate else UNDEFINED_INTERVAL,
        n=estimate.n if estimate else 0,
        n_queries=estimate.n_queries if estimate else 0,
        n_seeds=estimate.n_seeds if estimate else 0,
        comparisons=comparison_set.comparisons,
        binding_comparison=binding,
        exclusions=estimate.exclusions if estimate else Exclusions(),
        incomplete_runs=incomplete,
        choices=selection.choices,
        bracket=comparison_set.bracket if is_decidable else None,
        labels_by_judge=labels_by_judge,
        required_sample_size=_find_required_sample_size(deciding, comparison_set, incomplete)
        if label == "inconclusive"
        else None,
        # Of an intersection-union test: the largest.
        p=float(np.max([c.p for c in deciding])) if is_decidable else math.nan,
        # A verdict that reverses with the judge is no comparison, and has no p-value.
        p_refuted=float(np.min([c.p_refuted for c in deciding]))
        if is_decidable and (label != "refuted" or any(c.is_refuted for c in deciding))
        else math.nan,
    )


def _find_required_sample_size(
    comparisons: tuple[Comparison, ...], comparison_set: ComparisonSet, incomplete_runs: tuple[str, ...]
) -> RequiredSampleSize:
    if comparison_set.problem:
        return make_unknown_sample_size(f"Not decidable: {comparison_set.problem}.")
    if incomplete_runs:
        return make_unknown_sample_size("Finish the planned runs without a result first.")
    return estimate_required_sample_size(comparisons)

"""Decide claims: a claim and the tables of a study -> its verdict."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

import numpy as np

from sweeper.claims.collapse import CollapsedRuns, find_collapsed_runs, find_tolerated_rate
from sweeper.claims.comparison import Comparison
from sweeper.claims.kinds.base import CLAIM_KINDS, ComparisonSet, VerdictLabel
from sweeper.claims.looks import LookProgress, apply_look, select_look_rows
from sweeper.claims.losses import find_loss_problem
from sweeper.claims.protocols import RunSelection, select_runs
from sweeper.claims.reasons import MIN_SEEDS, choose_label, find_binding_comparison, list_incomplete_runs
from sweeper.claims.robustness import OutcomeVariant, build_outcome_variants
from sweeper.claims.sample_size import RequiredSampleSize, estimate_required_sample_size, make_unknown_sample_size
from sweeper.claims.tables import ClaimTables, StudyEvidence
from sweeper.claims.verdict import EstimandResult, Interpretation, RobustnessCheck, Verdict
from sweeper.errors import DataError
from sweeper.statistics.intervals import UNDEFINED_INTERVAL, Interval
from sweeper.statistics.paired import Exclusions, equals_value
from sweeper.statistics.pass_matrix import build_pass_matrix

if TYPE_CHECKING:
    import pandas as pd

    from sweeper.config import Claim


def decide_claim(
    claim: Claim,
    study: StudyEvidence,
    *,
    other_claims: Sequence[Claim] = (),
    with_robustness_checks: bool = True,
    outcome_variants: Sequence[OutcomeVariant] | None = None,
    progress: LookProgress | None = None,
) -> Verdict:
    """Decide one claim, once.

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
        progress: the registered look at which it is decided; None decides it on all seeds.

    Returns:
        The verdict with its comparisons.

    Raises:
        DataError: a table that breaks its contract.
    """
    kind = CLAIM_KINDS.load(claim.kind)
    if kind.compares_judges:
        return _decide_across_judges(claim, study, other_claims)
    matrix = build_pass_matrix(study.trials, study.outcomes) if study.matrix is None else study.matrix
    rows = filter_claim_trials(claim, study.trials)
    if progress is not None:
        rows = select_look_rows(claim, rows, progress)
        claim = claim.model_copy(update={"alpha": progress.look.level})
    selection = select_runs(claim, rows, study.axes)
    if progress is not None and rows["seed"].nunique() < progress.look.n_seeds:
        found = f"the first look is on {progress.look.n_seeds} seeds, and {rows['seed'].nunique()} are planned"
        selection = replace(selection, problem=found)
    tables = ClaimTables(
        selection.rows, matrix, study.outcomes, selection.axes, study.histories, query_clusters=study.query_clusters
    )
    has_estimand = "estimand" in kind.optional_fields
    collapsed = find_collapsed_runs(claim, selection.rows) if has_estimand else CollapsedRuns(frozenset(), 0, "")
    match claim.estimand:
        case "mean":
            pass
        case "trained-runs":
            tables, selection = _leave_out_collapsed(tables, selection, collapsed)
        case _:
            assert_never(claim.estimand)
    verdict = _decide_selection(claim, tables, selection, progress)
    if progress is not None:
        verdict = _add_look(verdict, progress)
    if has_estimand and with_robustness_checks:
        verdict = _add_other_estimand(claim, verdict, tables, selection, collapsed)
    if kind.interpretations and (with_robustness_checks or progress is None):  # of the look that counts alone
        others = _decide_other_interpretations(claim, tables, selection)
        verdict = replace(verdict, interpretation=claim.reading, other_interpretations=others)
    if not with_robustness_checks or not kind.rests_on_pass_rate or claim.is_about_loss:
        return verdict
    if outcome_variants is None:
        outcomes = study.outcomes
        own = outcomes if outcomes.empty else outcomes[outcomes["fingerprint"].isin(set(rows["fingerprint"]))]
        outcome_variants = build_outcome_variants(replace(study, trials=rows, outcomes=own), matrix)
    binding = verdict.binding_comparison
    checks = tuple(_check_variant(claim, tables, selection, variant, binding) for variant in outcome_variants)
    return replace(verdict, robustness_checks=checks)


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


def filter_claim_trials(claim: Claim, trials: pd.DataFrame) -> pd.DataFrame:
    """Return the trials that a claim is about.

    Args:
        claim: the claim.
        trials: one row per planned trial.

    Raises:
        DataError: `where` names a column that the table lacks.
    """
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
    if claim.is_about_loss and (problem := find_loss_problem(claim, tables)):
        return ComparisonSet((), problem, selection.required_rows, needs_outcomes=False)
    if interpretation is None:
        comparison_set = kind.build_comparisons(claim, tables)
    else:
        comparison_set = kind.build_interpretation(claim, tables, interpretation)
    if claim.is_about_loss:
        comparison_set = replace(comparison_set, needs_outcomes=False)
    if selection.required_rows is not selection.rows:
        # The runs that selected the arms need results as well.
        comparison_set = replace(comparison_set, required_rows=selection.required_rows)
    return comparison_set


def _decide_selection(
    claim: Claim, tables: ClaimTables, selection: RunSelection, progress: LookProgress | None = None
) -> Verdict:
    """Return the verdict on the selected runs, without anything supplementary."""
    comparison_set = _build_comparisons(claim, tables, selection)
    if progress is not None:
        comparison_set = replace(comparison_set, comparisons=apply_look(comparison_set.comparisons, progress))
    return _build_verdict(claim, comparison_set, tables, selection)


def _add_look(verdict: Verdict, progress: LookProgress) -> Verdict:
    """Return the verdict of a look: at the claim's own level, with the smallest p-values of its looks so far."""
    return replace(
        verdict,
        alpha=progress.look.alpha,
        look=progress.look,
        p=float(np.fmin(verdict.p, progress.p)),
        p_refuted=float(np.fmin(verdict.p_refuted, progress.p_refuted)),
    )


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
    from sweeper.claims.study_verdicts import decide_at_looks  # which decides each look with this module

    outcomes = study.outcomes
    rows = filter_claim_trials(claim, study.trials)
    selection = select_runs(claim, rows, study.axes)
    judges = [] if outcomes.empty else list(dict.fromkeys(outcomes["judge"].astype(str)))
    matrix = build_pass_matrix(study.trials, select_judge_outcomes(outcomes, judges[0] if judges else None))
    tables = ClaimTables(rows, matrix, outcomes, selection.axes, study.histories)
    labels: dict[str, dict[str, VerdictLabel]] = {}
    for judge in judges if len(judges) > 1 else ():
        own = replace(study, outcomes=select_judge_outcomes(outcomes, judge), matrix=None)
        labels[judge] = {other.id: decide_at_looks(other, own).label for other in other_claims}
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

"""The verdicts of a study: each claim at its registered looks, and all of them corrected together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sweeper.claims.decide import decide_claim, filter_claim_trials, select_judge_outcomes
from sweeper.claims.family import adjust_verdicts
from sweeper.claims.kinds.base import CLAIM_KINDS
from sweeper.claims.looks import LookProgress, advance_looks, select_look_rows, start_looks
from sweeper.claims.robustness import build_judge_variants, build_outcome_variants
from sweeper.statistics.pass_matrix import build_pass_matrix

if TYPE_CHECKING:
    from sweeper.claims.tables import StudyEvidence
    from sweeper.claims.verdict import Verdict
    from sweeper.config import Claim


def decide_at_looks(claim: Claim, study: StudyEvidence) -> Verdict:
    """Decide one claim alone, at the first of its looks that decides it, without robustness checks.

    Args:
        claim: the claim.
        study: the tables, with the outcomes of one judge.

    Returns:
        The verdict of that look, of the last one, or of the last one whose runs all have results.

    Raises:
        DataError: a table that breaks its contract.
    """
    if study.matrix is None:
        study = replace(study, matrix=build_pass_matrix(study.trials, study.outcomes))

    def decide(_: int, progress: LookProgress | None) -> Verdict:
        return decide_claim(claim, study, with_robustness_checks=False, progress=progress)

    return _walk_looks([claim], study, decide, lambda verdicts: verdicts)[0].verdict


@dataclass(frozen=True)
class _LookedAt:
    """A claim, the look that its verdict rests on, and the verdict."""

    claim: Claim
    progress: LookProgress | None
    verdict: Verdict
    following: LookProgress | None = None
    """The look that is left for an open claim."""


def _walk_looks(
    claims: Sequence[Claim],
    study: StudyEvidence,
    decide: Callable[[int, LookProgress | None], Verdict],
    adjust: Callable[[list[Verdict]], list[Verdict]],
) -> list[_LookedAt]:
    """Look at claims until each is decided, over all of them, or its next look lacks results.

    Args:
        claims: the claims.
        study: the tables, for the planned seeds.
        decide: place of a claim, and the look -> its verdict.
        adjust: verdicts of all claims -> those that hold together.
    """
    found = [
        _LookedAt(claim, progress, decide(k, progress))
        for k, (claim, progress) in enumerate((claim, start_looks(claim)) for claim in claims)
    ]
    n_seeds = [filter_claim_trials(claim, study.trials)["seed"].nunique() for claim in claims]
    has_advanced = True
    while has_advanced:
        has_advanced = False
        for k, together in enumerate(adjust([each.verdict for each in found])):
            claim, progress, own = found[k].claim, found[k].progress, found[k].verdict
            if progress is None or own.incomplete_runs or together.label != "inconclusive":
                found[k] = replace(found[k], following=None)
                continue
            deciding = [each for each in own.comparisons if each.is_deciding]
            following = advance_looks(claim, progress, deciding, (own.p, own.p_refuted), len(claims))
            if following is not None and following.look.n_seeds > n_seeds[k]:
                following = None  # a look for which the study has to be extended first
            found[k] = replace(found[k], following=following)
            if following is not None and not (verdict := decide(k, following)).incomplete_runs:
                found[k], has_advanced = _LookedAt(claim, following, verdict), True
    return found


def decide_claims(claims: Sequence[Claim], study: StudyEvidence, *, judge: str | None = None) -> list[Verdict]:
    """Decide the claims of one report, with p-values adjusted over all of them by Holm's method.

    A claim with looks is decided at the first of them at which it is supported or refuted over all claims.

    Args:
        claims: all claims of a report.
        study: the tables, with the outcomes of every judge.
        judge: whose outcomes decide, where there are several judges.

    Returns:
        One verdict per claim, in order.

    Raises:
        DataError: a table that breaks its contract.
    """
    return adjust_verdicts(
        [each.verdict for each in _look_at_claims(claims, study, judge, with_robustness_checks=True)]
    )


def list_needed_runs(
    claims: Sequence[Claim], study: StudyEvidence, *, judge: str | None = None, about: Collection[str] | None = None
) -> set[str]:
    """Return the runs that the next looks of open claims need, and those of claims without looks.

    Args:
        claims: all claims of a report.
        study: the tables, with the outcomes of every judge.
        judge: whose outcomes decide, where there are several judges.
        about: ids of the claims whose runs are listed; None lists those of all.

    Returns:
        Fingerprints of planned runs, with and without results.

    Raises:
        DataError: a table that breaks its contract.
    """
    needed: set[str] = set()
    for each in _look_at_claims(claims, study, judge, with_robustness_checks=False):
        if about is not None and each.claim.id not in about:
            continue
        rows = filter_claim_trials(each.claim, study.trials)
        for progress in (each.progress, each.following):
            if progress is not None:
                needed |= set(select_look_rows(each.claim, rows, progress)["fingerprint"])
        if each.progress is None:
            needed |= set(rows["fingerprint"])
    return needed


def _look_at_claims(
    claims: Sequence[Claim], study: StudyEvidence, judge: str | None, *, with_robustness_checks: bool
) -> list[_LookedAt]:
    kinds = [CLAIM_KINDS.load(claim.kind) for claim in claims]
    outcomes = select_judge_outcomes(study.outcomes, judge)
    matrix = build_pass_matrix(study.trials, outcomes) if study.matrix is None else study.matrix
    own = replace(study, outcomes=outcomes, matrix=matrix)
    variants = None
    if with_robustness_checks and any(kind.rests_on_pass_rate for kind in kinds):
        variants = [
            *build_outcome_variants(own, matrix),
            *build_judge_variants(study.trials, study.outcomes, judge),
        ]
    others = [claim for claim, kind in zip(claims, kinds, strict=True) if not kind.compares_judges]

    def decide(k: int, progress: LookProgress | None, *, with_checks: bool = False) -> Verdict:
        return decide_claim(
            claims[k],
            replace(study, matrix=None) if kinds[k].compares_judges else own,
            other_claims=others,
            with_robustness_checks=with_checks,
            outcome_variants=variants,
            progress=progress,
        )

    found = _walk_looks(claims, study, decide, adjust_verdicts)
    if not with_robustness_checks:
        return found
    return [replace(each, verdict=decide(k, each.progress, with_checks=True)) for k, each in enumerate(found)]

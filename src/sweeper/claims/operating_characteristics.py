"""Operating characteristics of a design: verdicts on studies simulated under assumed true pass rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from sweeper.claims.comparison import Comparison, compute_support_margin
from sweeper.claims.kinds.base import CLAIM_KINDS, VerdictLabel
from sweeper.claims.tables import StudyEvidence
from sweeper.claims.verdict import Verdict, decide_claim
from sweeper.errors import UsageError
from sweeper.statistics.aliases import ArmValue
from sweeper.statistics.intervals import Interval
from sweeper.statistics.simulated_outcomes import GroundTruth, SimulatedArm, assign_true_rates, draw_outcomes

if TYPE_CHECKING:
    from sweeper.config import Claim

ComparisonKey = tuple[str, str, str, ArmValue, ArmValue]
"""Metric, test, axis and both sides of a comparison."""
TRUTH_KEYS = frozenset({"arms", "queries", "query_sd", "seed_sd", "wrongly_passed", "wrongly_failed", "votes"})


def parse_truth(document: object, query_counts: Mapping[str, int]) -> GroundTruth:
    """Parse the assumed truth of a simulation.

    Args:
        document: `arms: [{rate, where: {axis: value}}]`, and optionally `queries` (in total, spread over the suite's
            subsets), `query_sd`, `seed_sd`, `wrongly_passed`, `wrongly_failed` and `votes`.
        query_counts: subset -> queries of the suite.

    Raises:
        UsageError: another document.
    """
    if not isinstance(document, dict) or not isinstance(document.get("arms"), list) or set(document) - TRUTH_KEYS:
        raise UsageError(
            "--truth",
            found=f"{document!r:.200}",
            hint=f"a mapping with `arms` and optionally {', '.join(sorted(TRUTH_KEYS - {'arms'}))}",
        )
    arms = []
    for k, arm in enumerate(document["arms"]):
        is_arm = isinstance(arm, dict) and not set(arm) - {"rate", "where"} and _is_number(arm.get("rate"))
        if not is_arm or not isinstance(arm.get("where") or {}, dict):
            raise UsageError(
                "--truth", requested=f"arms[{k}]", found=f"{arm!r}", hint="{rate: 0.8, where: {model: NAME}}"
            )
        arms.append(SimulatedArm(float(arm["rate"]), arm.get("where") or {}))
    return GroundTruth(
        arms=tuple(arms),
        subsets=_scale_subsets(query_counts, _read_count(document, "queries", None)),
        query_sd=_read_number(document, "query_sd", 1.0),
        seed_sd=_read_number(document, "seed_sd", 0.1),
        wrongly_passed=_read_number(document, "wrongly_passed", 0.0),
        wrongly_failed=_read_number(document, "wrongly_failed", 0.0),
        votes=_read_count(document, "votes", 1) or 1,
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _read_number(document: Mapping[str, Any], key: str, default: float) -> float:
    value = document.get(key, default)
    if not _is_number(value):
        raise UsageError("--truth", requested=f"{key}: {value!r}", found="not a number")
    return float(value)


def _read_count(document: Mapping[str, Any], key: str, default: int | None) -> int | None:
    value = document.get(key, default)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise UsageError("--truth", requested=f"{key}: {value!r}", found="not a whole number above 0")
    return value


def _scale_subsets(query_counts: Mapping[str, int], n_queries: int | None) -> dict[str, int]:
    if n_queries is None:
        return dict(query_counts)
    share = n_queries / sum(query_counts.values())
    return {name: max(1, round(count * share)) for name, count in query_counts.items()}


@dataclass(frozen=True)
class ClaimCharacteristics:
    """How often each verdict was given on one claim."""

    claim: Claim
    holds: bool | None
    """Whether the claim is true under the assumed rates; None where that is undefined."""
    shares: Mapping[VerdictLabel, float]
    n_studies: int
    is_covered: Sequence[bool]
    """Whether each interval covers the true difference."""
    true_differences: Mapping[ComparisonKey, float]

    def to_document(self) -> dict[str, object]:
        """Return the claim as the JSON of `simulate` has it."""
        errors = {label: math.sqrt(share * (1 - share) / self.n_studies) for label, share in self.shares.items()}
        return {
            "id": self.claim.id,
            "text": self.claim.text,
            "holds": self.holds,
            "alpha": self.claim.alpha,
            "verdicts": dict(self.shares),
            "standard_errors": errors,
            "power": self.shares["supported"] if self.holds else None,
            "false_supported": self.shares["supported"] if self.holds is False else None,
            "false_refuted": self.shares["refuted"] if self.holds else None,
            "coverage": sum(self.is_covered) / len(self.is_covered) if self.is_covered else None,
            "intervals": len(self.is_covered),
            "true_differences": [
                {"comparison": " ".join(str(part) for part in key), "value": value}
                for key, value in self.true_differences.items()
            ],
        }


def can_simulate(claim: Claim) -> bool:
    """Return whether assumed pass rates are all that the claim rests on."""
    return CLAIM_KINDS.load(claim.kind).can_simulate and claim.protocol == "identical"


def simulate_verdicts(
    claims: Sequence[Claim],
    study: StudyEvidence,
    truth: GroundTruth,
    *,
    n_studies: int,
    rng: np.random.Generator,
    on_progress: Callable[[float], None] = lambda share: None,
) -> list[ClaimCharacteristics]:
    """Decide claims on simulated studies.

    Args:
        claims: claims that `can_simulate`.
        study: the planned trials, all COMPLETE, and the axes; its outcomes are not used.
        truth: the assumed pass rates.
        n_studies: studies simulated.
        on_progress: called with the share of studies done.

    Raises:
        UsageError: a trial to which the truth assigns no rate.
        DataError: a table that breaks its contract.
    """
    truths = [_decide_true_rates(claim, study, truth) for claim in claims]
    labels: list[list[VerdictLabel]] = [[] for _ in claims]
    is_covered: list[list[bool]] = [[] for _ in claims]
    differences = [_list_differences(verdict) for verdict in truths]
    for number in range(n_studies):
        drawn = StudyEvidence(study.trials, draw_outcomes(study.trials, truth, rng), study.axes)
        for k, claim in enumerate(claims):
            verdict = decide_claim(claim, drawn, with_robustness_checks=False)
            labels[k].append(verdict.label)
            for comparison in verdict.comparisons:
                estimate, true = comparison.estimate, differences[k].get(_make_key(comparison), math.nan)
                if not math.isnan(estimate.low) and not math.isnan(true):
                    is_covered[k].append(estimate.low <= true <= estimate.high)
        on_progress((number + 1) / n_studies)
    return [
        ClaimCharacteristics(
            claim,
            _holds(truths[k]),
            {label: labels[k].count(label) / n_studies for label in get_args(VerdictLabel)},
            n_studies,
            is_covered[k],
            differences[k],
        )
        for k, claim in enumerate(claims)
    ]


def _decide_true_rates(claim: Claim, study: StudyEvidence, truth: GroundTruth) -> Verdict:
    """Decide the claim on outcomes that are the true rates themselves, as the judge's errors change them.

    The majority of several votes is not modeled: with one vote this is exact.
    """
    import pandas as pd

    rates = assign_true_rates(study.trials, truth)
    judged = rates * (1 - truth.wrongly_failed) + (1 - rates) * truth.wrongly_passed
    frames = [
        pd.DataFrame({"subset": subset, "query_id": [f"{subset}-{k}" for k in range(count)], "passed": rate}).assign(
            fingerprint=str(name), judge="simulated", vote=0
        )
        for name, rate in judged.items()
        for subset, count in truth.subsets.items()
    ]
    tables = StudyEvidence(study.trials, pd.concat(frames, ignore_index=True), study.axes)
    return decide_claim(claim, tables, with_robustness_checks=False)


def _list_differences(verdict: Verdict) -> dict[ComparisonKey, float]:
    return {_make_key(comparison): comparison.estimate.estimate for comparison in verdict.comparisons}


def _holds(verdict: Verdict) -> bool | None:
    """Return whether the estimates of the true rates establish every comparison."""
    deciding = [comparison for comparison in verdict.comparisons if comparison.is_deciding]
    if not deciding:
        return None
    values = [Interval(c.estimate.estimate, c.estimate.estimate) for c in deciding]
    return all(compute_support_margin(c.bounds, value) > 0 for c, value in zip(deciding, values, strict=True))


def _make_key(comparison: Comparison) -> ComparisonKey:
    return comparison.metric.name, comparison.test, comparison.axis, comparison.first, comparison.second

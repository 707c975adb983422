"""Operating characteristics of a design: verdicts on studies simulated under assumed true pass rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from sweeper.claims.comparison import Comparison, compute_support_margin
from sweeper.claims.decide import decide_claim
from sweeper.claims.kinds.base import CLAIM_KINDS, VerdictLabel
from sweeper.claims.reasons import MIN_SEEDS
from sweeper.claims.study_verdicts import decide_at_looks
from sweeper.claims.tables import StudyEvidence
from sweeper.claims.verdict import Verdict
from sweeper.errors import UsageError
from sweeper.statistics.aliases import ArmValue, QueryKey
from sweeper.statistics.intervals import Interval
from sweeper.statistics.simulated_outcomes import (
    DrawnStudy,
    GroundTruth,
    SimulatedArm,
    assign_arms,
    assign_true_rates,
    draw_study,
    name_query_clusters,
)

if TYPE_CHECKING:
    from sweeper.config import Claim

ComparisonKey = tuple[str, str, str, ArmValue, ArmValue]
"""Metric, test, axis and both sides of a comparison."""
ARM_KEYS = frozenset({"rate", "where", "seed_sd", "collapse"})
TRUTH_KEYS = frozenset(
    {
        *("arms", "queries", "query_sd", "seed_sd", "arm_query_sd", "tool_sd", "queries_per_tool", "tail"),
        *("wrongly_passed", "wrongly_failed", "judge_noise", "votes", "optional_stopping"),
    }
)


def parse_truth(document: object, query_counts: Mapping[str, int]) -> GroundTruth:
    """Parse the assumed truth of a simulation.

    Args:
        document: `arms: [{rate, where: {axis: value}, seed_sd, collapse}]`, of which only `rate` is needed, and
            optionally `queries` (in total, spread over the suite's subsets), `query_sd`, `seed_sd`, `arm_query_sd`,
            `tool_sd`, `queries_per_tool`, `tail`, `wrongly_passed`, `wrongly_failed`, `judge_noise` (both of these at
            once) and `votes`, which are those of `GroundTruth`; `optional_stopping` is not read here.
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
        is_arm = isinstance(arm, dict) and not set(arm) - ARM_KEYS and _is_number(arm.get("rate"))
        is_arm = is_arm and all(_is_number(arm[key]) for key in ("seed_sd", "collapse") if key in arm)
        if not is_arm or not isinstance(arm.get("where") or {}, dict):
            hint = "{rate: 0.8, where: {model: NAME}, seed_sd: 0.1, collapse: 0.05}, all but rate optional"
            raise UsageError("--truth", requested=f"arms[{k}]", found=f"{arm!r:.200}", hint=hint)
        seed_sd = float(arm["seed_sd"]) if "seed_sd" in arm else None
        arms.append(SimulatedArm(float(arm["rate"]), arm.get("where") or {}, seed_sd, float(arm.get("collapse", 0.0))))
    noise = _read_number(document, "judge_noise", 0.0)
    return GroundTruth(
        arms=tuple(arms),
        subsets=_scale_subsets(query_counts, _read_count(document, "queries", None)),
        query_sd=_read_number(document, "query_sd", 1.0),
        seed_sd=_read_number(document, "seed_sd", 0.1),
        arm_query_sd=_read_number(document, "arm_query_sd", 0.0),
        tool_sd=_read_number(document, "tool_sd", 0.0),
        queries_per_tool=_read_count(document, "queries_per_tool", 15) or 15,
        tail=_read_number(document, "tail", math.inf),
        wrongly_passed=_read_number(document, "wrongly_passed", noise),
        wrongly_failed=_read_number(document, "wrongly_failed", noise),
        votes=_read_count(document, "votes", 1) or 1,
    )


def parse_optional_stopping(document: object) -> bool:
    """Return `optional_stopping` of the document that `parse_truth` reads: whether to stop at the first verdict.

    Raises:
        UsageError: a value that is neither true nor false.
    """
    value = document.get("optional_stopping", False) if isinstance(document, dict) else False
    if not isinstance(value, bool):
        raise UsageError("--truth", requested=f"optional_stopping: {value!r}", found="neither true nor false")
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _read_number(document: Mapping[str, Any], key: str, default: float) -> float:
    if key not in document:
        return default
    value: Any = document[key]
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
    expected_seeds: float
    """Mean number of seeds at which a study stopped."""

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
            "expected_seeds": self.expected_seeds,
            "true_differences": [
                {"comparison": " ".join(str(part) for part in key), "value": value}
                for key, value in self.true_differences.items()
            ],
        }


def can_simulate(claim: Claim) -> bool:
    """Return whether assumed pass rates are all that the claim rests on."""
    is_simulated = CLAIM_KINDS.load(claim.kind).can_simulate and not claim.is_about_loss
    return is_simulated and claim.protocol == "identical"


def simulate_verdicts(
    claims: Sequence[Claim],
    study: StudyEvidence,
    truth: GroundTruth,
    *,
    n_studies: int,
    rng: np.random.Generator,
    has_optional_stopping: bool = False,
    on_progress: Callable[[float], None] = lambda share: None,
) -> list[ClaimCharacteristics]:
    """Decide claims on simulated studies.

    Args:
        claims: claims that `can_simulate`.
        study: the planned trials, all COMPLETE, and the axes; its outcomes are not used.
        truth: the assumed pass rates.
        n_studies: studies simulated.
        has_optional_stopping: whether each study looks at a claim without registered looks from two seeds on after
            every further one, and stops at the first verdict, as one who adds seeds until the verdict changes does.
        on_progress: called with the share of studies done.

    Raises:
        UsageError: a trial to which the truth assigns no rate.
        DataError: a table that breaks its contract.
    """
    # A simulated run that collapsed has diverged, and has no loss that a rule could look at.
    claims = [claim.model_copy(update={"collapse": None}) for claim in claims]
    truths = [_decide_true_rates(claim.model_copy(update={"looks": []}), study, truth) for claim in claims]
    labels: list[list[VerdictLabel]] = [[] for _ in claims]
    is_covered: list[list[bool]] = [[] for _ in claims]
    differences = [_list_differences(verdict) for verdict in truths]
    seeds = sorted(int(seed) for seed in study.trials["seed"].unique())
    looks = range(min(MIN_SEEDS, len(seeds)), len(seeds) + 1) if has_optional_stopping else [len(seeds)]
    used: list[list[int]] = [[] for _ in claims]
    clusters = name_query_clusters(truth)
    for number in range(n_studies):
        drawn = draw_study(study.trials, truth, rng)
        evidence = {count: _select_first_seeds(drawn, seeds[:count], study, clusters) for count in looks}
        for k, claim in enumerate(claims):
            if claim.looks:
                verdict = decide_at_looks(claim, evidence[len(seeds)])
                count = min(verdict.look.n_seeds, len(seeds)) if verdict.look else len(seeds)
            else:
                verdict, count = _stop_at_first_verdict(claim, evidence)
            labels[k].append(verdict.label)
            used[k].append(count)
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
            float(np.mean(used[k])),
        )
        for k, claim in enumerate(claims)
    ]


def _select_first_seeds(
    drawn: DrawnStudy,
    seeds: Sequence[int],
    study: StudyEvidence,
    clusters: Mapping[str, Mapping[QueryKey, str]] | None,
) -> StudyEvidence:
    trials = drawn.trials[drawn.trials["seed"].isin(seeds)]
    outcomes = drawn.outcomes
    if len(trials) < len(drawn.trials):
        outcomes = outcomes[outcomes["fingerprint"].isin(set(trials["fingerprint"]))]
    return StudyEvidence(trials, outcomes, study.axes, query_clusters=clusters)


def _stop_at_first_verdict(claim: Claim, evidence: Mapping[int, StudyEvidence]) -> tuple[Verdict, int]:
    """Return the verdict of the first look that decides, or of the last one, and its number of seeds."""
    *earlier, last = evidence
    for count in earlier:
        verdict = decide_claim(claim, evidence[count], with_robustness_checks=False)
        if verdict.label != "inconclusive":
            return verdict, count
    return decide_claim(claim, evidence[last], with_robustness_checks=False), last


def _decide_true_rates(claim: Claim, study: StudyEvidence, truth: GroundTruth) -> Verdict:
    """Decide the claim on outcomes that are the true rates themselves, as the judge's errors change them.

    The majority of several votes is not modeled: with one vote this is exact.
    """
    import pandas as pd

    rates = assign_true_rates(study.trials, truth)
    judged = rates * (1 - truth.wrongly_failed) + (1 - rates) * truth.wrongly_passed
    if claim.estimand == "mean":
        # A collapsed run passes nothing, whatever the judge.
        judged *= [1 - arm.collapse for arm in assign_arms(study.trials, truth).values()]
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

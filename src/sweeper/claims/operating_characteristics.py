"""Verdicts on studies drawn from a stated truth: how often this design is right, wrong and silent."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeper.claims.comparison import Comparison, compute_support_margin
from sweeper.claims.verdict import decide_claim
from sweeper.errors import UsageError
from sweeper.evaluation import load_evaluation_suite
from sweeper.statistics import Interval
from sweeper.statistics.simulated_outcomes import GroundTruth, SimulatedArm, assign_true_rates, draw_outcomes

if TYPE_CHECKING:
    import pandas as pd

    from sweeper.config import Claim
    from sweeper.planning.plan import Plan

HOLDS_KEY = ("holds",)
"""Key of whether the claim holds, beside those of its comparisons."""
SIMULATED_KINDS = ("best-of", "no-gain-beyond", "reaches", "generalises")
"""Kinds that rest on pass rates alone, which is what a truth states."""


def parse_truth(document: Any, plan: Plan) -> GroundTruth:
    """The truth of a YAML document: `arms: [{rate, where: {axis: value}}]`, and optionally `queries` (in all, spread
    over the suite's subsets), `query_sd`, `seed_sd`, `wrongly_passed`, `wrongly_failed`, `votes`. Raises UsageError."""
    known = {"arms", "queries", "query_sd", "seed_sd", "wrongly_passed", "wrongly_failed", "votes"}
    if not isinstance(document, dict) or not isinstance(document.get("arms"), list) or set(document) - known:
        raise UsageError(
            "--truth", found=f"{document!r:.200}", hint=f"a mapping with `arms` and perhaps {sorted(known)}"
        )
    arms = []
    for k, arm in enumerate(document["arms"]):
        if not isinstance(arm, dict) or not isinstance(arm.get("rate"), int | float) or set(arm) - {"rate", "where"}:
            raise UsageError(
                "--truth", requested=f"arms[{k}]", found=f"{arm!r}", hint="{rate: 0.8, where: {model: NAME}}"
            )
        arms.append(SimulatedArm(float(arm["rate"]), arm.get("where") or {}))
    return GroundTruth(
        arms=tuple(arms),
        subsets=_scale_subsets(plan, document.get("queries")),
        query_sd=float(document.get("query_sd", 1.0)),
        seed_sd=float(document.get("seed_sd", 0.1)),
        wrongly_passed=float(document.get("wrongly_passed", 0.0)),
        wrongly_failed=float(document.get("wrongly_failed", 0.0)),
        votes=int(document.get("votes", 1)),
    )


def _scale_subsets(plan: Plan, queries: Any) -> dict[str, int]:
    sweep = plan.sweep
    if sweep.evaluation is None:
        raise UsageError(f"sweep {sweep.name}", found="no evaluation: there are no queries to draw")
    counts = load_evaluation_suite(sweep.evaluation, sweep.data).query_counts
    if queries is None:
        return counts
    share = int(queries) / sum(counts.values())
    return {name: max(1, round(count * share)) for name, count in counts.items()}


def simulate_verdicts(
    plan: Plan, truth: GroundTruth, n_studies: int, seed: int, on_progress: Callable[[float], None] = lambda share: None
) -> dict[str, Any]:
    """The document of `simulate --json`: per claim whether it holds in that truth, how often each verdict was given,
    and how often the intervals cover the true difference. Raises UsageError or DataError."""
    import pandas as pd

    trials = pd.DataFrame([trial.to_row() | {"status": "COMPLETE", "val_loss": math.nan} for trial in plan.trials])
    trials["fingerprint"] = [trial.fingerprint or f"trial-{k}" for k, trial in enumerate(plan.trials)]
    axes = [axis for axis in plan.sweep.axes if axis != "seed"]
    claims = [claim for claim in plan.sweep.claims if claim.kind in SIMULATED_KINDS and claim.protocol == "identical"]
    true = {claim.id: _compute_true_values(claim, trials, truth, axes) for claim in claims}
    words: dict[str, list[str]] = {claim.id: [] for claim in claims}
    covered: dict[str, list[bool]] = {claim.id: [] for claim in claims}
    rng = np.random.default_rng(seed)
    for number in range(n_studies):
        outcomes = draw_outcomes(trials, truth, rng)
        for claim in claims:
            verdict = decide_claim(claim, trials, outcomes, axes=axes, with_robustness_checks=False)
            words[claim.id].append(verdict.label)
            for component in verdict.comparisons:
                value = true[claim.id].get(_make_comparison_key(component), math.nan)
                if not math.isnan(component.estimate.low) and not math.isnan(value):
                    covered[claim.id].append(component.estimate.low <= value <= component.estimate.high)
        on_progress((number + 1) / n_studies)
    left_out = [claim.id for claim in plan.sweep.claims if claim not in claims]
    return {
        "sweep": plan.sweep.name,
        "studies": n_studies,
        "queries": sum(truth.subsets.values()),
        "claims": [_summarize_claim(claim, true[claim.id], words[claim.id], covered[claim.id]) for claim in claims],
        "not_simulated": left_out,
    }


def _compute_true_values(claim: Claim, trials: pd.DataFrame, truth: GroundTruth, axes: list[str]) -> dict[Any, float]:
    """Each comparison's true value: the claim's own comparisons on outcomes that are the rates themselves, as seen
    through the judge's errors (majority of several votes is left aside: with one vote this is exact)."""
    import pandas as pd

    rates = assign_true_rates(trials, truth)
    seen = rates * (1 - truth.wrongly_failed) + (1 - rates) * truth.wrongly_passed
    frames = [
        pd.DataFrame({"subset": subset, "query_id": [f"{subset}-{k}" for k in range(count)], "passed": rate}).assign(
            fingerprint=str(name), judge="simulated", vote=0
        )
        for name, rate in seen.items()
        for subset, count in truth.subsets.items()
    ]
    outcomes = pd.concat(frames, ignore_index=True)
    verdict = decide_claim(claim, trials, outcomes, axes=axes, with_robustness_checks=False)
    values = {_make_comparison_key(component): component.estimate.estimate for component in verdict.comparisons}
    deciding = [component for component in verdict.comparisons if component.is_deciding]
    holds = [compute_support_margin(c.bounds, Interval(c.estimate.estimate, c.estimate.estimate)) > 0 for c in deciding]
    values[HOLDS_KEY] = math.nan if not holds else float(all(holds))
    return values


def _make_comparison_key(comparison: Comparison) -> tuple[Any, ...]:
    return comparison.metric, comparison.test, comparison.axis, comparison.first, comparison.second


def _summarize_claim(
    claim: Claim, true_values: dict[Any, float], verdicts: list[str], coverage_flags: list[bool]
) -> dict[str, Any]:
    studies = len(verdicts)
    share = {word: verdicts.count(word) / studies for word in ("supported", "refuted", "inconclusive")}
    holds = None if math.isnan(true_values[HOLDS_KEY]) else bool(true_values[HOLDS_KEY])
    error = {word: math.sqrt(rate * (1 - rate) / studies) for word, rate in share.items()}
    return {
        "id": claim.id,
        "text": claim.text,
        "holds": holds,
        "alpha": claim.alpha,
        "verdicts": share,
        "standard_errors": error,
        "power": share["supported"] if holds else None,
        "false_supported": share["supported"] if holds is False else None,
        "false_refuted": share["refuted"] if holds else None,
        "coverage": sum(coverage_flags) / len(coverage_flags) if coverage_flags else None,
        "intervals": len(coverage_flags),
        "true_differences": [
            {"comparison": " ".join(str(part) for part in key), "value": value}
            for key, value in true_values.items()
            if key != HOLDS_KEY
        ],
    }

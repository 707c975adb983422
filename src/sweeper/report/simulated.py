"""Verdicts on studies drawn from a stated truth: how often this design is right, wrong and silent."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeper.errors import UsageError
from sweeper.evaluate import suite
from sweeper.statistics import Interval, decide
from sweeper.statistics.claims.component import Component, slack_of
from sweeper.statistics.simulate import Arm, Truth, draw_outcomes, true_rates

if TYPE_CHECKING:
    import pandas as pd

    from sweeper.spec import Claim
    from sweeper.study import Plan

HOLDS = ("holds",)
"""Key of whether the claim holds, beside those of its comparisons."""
KINDS = ("best-of", "no-gain-beyond", "reaches", "generalises")
"""Kinds that rest on pass rates alone, which is what a truth states."""


def truth_from(document: Any, plan: Plan) -> Truth:
    """The truth of a YAML document: `arms: [{rate, where: {axis: value}}]`, and optionally `queries` (in all, spread
    over the suite's subsets), `query_sd`, `seed_sd`, `wrongly_passed`, `wrongly_failed`, `votes`. Raises UsageError."""
    known = {"arms", "queries", "query_sd", "seed_sd", "wrongly_passed", "wrongly_failed", "votes"}
    if not isinstance(document, dict) or not isinstance(document.get("arms"), list) or set(document) - known:
        raise UsageError("--truth", found=f"{document!r:.200}", do=f"a mapping with `arms` and perhaps {sorted(known)}")
    arms = []
    for k, arm in enumerate(document["arms"]):
        if not isinstance(arm, dict) or not isinstance(arm.get("rate"), int | float) or set(arm) - {"rate", "where"}:
            raise UsageError("--truth", asked=f"arms[{k}]", found=f"{arm!r}", do="{rate: 0.8, where: {model: NAME}}")
        arms.append(Arm(float(arm["rate"]), arm.get("where") or {}))
    return Truth(
        arms=tuple(arms),
        subsets=_subsets(plan, document.get("queries")),
        query_sd=float(document.get("query_sd", 1.0)),
        seed_sd=float(document.get("seed_sd", 0.1)),
        wrongly_passed=float(document.get("wrongly_passed", 0.0)),
        wrongly_failed=float(document.get("wrongly_failed", 0.0)),
        votes=int(document.get("votes", 1)),
    )


def _subsets(plan: Plan, queries: Any) -> dict[str, int]:
    sweep = plan.sweep
    if sweep.evaluation is None:
        raise UsageError(f"sweep {sweep.name}", found="no evaluation: there are no queries to draw")
    counts = suite(sweep.evaluation, sweep.data).counts
    if queries is None:
        return counts
    share = int(queries) / sum(counts.values())
    return {name: max(1, round(count * share)) for name, count in counts.items()}


def simulate(
    plan: Plan, truth: Truth, studies: int, seed: int, tell: Callable[[float], None] = lambda share: None
) -> dict[str, Any]:
    """The document of `simulate --json`: per claim whether it holds in that truth, how often each verdict was given,
    and how often the intervals cover the true difference. Raises UsageError or DataError."""
    import pandas as pd

    trials = pd.DataFrame([trial.row() | {"status": "COMPLETE", "val_loss": math.nan} for trial in plan.trials])
    trials["fingerprint"] = [trial.fingerprint or f"trial-{k}" for k, trial in enumerate(plan.trials)]
    axes = [axis for axis in plan.sweep.axes if axis != "seed"]
    claims = [claim for claim in plan.sweep.claims if claim.kind in KINDS and claim.protocol == "identical"]
    true = {claim.id: _true(claim, trials, truth, axes) for claim in claims}
    words: dict[str, list[str]] = {claim.id: [] for claim in claims}
    covered: dict[str, list[bool]] = {claim.id: [] for claim in claims}
    rng = np.random.default_rng(seed)
    for number in range(studies):
        outcomes = draw_outcomes(trials, truth, rng)
        for claim in claims:
            verdict = decide(claim, trials, outcomes, axes=axes, sensitivity=False)
            words[claim.id].append(verdict.verdict)
            for component in verdict.components:
                value = true[claim.id].get(_key(component), math.nan)
                if not math.isnan(component.estimate.low) and not math.isnan(value):
                    covered[claim.id].append(component.estimate.low <= value <= component.estimate.high)
        tell((number + 1) / studies)
    left_out = [claim.id for claim in plan.sweep.claims if claim not in claims]
    return {
        "sweep": plan.sweep.name,
        "studies": studies,
        "queries": sum(truth.subsets.values()),
        "claims": [_document(claim, true[claim.id], words[claim.id], covered[claim.id]) for claim in claims],
        "not_simulated": left_out,
    }


def _true(claim: Claim, trials: pd.DataFrame, truth: Truth, axes: list[str]) -> dict[Any, float]:
    """Each comparison's true value: the claim's own comparisons on outcomes that are the rates themselves, as seen
    through the judge's errors (majority of several votes is left aside: with one vote this is exact)."""
    import pandas as pd

    rates = true_rates(trials, truth)
    seen = rates * (1 - truth.wrongly_failed) + (1 - rates) * truth.wrongly_passed
    frames = [
        pd.DataFrame({"subset": subset, "query_id": [f"{subset}-{k}" for k in range(count)], "passed": rate}).assign(
            fingerprint=str(name), judge="simulated", vote=0
        )
        for name, rate in seen.items()
        for subset, count in truth.subsets.items()
    ]
    outcomes = pd.concat(frames, ignore_index=True)
    verdict = decide(claim, trials, outcomes, axes=axes, sensitivity=False)
    values = {_key(component): component.estimate.estimate for component in verdict.components}
    deciding = [component for component in verdict.components if component.decides]
    holds = [slack_of(c.bounds, Interval(c.estimate.estimate, c.estimate.estimate)) > 0 for c in deciding]
    values[HOLDS] = math.nan if not holds else float(all(holds))
    return values


def _key(component: Component) -> tuple[Any, ...]:
    return component.metric, component.test, component.axis, component.first, component.second


def _document(claim: Claim, true: dict[Any, float], words: list[str], covered: list[bool]) -> dict[str, Any]:
    studies = len(words)
    share = {word: words.count(word) / studies for word in ("supported", "refuted", "inconclusive")}
    holds = None if math.isnan(true[HOLDS]) else bool(true[HOLDS])
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
        "coverage": sum(covered) / len(covered) if covered else None,
        "intervals": len(covered),
        "true_differences": [
            {"comparison": " ".join(str(part) for part in key), "value": value}
            for key, value in true.items()
            if key != HOLDS
        ],
    }

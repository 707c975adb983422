"""Before the run: what each claim of a plan could show, and whether that is as little as its margin."""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sweeper.evaluate import suite
from sweeper.statistics import minimum_detectable_effect, seeds_needed

if TYPE_CHECKING:
    from sweeper.spec import Claim
    from sweeper.study import Plan

MOST_SEEDS = 200
_TEST: dict[str, Literal["superior", "no-better"]] = {"best-of": "superior", "no-gain-beyond": "no-better"}
"""Kinds whose power is that of a paired comparison of two arms, and the comparison that needs most."""


def claims_document(plan: Plan) -> list[dict[str, Any]]:
    """Each claim with its arms, seeds and queries, and the smallest difference in pass rate that the design shows in
    four of five studies, were the claim's assumptions true. `underpowered`: that is more than the margin; None where
    no such figure exists for its kind, and `reason` says why."""
    sweep = plan.sweep
    queries = 0 if sweep.evaluation is None else sum(suite(sweep.evaluation, sweep.data).counts.values())
    return [_claim(claim, plan, queries) for claim in sweep.claims]


def _claim(claim: Claim, plan: Plan, queries: int) -> dict[str, Any]:
    seeds = [seed for seed in plan.sweep.axes["seed"] if seed not in claim.selection_seeds]
    document = {
        "id": claim.id,
        "text": claim.text,
        "kind": claim.kind,
        "protocol": claim.protocol,
        "arms": list(plan.sweep.axes.get(claim.axis or "", [])),
        "seeds": len(seeds),
        "queries": queries,
        "margin": claim.margin,
        "assumed": {"discordance": claim.assumed_discordance, "seed_sd": claim.assumed_seed_sd},
        "detectable_effect": None,
        "seeds_needed": None,
        "underpowered": None,
        "reason": "",
    }
    test = _TEST.get(claim.kind)
    if test is None:
        return document | {"reason": f"no figure for claims of kind {claim.kind}"}
    rng = np.random.default_rng(zlib.crc32(claim.id.encode()))
    design = {
        "n_queries": queries,
        "discordance": claim.assumed_discordance,
        "seed_sd": claim.assumed_seed_sd,
        "alpha": claim.alpha,
        "test": test,
    }
    effect = minimum_detectable_effect(n_seeds=len(seeds), rng=rng, **design)["effect"]  # type: ignore[arg-type]
    known = effect is not None and math.isfinite(effect)
    document |= {"detectable_effect": effect if known else None, "underpowered": not known or effect > claim.margin}
    if document["underpowered"]:
        found = seeds_needed(
            claim.margin if test == "superior" else 0.0,
            margin=claim.margin if test == "no-better" else math.nan,
            limit=MOST_SEEDS,
            rng=rng,
            **design,  # type: ignore[arg-type]
        )["seeds"]
        document["seeds_needed"] = found
        more = f"{found} seeds could" if found else f"it would take more than {MOST_SEEDS} seeds"
        document["reason"] = f"it cannot find its margin of {100 * claim.margin:g} points; {more}"
    return document

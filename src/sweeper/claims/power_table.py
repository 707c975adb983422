"""Before the run: what each claim of a plan could show, and whether that is as little as its margin."""

from __future__ import annotations

import bisect
import math
import zlib
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sweeper.claims.minimum_detectable import compute_detectable_divergence, estimate_detectable_margin
from sweeper.errors import SweeperError
from sweeper.evaluation import load_evaluation_suite
from sweeper.statistics import find_minimum_detectable_effect, find_required_seeds

if TYPE_CHECKING:
    from collections.abc import Callable

    from sweeper.config import Claim
    from sweeper.planning.plan import Plan

MAX_SEEDS = 200
SEED_GRID = (3, 4, 5, 6, 8, 10, 15, 20, 30, 50, 100, MAX_SEEDS)
"""Numbers of seeds tried for designs that are drawn: the least of these that is enough."""
ROUGH_SIMULATIONS = 500
"""Simulations for the number of seeds that a weak design would take: a power of 0.8 is then known to 0.02."""
UNAVAILABLE_REASONS = {
    "judge-independent": "no figure: how often judges differ is not known before they have judged",
    "cheaper": "no figure: how costs spread is not known before a run",
}
_TEST_BY_KIND: dict[str, Literal["superior", "no-better"]] = {"best-of": "superior", "no-gain-beyond": "no-better"}
"""Kinds whose power is that of a paired comparison of two arms, and the comparison that needs most."""


def build_power_table(plan: Plan) -> list[dict[str, Any]]:
    """Each claim with its arms, seeds and queries, and the smallest difference in pass rate that the design shows in
    four of five studies, were the claim's assumptions true. `underpowered`: that is more than the margin; None where
    no such figure exists for its kind, and `reason` says why."""
    if plan.parts:
        return [
            document | {"id": f"{part.sweep.name}/{document['id']}"}
            for part in plan.parts
            for document in build_power_table(part)
        ]
    counts = _count_subset_queries(plan) if plan.sweep.claims else {}
    return [_describe_claim_power(claim, plan, counts) for claim in plan.sweep.claims]


def _count_subset_queries(plan: Plan) -> dict[str, int] | None:
    """Queries per subset; None where they are not there, which the plan names as a problem."""
    sweep = plan.sweep
    if sweep.evaluation is None:
        return {}
    try:
        return load_evaluation_suite(sweep.evaluation, sweep.data).query_counts
    except SweeperError:
        return None


def _describe_claim_power(claim: Claim, plan: Plan, subset_counts: dict[str, int] | None) -> dict[str, Any]:
    counts = subset_counts or {}
    queries = sum(counts.values())
    seeds = [seed for seed in plan.sweep.claim_axes["seed"] if seed not in claim.selection_seeds]
    document = {
        "id": claim.id,
        "text": claim.text,
        "kind": claim.kind,
        "protocol": claim.protocol,
        "arms": list(plan.sweep.claim_axes.get(claim.axis or "", [])),
        "seeds": len(seeds),
        "queries": queries,
        "margin": claim.margin,
        "assumed": {"discordance": claim.assumed_discordance, "seed_sd": claim.assumed_seed_sd},
        "detectable_effect": None,
        "seeds_needed": None,
        "underpowered": None,
        "reason": "",
    }
    if subset_counts is None and claim.kind not in UNAVAILABLE_REASONS and claim.kind != "stabilises":
        return document | {"reason": "no figure: the test queries are not there"}
    rng = np.random.default_rng(zlib.crc32(claim.id.encode()))
    if claim.kind in ("reaches", "generalises"):
        if not queries:
            return document | {"reason": "no figure: no agent is evaluated"}
        seen = sum(count for subset, count in counts.items() if subset.endswith("_instruction"))
        return document | _compare_with_margin(
            claim,
            len(seeds),
            lambda s: estimate_detectable_margin(
                claim, n_seen_queries=seen, n_unseen_queries=queries - seen, n_seeds=s, rng=rng
            ),
        )
    if claim.kind == "stabilises":
        pairs = len(
            {
                _make_pairing_key(trial.to_row(), plan, claim)
                for trial in plan.trials
                if _matches_claim(trial.to_row(), claim)
            }
        )
        return document | _compare_with_margin(
            claim, len(seeds), lambda s: compute_detectable_divergence(claim.alpha, pairs * s // max(1, len(seeds)))
        )
    test = _TEST_BY_KIND.get(claim.kind)
    if test is None:
        return document | {"reason": UNAVAILABLE_REASONS[claim.kind]}
    design = {
        "n_queries": queries,
        "discordance": claim.assumed_discordance,
        "seed_sd": claim.assumed_seed_sd,
        "alpha": claim.alpha,
        "test": test,
    }
    effect = find_minimum_detectable_effect(n_seeds=len(seeds), rng=rng, **design)["effect"]  # type: ignore[arg-type]
    known = effect is not None and math.isfinite(effect)
    document |= {"detectable_effect": effect if known else None, "underpowered": not known or effect > claim.margin}
    if document["underpowered"]:
        subset_counts = find_required_seeds(
            claim.margin if test == "superior" else 0.0,
            margin=claim.margin if test == "no-better" else math.nan,
            limit=MAX_SEEDS,
            rng=rng,
            simulations=ROUGH_SIMULATIONS,
            **design,  # type: ignore[arg-type]
        )["seeds"]
        document["seeds_needed"] = subset_counts
        more = f"{subset_counts} seeds could" if subset_counts else f"it would take more than {MAX_SEEDS} seeds"
        document["reason"] = f"it cannot find its margin of {100 * claim.margin:g} points; {more}"
    return document


def _compare_with_margin(claim: Claim, n_seeds: int, compute_effect: Callable[[int], float]) -> dict[str, Any]:
    """The figure beside the claim's margin; `effect`: seeds -> figure."""
    found = compute_effect(n_seeds)
    document = {"detectable_effect": found if math.isfinite(found) else None, "underpowered": not found <= claim.margin}
    if not document["underpowered"]:
        return document
    more_seeds = [seeds for seeds in SEED_GRID if seeds > n_seeds]
    place = bisect.bisect_left(more_seeds, True, key=lambda seeds: compute_effect(seeds) <= claim.margin)
    enough = more_seeds[place] if place < len(more_seeds) else None
    more = f"{enough} seeds could" if enough else f"it would take more than {SEED_GRID[-1]} seeds"
    what = "a share of diverging runs" if claim.kind == "stabilises" else "its margin"
    reason = f"it cannot find {what} of {100 * claim.margin:g} points; {more}"
    return document | {"seeds_needed": enough, "reason": reason}


def _matches_claim(row: dict[str, Any], claim: Claim) -> bool:
    return all(row.get(axis) == value for axis, value in claim.where.items())


def _make_pairing_key(row: dict[str, Any], plan: Plan, claim: Claim) -> tuple[Any, ...]:
    """What a run shares with the run it is compared with."""
    return tuple(row[axis] for axis in plan.sweep.axes if axis != claim.axis)

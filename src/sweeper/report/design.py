"""Before the run: what each claim of a plan could show, and whether that is as little as its margin."""

from __future__ import annotations

import bisect
import math
import zlib
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sweeper.errors import SweeperError
from sweeper.evaluate import suite
from sweeper.statistics import detectable_divergence, detectable_margin, minimum_detectable_effect, seeds_needed

if TYPE_CHECKING:
    from collections.abc import Callable

    from sweeper.spec import Claim
    from sweeper.study import Plan

MOST_SEEDS = 200
SEEDS = (3, 4, 5, 6, 8, 10, 15, 20, 30, 50, 100, MOST_SEEDS)
"""Numbers of seeds tried for designs that are drawn: the least of these that is enough."""
ROUGHLY = 500
"""Simulations for the number of seeds that a weak design would take: a power of 0.8 is then known to 0.02."""
NO_FIGURE = {
    "judge-independent": "no figure: how often judges differ is not known before they have judged",
    "cheaper": "no figure: how costs spread is not known before a run",
}
_TEST: dict[str, Literal["superior", "no-better"]] = {"best-of": "superior", "no-gain-beyond": "no-better"}
"""Kinds whose power is that of a paired comparison of two arms, and the comparison that needs most."""


def claims_document(plan: Plan) -> list[dict[str, Any]]:
    """Each claim with its arms, seeds and queries, and the smallest difference in pass rate that the design shows in
    four of five studies, were the claim's assumptions true. `underpowered`: that is more than the margin; None where
    no such figure exists for its kind, and `reason` says why."""
    if plan.parts:
        return [
            document | {"id": f"{part.sweep.name}/{document['id']}"}
            for part in plan.parts
            for document in claims_document(part)
        ]
    counts = _counts(plan) if plan.sweep.claims else {}
    return [_claim(claim, plan, counts) for claim in plan.sweep.claims]


def _counts(plan: Plan) -> dict[str, int] | None:
    """Queries per subset; None where they are not there, which the plan names as a problem."""
    sweep = plan.sweep
    if sweep.evaluation is None:
        return {}
    try:
        return suite(sweep.evaluation, sweep.data).counts
    except SweeperError:
        return None


def _claim(claim: Claim, plan: Plan, found: dict[str, int] | None) -> dict[str, Any]:
    counts = found or {}
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
    if found is None and claim.kind not in NO_FIGURE and claim.kind != "stabilises":
        return document | {"reason": "no figure: the test queries are not there"}
    rng = np.random.default_rng(zlib.crc32(claim.id.encode()))
    if claim.kind in ("reaches", "generalises"):
        if not queries:
            return document | {"reason": "no figure: no agent is evaluated"}
        seen = sum(count for subset, count in counts.items() if subset.endswith("_instruction"))
        return document | _weighed(
            claim, len(seeds), lambda s: detectable_margin(claim, seen=seen, unseen=queries - seen, n_seeds=s, rng=rng)
        )
    if claim.kind == "stabilises":
        pairs = len({_paired_by(trial.row(), plan, claim) for trial in plan.trials if _meant(trial.row(), claim)})
        return document | _weighed(
            claim, len(seeds), lambda s: detectable_divergence(claim.alpha, pairs * s // max(1, len(seeds)))
        )
    test = _TEST.get(claim.kind)
    if test is None:
        return document | {"reason": NO_FIGURE[claim.kind]}
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
            simulations=ROUGHLY,
            **design,  # type: ignore[arg-type]
        )["seeds"]
        document["seeds_needed"] = found
        more = f"{found} seeds could" if found else f"it would take more than {MOST_SEEDS} seeds"
        document["reason"] = f"it cannot find its margin of {100 * claim.margin:g} points; {more}"
    return document


def _weighed(claim: Claim, n_seeds: int, effect: Callable[[int], float]) -> dict[str, Any]:
    """The figure beside the claim's margin; `effect`: seeds -> figure."""
    found = effect(n_seeds)
    document = {"detectable_effect": found if math.isfinite(found) else None, "underpowered": not found <= claim.margin}
    if not document["underpowered"]:
        return document
    more_seeds = [seeds for seeds in SEEDS if seeds > n_seeds]
    place = bisect.bisect_left(more_seeds, True, key=lambda seeds: effect(seeds) <= claim.margin)
    enough = more_seeds[place] if place < len(more_seeds) else None
    more = f"{enough} seeds could" if enough else f"it would take more than {SEEDS[-1]} seeds"
    what = "a share of diverging runs" if claim.kind == "stabilises" else "its margin"
    reason = f"it cannot find {what} of {100 * claim.margin:g} points; {more}"
    return document | {"seeds_needed": enough, "reason": reason}


def _meant(row: dict[str, Any], claim: Claim) -> bool:
    return all(row.get(axis) == value for axis, value in claim.where.items())


def _paired_by(row: dict[str, Any], plan: Plan, claim: Claim) -> tuple[Any, ...]:
    """What a run shares with the run it is compared with."""
    return tuple(row[axis] for axis in plan.sweep.axes if axis != claim.axis)

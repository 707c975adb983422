"""The power of each claim of a planned study."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sweeper.claims.kinds.base import CLAIM_KINDS
from sweeper.claims.planned_power import ClaimDesign, ClaimPower
from sweeper.claims.reasons import MIN_SEEDS
from sweeper.statistics.aliases import ArmValue

if TYPE_CHECKING:
    from sweeper.config import Claim


@dataclass(frozen=True)
class StudyDesign:
    """The parts of a planned study that the power of its claims depends on."""

    claim_axes: Mapping[str, Sequence[ArmValue]]
    """Axis -> values that claims are about, the seed included."""
    rows: Sequence[Mapping[str, object]]
    """The planned trials."""
    axes: tuple[str, ...]
    """The sweep's axes, the seed included."""
    query_counts: Mapping[str, int] | None
    """Subset -> test queries; None where they are not available, {} where nothing is evaluated."""


@dataclass(frozen=True)
class PowerRow:
    """One claim of the power table."""

    claim: Claim
    arms: tuple[ArmValue, ...]
    n_seeds: int
    n_queries: int
    power: ClaimPower

    def to_document(self) -> dict[str, object]:
        """Return the row as the JSON of `plan` and `claims` has it."""
        claim, power = self.claim, self.power
        return {
            "id": claim.id,
            "text": claim.text,
            "kind": claim.kind,
            "protocol": claim.protocol,
            "arms": list(self.arms),
            "seeds": self.n_seeds,
            "queries": self.n_queries,
            "margin": claim.margin,
            "assumed": {"discordance": claim.assumed_discordance, "seed_sd": claim.assumed_seed_sd},
            "detectable_effect": power.detectable_effect,
            "seeds_needed": power.required_seeds,
            "underpowered": power.is_underpowered,
            "reason": power.reason,
        }


def build_power_rows(claims: Sequence[Claim], design: StudyDesign) -> list[PowerRow]:
    """Estimate what the design can establish about each claim, if the claim's assumptions hold."""
    return [_estimate_row(claim, design) for claim in claims]


def _estimate_row(claim: Claim, design: StudyDesign) -> PowerRow:
    seeds = [seed for seed in design.claim_axes["seed"] if seed not in claim.selection_seeds]
    rows = [row for row in design.rows if all(row.get(axis) == value for axis, value in claim.where.items())]
    # Seeded by the claim's id: the same sweep prints the same figures.
    rng = np.random.default_rng(zlib.crc32(claim.id.encode()))
    own = ClaimDesign(len(seeds), design.query_counts, rows, design.axes, rng)
    power = CLAIM_KINDS.load(claim.kind).estimate_power(claim, own)
    if len(seeds) < MIN_SEEDS:
        count = f"{len(seeds)} seed{'' if len(seeds) == 1 else 's'} to compare on"
        reason = f"no verdict possible: {count}, and a verdict needs at least {MIN_SEEDS}"
        power = replace(power, detectable_effect=None, is_underpowered=True, reason=reason)
    arms = tuple(design.claim_axes.get(claim.axis or "", ()))
    return PowerRow(claim, arms, len(seeds), own.n_queries, power)

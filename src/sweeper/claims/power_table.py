"""The power of each claim of a planned study."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from sweeper.claims.kinds.base import CLAIM_KINDS
from sweeper.claims.planned_power import NO_LOSS_POWER, ClaimDesign, ClaimPower
from sweeper.claims.reasons import MIN_SEEDS
from sweeper.claims.simulated_power import SimulatedPower, simulate_claim_power
from sweeper.statistics.aliases import ArmValue

if TYPE_CHECKING:
    from sweeper.config import Claim


OBSERVED = ("discordance", "seed_sd", "collapse_rate")
"""What finished runs can show for the power of claims."""


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
    observed_seed_sd: float = math.nan
    """Of finished runs, for the power of claims; NaN where too few have finished."""
    observed_discordance: float = math.nan
    observed_collapse_rate: float = math.nan


@dataclass(frozen=True)
class PowerRow:
    """One claim of the power table."""

    claim: Claim
    arms: tuple[ArmValue, ...]
    n_seeds: int
    n_queries: int
    power: ClaimPower
    """Of its comparison that needs most data."""
    simulated: SimulatedPower | None = None
    """Of the claim as a whole; None where it rests on more than pass rates."""
    observed: Mapping[str, float] = field(default_factory=dict)
    """What finished runs show in place of the claim's assumptions, in its power: some of `OBSERVED`."""

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
            "margin_unit": "nats" if claim.is_about_loss else "points",
            "assumed": {"discordance": claim.assumed_discordance, "seed_sd": claim.assumed_seed_sd},
            "observed": {name: self.observed.get(name) for name in OBSERVED},
            "detectable_effect": power.detectable_effect,
            "seeds_needed": power.required_seeds,
            "underpowered": power.is_underpowered,
            "reason": power.reason,
            "estimand": claim.estimand,
            "looks": [
                {"seeds": seeds, "level": level} for seeds, level in zip(claim.looks, claim.look_levels, strict=True)
            ],
            "power": self.simulated.power if self.simulated else None,
            "expected_seeds": self.simulated.expected_seeds if self.simulated else None,
            "fixed_seeds": self.simulated.fixed_seeds if self.simulated else None,
        }


def build_power_rows(claims: Sequence[Claim], design: StudyDesign) -> list[PowerRow]:
    """Estimate what the design can establish about each claim, if the claim's assumptions hold."""
    return [_estimate_row(claim, design) for claim in claims]


def _list_observed(design: StudyDesign) -> dict[str, float]:
    observed = {name: getattr(design, f"observed_{name}") for name in OBSERVED}
    return {name: value for name, value in observed.items() if not math.isnan(value)}


def _estimate_row(claim: Claim, design: StudyDesign) -> PowerRow:
    seeds = [seed for seed in design.claim_axes["seed"] if seed not in claim.selection_seeds]
    rows = [row for row in design.rows if all(row.get(axis) == value for axis, value in claim.where.items())]
    # Seeded by the claim's id: the same sweep prints the same figures.
    rng = np.random.default_rng(zlib.crc32(claim.id.encode()))
    own = ClaimDesign(len(seeds), design.query_counts, rows, design.axes, rng)
    power = ClaimPower(reason=NO_LOSS_POWER)
    if not claim.is_about_loss:
        power = CLAIM_KINDS.load(claim.kind).estimate_power(claim, own)
    least = claim.looks[0] if claim.looks else MIN_SEEDS
    if len(seeds) < least:
        count = f"{len(seeds)} seed{'' if len(seeds) == 1 else 's'} to compare on"
        needs = f"its first look {least}" if claim.looks else f"a verdict needs at least {MIN_SEEDS}"
        reason = f"no verdict possible: {count}, and {needs}"
        power = replace(power, detectable_effect=None, is_underpowered=True, reason=reason)
    arms = tuple(design.claim_axes.get(claim.axis or "", ()))
    observed = _list_observed(design)
    # The detectable effect keeps the assumptions of the registered claim: results do not change what `run` refuses.
    assumed = {f"assumed_{name}": observed[name] for name in ("discordance", "seed_sd") if name in observed}
    known, own = claim.model_copy(update=assumed), replace(own, collapse_rate=observed.get("collapse_rate", 0.0))
    has_power = claim.protocol == "identical" and len(seeds) >= least
    simulated = simulate_claim_power(known, own) if has_power else None
    return PowerRow(claim, arms, len(seeds), own.n_queries, power, simulated, observed)

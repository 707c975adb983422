"""The claims of a plan before it is run: their power, and verdicts on simulated studies."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sweeper.claims.operating_characteristics import (
    can_simulate,
    parse_optional_stopping,
    parse_truth,
    simulate_verdicts,
)
from sweeper.claims.power_table import PowerRow, StudyDesign, build_power_rows
from sweeper.claims.tables import StudyEvidence
from sweeper.errors import SweeperError, UsageError
from sweeper.evaluation import load_evaluation_suite

if TYPE_CHECKING:
    from sweeper.config import Sweep
    from sweeper.planning.plan import Plan, PlannedTrial


@dataclass(frozen=True)
class ObservedRuns:
    """What finished runs of a study show, in place of what its claims assume. NaN where too few have finished."""

    seed_sd: float = math.nan
    """Standard deviation over seeds of an arm's pass rate, as a rate."""
    discordance: float = math.nan
    """Share of queries on which two runs of one arm differ."""
    collapse_rate: float = math.nan
    """Share of runs that diverged."""


def build_power_table(plan: Plan, observed: ObservedRuns | None = None) -> list[PowerRow]:
    """Estimate what a plan can establish about each of its claims; of a combined sweep, about those of every part.

    Args:
        plan: the plan.
        observed: what its finished runs show; not used for a combined sweep.
    """
    if plan.parts:
        return [
            replace(row, claim=row.claim.model_copy(update={"id": f"{part.sweep.name}/{row.claim.id}"}))
            for part in plan.parts
            for row in build_power_table(part)
        ]
    if not plan.sweep.claims:
        return []
    observed = observed or ObservedRuns()
    design = replace(
        describe_design(plan),
        observed_seed_sd=observed.seed_sd,
        observed_discordance=observed.discordance,
        observed_collapse_rate=observed.collapse_rate,
    )
    return build_power_rows(plan.sweep.claims, design)


@dataclass(frozen=True)
class LookPrice:
    """The cost of a study, or of one claim, that stops at looks. NaN where the cost of a trial is unknown."""

    expected: Mapping[str, float]
    """`gpu_hours` and `cpu_hours`, by the simulated looks at which claims stop."""
    worst: Mapping[str, float]
    """If every claim goes on to its last look."""
    fixed: Mapping[str, float] | None
    """Of the seeds that have the same power without looks; None where the design has too few, or without looks."""

    def to_document(self) -> dict[str, object]:
        """Return the prices as JSON has them."""
        return {"expected": self.expected, "worst": self.worst, "fixed": self.fixed}


def price_looks(plan: Plan, rows: Sequence[PowerRow]) -> LookPrice:
    """Price what is left of a plan if it stops at the looks of some claims.

    Args:
        plan: the plan, with estimated costs.
        rows: the claims that decide when it stops. That one stops is taken to be independent of the others.

    Returns:
        The prices. Trials that none of the claims is about are priced on the seeds of the first look.
    """
    seeds = list(dict.fromkeys(plan.sweep.axes["seed"]))
    first = min((row.claim.looks[0] for row in rows if row.claim.looks), default=len(seeds))
    expected, worst, fixed = (dict.fromkeys(("gpu_hours", "cpu_hours"), 0.0) for _ in range(3))
    for trial in plan.trials:
        place, about = seeds.index(trial.spec.seed), [row for row in rows if _is_about(row, trial)]
        shares = [_find_share(row, place, len(seeds)) for row in about]
        needed = 1 - math.prod(1 - share for share in shares) if about else float(place < first)
        of_fixed = [row.simulated.fixed_seeds if row.simulated else len(seeds) for row in about] or [first]
        for name in expected:
            cost = getattr(trial.estimate.cost, name).expected if trial.estimate else math.nan
            expected[name] += needed * cost if needed else 0.0
            worst[name] += cost if any(shares) or (not about and place < first) else 0.0
            fixed[name] += cost if any(count is not None and place < count for count in of_fixed) else 0.0
    has_fixed = any(row.claim.looks for row in rows) and all(
        row.simulated is not None and row.simulated.power > 0 and row.simulated.fixed_seeds is not None
        for row in rows
        if row.claim.looks
    )
    return LookPrice(expected, worst, fixed if has_fixed else None)


def _is_about(row: PowerRow, trial: PlannedTrial) -> bool:
    planned = trial.to_row()
    return all(planned.get(axis) == value for axis, value in row.claim.where.items())


def _find_share(row: PowerRow, place: int, n_seeds: int) -> float:
    """Return the share of studies in which a claim needs the seed at a place."""
    if row.simulated is not None:
        return sum(share for count, share in row.simulated.stopping if place < count)
    return float(place < (row.claim.looks[-1] if row.claim.looks else n_seeds))


def describe_design(plan: Plan) -> StudyDesign:
    """Return what the power of a plan's claims depends on."""
    rows = [trial.to_row() for trial in plan.trials]
    return StudyDesign(plan.sweep.claim_axes, rows, tuple(plan.sweep.axes), count_subset_queries(plan.sweep))


def count_subset_queries(sweep: Sweep) -> dict[str, int] | None:
    """Return subset -> number of test queries; empty without evaluation, None if the suite cannot be read.

    The plan lists a suite that cannot be read as a problem.
    """
    if sweep.evaluation is None:
        return {}
    try:
        return load_evaluation_suite(sweep.evaluation, sweep.data).query_counts
    except SweeperError:
        return None


def simulate_plan(
    plan: Plan,
    truth: object,
    *,
    n_studies: int,
    seed: int,
    on_progress: Callable[[float], None] = lambda share: None,
) -> dict[str, object]:
    """Simulate studies of a plan under assumed true pass rates.

    Args:
        plan: the plan of one sweep.
        truth: the document that `parse_truth` reads.
        n_studies: studies simulated.
        on_progress: called with the share of studies done.

    Returns:
        The document of `simulate --json`: per claim whether it holds, how often each verdict was given, and how often
        the intervals cover the true difference.

    Raises:
        UsageError: a truth that does not fit the plan, or a sweep without evaluation.
        DataError: a test set that cannot be read.
    """
    import pandas as pd

    sweep = plan.sweep
    if sweep.evaluation is None:
        raise UsageError(f"sweep {sweep.name}", found="no evaluation: there are no queries to simulate")
    assumed = parse_truth(truth, load_evaluation_suite(sweep.evaluation, sweep.data).query_counts)
    trials = pd.DataFrame([trial.to_row() | {"status": "COMPLETE", "val_loss": math.nan} for trial in plan.trials])
    trials["fingerprint"] = [trial.fingerprint or f"trial-{k}" for k, trial in enumerate(plan.trials)]
    study = StudyEvidence(trials, pd.DataFrame(), [axis for axis in sweep.axes if axis != "seed"])
    claims = [claim for claim in sweep.claims if can_simulate(claim)]
    rng = np.random.default_rng(seed)
    rows = simulate_verdicts(
        claims,
        study,
        assumed,
        n_studies=n_studies,
        rng=rng,
        has_optional_stopping=parse_optional_stopping(truth),
        on_progress=on_progress,
    )
    return {
        "sweep": sweep.name,
        "studies": n_studies,
        "queries": sum(assumed.subsets.values()),
        "claims": [row.to_document() for row in rows],
        "not_simulated": [claim.id for claim in sweep.claims if claim not in claims],
    }

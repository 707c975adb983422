"""The claims of a plan before it is run: their power, and verdicts on simulated studies."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
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
    from sweeper.planning.plan import Plan


def build_power_table(plan: Plan) -> list[PowerRow]:
    """Estimate what a plan can establish about each of its claims; of a combined sweep, about those of every part."""
    if plan.parts:
        return [
            replace(row, claim=row.claim.model_copy(update={"id": f"{part.sweep.name}/{row.claim.id}"}))
            for part in plan.parts
            for row in build_power_table(part)
        ]
    if not plan.sweep.claims:
        return []
    return build_power_rows(plan.sweep.claims, describe_design(plan))


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

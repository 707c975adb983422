"""A study's tables -> what its claims are decided from, and the trials that their next looks need."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, assert_never

from sweeper.claims import CLAIM_KINDS, StudyEvidence, list_needed_runs
from sweeper.errors import SweeperError
from sweeper.evaluation import load_evaluation_suite
from sweeper.statistics import DEFAULT_AXES

if TYPE_CHECKING:
    import pandas as pd

    from sweeper.config import Sweep
    from sweeper.statistics.aliases import QueryKey
    from sweeper.training import TrialRow


def build_trial_table(rows: Sequence[TrialRow]) -> pd.DataFrame:
    """Return the rows of trials as a table, with their losses (nats per target token) as columns.

    Args:
        rows: one per planned trial.
    """
    import pandas as pd

    losses = ("val_loss", "gold_nll")
    documents = [row.to_document() | {name: row.get_metric(name) for name in losses} for row in rows]
    return pd.DataFrame(documents, dtype=object)  # `object`: integers and None stay what they are


def find_leading_judge(outcomes: pd.DataFrame) -> str | None:
    """Return the judge that decides the claims, the first of an evaluation; None without outcomes."""
    return None if outcomes.empty else str(outcomes["judge"].iloc[0])


def list_claim_axes(axes: Sequence[str], trials: pd.DataFrame) -> list[str]:
    """List the columns that distinguish arms: the default axes and the sweep's own, without the seed."""
    return [axis for axis in dict.fromkeys([*DEFAULT_AXES, *axes]) if axis != "seed" and axis in trials.columns]


def read_query_clusters(sweep: Sweep) -> dict[str, dict[QueryKey, str]] | None:
    """Read what each test query is about: `tool` and `category` -> (subset, id) -> name.

    A query about several tools belongs to that set of tools.

    Args:
        sweep: the sweep.

    Returns:
        The names; None where no claim uses them, and where the queries cannot be read.
    """
    kinds = [CLAIM_KINDS.load(claim.kind) for claim in sweep.claims]
    if sweep.evaluation is None or not any("clusters" in kind.optional_fields for kind in kinds):
        return None
    try:
        suite = load_evaluation_suite(sweep.evaluation, sweep.data)
    except SweeperError:
        return None  # the verdict says that its queries count by themselves
    clusters: dict[str, dict[QueryKey, str]] = {"tool": {}, "category": {}}
    for subset, queries in suite.subsets.items():
        for query in queries:
            categories = {api.category for api in query.apis if api.tool in query.needed_tools}
            clusters["tool"][subset, query.id] = ", ".join(sorted(query.needed_tools))
            clusters["category"][subset, query.id] = ", ".join(sorted(categories))
    return clusters


def list_needed_trials(
    sweep: Sweep,
    rows: Sequence[TrialRow],
    outcomes: pd.DataFrame,
    histories: Mapping[str, pd.DataFrame],
    late_claims: Collection[str] = (),
) -> set[str]:
    """Return the trials that a study needs as its results are now.

    Args:
        sweep: the sweep, without a search.
        rows: one per planned trial.
        outcomes: one row per trial, query, judge and vote.
        histories: fingerprint -> logged steps.
        late_claims: ids of claims added or changed after results were known. As in a report, the others are decided
            without them.

    Returns:
        Fingerprints: of all trials, or for `until: decided` of those that the next looks of open claims need, with the
        trials that these branch from. Trials that no claim is about are needed on the seeds of the first look.
    """
    match sweep.until:
        case "complete":
            return {row.fingerprint for row in rows}
        case "decided" if not any(claim.looks for claim in sweep.claims):
            return {row.fingerprint for row in rows}
        case "decided":
            return _list_next_looks(sweep, rows, outcomes, histories, late_claims)
        case _:
            assert_never(sweep.until)


def _list_next_looks(
    sweep: Sweep,
    rows: Sequence[TrialRow],
    outcomes: pd.DataFrame,
    histories: Mapping[str, pd.DataFrame],
    late_claims: Collection[str],
) -> set[str]:
    trials = build_trial_table(rows)
    axes = list_claim_axes(list(sweep.axes), trials)
    clusters = read_query_clusters(sweep)
    study = StudyEvidence(trials, outcomes, axes, histories=histories, query_clusters=clusters)
    judge = find_leading_judge(outcomes)
    registered = [claim for claim in sweep.claims if claim.id not in late_claims]
    needed = list_needed_runs(registered, study, judge=judge)
    if late_claims:
        needed |= list_needed_runs(sweep.claims, study, judge=judge, about=late_claims)
    first_seeds = sweep.axes["seed"][: min(claim.looks[0] for claim in sweep.claims if claim.looks)]
    of_claims = {
        row.fingerprint
        for row in rows
        if any(all(row.planned.get(axis) == value for axis, value in claim.where.items()) for claim in sweep.claims)
    }
    needed |= {
        row.fingerprint for row in rows if row.fingerprint not in of_claims and row.planned["seed"] in first_seeds
    }
    return needed | {str(row.planned["trunk"]) for row in rows if row.fingerprint in needed and "trunk" in row.planned}

"""Variants of the outcomes: other definitions of a pass, other judges, fewer queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sweeper.statistics.aliases import Array, BoolArray, QueryKey
from sweeper.statistics.definitions import DEFINITIONS
from sweeper.statistics.pass_matrix import QUERY_COLUMNS, build_pass_matrix, drop_queries
from sweeper.statistics.vote_scores import VOTE_STATUSES, score_tooleval

if TYPE_CHECKING:
    import pandas as pd

    from sweeper.claims.tables import StudyEvidence


@dataclass(frozen=True)
class OutcomeVariant:
    """A variant of the outcomes."""

    name: str
    matrix: pd.DataFrame | None
    """Its pass matrix; None where the data do not allow it."""
    reason: str
    """Why they do not, or what the variant leaves out."""


def build_outcome_variants(study: StudyEvidence, matrix: pd.DataFrame) -> list[OutcomeVariant]:
    """Build every variant of one judge's outcomes.

    Args:
        study: the tables, with the outcomes of one judge.
        matrix: the pass matrix of those outcomes.
    """
    return [
        *_build_definition_variants(study, matrix),
        _build_unleaked_variant(study, matrix),
        _build_solvable_variant(study, matrix),
        *_build_unscored_variants(matrix),
    ]


def _build_definition_variants(study: StudyEvidence, matrix: pd.DataFrame) -> list[OutcomeVariant]:
    missing = [name for name in ("status", "task", "answered") if name not in study.outcomes.columns]
    if missing:
        reason = f"the outcomes have no column {', '.join(missing)}"
        return [OutcomeVariant(f"definition: {name}", None, reason) for name in DEFINITIONS]
    diverged = study.trials.loc[study.trials["status"] == "DIVERGED", "fingerprint"]
    variants = []
    for name, passed in compute_definition_matrices(study.outcomes).items():
        own = passed.reindex(index=matrix.index, columns=matrix.columns)
        own[[column for column in diverged if column in own.columns]] = 0.0
        variants.append(OutcomeVariant(f"definition: {name}", own, ""))
    return variants


def _build_unleaked_variant(study: StudyEvidence, matrix: pd.DataFrame) -> OutcomeVariant:
    name = "without leaked queries"
    if study.leaked_queries is None:
        return OutcomeVariant(name, None, "no contamination audit of the training data")
    kept = drop_queries(matrix, [(str(subset), str(query)) for subset, query in study.leaked_queries])
    return OutcomeVariant(name, kept, f"{len(matrix) - len(kept)} queries left out")


def _build_solvable_variant(study: StudyEvidence, matrix: pd.DataFrame) -> OutcomeVariant:
    name = "solvable queries only"
    if study.solvable_queries is None:
        solvable = find_solvable_queries(study.outcomes)
    else:
        solvable = {(str(subset), str(query)) for subset, query in study.solvable_queries}
    if solvable is None:
        return OutcomeVariant(name, None, "no judgment of which queries can be solved")
    kept = matrix[[(str(subset), str(query)) in solvable for subset, query in matrix.index]]
    return OutcomeVariant(name, kept, f"{len(matrix) - len(kept)} queries left out")


def _build_unscored_variants(matrix: pd.DataFrame) -> list[OutcomeVariant]:
    """Bound what unscored outcomes may hide: all of them fail, or all pass. None where all are scored."""
    count = int(matrix.isna().to_numpy().sum())
    if not count:
        return []
    reason = f"{count} unscored outcomes"
    return [
        OutcomeVariant("unscored outcomes fail", matrix.fillna(0.0), reason),
        OutcomeVariant("unscored outcomes pass", matrix.fillna(1.0), reason),
    ]


def build_judge_variants(trials: pd.DataFrame, outcomes: pd.DataFrame, judge: str | None) -> list[OutcomeVariant]:
    """Build the variant of every judge but the deciding one."""
    if judge is None or outcomes.empty:
        return []
    others = [name for name in outcomes["judge"].unique() if str(name) != judge]
    return [
        OutcomeVariant(f"judge: {name}", build_pass_matrix(trials, outcomes[outcomes["judge"] == name]), "")
        for name in others
    ]


def find_solvable_queries(outcomes: pd.DataFrame) -> set[QueryKey] | None:
    """Return the queries that more than half of all votes call solvable; None where no vote is about the task.

    All trials are pooled, so the set depends on no arm.
    """
    if "task" not in outcomes.columns or not outcomes["task"].notna().any():
        return None
    judged = outcomes[outcomes["task"].notna()]
    shares = (judged["task"] == "solvable").groupby([judged[name] for name in QUERY_COLUMNS]).mean()
    return {(str(subset), str(query)) for subset, query in shares[shares > 0.5].index}


def compute_definition_matrices(outcomes: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Score outcomes under every definition, as the functions of `statistics.definitions` do query by query.

    Returns:
        Definition -> values 0 to 1, rows (subset, query_id), columns fingerprints; NaN where no vote is scored.
    """
    import pandas as pd

    run, runs = pd.factorize(outcomes["fingerprint"])
    query, queries = pd.factorize(pd.MultiIndex.from_frame(outcomes[QUERY_COLUMNS]))
    cell, shape = run.astype(np.int64) * len(queries) + query, (len(runs), len(queries))
    status, task, answered = outcomes["status"], outcomes["task"], outcomes["answered"].astype(bool).to_numpy()
    is_scored = status.isin(VOTE_STATUSES).to_numpy()
    is_solved, is_unsure = ((status == name).to_numpy() for name in ("solved", "unsure"))
    votes = np.bincount(cell[is_scored], minlength=shape[0] * shape[1]).astype(np.float64)
    votes[votes == 0] = np.nan

    def average(worth: Array | BoolArray) -> Array:
        return np.asarray(np.bincount(cell, weights=worth * is_scored, minlength=len(votes)) / votes)

    def decide(share: Array, passed: BoolArray) -> Array:
        return np.where(np.isnan(share), np.nan, passed.astype(np.float64))

    passed = answered & (is_solved | (task == "unsolvable").to_numpy())
    by_definition = {
        "strict": decide(average(is_solved), average(is_solved) > 0.5),
        "stabletoolbench": average(is_solved + 0.5 * is_unsure),
        "tooleval": decide(average(passed), average(passed) >= 0.5),
    }
    # ToolEval's coins belong to single votes: queries with one are scored by the definition itself.
    is_unsolved = is_scored & ~is_solved & ~is_unsure
    needs_coin = is_scored & answered & ~passed & (is_unsure | (is_unsolved & (task == "unsure").to_numpy()))
    has_coin = np.isin(cell, cell[needs_coin])
    places, codes = np.unique(cell[has_coin], return_inverse=True)
    for place, (_, votes_on_query) in zip(places, outcomes[has_coin].groupby(codes), strict=True):
        by_definition["tooleval"][place] = score_tooleval([dict(row) for _, row in votes_on_query.iterrows()])
    index = pd.MultiIndex.from_tuples(list(queries), names=QUERY_COLUMNS)
    return {
        name: pd.DataFrame(by_definition[name].reshape(shape).T, index=index, columns=pd.Index(runs))
        for name in DEFINITIONS
    }

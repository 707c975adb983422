"""The same tables read otherwise: under other definitions of a pass, without leaked queries, solvable queries alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeper.statistics.definitions import DEFINITIONS, VOTE_STATUSES, score_tooleval
from sweeper.statistics.pass_matrix import QUERY_COLUMNS, build_pass_matrix, drop_queries

if TYPE_CHECKING:
    import pandas as pd

Query = tuple[str, str]
PASS_RATE_KINDS = ("reaches", "best-of", "no-gain-beyond", "generalises", "cheaper")
"""Kinds of claims that rest on the pass rate."""


@dataclass(frozen=True)
class OutcomeVariant:
    """One other reading: its matrix of passes, or None and why the data do not hold it."""

    name: str
    matrix: pd.DataFrame | None
    reason: str


def build_outcome_variants(
    trials: pd.DataFrame,
    outcomes: pd.DataFrame,
    matrix: pd.DataFrame,
    leaked_queries: Iterable[Query] | None,
    solvable_queries: Iterable[Query] | None,
) -> list[OutcomeVariant]:
    """Every reading of the outcomes of one judge; `matrix` is their `pass_matrix`. `leaked`: queries that training may
    have seen; `solvable`: queries that can be solved; None for both where nobody said."""
    found = []
    lacking = [name for name in ("status", "task", "answered") if name not in outcomes.columns]
    if lacking:
        why = f"the outcomes have no column {', '.join(lacking)}"
        found += [OutcomeVariant(f"definition: {name}", None, why) for name in DEFINITIONS]
    else:
        diverged = trials.loc[trials["status"] == "DIVERGED", "fingerprint"]
        for name, passed in compute_definition_matrices(outcomes).items():
            read = passed.reindex(index=matrix.index, columns=matrix.columns)
            read[[column for column in diverged if column in read.columns]] = 0.0
            found.append(OutcomeVariant(f"definition: {name}", read, ""))
    if leaked_queries is None:
        found.append(OutcomeVariant("without leaked queries", None, "no audit of training data against test queries"))
    else:
        left = drop_queries(matrix, [(str(subset), str(query)) for subset, query in leaked_queries])
        found.append(OutcomeVariant("without leaked queries", left, f"{len(matrix) - len(left)} queries left out"))
    kept = (
        find_solvable_queries(outcomes) if solvable_queries is None else {(str(s), str(q)) for s, q in solvable_queries}
    )
    if kept is None:
        found.append(OutcomeVariant("solvable queries only", None, "nobody said which queries can be solved"))
    else:
        left = matrix[[(str(subset), str(query)) in kept for subset, query in matrix.index]]
        found.append(OutcomeVariant("solvable queries only", left, f"{len(matrix) - len(left)} queries left out"))
    return found


def build_judge_variants(trials: pd.DataFrame, outcomes: pd.DataFrame, judge: str | None) -> list[OutcomeVariant]:
    """The reading of every judge but the one who decides."""
    if judge is None or outcomes.empty:
        return []
    others = [name for name in outcomes["judge"].unique() if str(name) != judge]
    return [
        OutcomeVariant(f"judge: {name}", build_pass_matrix(trials, outcomes[outcomes["judge"] == name]), "")
        for name in others
    ]


def find_solvable_queries(outcomes: pd.DataFrame) -> set[Query] | None:
    """Queries that more than half of all votes call solvable, over every trial alike, so that the set hangs on no arm;
    None where no vote says."""
    if "task" not in outcomes.columns or not outcomes["task"].notna().any():
        return None
    said = outcomes[outcomes["task"].notna()]
    shares = (said["task"] == "solvable").groupby([said[name] for name in QUERY_COLUMNS]).mean()
    return {(str(subset), str(query)) for subset, query in shares[shares > 0.5].index}


def compute_definition_matrices(outcomes: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Definition -> its values (0 to 1), rows (subset, query_id), columns fingerprints; NaN where no vote is scored.

    What the functions of `definitions` give query by query, for tables of millions of rows.
    """
    import pandas as pd

    run, runs = pd.factorize(outcomes["fingerprint"])
    query, queries = pd.factorize(pd.MultiIndex.from_frame(outcomes[QUERY_COLUMNS]))
    cell, shape = run.astype(np.int64) * len(queries) + query, (len(runs), len(queries))
    status, task, answered = outcomes["status"], outcomes["task"], outcomes["answered"].astype(bool).to_numpy()
    scored = status.isin(VOTE_STATUSES).to_numpy()
    solved, unsure = ((status == name).to_numpy() for name in ("solved", "unsure"))
    votes = np.bincount(cell[scored], minlength=shape[0] * shape[1]).astype(np.float64)
    votes[votes == 0] = np.nan

    def share(worth: Any) -> Any:
        return np.bincount(cell, weights=worth * scored, minlength=len(votes)) / votes

    def decided(share: Any, passed: Any) -> Any:
        return np.where(np.isnan(share), np.nan, passed.astype(np.float64))

    passed = answered & (solved | (task == "unsolvable").to_numpy())
    by_definition = {
        "strict": decided(share(solved), share(solved) > 0.5),
        "stabletoolbench": share(solved + 0.5 * unsure),
        "tooleval": decided(share(passed), share(passed) >= 0.5),
    }
    # Coins belong to single votes: queries with one go through the definition itself.
    unsolved = scored & ~solved & ~unsure
    coin = scored & answered & ~passed & (unsure | (unsolved & (task == "unsure").to_numpy()))
    thrown = np.isin(cell, cell[coin])
    for place, group in outcomes[thrown].groupby(cell[thrown], sort=False):
        by_definition["tooleval"][place] = score_tooleval([dict(row) for _, row in group.iterrows()])
    index = pd.MultiIndex.from_tuples(list(queries), names=QUERY_COLUMNS)
    return {
        name: pd.DataFrame(by_definition[name].reshape(shape).T, index=index, columns=pd.Index(runs))
        for name in DEFINITIONS
    }

"""The matrix of passes, queries by trials, from rows of outcomes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from sweeper.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_AXES = ("model", "num_train_epochs", "learning_rate", "max_grad_norm")
"""Columns of the trials table that distinguish arms by default, besides the seed."""
COUNTED_STATUSES = ("COMPLETE", "DIVERGED")
"""Statuses that are results. A diverged run is one: it passes nothing."""
QUERY_COLUMNS = ["subset", "query_id"]
_VOTE_COLUMNS = ["fingerprint", *QUERY_COLUMNS, "judge", "vote"]
_TRIAL_QUERY_COLUMNS = ["fingerprint", *QUERY_COLUMNS]


def build_pass_matrix(trials: pd.DataFrame, outcomes: pd.DataFrame) -> pd.DataFrame:
    """Build the matrix of passes: rows (subset, query_id), columns fingerprints; NaN = not scored.

    The columns are the trials with a status of COUNTED_STATUSES. Several votes become their majority; a tie fails.
    Every query of a DIVERGED trial is 0, whether or not it was evaluated.

    Args:
        trials: one row per planned trial.
        outcomes: one row per (trial, query, judge, vote), of one judge.

    Returns:
        Passes 0 to 1, one row per query and one column per run.

    Raises:
        DataError: duplicate rows, several judges, values outside 0..1, or unplanned trials.

    Example:
        >>> import pandas as pd
        >>> trials = pd.DataFrame({"fingerprint": ["r0", "r1"], "model": ["small", "large"], "seed": [0, 0]})
        >>> trials["status"] = "COMPLETE"
        >>> outcomes = pd.DataFrame({"fingerprint": ["r0", "r1"], "passed": [0.0, 1.0]})
        >>> outcomes = outcomes.assign(subset="G1_tool", query_id="1", judge="oracle", vote=0)
        >>> matrix = build_pass_matrix(trials, outcomes)
        >>> matrix["r0"].tolist(), matrix["r1"].tolist()
        ([0.0], [1.0])
    """
    import pandas as pd

    planned = trials.loc[trials["fingerprint"].astype(str) != ""]
    if planned["fingerprint"].duplicated().any():
        twice = planned.loc[planned["fingerprint"].duplicated(), "fingerprint"].iloc[0]
        raise DataError("trials table", requested="one row per planned trial", found=f"`{twice}` twice")
    if outcomes.empty:
        return pd.DataFrame(index=pd.MultiIndex.from_arrays([[], []], names=QUERY_COLUMNS), dtype=float)
    single = _check_outcomes(outcomes, set(planned["fingerprint"]))
    rows = outcomes if single else _take_majority_vote(outcomes)
    matrix = rows.pivot(index=QUERY_COLUMNS, columns="fingerprint", values="passed").astype(float)
    counted = planned.loc[planned["status"].isin(COUNTED_STATUSES)]
    diverged = set(counted.loc[counted["status"] == "DIVERGED", "fingerprint"])
    kept = [name for name in counted["fingerprint"] if name in matrix.columns or name in diverged]
    matrix = matrix.reindex(columns=pd.Index(kept, name="fingerprint"))
    matrix[sorted(diverged)] = 0.0
    return matrix


def drop_queries(matrix: pd.DataFrame, queries: Iterable[tuple[str, str]]) -> pd.DataFrame:
    """Return the matrix without the rows of these (subset, query_id).

    Args:
        matrix: the result of `build_pass_matrix`: rows (subset, query_id), columns fingerprints.
        queries: (subset, query_id) of each.

    Returns:
        The remaining rows.

    Example:
        >>> import pandas as pd
        >>> index = pd.MultiIndex.from_tuples([("G1_tool", "1"), ("G1_tool", "2")], names=["subset", "query_id"])
        >>> matrix = pd.DataFrame({"r0": [0.0, 1.0], "r1": [1.0, 1.0]}, index=index)
        >>> len(drop_queries(matrix, [("G1_tool", "1")]))
        1
    """
    excluded = set(queries)
    return matrix[[(str(subset), str(query)) not in excluded for subset, query in matrix.index]]


def _check_outcomes(outcomes: pd.DataFrame, planned_fingerprints: set[str]) -> bool:
    """Return whether no (trial, query) has several votes; raise DataError for a table that breaks its contract."""
    missing = [column for column in [*_VOTE_COLUMNS, "passed"] if column not in outcomes.columns]
    if missing:
        raise DataError(
            "outcomes table", requested="one row per (trial, query, judge, vote)", found=f"no column {missing}"
        )
    # One row per (trial, query) is the common case, and cheap to check.
    single = not outcomes.duplicated(_TRIAL_QUERY_COLUMNS).any()
    if not single and (repeated := outcomes.duplicated(_VOTE_COLUMNS)).any():
        first = outcomes.loc[repeated, _VOTE_COLUMNS].iloc[0].to_dict()
        raise DataError(
            "outcomes table",
            requested="one row per (trial, query, judge, vote)",
            found=f"{int(repeated.sum())} duplicate rows, first {first}",
            hint="delete the evaluation of that trial and run again",
        )
    judges = sorted(outcomes["judge"].astype(str).unique())
    if len(judges) > 1:
        raise DataError(
            "outcomes table", requested="outcomes of one judge", found=f"{judges}", hint="give one judge's rows"
        )
    passed = outcomes["passed"].to_numpy(dtype=float)
    if ((passed < 0) | (passed > 1)).any():
        raise DataError("outcomes table", requested="`passed` from 0 to 1, NaN where unscored", found="other values")
    unplanned = set(outcomes["fingerprint"].unique()) - planned_fingerprints
    if unplanned:
        raise DataError(
            "outcomes table", requested="outcomes of planned trials", found=f"also of {sorted(unplanned)[:3]}"
        )
    return single


def _take_majority_vote(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Return one row per (trial, query)."""
    means = outcomes.groupby(_TRIAL_QUERY_COLUMNS, observed=True)["passed"].mean().reset_index()
    means["passed"] = np.where(means["passed"].isna(), np.nan, means["passed"] > 0.5)
    return means

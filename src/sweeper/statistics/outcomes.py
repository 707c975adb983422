"""Outcome rows -> one matrix of passes, queries by trials."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from sweeper.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

AXES = ("model", "num_train_epochs", "learning_rate", "max_grad_norm")
"""Columns of the trials table that tell arms apart, besides the seed, unless a sweep says otherwise."""
COUNTED = ("COMPLETE", "DIVERGED")
"""Statuses that are results. A diverged run is one: a recipe that diverges passes nothing."""
QUERY = ["subset", "query_id"]
_ROW = ["fingerprint", *QUERY, "judge", "vote"]
_CELL = ["fingerprint", *QUERY]


def arm_name(axis: str, value: object) -> str:
    """An arm's place on an axis, in words: `opt-125m`, `3 epochs`, `clip off`, `learning rate 0.01`."""
    if axis == "model":
        return str(value)
    text = "off" if value is None or value != value else str(value)
    if isinstance(value, float | int) and not isinstance(value, bool) and value == value:
        text = f"{value:g}"
    if axis == "num_train_epochs":
        return f"{text} epoch" if text == "1" else f"{text} epochs"
    return f"{ {'max_grad_norm': 'clip'}.get(axis, axis.replace('_', ' ')) } {text}"


def pass_matrix(trials: pd.DataFrame, outcomes: pd.DataFrame) -> pd.DataFrame:
    """Passes as floats: rows (subset, query_id), columns the fingerprints of COUNTED trials; NaN = not scored.

    Several votes become their majority (a tie fails). Every query of a DIVERGED trial is 0, whether or not it was
    asked. Raises DataError for duplicate rows, several judges, rates outside 0..1 and unplanned trials.
    """
    import pandas as pd

    planned = trials.loc[trials["fingerprint"].astype(str) != ""]
    if planned["fingerprint"].duplicated().any():
        twice = planned.loc[planned["fingerprint"].duplicated(), "fingerprint"].iloc[0]
        raise DataError("trials table", asked="one row per planned trial", found=f"`{twice}` twice")
    if outcomes.empty:
        return pd.DataFrame(index=pd.MultiIndex.from_arrays([[], []], names=QUERY), dtype=float)
    single = _check(outcomes, set(planned["fingerprint"]))
    rows = outcomes if single else _majority(outcomes)
    matrix = rows.pivot(index=QUERY, columns="fingerprint", values="passed").astype(float)
    counted = planned.loc[planned["status"].isin(COUNTED)]
    diverged = set(counted.loc[counted["status"] == "DIVERGED", "fingerprint"])
    kept = [name for name in counted["fingerprint"] if name in matrix.columns or name in diverged]
    matrix = matrix.reindex(columns=pd.Index(kept, name="fingerprint"))
    matrix[sorted(diverged)] = 0.0
    return matrix


def without_queries(matrix: pd.DataFrame, queries: Iterable[tuple[str, str]]) -> pd.DataFrame:
    """The matrix without the rows of these (subset, query_id)."""
    excluded = set(queries)
    return matrix[[(str(subset), str(query)) not in excluded for subset, query in matrix.index]]


def _check(outcomes: pd.DataFrame, planned: set[str]) -> bool:
    """Whether no (trial, query) has several votes; raises DataError for a table that breaks its contract."""
    missing = [column for column in [*_ROW, "passed"] if column not in outcomes.columns]
    if missing:
        raise DataError("outcomes table", asked="one row per (trial, query, judge, vote)", found=f"no column {missing}")
    # One row per (trial, query) is the rule, and seen at once.
    single = not outcomes.duplicated(_CELL).any()
    if not single and (repeated := outcomes.duplicated(_ROW)).any():
        first = outcomes.loc[repeated, _ROW].iloc[0].to_dict()
        raise DataError(
            "outcomes table",
            asked="one row per (trial, query, judge, vote)",
            found=f"{int(repeated.sum())} duplicate rows, first {first}",
            do="delete the evaluation of that trial and run again",
        )
    judges = sorted(outcomes["judge"].astype(str).unique())
    if len(judges) > 1:
        raise DataError("outcomes table", asked="outcomes of one judge", found=f"{judges}", do="give one judge's rows")
    passed = outcomes["passed"].to_numpy(dtype=float)
    if ((passed < 0) | (passed > 1)).any():
        raise DataError("outcomes table", asked="`passed` from 0 to 1, NaN where unscored", found="other values")
    unplanned = set(outcomes["fingerprint"].unique()) - planned
    if unplanned:
        raise DataError("outcomes table", asked="outcomes of planned trials", found=f"also of {sorted(unplanned)[:3]}")
    return single


def _majority(outcomes: pd.DataFrame) -> pd.DataFrame:
    """One row per (trial, query)."""
    means = outcomes.groupby(_CELL, observed=True)["passed"].mean().reset_index()
    means["passed"] = np.where(means["passed"].isna(), np.nan, means["passed"] > 0.5)
    return means

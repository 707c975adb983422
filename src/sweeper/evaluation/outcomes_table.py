"""Tables of outcomes: one evaluation's rows, and many evaluations in one compact table (ten million rows are usual)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.errors import StoreError
from sweeper.evaluation.agent_run import is_incoherent
from sweeper.evaluation.answers import FINISH
from sweeper.evaluation.episode import Episode
from sweeper.evaluation.judges import Vote
from sweeper.evaluation.summary import EvaluationSummary
from sweeper.storage import check_files

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

CATEGORICAL_COLUMNS = ("fingerprint", "subset", "query_id", "judge", "status", "task")
"""Columns with few distinct texts, stored as codes."""
OUTCOME_COLUMNS = (
    *CATEGORICAL_COLUMNS,
    "vote",
    "passed",
    "answered",
    "finished",
    "overgenerated",
    "incoherent",
    "hallucinated",
)
"""Columns that claims and reports use. The files also hold reasons and more."""
REQUIRED_COLUMNS = ("fingerprint", "subset", "query_id", "judge", "passed")
"""Columns that every file has. `passed` alone has empty cells: outcomes that no judge scored."""
_PASSED_BY_STATUS = {"solved": 1.0, "unsolved": 0.0, "unsure": 0.0, None: float("nan")}
"""The strict definition of the headline pass rate: `unsure` has not passed."""


def build_outcomes_table(
    fingerprint: str, judge: str, episodes: Sequence[Episode], votes: Sequence[Sequence[Vote]]
) -> pd.DataFrame:
    """Build one row per (query, vote): the judgement, and the format metrics of the whole episode."""
    import pandas as pd

    return pd.DataFrame(
        {
            "fingerprint": fingerprint,
            "subset": episode.subset,
            "query_id": episode.query_id,
            "judge": judge,
            "vote": vote.index,
            "passed": _PASSED_BY_STATUS[vote.status],
            "status": vote.status,
            "task": vote.task_status,
            "reason": vote.reason,
            "answered": episode.ended == "answered",
            "finished": episode.ended == "answered",
            "ended": episode.ended,
            "valid_action": episode.valid_actions == episode.actions,
            "valid_json": episode.valid_inputs == episode.actions,
            "hallucinated": episode.hallucinated > 0,
            "overgenerated": episode.overgenerated > 0,
            "incoherent": is_incoherent(episode),
            "calls": sum(name != FINISH for name, _, _ in episode.calls),
            "tokens": episode.tokens,
        }
        for episode, cast in zip(episodes, votes, strict=True)
        for vote in cast
    )


def read_outcomes(files: Sequence[Path]) -> pd.DataFrame:
    """Read outcome files into one table, file after file. A column that a file lacks is NaN in its rows.

    Args:
        files: `outcomes.parquet` of each evaluation.

    Returns:
        One row per (trial, query, judge, vote), with the columns of `OUTCOME_COLUMNS`.

    Raises:
        StoreError: a file that cannot be read.

    Example:
        >>> read_outcomes([]).empty
        True
    """
    return combine_outcomes([read_outcomes_file(path) for path in files])


def read_outcomes_file(path: Path) -> pa.Table:
    """Read one file of outcomes, with the columns of `OUTCOME_COLUMNS` that it has.

    Raises:
        StoreError: it cannot be read, or a required column is missing or has empty cells.
    """
    import pyarrow.parquet as pq

    hint = f"delete {path.parent} and run again"
    try:
        with pq.ParquetFile(path, read_dictionary=list(CATEGORICAL_COLUMNS)) as file:
            table = file.read([name for name in OUTCOME_COLUMNS if name in file.schema_arrow.names])
    except Exception as error:  # a damaged file can break any part of the reader
        found = f"outcomes cannot be read: {(str(error).splitlines() or [type(error).__name__])[0]}"
        raise StoreError(str(path), found=found, hint=hint) from error
    for name in REQUIRED_COLUMNS:
        if name not in table.column_names or (name != "passed" and table[name].null_count):
            raise StoreError(str(path), found=f"outcomes without a complete column {name}", hint=hint)
    return table


def read_checked_outcomes(path: Path, fingerprint: str, summary: EvaluationSummary) -> pa.Table:
    """Read the outcomes that an evaluation wrote.

    Args:
        path: their file.
        fingerprint: of the trial.
        summary: of the evaluation. One with digests vouches for the file; else its number of queries and its pass rate
            must be those of the table.

    Returns:
        The table, with the columns of `OUTCOME_COLUMNS`.

    Raises:
        StoreError: it cannot be read, or is not what the evaluation wrote.
    """
    hint = f"delete {path.parent} and run again"
    check_files(path.parent, summary.files, path.name, hint)
    table = read_outcomes_file(path)
    if table.num_rows and table["fingerprint"].unique().to_pylist() != [fingerprint]:
        raise StoreError(str(path), found="outcomes of another trial", hint=hint)
    if path.name not in summary.files:
        _check_rates(path, table, summary, hint)
    return table


def _check_rates(path: Path, table: pa.Table, summary: EvaluationSummary, hint: str) -> None:
    rows = table.select(list(REQUIRED_COLUMNS)).to_pandas()
    first = rows[rows["judge"] == rows["judge"].iloc[0]] if len(rows) else rows
    shares = first.groupby(["subset", "query_id"], observed=True, sort=False)["passed"].mean()
    rate = float((shares > 0.5).astype(float).where(shares.notna()).mean()) if len(shares) else math.nan
    written = summary.queries, summary.pass_rate
    if not math.isnan(written[0]) and len(shares) != written[0]:
        found = f"{len(shares):,} queries, and the summary has {written[0]:,.0f}"
        raise StoreError(str(path), found=found, hint=hint)
    if not (math.isnan(rate) and math.isnan(written[1])) and not math.isclose(rate, written[1], abs_tol=1e-9):
        found = f"a pass rate of {rate:.4f}, and the summary has {written[1]:.4f}"
        raise StoreError(str(path), found=found, hint=hint)


def combine_outcomes(tables: Sequence[pa.Table]) -> pd.DataFrame:
    """Combine tables of outcomes into one, in their order. A column that a table lacks is NaN in its rows."""
    import pandas as pd
    import pyarrow as pa

    if not tables:
        return pd.DataFrame()
    # The codes of each file are mapped to one dictionary. Pandas' metadata would restore plain text.
    whole = pa.concat_tables(tables, promote_options="permissive").replace_schema_metadata(None).unify_dictionaries()
    table: pd.DataFrame = whole.to_pandas(self_destruct=True, split_blocks=True)
    return table

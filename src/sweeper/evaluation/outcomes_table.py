"""Tables of outcomes: one evaluation's rows, and many evaluations in one compact table (ten million rows are usual)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.errors import StoreError
from sweeper.evaluation.agent_run import is_incoherent
from sweeper.evaluation.answers import FINISH
from sweeper.evaluation.episode import Episode
from sweeper.evaluation.judges import Vote

if TYPE_CHECKING:
    import pandas as pd

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
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = []
    for path in files:
        try:
            with pq.ParquetFile(path, read_dictionary=list(CATEGORICAL_COLUMNS)) as file:
                tables.append(file.read([name for name in OUTCOME_COLUMNS if name in file.schema_arrow.names]))
        except (OSError, ValueError) as error:
            raise StoreError(
                str(path.parent), found=f"outcomes cannot be read: {error}", hint="delete the folder and run again"
            ) from error
    if not tables:
        return pd.DataFrame()
    # The codes of each file are mapped to one dictionary. Pandas' metadata would restore plain text.
    whole = pa.concat_tables(tables, promote_options="permissive").replace_schema_metadata(None).unify_dictionaries()
    del tables
    table: pd.DataFrame = whole.to_pandas(self_destruct=True, split_blocks=True)
    return table

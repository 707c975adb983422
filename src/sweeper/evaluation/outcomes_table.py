"""Outcome files of many evaluations -> one table that stays small: ten million rows are an ordinary large study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.errors import StoreError

if TYPE_CHECKING:
    import pandas as pd

CATEGORICAL_COLUMNS = ("fingerprint", "subset", "query_id", "judge", "status", "task")
"""Few distinct texts each: held as codes."""
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
"""What claims and reports use. Reasons and the rest stay in the files."""


def read_outcomes(files: Sequence[Path]) -> pd.DataFrame:
    """Rows of all files, one after the other, one per (trial, query, judge, vote); a column that a file lacks is NaN
    there. Raises StoreError for a file that cannot be read."""
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
    # Each file's own codes become those of one dictionary; pandas' metadata would ask for text.
    whole = pa.concat_tables(tables, promote_options="permissive").replace_schema_metadata(None).unify_dictionaries()
    del tables
    table: pd.DataFrame = whole.to_pandas(self_destruct=True, split_blocks=True)
    return table

"""Tables of outcomes, and their files."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from sweeper.errors import StoreError
from sweeper.evaluation.episode import Episode
from sweeper.evaluation.judges import Vote
from sweeper.evaluation.outcomes_table import OUTCOME_COLUMNS, build_outcomes_table, read_outcomes

EPISODE = Episode("1", "a", ended="answered", actions=2, valid_actions=2, valid_inputs=1, overgenerated=1)


def test_build_outcomes_table_has_a_row_per_vote() -> None:
    votes = [[Vote("j", 0, "solved", "r", "solvable"), Vote("j", 1, "unsure", ""), Vote("j", 2, None, "timeout")]]
    table = build_outcomes_table("f", "j", [EPISODE], votes)
    assert table["passed"].tolist()[:2] == [1.0, 0.0]
    assert math.isnan(table["passed"][2])
    assert table["task"].isna().tolist() == [False, True, True]
    first = table.iloc[0]
    assert (first["finished"], first["valid_action"], first["valid_json"], first["overgenerated"]) == (1, 1, 0, 1)


def test_read_outcomes_concatenates_files_and_fills_missing_columns(tmp_path: Path) -> None:
    table = build_outcomes_table("f", "j", [EPISODE], [[Vote("j", 0, "solved", "")]])
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    table.to_parquet(files[0])
    table.assign(fingerprint="g").drop(columns="incoherent").to_parquet(files[1])
    found = read_outcomes(files)
    assert found["fingerprint"].tolist() == ["f", "g"]
    assert set(found) == set(OUTCOME_COLUMNS)
    assert found["incoherent"].isna().tolist() == [False, True]
    assert read_outcomes([]).empty


def test_read_outcomes_rejects_damaged_files(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"no parquet")
    with pytest.raises(StoreError, match="outcomes cannot be read"):
        read_outcomes([tmp_path / "a.parquet"])

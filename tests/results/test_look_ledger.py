"""The ledger of looks."""

from __future__ import annotations

from pathlib import Path

import pytest
from claim_cases import REACHES

from sweeper.errors import StoreError
from sweeper.results.look_ledger import LOOKS_FILE, read_look_ledger, record_looks
from sweeper.storage import read_json, write_json


def test_each_look_is_kept_once(tmp_path: Path) -> None:
    assert read_look_ledger(tmp_path).entries == ()
    for n_seeds in (2, 3, 3, 4):
        record_looks(tmp_path, {"a": REACHES}, {"a": (n_seeds, "inconclusive")})
    first, *_ = read_json(tmp_path / LOOKS_FILE)["looks"]
    assert first["id"] == "a" and first["verdict"] == "inconclusive" and first["taken"].endswith("+00:00")
    claim = REACHES.model_copy(update={"id": "a"})
    assert read_look_ledger(tmp_path).list_seeds(REACHES.model_copy(update={"id": "b"})) == []
    assert len(read_look_ledger(tmp_path).entries) == 3
    record_looks(tmp_path, {"a": claim}, {"a": (2, "supported")})
    assert read_look_ledger(tmp_path).list_seeds(claim) == [2]


def test_claims_of_a_union_are_found_by_their_sweep(tmp_path: Path) -> None:
    record_looks(tmp_path, {f"size/{REACHES.id}": REACHES}, {f"size/{REACHES.id}": (3, "refuted")})
    ledger = read_look_ledger(tmp_path)
    assert ledger.list_seeds(REACHES, "size/") == [3] and ledger.list_seeds(REACHES) == []


def test_looks_at_another_claim_of_the_same_name_do_not_count(tmp_path: Path) -> None:
    record_looks(tmp_path, {REACHES.id: REACHES}, {REACHES.id: (3, "refuted")})
    assert read_look_ledger(tmp_path).list_seeds(REACHES.model_copy(update={"margin": 0.1})) == []


@pytest.mark.parametrize("content", [{}, {"looks": 3}, {"looks": [{"id": "a"}]}, {"looks": ["a"]}], ids=str)
def test_a_damaged_ledger_is_an_error(tmp_path: Path, content: dict[str, object]) -> None:
    write_json(tmp_path / LOOKS_FILE, content)
    with pytest.raises(StoreError, match=r"looks\.json"):
        read_look_ledger(tmp_path)

"""The ledger of looks."""

from __future__ import annotations

from pathlib import Path

import pytest
from claim_cases import REACHES

from sweeper.errors import StoreError
from sweeper.results.claim_registry import hash_claim
from sweeper.results.look_ledger import LOOKS_FILE, read_look_ledger, record_looks
from sweeper.storage import read_json, write_json


def test_each_look_is_kept_once(tmp_path: Path) -> None:
    assert read_look_ledger(tmp_path).entries == ()
    for n_seeds in (2, 3, 3, 4):
        record_looks(tmp_path, {"a": REACHES}, {"a": (n_seeds, "inconclusive")}, {"a": range(5)})
    first, *_ = read_json(tmp_path / LOOKS_FILE)["looks"]
    assert first["id"] == "a" and first["verdict"] == "inconclusive" and first["taken"].endswith("+00:00")
    claim = REACHES.model_copy(update={"id": "a"})
    assert read_look_ledger(tmp_path).list_seeds(REACHES.model_copy(update={"id": "b"})) == []
    assert len(read_look_ledger(tmp_path).entries) == 3
    record_looks(tmp_path, {"a": claim}, {"a": (2, "supported")}, {"a": range(5)})
    assert read_look_ledger(tmp_path).list_seeds(claim) == [2]


def test_claims_of_a_union_are_found_by_their_sweep(tmp_path: Path) -> None:
    record_looks(
        tmp_path,
        {f"size/{REACHES.id}": REACHES},
        {f"size/{REACHES.id}": (3, "refuted")},
        {f"size/{REACHES.id}": range(4)},
    )
    ledger = read_look_ledger(tmp_path)
    assert ledger.list_seeds(REACHES, "size/") == [3] and ledger.list_seeds(REACHES) == []


def test_looks_at_another_claim_of_the_same_name_do_not_count(tmp_path: Path) -> None:
    record_looks(tmp_path, {REACHES.id: REACHES}, {REACHES.id: (3, "refuted")}, {REACHES.id: range(4)})
    assert read_look_ledger(tmp_path).list_seeds(REACHES.model_copy(update={"margin": 0.1})) == []


@pytest.mark.parametrize("content", [{}, {"looks": 3}, {"looks": [{"id": "a"}]}, {"looks": ["a"]}], ids=str)
def test_a_damaged_ledger_is_an_error(tmp_path: Path, content: dict[str, object]) -> None:
    write_json(tmp_path / LOOKS_FILE, content)
    with pytest.raises(StoreError, match=r"looks\.json"):
        read_look_ledger(tmp_path)


def test_a_look_on_other_seeds_is_another_look(tmp_path: Path) -> None:
    for seeds in ([0, 1, 2, 3], [3, 2, 1, 0], [0, 1]):
        record_looks(tmp_path, {REACHES.id: REACHES}, {REACHES.id: (2, "refuted")}, {REACHES.id: seeds})
    ledger = read_look_ledger(tmp_path)
    assert [entry.seeds for entry in ledger.entries] == [(0, 1), (3, 2)]
    assert ledger.list_other_seeds(REACHES, [0, 1, 2, 3]) == [(3, 2)]
    assert ledger.list_other_seeds(REACHES, [3, 2, 1, 0]) == [(0, 1)]


def test_other_looks_do_not_undo_those_taken(tmp_path: Path) -> None:
    claim = REACHES.model_copy(update={"looks": [2, 3, 4]})
    record_looks(tmp_path, {claim.id: claim}, {claim.id: (4, "inconclusive")}, {claim.id: range(5)})
    changed = claim.model_copy(update={"looks": [2, 3, 5]})
    assert read_look_ledger(tmp_path).list_seeds(changed) == [4]
    assert read_look_ledger(tmp_path).list_seeds(REACHES) == [4]


def test_looks_of_earlier_versions_are_read(tmp_path: Path) -> None:
    """They hash the looks as well, and have no seeds."""
    claim = REACHES.model_copy(update={"looks": [2, 4]})
    entry = {"id": claim.id, "sha256": hash_claim(claim), "n_seeds": 2, "verdict": "refuted", "taken": "2026-01-01"}
    write_json(tmp_path / LOOKS_FILE, {"looks": [entry]})
    record_looks(tmp_path, {claim.id: claim}, {claim.id: (2, "refuted")}, {claim.id: range(4)})
    ledger = read_look_ledger(tmp_path)
    assert len(ledger.entries) == 1 and ledger.list_seeds(claim) == [2]
    assert ledger.list_other_seeds(claim, range(4)) == []

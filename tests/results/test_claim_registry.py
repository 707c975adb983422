"""When claims were registered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeper.config import Claim
from sweeper.errors import StoreError
from sweeper.results.claim_registry import (
    CLAIMS_FILE,
    NOT_RECORDED,
    Registration,
    hash_claim,
    read_claim_registry,
    register_claims,
)
from sweeper.storage import read_json, write_json


def make_claim(name: str = "enough", **changes: object) -> Claim:
    fields = {"kind": "no-gain-beyond", "axis": "num_train_epochs", "candidate": 1, "margin": 0.05}
    return Claim.model_validate({"id": name, "text": "One epoch is enough.", **fields, **changes})


def register(folder: Path, *claims: Claim, finished: int | None = 0, **options: object) -> list[str]:
    new = register_claims(folder, claims, lambda: (finished, 8), **options)  # type: ignore[arg-type]
    return [entry.id for entry in new]


def find_label(folder: Path, claim: Claim) -> str:
    return read_claim_registry(folder, has_run=True).find(claim).label


def test_claim_registered_before_the_first_result_has_no_label(tmp_path: Path) -> None:
    assert register(tmp_path, make_claim()) == ["enough"]
    found = read_claim_registry(tmp_path, has_run=True).find(make_claim())
    assert found == Registration("", False, found.registered, hash_claim(make_claim()))
    assert found.registered is not None
    assert found.registered.endswith("+00:00")


def test_claims_are_written_once(tmp_path: Path) -> None:
    register(tmp_path, make_claim())
    content = (tmp_path / CLAIMS_FILE).read_bytes()
    assert register(tmp_path, make_claim(), finished=8) == []
    assert (tmp_path / CLAIMS_FILE).read_bytes() == content
    assert find_label(tmp_path, make_claim()) == ""


def test_late_claims_are_labeled_as_added_or_changed(tmp_path: Path) -> None:
    register(tmp_path, make_claim())
    late = make_claim("other"), make_claim(margin=0.5)
    assert register(tmp_path, *late, finished=8) == ["other", "enough"]
    assert find_label(tmp_path, late[0]) == "added after 8 of 8 trials had finished"
    assert find_label(tmp_path, late[1]) == "changed after 8 of 8 trials had finished"
    assert find_label(tmp_path, make_claim()) == ""  # as it was registered first


def test_claim_changed_before_any_result_has_no_label(tmp_path: Path) -> None:
    register(tmp_path, make_claim())
    register(tmp_path, make_claim(margin=0.1))
    assert find_label(tmp_path, make_claim(margin=0.1)) == ""


def test_another_wording_is_the_same_claim(tmp_path: Path) -> None:
    register(tmp_path, make_claim())
    assert register(tmp_path, make_claim(text="One epoch suffices."), finished=8) == []
    assert find_label(tmp_path, make_claim(text="One epoch suffices.")) == ""


def test_withdrawn_claims_are_listed(tmp_path: Path) -> None:
    register(tmp_path, make_claim(), make_claim("other"))
    assert read_claim_registry(tmp_path, has_run=True).list_withdrawn([make_claim(margin=0.1)]) == ["other"]


def test_claim_that_is_in_no_registry(tmp_path: Path) -> None:
    unregistered = read_claim_registry(tmp_path, has_run=False).find(make_claim())
    assert unregistered == Registration("not registered before the run", is_late=True)
    older = read_claim_registry(tmp_path, has_run=True, was_run_by_older_version=True)
    assert older.find(make_claim()) == Registration(NOT_RECORDED, is_late=False)
    lost = read_claim_registry(tmp_path, has_run=True).find(make_claim())
    assert lost.is_late and "is missing" in lost.label
    register(tmp_path, make_claim("other"), finished=None)
    assert find_label(tmp_path, make_claim("other")) == NOT_RECORDED


def test_sweep_of_a_union_keeps_the_registration_of_its_own_study(tmp_path: Path) -> None:
    own, union = tmp_path / "own", tmp_path / "union"
    register(own, make_claim())
    names = register(union, make_claim(), make_claim("other"), finished=8, prefix="own/", own_folder=own)
    assert names == ["own/enough", "own/other"]
    registry = read_claim_registry(union, has_run=True)
    assert registry.find(make_claim(), "own/").label == ""
    assert registry.find(make_claim("other"), "own/").label == "added after 8 of 8 trials had finished"


@pytest.mark.parametrize("damage", [[], {}, {"claims": [{"id": "enough"}]}, {"claims": 3}])
def test_damaged_registry_makes_every_claim_late(tmp_path: Path, damage: object) -> None:
    (tmp_path / CLAIMS_FILE).write_text(json.dumps(damage))
    found = read_claim_registry(tmp_path, has_run=True).find(make_claim())
    assert found.is_late
    assert found.label.startswith("registration cannot be read: ")
    with pytest.raises(StoreError):
        register(tmp_path, make_claim())


def test_edited_registration_is_refused(tmp_path: Path) -> None:
    register(tmp_path, make_claim())
    document = read_json(tmp_path / CLAIMS_FILE)
    document["claims"][0]["claim"]["margin"] = 0.5
    write_json(tmp_path / CLAIMS_FILE, document)
    assert "does not have the hash of its registration" in find_label(tmp_path, make_claim())

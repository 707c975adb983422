from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from sweeper import report
from sweeper.api import Study, load_sweep, open_study
from sweeper.planning.planner import plan_sweep
from sweeper.results.claim_registry import ClaimRegistry
from sweeper.results.study_tables import collect_part_studies

pytestmark = pytest.mark.slow
PINNED = Path(__file__).resolve().parents[1] / "pinned"


@pytest.fixture(scope="module")
def combined(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Two sweeps over the same finished trials: one of them with its claim under another error level."""
    folder = tmp_path_factory.mktemp("combined")
    store = open_study("tiny", shutil.copytree(PINNED / "store", folder / "store")).store
    text = (PINNED / "tiny.yaml").read_text()
    (folder / "tiny.yaml").write_text(text)
    (folder / "strict.yaml").write_text(
        text.replace("name: tiny", "name: strict").replace("[single-epoch]", "[{extends: single-epoch, alpha: 0.01}]")
    )
    # As version 0.1.0 left it after a run, without a registry of claims.
    (folder / "store" / "studies" / "both").mkdir()
    shutil.copy(folder / "store" / "studies" / "tiny" / "manifest.json", folder / "store" / "studies" / "both")
    (folder / "both.yaml").write_text("name: both\nquestion: Both?\nsweeps: [tiny, strict]\n")
    return Study(plan_sweep(load_sweep(folder / "both.yaml"), store), store)


def test_claims_of_all_parts_are_one_family(combined: Study) -> None:
    document, parts = report.build_combined_report(
        combined.tables, collect_part_studies(combined.tables, combined.store)
    )
    assert [(claim["part"], claim["id"]) for claim in document["claims"]] == [
        ("tiny", "tiny/single-epoch"),
        ("strict", "strict/single-epoch"),
    ]
    assert list(parts) == ["tiny", "strict"]
    for claim in document["claims"]:
        assert claim["p_adjusted"] is None or claim["p_adjusted"] >= claim["p"]  # type: ignore[operator]
    assert document["study"]["planned"] == 4 and document["study"]["asked"] == 8


def test_each_part_has_its_own_page(combined: Study, tmp_path: Path) -> None:
    written = combined.report(tmp_path / "report.html")
    pages = [part["page"] for part in written.document["parts"]]  # type: ignore[typeddict-item]
    assert pages == ["report-tiny.html", "report-strict.html"]
    for page in pages:
        assert f'href="{page}' in written.path.read_text()
        own = json.loads((tmp_path / page).with_suffix(".json").read_text())
        assert own["commands"][-1] == "sweeper report both"


def test_verdicts_of_a_combined_study_are_named_by_their_part(combined: Study) -> None:
    assert [verdict.id for verdict in combined.verdicts] == ["tiny/single-epoch", "strict/single-epoch"]
    assert combined.verdict("strict/single-epoch").alpha == 0.01
    assert combined.part_statuses == {"tiny": {"COMPLETE": 4}, "strict": {"COMPLETE": 4}}


def test_claims_of_a_union_that_has_not_run_keep_their_own_registrations(combined: Study) -> None:
    tables = replace(combined.tables, runs=[], claim_registry=ClaimRegistry())
    document, _ = report.build_combined_report(tables, collect_part_studies(combined.tables, combined.store))
    assert [claim["id"] for claim in document["claims"]] == ["tiny/single-epoch"]
    [late] = document["later_claims"]
    assert (late["id"], late["registration"]["label"]) == ("strict/single-epoch", "not registered before the run")

"""`sweeper data`: inspect, prepare, export and audit training data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import document, sweeper

from sweeper.toolworld import WorldConfig, build_world, export_world

pytestmark = pytest.mark.slow  # every one starts processes

SHORT = ("--model", "opt-tiny-32")


def test_prepare_export_and_leakage(tmp_path: Path) -> None:
    export_world(build_world(WorldConfig(train_queries=9, validation_queries=3, test_queries_per_subset=1)), tmp_path)
    asked = ("data", "prepare", str(tmp_path / "answer"), "--model", "opt-tiny-32-long", "--max-length", "500")
    asked += ("--fit", "keep-target", "--storage", str(tmp_path / "store"))
    manifest = document(*asked)
    assert manifest["fit_policy"] == "keep-target"
    assert manifest["fit"]["prompts_cut"] == manifest["truncated"] > 0
    assert Path(manifest["directory"], "rows.arrow").is_file()
    assert len(manifest["source"]["sha256"]) == 64
    assert "licence" in manifest
    assert document(*asked) == manifest
    assert "license" in sweeper(*asked).stdout
    out = tmp_path / "released.json"
    written = document("data", "export", str(tmp_path / "answer"), "--format", "toolllama", "--out", str(out))
    assert written["conversations"] == manifest["read"] == len(json.loads(out.read_text()))
    again = document("data", "inspect", str(out), "--model", "opt-tiny-32-long")
    assert (again["source"]["kind"], again["source"]["files"]) == ("toolllama", 1)
    excluded = tmp_path / "exclude.tsv"
    audit = ("data", "leakage", str(out), str(tmp_path), "--threshold", "0.3", "--out", str(excluded))
    found = document(*audit)
    assert [row["queries"] for row in found["subsets"]] == [1] * 6
    assert len(excluded.read_text().splitlines()) == len(found["exclude"])
    assert "G3_instruction" in sweeper(*audit).stdout
    sweeper("data", "leakage", str(out), str(tmp_path / "none"), code=2)


def test_inspect_an_export_and_the_real_sample(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    export_world(build_world(WorldConfig(train_queries=9, validation_queries=3, test_queries_per_subset=1)), tmp_path)
    found = document("data", "inspect", str(tmp_path / "answer"), "--model", "opt-tiny-32-long")
    assert (found["valid_queries"], found["max_length"], found["source"]["kind"]) == (9, 2048, "answers")
    assert found["examples"] > 9
    assert {"p50", "p90", "max"} == set(found["prompt_tokens"]) == set(found["target_tokens"])
    assert set(found["fit"]) == {"strict", "keep-target", "compact-apis", "truncate"}
    assert document("data", "inspect", str(tmp_path / "answer"), "--model", "opt-tiny-32")["max_length"] == 512
    refused = sweeper("data", "inspect", str(tmp_path / "answer"), *SHORT, "--max-length", "513", code=2)
    assert "513" in refused.stderr
    assert "512" in refused.stderr
    longer = ("--max-length", "513", "--extend-positions", "--fit", "compact-apis")
    assert document("data", "inspect", str(tmp_path / "answer"), *SHORT, *longer)["fit_policy"] == "compact-apis"
    sweeper("data", "inspect", "toolworld", *SHORT, "--fit", "sometimes", code=2)
    sweeper("data", "inspect", str(tmp_path / "nothing"), "--model", "opt-tiny-32", code=2)
    sweeper("data", "inspect", "toolworld", "--model", "opt-tiny-33", code=2)
    real = request.getfixturevalue("real_toolbench")
    assert document("data", "inspect", str(real / "answer"), "--model", "opt-tiny-32-long")["valid_queries"] == 6

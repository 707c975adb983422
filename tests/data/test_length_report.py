"""Token lengths of a source, and what each length policy keeps of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_data import MODEL, make_toolbench_spec

from sweeper.config import ModelSpec
from sweeper.data import prepare_data, report_lengths
from sweeper.data.length_policies.base import LENGTH_POLICIES
from sweeper.errors import DataError
from sweeper.storage import to_strict_json

LONG_MODEL = ModelSpec(name="long", config={"hidden_size": 8, "max_position_embeddings": 4096})


def test_report_lengths_and_prepare_data_count_too_long_examples(tmp_path: Path, exported: Path) -> None:
    report = report_lengths(make_toolbench_spec(exported), MODEL).to_document()
    assert report["dropped"] == {}
    shorter = make_toolbench_spec(exported, max_length=int(report["prompt_tokens"]["p50"]))
    lengths = report_lengths(shorter, MODEL).to_document()
    assert lengths["examples"] + lengths["dropped"]["too-long"] == report["examples"]
    assert 0 < lengths["examples"] < report["examples"]
    assert lengths["truncated"] == 0
    manifest = prepare_data(shorter, MODEL, tmp_path).manifest
    assert (manifest.examples, manifest.dropped) == (lengths["examples"], lengths["dropped"])
    with pytest.raises(DataError, match="too-long"):
        prepare_data(make_toolbench_spec(exported, max_length=5), MODEL, tmp_path)
    assert len(list((tmp_path / "data").glob("*/manifest.json"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("policy", LENGTH_POLICIES.names)
def test_report_lengths_agrees_with_the_manifest_under_every_policy(
    tmp_path: Path, exported: Path, policy: str
) -> None:
    limit = int(report_lengths(make_toolbench_spec(exported), MODEL).to_document()["prompt_tokens"]["p50"])
    spec = make_toolbench_spec(exported, fit=policy, max_length=limit)
    manifest, report = prepare_data(spec, MODEL, tmp_path).manifest, report_lengths(spec, MODEL).to_document()
    assert manifest.fit.model_dump() == json.loads(json.dumps(to_strict_json(report["fit"][policy])))
    assert manifest.source.model_dump() == report["source"]
    assert max(prepare_data(spec, MODEL, tmp_path).load_split("train")["length"]) <= limit
    kept = report["fit"][policy]
    assert kept["examples"] + sum(kept["dropped"].values()) == report["fit"]["keep-target"]["examples"]


def test_report_lengths_counts_the_real_sample(real_toolbench: Path) -> None:
    report = report_lengths(make_toolbench_spec(real_toolbench / "answer", max_length=4096), LONG_MODEL).to_document()
    assert (report["fit"]["keep-target"]["examples"], report["valid_queries"], report["invalid_queries"]) == (24, 6, 1)
    assert report["dropped"]["no-target"] == 1
    assert report["prompt_tokens"]["max"] > report["target_tokens"]["max"] > 0
    strict, compact, cut = (report["fit"][name] for name in ("strict", "compact-apis", "keep-target"))
    assert strict["examples"] < compact["examples"] <= cut["examples"]
    assert strict["target_tokens"] < compact["target_tokens"] <= cut["target_tokens"]

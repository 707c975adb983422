from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.api import check_contamination, export_data, inspect_data, load_specs, prepare_data
from sweeper.errors import ConfigError


def test_rows_fit_the_positions_of_the_model() -> None:
    data, model = load_specs("toolworld", "opt-tiny-32")
    assert model.name == "opt-tiny-32"
    assert data.max_length <= 256
    assert load_specs("toolworld", "opt-tiny-32", max_length=64)[0].max_length == 64
    assert load_specs("toolworld", "opt-tiny-32", length_policy="truncate")[0].fit == "truncate"


def test_unknown_policy_and_source_are_refused() -> None:
    with pytest.raises(ConfigError, match="known: compact-apis, keep-target, strict, truncate"):
        load_specs("toolworld", "opt-tiny-32", length_policy="cut")
    with pytest.raises(ConfigError, match="did you mean `toolworld`"):
        load_specs("toolwrld", "opt-tiny-32")


@pytest.mark.slow
def test_prepared_data_are_what_was_inspected(tmp_path: Path) -> None:
    data, model = load_specs("toolworld", "opt-tiny-32")
    shares: list[float] = []
    report = inspect_data(data, model, shares.append).to_document()
    prepared = prepare_data(data, model, tmp_path).manifest.to_document()
    assert shares and shares[-1] == 1.0
    assert report["fit"][data.fit]["examples"] == prepared["examples"]


@pytest.mark.slow
def test_exported_data_and_the_queries_to_exclude_are_written(tmp_path: Path) -> None:
    summary = export_data("toolworld", tmp_path / "world.json")
    assert summary.conversations > 0 and (tmp_path / "world.json").is_file()
    audit = check_contamination("toolworld", "toolworld", out=tmp_path / "exclude.tsv")
    assert len((tmp_path / "exclude.tsv").read_text().splitlines()) == len(audit.exclude) > 0

"""Configurations of `configs/` by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.config import (
    Recipe,
    find_hardware_spec,
    load_data_spec,
    load_evaluation_spec,
    load_hardware_specs,
    load_model_spec,
)
from sweeper.config.library import ConfigLibrary
from sweeper.errors import ConfigError, UsageError


def test_load_model_spec_refuses_an_unknown_name() -> None:
    assert load_model_spec("opt-125m").name == "opt-125m"
    with pytest.raises(ConfigError) as failure:
        load_model_spec("opt-124m")
    assert (failure.value.where, failure.value.requested) == ("--model", "opt-124m")
    assert failure.value.found == "unknown name: not in configs/models/"
    assert failure.value.hint.startswith("did you mean `opt-125m`?")


def test_load_data_spec_reads_a_named_data_set_with_fields_over_it() -> None:
    assert load_data_spec("toolworld", max_length=77).max_length == 77
    with pytest.raises(ConfigError, match="max_lenght"):
        load_data_spec("toolworld", max_lenght=77)


def test_load_data_spec_refuses_an_empty_name() -> None:
    with pytest.raises(ConfigError, match="known: toolbench, toolworld"):
        load_data_spec("")


@pytest.mark.parametrize("source", ["someone/tool-data", "missing/answers.json"])
def test_load_data_spec_takes_a_hub_id_or_path_as_toolbench_data(source: str) -> None:
    spec = load_data_spec(source)
    assert (spec.name, spec.source, spec.path) == ("toolbench", "toolbench", source)


def test_load_data_spec_takes_an_existing_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "answers").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_data_spec("answers").path == "answers"


def test_load_data_spec_refuses_a_mistyped_name() -> None:
    with pytest.raises(ConfigError) as failure:
        load_data_spec("toolwrold")
    assert failure.value.requested == "toolwrold"
    assert failure.value.hint.startswith("did you mean `toolworld`?")


def test_load_evaluation_spec_takes_a_name_or_a_folder_of_queries(tmp_path: Path) -> None:
    assert load_evaluation_spec("toolworld", ["evaluation.max_steps=3"], batch_size=5).max_steps == 3
    assert load_evaluation_spec(str(tmp_path)).queries == str(tmp_path)
    with pytest.raises(ConfigError, match="did you mean `toolworld`"):
        load_evaluation_spec("toolwrold")


def test_find_hardware_spec_refuses_an_unknown_name() -> None:
    known = load_hardware_specs()
    assert find_hardware_spec("a10g", known).name == "a10g"
    with pytest.raises(UsageError, match="did you mean `a10g`"):
        find_hardware_spec("a10", known)


def test_library_prefers_the_folder_of_the_sweep(tmp_path: Path) -> None:
    (tmp_path / "configs/recipes").mkdir(parents=True)
    shipped = ConfigLibrary().find_file(Recipe, "canonical", "here")
    own = tmp_path / "configs/recipes/canonical.yaml"
    own.write_text(shipped.read_text().replace("learning_rate: 5.0e-5", "learning_rate: 0.5"))
    library = ConfigLibrary(tmp_path / "sweep.yaml")
    assert library.find_file(Recipe, "canonical", "here") == own
    assert set(ConfigLibrary().list_names(Recipe)) <= set(library.list_names(Recipe))

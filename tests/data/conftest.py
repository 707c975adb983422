"""Generated worlds on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_data import SETTINGS, make_toolbench_spec

from sweeper.data.export import export_toolllama
from sweeper.toolworld import WorldConfig, build_world, export_world


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Answers of a small world."""
    folder = tmp_path_factory.mktemp("export")
    export_world(build_world(WorldConfig(**SETTINGS)), folder)
    return folder / "answer"


@pytest.fixture(scope="session")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Answers of an even smaller world."""
    folder = tmp_path_factory.mktemp("answers")
    export_world(build_world(WorldConfig(train_queries=12, validation_queries=4, test_queries_per_subset=2)), folder)
    return folder / "answer"


@pytest.fixture(scope="session")
def released(answers: Path) -> Path:
    """The same answers in ToolLLaMA's released form."""
    out = answers.parent / "toolllama.json"
    export_toolllama(make_toolbench_spec(answers), out)
    return out

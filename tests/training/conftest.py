"""Prepared data, and uninterrupted runs to compare others with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tiny_trial import DATA, MODEL, read_history, train_tiny

from sweeper import data
from sweeper.storage import Store
from sweeper.training import TrialRecord


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> data.PreparedData:
    """The data of the tiny trial."""
    return data.prepare_data(DATA, MODEL, tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def uninterrupted_run(
    prepared: data.PreparedData, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrialRecord, pd.DataFrame]:
    """Record and history of the tiny trial."""
    root = tmp_path_factory.mktemp("whole")
    return train_tiny(prepared, root), read_history(root)


@pytest.fixture(scope="session")
def store_with_data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, data.PreparedData]:
    """A store and the prepared data in it."""
    from tiny_engines import NO_DROPOUT

    root = tmp_path_factory.mktemp("store")
    return root, data.prepare_data(DATA, NO_DROPOUT, root)


@pytest.fixture(scope="session")
def single_worker_run(store_with_data: tuple[Path, data.PreparedData], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Record, history and weights of the trial without dropout, trained by one worker."""
    from safetensors.torch import load_file
    from tiny_engines import make_engine_spec, train_with_engine

    _, prepared = store_with_data
    root = tmp_path_factory.mktemp("alone")
    record, history = train_with_engine(root, prepared, make_engine_spec("single", 1))
    return record, history, load_file(Store(root).trial_folder("f") / "model" / "model.safetensors")

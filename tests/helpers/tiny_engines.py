"""The shipped engines, and the tiny trial with each of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from forked_workers import make_forked_launcher
from tiny_trial import CONFIG, DATA, RECIPE, ignore_progress, read_history

from sweeper.config import EngineSpec, ModelSpec, Recipe, Runtime, TrialSpec
from sweeper.data import PreparedData
from sweeper.storage import Store
from sweeper.training import TrialJob, TrialRecord, train_trial
from sweeper.training.torchrun import make_torchrun_launcher

NO_DROPOUT = ModelSpec(name="tiny", config=CONFIG | {"dropout": 0.0, "num_hidden_layers": 2})
ENGINES = {
    "single": EngineSpec(name="single"),
    "ddp": EngineSpec(name="ddp", distributed=True),
    "zero2": EngineSpec(name="zero2", distributed=True, zero_stage=2),
    "zero3": EngineSpec(name="zero3", distributed=True, zero_stage=3),
    "zero3-offload": EngineSpec(name="zero3-offload", distributed=True, zero_stage=3, offload=True),
}


def make_engine_spec(engine: str, workers: int, **recipe: Any) -> TrialSpec:
    """Make a trial without dropout, so that any number of workers computes the same."""
    return TrialSpec(
        model=NO_DROPOUT,
        data=DATA,
        recipe=Recipe.model_validate(RECIPE.model_dump() | {"gradient_accumulation_steps": 2} | recipe),
        seed=3,
        runtime=Runtime(engine=engine, workers=workers),
        engine=ENGINES[engine],
    )


def train_with_engine(root: Path, prepared: PreparedData, spec: TrialSpec) -> tuple[TrialRecord, pd.DataFrame]:
    """Train a trial as `f` in the store at `root`, with as many workers as it has; return record and history."""
    store, job, launch = Store(root), TrialJob(spec, "f", prepared.fingerprint), None
    if spec.engine is not None and spec.engine.zero_stage:
        launch = make_forked_launcher(job, store)
    elif spec.engine is not None and spec.engine.distributed:
        launch = make_torchrun_launcher(job, store, ignore_progress)
    record = train_trial(job, lambda: prepared, store, ignore_progress, launch)
    assert record.status == "COMPLETE", record.failure
    return record, read_history(store)

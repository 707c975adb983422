"""The smallest trial that trains, and what it leaves on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.config import Branch, DataSpec, ModelSpec, Recipe, Rungs, Runtime, TrialSpec, find_sweep, load_sweep
from sweeper.data import DataSize, PreparedData
from sweeper.storage import Store
from sweeper.training import ProgressListener, Pruner, TrialJob, TrialRecord, train_trial
from sweeper.training.schedule import TrainingSchedule, make_schedule

if TYPE_CHECKING:
    import pandas as pd

CONFIG = {
    "hidden_size": 16,
    "word_embed_proj_dim": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "ffn_dim": 32,
    "max_position_embeddings": 300,
    "dropout": 0.1,
}
MODEL = ModelSpec(name="tiny", config=CONFIG)
DATA = DataSpec(
    name="w",
    source="toolworld",
    toolworld={"train_queries": 60, "validation_queries": 8, "test_queries_per_subset": 2},
    api_format="signature",
    fold_steps=True,
    max_length=300,
    vocab_size=320,
)
RECIPE = load_sweep(find_sweep("quickstart")).recipe.model_copy(
    update={"learning_rate": 0.01, "warmup_steps": 3, "num_train_epochs": 2.0}
)
EIGHT_STEPS = {"decay_fraction": 0.25}
"""An epoch is 8 optimizer steps, each logged: a run of one decays from step 6 on."""
SIXTY_STEPS = {"decay_fraction": 0.23, "per_device_train_batch_size": 1}
"""An epoch is 60 steps, every third logged: it decays from step 46 on, which is not."""
CHANGED = [{"step": 4, "learning_rate": 0.02, "max_grad_norm": 0.05}, {"step": 10, "weight_decay": 0.1}]
"""Changes during a run of 16 steps, 8 an epoch."""


def make_test_schedule(recipe: Recipe, steps: int = 10) -> TrainingSchedule:
    """Make a schedule of `steps` optimizer steps, for a trainer that is built by hand."""
    spec = TrialSpec(
        model=MODEL,
        data=DATA,
        recipe=recipe.model_copy(update={"max_steps": steps, "train_flops_budget": None}),
        seed=0,
        runtime=Runtime(),
    )
    return make_schedule(spec, DataSize(rows=60, tokens=6000, vocab_size=320))


def ignore_progress(progress: object) -> None:
    """Discard a report."""


def make_wsd_recipe(epochs: float, **fields: Any) -> Recipe:
    """Make a recipe with a final decay (warm-up, stable, decay)."""
    schedule = {"lr_scheduler_type": "warmup_stable_decay", "num_train_epochs": epochs}
    return Recipe.model_validate(RECIPE.model_dump() | schedule | fields)


def make_wsd_spec(epochs: float, trunk: str = "", points: tuple[float, ...] = (), **fields: Any) -> TrialSpec:
    """Make a trial with a final decay: a trunk with branch points, a branch of a trunk, or neither."""
    return TrialSpec(
        model=MODEL,
        data=DATA,
        recipe=make_wsd_recipe(epochs, **fields),
        seed=3,
        runtime=Runtime(),
        branch=Branch(trunk=trunk) if trunk else None,
        branch_points=points,
    )


def make_changing_spec(
    changes: list[dict[str, Any]], trunk: str = "", step: int | None = None, **fields: Any
) -> TrialSpec:
    """Make a trial whose hyperparameters change during the run; with `trunk`, one that branches from its `step`."""
    recipe = Recipe.model_validate(RECIPE.model_dump() | {"changes": changes} | fields)
    branch = Branch(trunk=trunk, step=step) if trunk else None
    return TrialSpec(model=MODEL, data=DATA, recipe=recipe, seed=3, runtime=Runtime(), branch=branch)


def train_spec(
    prepared: PreparedData,
    store: Store,
    name: str,
    spec: TrialSpec,
    on_progress: ProgressListener = ignore_progress,
    *,
    rung_steps: int = 0,
) -> TrialRecord:
    """Train a trial under a name; with `rung_steps`, a search measures it at their multiples and never stops it."""
    pruner = Pruner(Rungs(first=rung_steps), "pbt", lambda resource, loss: False) if rung_steps else None
    job = TrialJob(spec, name, prepared.fingerprint)
    return train_trial(job, lambda: prepared, store, on_progress, pruner=pruner)


def train_tiny(
    prepared: PreparedData,
    root: Path,
    on_progress: ProgressListener = ignore_progress,
    model: ModelSpec = MODEL,
    data_spec: DataSpec = DATA,
    **recipe: Any,
) -> TrialRecord:
    """Train the tiny trial as `f` in the store at `root`."""
    spec = TrialSpec(
        model=model,
        data=data_spec,
        recipe=Recipe.model_validate(RECIPE.model_dump() | recipe),
        seed=3,
        runtime=Runtime(),
    )
    return train_spec(prepared, Store(root), "f", spec, on_progress)


def read_history(where: Store | Path, name: str = "f") -> pd.DataFrame:
    """Read a trial's history from a store, or from the one at a path."""
    import pandas as pd

    store = where if isinstance(where, Store) else Store(where)
    return pd.read_parquet(store.trial_folder(name) / "history.parquet")


def read_weights(store: Store, name: str) -> bytes:
    """Read the file of a trial's final weights."""
    return (store.trial_folder(name) / "model" / "model.safetensors").read_bytes()

"""The smallest trial that trains: shared by this folder's tests."""

from __future__ import annotations

from sweeper.config import DataSpec, ModelSpec, Recipe, Runtime, TrialSpec, find_sweep, load_sweep
from sweeper.data import DataSize
from sweeper.training.schedule import TrainingSchedule, make_schedule

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
RECIPE = load_sweep(find_sweep("quickstart")).recipe.model_copy(update={"warmup_steps": 3, "num_train_epochs": 2.0})


def make_test_schedule(recipe: Recipe, steps: int = 10) -> TrainingSchedule:
    """A schedule of so many steps, for a trainer that is built by hand."""
    spec = TrialSpec(
        model=MODEL,
        data=DATA,
        recipe=recipe.model_copy(update={"max_steps": steps, "train_flops_budget": None}),
        seed=0,
        runtime=Runtime(),
    )
    return make_schedule(spec, DataSize(rows=60, tokens=6000, vocab_size=320))

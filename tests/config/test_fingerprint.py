"""Equal fingerprints mean the same trial."""

from __future__ import annotations

from typing import Any

import pytest

from sweeper.config import Recipe, compute_trial_fingerprint, find_sweep, load_sweep

RECIPE = load_sweep(find_sweep("quickstart")).recipe


def identity(recipe: Recipe = RECIPE, seed: int = 0, weights: str = "w", data: str = "d") -> str:
    return compute_trial_fingerprint(recipe, seed, weights_fingerprint=weights, data_fingerprint=data)


def with_(**fields: Any) -> Recipe:
    return RECIPE.model_copy(update=fields)


def test_fingerprint_ignores_where_and_how_a_trial_runs() -> None:
    split = with_(per_device_train_batch_size=4, gradient_accumulation_steps=2)
    assert split.effective_batch_size == RECIPE.effective_batch_size
    assert identity(split) == identity()
    assert identity(with_(dataloader_num_workers=4, dataloader_pin_memory=True)) == identity()


@pytest.mark.parametrize(
    "fields",
    [
        {"learning_rate": 1e-3},
        {"num_train_epochs": 2},
        {"max_grad_norm": None},
        {"per_device_train_batch_size": 4},
        {"warmup_steps": 1},
        {"weight_decay": 0.0},
        {"lr_scheduler_type": "cosine"},
        {"precision": "bf16"},
        {"adam_beta2": 0.95},
        {"optim": "adamw_torch_fused"},
    ],
)
def test_fingerprint_depends_on_every_hyperparameter(fields: dict[str, Any]) -> None:
    assert identity(with_(**fields)) != identity()


def test_fingerprint_depends_on_seed_weights_and_data() -> None:
    assert len({identity(), identity(seed=1), identity(weights="x"), identity(data="x")}) == 4


@pytest.mark.parametrize(
    ("sweep", "fields", "seed", "known"),
    [
        ("quickstart", {}, 0, "2e0b6ddead5f4200"),
        ("canonical", {}, 0, "6382bfef83b83698"),
        ("canonical", {"max_steps": 7, "lr_scheduler_type": "cosine"}, 3, "c257138a64364543"),
    ],
)
def test_fingerprint_is_stable_when_recipes_get_new_fields(
    sweep: str, fields: dict[str, Any], seed: int, known: str
) -> None:
    """These were computed before recipes had `decay_fraction`: what is in a store stays in use."""
    recipe = load_sweep(find_sweep(sweep)).recipe.model_copy(update=fields)
    assert identity(recipe, seed=seed) == known

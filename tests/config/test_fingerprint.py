"""Equal fingerprints mean the same trial."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from tiny_engines import ENGINES, make_engine_spec
from tiny_trial import CHANGED, EIGHT_STEPS, make_changing_spec, make_wsd_spec
from tiny_trial import RECIPE as TINY_RECIPE

from sweeper.config import Recipe, TrialSpec, compute_trial_fingerprint, find_sweep, load_sweep

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
        ("quickstart", {"learning_rate": 0.01}, 0, "2e0b6ddead5f4200"),
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


def test_fingerprint_depends_on_trunk_and_branch_points() -> None:
    def identity(spec: TrialSpec) -> str:
        return compute_trial_fingerprint(
            spec.recipe,
            0,
            weights_fingerprint="w",
            data_fingerprint="d",
            branch=spec.branch,
            branch_points=spec.branch_points,
        )

    specs = [
        make_wsd_spec(2, **EIGHT_STEPS),
        make_wsd_spec(2, trunk="t", **EIGHT_STEPS),
        make_wsd_spec(2, trunk="u", **EIGHT_STEPS),
        make_wsd_spec(2, points=(1,), **EIGHT_STEPS),
        make_wsd_spec(2, points=(1, 1.5), **EIGHT_STEPS),
        make_wsd_spec(2, decay_fraction=0.3),
    ]
    assert len({identity(spec) for spec in specs}) == len(specs)


def test_fingerprint_depends_on_changes_and_not_on_the_branch_that_has_them() -> None:
    def identity(trial: TrialSpec) -> str:
        return compute_trial_fingerprint(
            trial.recipe, 0, weights_fingerprint="w", data_fingerprint="d", branch=trial.branch
        )

    assert identity(make_changing_spec([])) == compute_trial_fingerprint(
        TINY_RECIPE, 0, weights_fingerprint="w", data_fingerprint="d"
    )
    specs = [
        make_changing_spec([]),
        make_changing_spec(CHANGED),
        make_changing_spec(CHANGED[:1]),
        make_changing_spec([CHANGED[0] | {"weight_decay": TINY_RECIPE.weight_decay}]),
    ]
    assert len({identity(trial) for trial in specs}) == 4
    assert identity(make_changing_spec(CHANGED, "parent", 10)) == identity(make_changing_spec(CHANGED))
    assert identity(make_changing_spec(CHANGED, "parent")) != identity(make_changing_spec(CHANGED))
    assert "changes" not in TINY_RECIPE.model_dump()
    assert (
        Recipe.model_validate(make_changing_spec(CHANGED).recipe.model_dump(mode="json"))
        == make_changing_spec(CHANGED).recipe
    )


def test_fingerprint_depends_on_the_end_of_the_run() -> None:
    with pytest.raises(ValidationError, match="`max_steps` and `train_flops_budget`"):
        Recipe.model_validate(TINY_RECIPE.model_dump() | {"max_steps": 5, "train_flops_budget": 1e9})

    def identity(**fields: Any) -> str:
        return compute_trial_fingerprint(
            TINY_RECIPE.model_copy(update=fields), 0, weights_fingerprint="w", data_fingerprint="d"
        )

    ends = [{}, {"max_steps": 16}, {"max_steps": 17}, {"train_flops_budget": 1e9}, {"train_flops_budget": 2e9}]
    assert len({identity(**end) for end in ends}) == 5
    assert identity(num_train_epochs=1.0, max_steps=16) == identity(num_train_epochs=2.0, max_steps=16)


def test_fingerprint_depends_on_how_half_precision_holds_the_weights() -> None:
    """Weights in half precision change the loss by more than rounding does (`benchmarks/precision.py`)."""

    def identity(engine: str, precision: str) -> str:
        spec = make_engine_spec(engine, 1, precision=precision)
        return compute_trial_fingerprint(
            spec.recipe, 0, weights_fingerprint="w", data_fingerprint="d", half_weights=spec.holds_half_weights
        )

    assert len({identity(engine, "fp32") for engine in ENGINES}) == 1
    for precision in ("bf16", "fp16"):
        assert identity("single", precision) == identity("ddp", precision)
        zero = {identity(engine, precision) for engine in ("zero2", "zero3", "zero3-offload")}
        assert len(zero) == 1
        assert identity("single", precision) not in zero

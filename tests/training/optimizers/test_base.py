"""Every optimizer that a recipe can name is built by transformers with the recipe's values."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_trial import RECIPE

from sweeper.config import Recipe
from sweeper.training.optimizers.base import OPTIMIZERS


@pytest.mark.parametrize("name", OPTIMIZERS.names)
def test_read_returns_what_transformers_builds_from_request(name: str, tmp_path: Path) -> None:
    from transformers import Trainer, TrainingArguments

    changed = {"optim": name, "adam_beta1": 0.8, "adam_beta2": 0.97, "adam_epsilon": 1e-6}
    recipe = Recipe.model_validate(RECIPE.model_dump() | changed)
    optimizer = OPTIMIZERS.load(name)
    args = TrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, optim=optimizer.name, report_to="none", **optimizer.request(recipe)
    )
    optimizer_class, keywords = Trainer.get_optimizer_cls_and_kwargs(args)
    built = optimizer_class([torch.nn.Parameter(torch.ones(3))], **keywords)
    assert optimizer.read(built.param_groups[0]) == optimizer.request(recipe)
    assert optimizer.request(recipe) != optimizer.request(RECIPE), "the recipe's own values, not the defaults"


@pytest.mark.parametrize("name", OPTIMIZERS.names)
def test_transformers_accepts_the_name_of_every_optimizer(name: str) -> None:
    from transformers.training_args import OptimizerNames

    assert OptimizerNames(OPTIMIZERS.load(name).name).value == name


def test_only_the_requested_optimizer_is_recognized() -> None:
    weights = [torch.nn.Parameter(torch.ones(3))]
    built = [torch.optim.AdamW(weights), torch.optim.AdamW(weights, fused=True), torch.optim.SGD(weights)]
    for name, expected in (("adamw_torch", [True, False, False]), ("adamw_torch_fused", [False, True, False])):
        recognize = OPTIMIZERS.load(name).recognize
        assert [recognize(type(each).__name__, each.param_groups[0]) for each in built] == expected

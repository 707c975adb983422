"""The interface of optimizers: what the trainer needs to configure one and to read it back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sweeper.config import Recipe
from sweeper.registry import Registry

Setting = str | int | float | bool | None
"""Value of one setting of a run, as records store it."""


def _recognize_any(class_name: str, group: Mapping[str, Any]) -> bool:
    return True


@dataclass(frozen=True)
class Optimizer:
    """One optimizer: how a recipe configures it, and how to read back what it applies."""

    name: str
    """The name that `transformers.TrainingArguments.optim` has for it."""
    request: Callable[[Recipe], dict[str, Setting]]
    """Its own hyperparameters in a recipe, as `TrainingArguments` fields."""
    read: Callable[[Mapping[str, Any]], dict[str, Setting]]
    """The same, read from one of the optimizer's parameter groups."""
    recognize: Callable[[str, Mapping[str, Any]], bool] = _recognize_any
    """Whether an optimizer of this class name, with this parameter group, is the one that was requested."""


OPTIMIZERS: Registry[Optimizer] = Registry("optimizer", "training/optimizers", attribute="OPTIMIZER", separator="_")


def request_adam_settings(recipe: Recipe) -> dict[str, Setting]:
    """Return the moment decays and epsilon of the Adam family."""
    return {
        "adam_beta1": recipe.adam_beta1,
        "adam_beta2": recipe.adam_beta2,
        "adam_epsilon": recipe.adam_epsilon,
    }


def read_adam_settings(group: Mapping[str, Any]) -> dict[str, Setting]:
    """Read the moment decays and epsilon from a parameter group of the Adam family."""
    betas, epsilon = group["betas"], group["eps"]
    return {"adam_beta1": float(betas[0]), "adam_beta2": float(betas[1]), "adam_epsilon": float(epsilon)}

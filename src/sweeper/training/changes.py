"""What changes while a model trains: learning rate, clipping and weight decay, from the steps that the recipe names."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sweeper.config import Recipe, RuntimeTunable


class HyperparameterChangeCallback(TrainerCallback):
    """Sets what holds from a step on, before that step is taken. What was set is read back by `AppliedWatch`.

    A run that goes on from a checkpoint, its own or that of another trial with the same steps so far, finds in it what
    held before; what holds now is set once more, so that it does not matter whether it was trained in one go.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.segments = recipe.segments
        self._current_values: dict[RuntimeTunable, float | None] = {}

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """`global_step`: optimiser steps taken so far."""
        values = next(values for step, values in reversed(self.segments) if step <= state.global_step)
        if values == self._current_values or len(self.segments) == 1:
            return
        self._current_values = values
        scheduler, (decaying, *_) = kwargs["lr_scheduler"], kwargs["optimizer"].param_groups
        peak = values["learning_rate"]
        scheduler.base_lrs = [peak for _ in scheduler.base_lrs]
        scheduler._last_lr = [peak * share(scheduler.last_epoch) for share in scheduler.lr_lambdas]
        for group, rate in zip(kwargs["optimizer"].param_groups, scheduler._last_lr, strict=True):
            group["initial_lr"], group["lr"] = peak, rate
        decaying["weight_decay"] = values["weight_decay"]  # the Trainer's first group; biases and norms never decay
        args.max_grad_norm = values["max_grad_norm"] or 0.0

"""Trainer callbacks: divergence, hyperparameter changes, progress, validation and pruning."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sweeper.config import Recipe, RuntimeTunable
from sweeper.training.distributed import broadcast_flag, get_rank
from sweeper.training.progress import ProgressListener, TrainingProgress
from sweeper.training.pruning import PruningRule

LogFunction = Callable[[dict[str, float]], None]

DIVERGENCE_WINDOW = 10
"""Logged steps over which the loss is averaged before a trial counts as diverged."""


def has_diverged(losses: Sequence[float], ratio: float) -> bool:
    """Return whether a loss is not finite, or the mean of the last ten exceeds `ratio` x the first logged loss."""
    if any(not math.isfinite(loss) for loss in losses):
        return True
    return len(losses) > DIVERGENCE_WINDOW and sum(losses[-DIVERGENCE_WINDOW:]) > ratio * DIVERGENCE_WINDOW * losses[0]


class DivergenceCallback(TrainerCallback):
    """Stops the training once the loss has diverged."""

    def __init__(self, ratio: float) -> None:
        self.ratio = ratio
        self.is_diverged = False

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Check the history after every logged step."""
        losses = [row["loss"] for row in state.log_history if "loss" in row]
        if has_diverged(losses, self.ratio):
            self.is_diverged = True
            control.should_training_stop = True
        return control


class HyperparameterChangeCallback(TrainerCallback):
    """Sets learning rate, clipping and weight decay at the steps that the recipe names.

    `AppliedSettingsCallback` reads back what was set. A resumed run, or a branch, finds the earlier values in its
    checkpoint; the current ones are set again, so that the result equals that of an uninterrupted run.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.segments = recipe.segments
        self._current_values: dict[RuntimeTunable, float | None] = {}

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Set the values that hold from this step on. `global_step` counts the steps taken so far."""
        values = next(values for step, values in reversed(self.segments) if step <= state.global_step)
        if values == self._current_values or len(self.segments) == 1:
            return
        self._current_values = values
        scheduler, (decaying, *_) = kwargs["lr_scheduler"], kwargs["optimizer"].param_groups
        peak = values["learning_rate"]
        scheduler.base_lrs = [peak for _ in scheduler.base_lrs]
        scheduler._last_lr = [peak * factor(scheduler.last_epoch) for factor in scheduler.lr_lambdas]
        for group, rate in zip(kwargs["optimizer"].param_groups, scheduler._last_lr, strict=True):
            group["initial_lr"], group["lr"] = peak, rate
        decaying["weight_decay"] = values["weight_decay"]  # the Trainer's first group; biases and norms never decay
        args.max_grad_norm = values["max_grad_norm"] or 0.0


class ProgressCallback(TrainerCallback):
    """Reports what was logged, the throughput and the GPU memory. None of it enters the history: times differ."""

    def __init__(self, on_progress: ProgressListener) -> None:
        self.report_progress = on_progress
        self._last_time, self._last_tokens = 0.0, 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock; this process may have trained another model before."""
        self._measure_tokens_per_second(state)
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Report what was just logged."""
        logs = kwargs.get("logs") or {}
        values = {key: float(logs[key]) for key in ("loss", "val_loss", "grad_norm", "learning_rate") if key in logs}
        tokens_per_second = self._measure_tokens_per_second(state)
        self.report_progress(
            TrainingProgress(
                state.global_step,
                state.max_steps,
                **values,
                # Before a validation loss the time went into measuring it.
                tokens_per_second=tokens_per_second if "loss" in values and tokens_per_second else None,
                gpu_memory_bytes=float(torch.cuda.max_memory_allocated()) if torch.cuda.is_available() else None,
            )
        )

    def _measure_tokens_per_second(self, state: TrainerState) -> float:
        """Return the throughput since the previous call."""
        now, tokens = time.monotonic(), int(state.num_input_tokens_seen)
        seconds, trained = now - self._last_time, tokens - self._last_tokens
        self._last_time, self._last_tokens = now, tokens
        return trained / seconds if seconds > 0 else 0.0


class EpochValidationCallback(TrainerCallback):
    """Logs the validation loss at the end of every epoch."""

    def __init__(self, measure: Callable[[], float], log: LogFunction, pruning_callback: PruningCallback) -> None:
        self.measure, self.log, self.pruning_callback = measure, log, pruning_callback

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure a missing loss: the checkpoint of an epoch's last step is written before the epoch is measured."""
        at_epoch_end = state.global_step > 0 and float(state.epoch or 0.0).is_integer()
        measured = any("val_loss" in row and row["step"] == state.global_step for row in state.log_history)
        if at_epoch_end and not measured:
            self.log({"val_loss": self.measure()})

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure after an epoch, or where a run stops within one."""
        if not self.pruning_callback.is_pruned:
            self.log({"val_loss": self.measure()})


class PruningCallback(TrainerCallback):
    """Measures the validation loss at each rung, and stops the trial if the search decides to.

    The loss has a column of its own in the history: the rest of the history is the same with and without a search.
    """

    measure: Callable[[], float]
    log: LogFunction

    def __init__(self, rung_resources: Mapping[int, int], should_prune: PruningRule) -> None:
        self.rung_resources, self.should_prune = rung_resources, should_prune
        self.is_pruned = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Repeat the decisions so far: an interrupted run may have died before it could act on one."""
        losses = {int(row["step"]): float(row["rung_loss"]) for row in state.log_history if "rung_loss" in row}
        for step, resource in self.rung_resources.items():
            if step in losses and not self.is_pruned:
                self.is_pruned = self._decide(resource, losses[step], args.device)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Measure on all workers, and decide on the first."""
        if state.global_step in self.rung_resources and not self.is_pruned:
            loss, logs_too = self.measure(), control.should_log
            self.log({"rung_loss": loss})
            control.should_log = logs_too  # any log clears the flag, and the step's own row is still to come
            self.is_pruned = self._decide(self.rung_resources[state.global_step], loss, args.device)
        if self.is_pruned:
            control.should_training_stop = True
        return control

    def _decide(self, resource: int, loss: float, device: torch.device) -> bool:
        """Return the first worker's decision on every worker."""
        return broadcast_flag(get_rank() == 0 and self.should_prune(resource, loss), device)

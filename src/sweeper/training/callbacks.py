"""Trainer callbacks: divergence, hyperparameter changes, applied settings, progress, validation and pruning."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sweeper.config import Recipe, RuntimeTunable, TrialSpec
from sweeper.training.distributed import broadcast_flag, get_rank
from sweeper.training.progress import ProgressListener, TrainingProgress
from sweeper.training.pruning import PruningRule

LogFunction = Callable[[dict[str, float]], None]

DIVERGENCE_WINDOW = 10
"""Logged steps over which the loss is averaged before a trial counts as diverged."""


class _Scheduler(Protocol):
    """The part of torch's LambdaLR that is read here."""

    base_lrs: Sequence[float]
    lr_lambdas: Sequence[Callable[[int], float]]
    last_epoch: int


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


@dataclass
class AppliedSettings:
    """What the optimizer actually used during one segment of the recipe. Saved in checkpoint manifests."""

    peak_learning_rate: float = 0.0
    """Largest learning rate of any step."""
    scheduled_learning_rate: float | None = None
    """Peak from which the schedule derived every rate, even if no step reaches it. It keeps the first value that
    differs from the requested one."""
    largest_norm_after_clipping: float = 0.0
    """Largest gradient norm sampled after clipping."""
    norms_read: int = 0
    """Gradient norms sampled."""
    weight_decay: float | None = None
    """Weight decay of the group that decays."""
    clipping_off: bool = False
    """Whether clipping was switched off."""
    updates_skipped: int = 0
    """Updates skipped by fp16's loss scaling, where gradients overflowed. They count as steps and change nothing."""


class AppliedSettingsCallback(TrainerCallback):
    """Reads back from the optimizer what the recipe requests. Norms are sampled after clipping, before the step."""

    def __init__(self, spec: TrialSpec) -> None:
        self.segments = spec.recipe.segments
        # DeepSpeed has clipped and stepped by then, and does not expose its gradients; its engine is read back instead.
        self.sees_gradients = not (spec.engine and spec.engine.zero_stage)
        self.segment_settings = [AppliedSettings() for _ in self.segments]
        """One per segment of the recipe: its start, and each of its changes."""
        self.train_seconds_before = 0.0
        """Training time of the runs that this one continues."""
        self.shared_steps, self.shared_train_seconds = 0, 0.0
        """Of these, the trunk's steps and time up to the branch point."""
        self.start_time = time.monotonic()

    @property
    def train_seconds(self) -> float:
        """Training time up to now, interrupted runs up to their checkpoints included."""
        return self.train_seconds_before + time.monotonic() - self.start_time

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Read the optimizer after clipping, before its step."""
        groups = kwargs["optimizer"].param_groups
        index = sum(step <= state.global_step for step, _ in self.segments) - 1
        (first_step, values), settings = self.segments[index], self.segment_settings[index]
        settings.peak_learning_rate = max(settings.peak_learning_rate, *(float(group["lr"]) for group in groups))
        if self.sees_gradients and settings.scheduled_learning_rate in (None, values["learning_rate"]):
            settings.scheduled_learning_rate = _infer_scheduled_learning_rate(kwargs["lr_scheduler"], groups)
        settings.weight_decay = max(float(group["weight_decay"]) for group in groups)
        settings.clipping_off = args.max_grad_norm == 0
        # A norm costs a pass over all gradients: sample the first steps, where clipping acts, then every tenth.
        if (
            not self.sees_gradients
            or values["max_grad_norm"] is None
            or (state.global_step >= first_step + 10 and state.global_step % 10)
        ):
            return
        gradients = [p.grad for group in groups for p in group["params"] if p.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(gradients))
        if math.isfinite(norm):
            settings.largest_norm_after_clipping = max(settings.largest_norm_after_clipping, norm)
            settings.norms_read += 1

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Count a skipped update, after the optimizer's step and before `global_step` counts it."""
        index = sum(step <= state.global_step for step, _ in self.segments) - 1
        self.segment_settings[index].updates_skipped += bool(getattr(kwargs["optimizer"], "step_was_skipped", False))


def _infer_scheduled_learning_rate(scheduler: _Scheduler, groups: Sequence[Mapping[str, Any]]) -> float:
    """Return the peak from which a scheduler derived the groups' rates, or else a rate that it does not explain."""
    peaks = [float(peak) for peak in scheduler.base_lrs]
    for peak, factor, group in zip(peaks, scheduler.lr_lambdas, groups, strict=True):
        if peak != peaks[0] or not math.isclose(group["lr"], peak * factor(scheduler.last_epoch)):
            return float(group["lr"])
    return peaks[0]


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

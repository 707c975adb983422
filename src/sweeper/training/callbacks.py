"""Callbacks that look on while a model trains: divergence, validation, what the optimiser really does."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sweeper.config import TrialSpec
from sweeper.training.progress import ProgressListener, TrainingProgress
from sweeper.training.pruning import PruningRule

LogFunction = Callable[[dict[str, float]], None]

DIVERGENCE_WINDOW = 10
"""Logged steps over which the loss is averaged before a trial is called diverged."""


def has_diverged(losses: list[float], ratio: float) -> bool:
    """Whether a loss blew up: not finite, or its last ten's mean above `ratio` x the first logged loss."""
    if any(not math.isfinite(loss) for loss in losses):
        return True
    return len(losses) > DIVERGENCE_WINDOW and sum(losses[-DIVERGENCE_WINDOW:]) > ratio * DIVERGENCE_WINDOW * losses[0]


class DivergenceCallback(TrainerCallback):
    """Ends the training when the loss has blown up."""

    def __init__(self, ratio: float) -> None:
        self.ratio = ratio
        self.is_diverged = False

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Look at the history after every logged step."""
        losses = [row["loss"] for row in state.log_history if "loss" in row]
        if has_diverged(losses, self.ratio):
            self.is_diverged = True
            control.should_training_stop = True
        return control


@dataclass
class AppliedSettings:
    """What the optimiser really had while the same values were to hold; kept in checkpoints' marks."""

    peak_learning_rate: float = 0.0
    scheduled_learning_rate: float | None = None
    """The peak by which the schedule came to every rate: while values change, none need be reached. What was once
    another than asked for stays here."""
    largest_norm_after_clipping: float = 0.0
    norms_read: int = 0
    weight_decay: float | None = None
    """Of the group that decays."""
    clipping_off: bool = False
    updates_skipped: int = 0
    """By fp16's loss scaling, where gradients overflowed: these steps are counted, and change nothing."""


class AppliedSettingsCallback(TrainerCallback):
    """Reads back from the optimiser what the recipe asked for. Norms are sampled after clipping, before the step."""

    def __init__(self, spec: TrialSpec) -> None:
        self.segments = spec.recipe.segments
        # DeepSpeed has clipped and stepped by then, and keeps its gradients to itself: its engine is read back instead.
        self.sees_gradients = not (spec.engine and spec.engine.zero_stage)
        self.segment_settings = [AppliedSettings() for _ in self.segments]
        """One a segment of the recipe: its start, and each of its changes."""
        self.train_seconds_before = 0.0
        """Of the runs that this one goes on from."""
        self.shared_steps, self.shared_train_seconds = 0, 0.0
        """Of these, the trunk's up to the branch point."""
        self.start_time = time.monotonic()

    @property
    def train_seconds(self) -> float:
        """Seconds of training that led here, interrupted runs up to their checkpoints included."""
        return self.train_seconds_before + time.monotonic() - self.start_time

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Called after clipping, before the optimiser's step."""
        groups = kwargs["optimizer"].param_groups
        index = sum(step <= state.global_step for step, _ in self.segments) - 1
        (begun, values), reading = self.segments[index], self.segment_settings[index]
        reading.peak_learning_rate = max(reading.peak_learning_rate, *(float(group["lr"]) for group in groups))
        if self.sees_gradients and reading.scheduled_learning_rate in (None, values["learning_rate"]):
            reading.scheduled_learning_rate = _infer_scheduled_learning_rate(kwargs["lr_scheduler"], groups)
        reading.weight_decay = max(float(group["weight_decay"]) for group in groups)
        reading.clipping_off = args.max_grad_norm == 0
        # A norm costs a pass over all gradients: the first steps, where clipping bites, then every tenth.
        if (
            not self.sees_gradients
            or values["max_grad_norm"] is None
            or (state.global_step >= begun + 10 and state.global_step % 10)
        ):
            return
        gradients = [p.grad for group in groups for p in group["params"] if p.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(gradients))
        if math.isfinite(norm):
            reading.largest_norm_after_clipping = max(reading.largest_norm_after_clipping, norm)
            reading.norms_read += 1

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Called after the optimiser's step, before it is counted."""
        index = sum(step <= state.global_step for step, _ in self.segments) - 1
        self.segment_settings[index].updates_skipped += bool(getattr(kwargs["optimizer"], "step_was_skipped", False))


def _infer_scheduled_learning_rate(scheduler: Any, groups: list[dict[str, Any]]) -> float:
    """The peak by which a scheduler came to the groups' rates; a rate that it does not explain, where there is one."""
    peaks = [float(peak) for peak in scheduler.base_lrs]
    for peak, share, group in zip(peaks, scheduler.lr_lambdas, groups, strict=True):
        if peak != peaks[0] or not math.isclose(group["lr"], peak * share(scheduler.last_epoch)):
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
        """The clock starts; a worker may have trained another model before this one."""
        self._measure_tokens_per_second(state)
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Pass on what was just logged."""
        logs = kwargs.get("logs") or {}
        known = {key: float(logs[key]) for key in ("loss", "val_loss", "grad_norm", "learning_rate") if key in logs}
        tokens_per_second = self._measure_tokens_per_second(state)
        # Time spent on a validation loss is no training time.
        self.report_progress(
            TrainingProgress(
                state.global_step,
                state.max_steps,
                **known,
                tokens_per_second=tokens_per_second if "loss" in known and tokens_per_second else None,
                gpu_memory_bytes=float(torch.cuda.max_memory_allocated()) if torch.cuda.is_available() else None,
            )
        )

    def _measure_tokens_per_second(self, state: TrainerState) -> float:
        """Tokens per second since this was last asked."""
        now, tokens = time.monotonic(), int(state.num_input_tokens_seen)
        seconds, trained = now - self._last_time, tokens - self._last_tokens
        self._last_time, self._last_tokens = now, tokens
        return trained / seconds if seconds > 0 else 0.0


class EpochValidationCallback(TrainerCallback):
    """Puts the validation loss into the history at the end of every epoch."""

    def __init__(self, measure: Callable[[], float], log: LogFunction, pruning_callback: PruningCallback) -> None:
        self.measure, self.log, self.pruning_callback = measure, log, pruning_callback

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """A checkpoint taken at an epoch's last step was written before that epoch's measurement: make up for it."""
        at_epoch_end = state.global_step > 0 and float(state.epoch or 0.0).is_integer()
        measured = any("val_loss" in row and row["step"] == state.global_step for row in state.log_history)
        if at_epoch_end and not measured:
            self.log({"val_loss": self.measure()})

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure once an epoch is through. Also called where a run is stopped within one."""
        if not self.pruning_callback.is_pruned:
            self.log({"val_loss": self.measure()})


class PruningCallback(TrainerCallback):
    """Measures the validation loss at each rung and asks whether to go on. Its own column of the history: what a trial
    is does not hang on whether a search looked at it."""

    measure: Callable[[], float]
    log: LogFunction

    def __init__(self, rung_resources: dict[int, int], should_prune: PruningRule) -> None:
        self.rung_resources, self.should_prune = rung_resources, should_prune
        self.is_pruned = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """An interrupted run may have got its answer and died before it could act on it: it asks again."""
        losses = {int(row["step"]): float(row["rung_loss"]) for row in state.log_history if "rung_loss" in row}
        for step, resource in self.rung_resources.items():
            if step in losses and not self.is_pruned:
                self.is_pruned = _broadcast_decision(self.should_prune, resource, losses[step], args.device)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """All workers measure; the first one asks."""
        if state.global_step in self.rung_resources and not self.is_pruned:
            loss, logs_too = self.measure(), control.should_log
            self.log({"rung_loss": loss})
            control.should_log = logs_too  # the step's own row is still to come, and any log takes back what was asked
            self.is_pruned = _broadcast_decision(
                self.should_prune, self.rung_resources[state.global_step], loss, args.device
            )
        if self.is_pruned:
            control.should_training_stop = True
        return control


def _broadcast_decision(should_prune: PruningRule, resource: int, loss: float, device: Any) -> bool:
    """The first worker's answer, known to all."""
    group = torch.distributed.is_available() and torch.distributed.is_initialized()
    stop = should_prune(resource, loss) if not group or torch.distributed.get_rank() == 0 else False
    if not group:
        return stop
    flag = torch.tensor(float(stop), device=device)
    torch.distributed.broadcast(flag, 0)
    return bool(flag.item())

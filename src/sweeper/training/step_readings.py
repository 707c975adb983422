"""What every optimizer step used, read from the optimizer at the moment of its step."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sweeper.config import TrialSpec
from sweeper.training.distributed import add_over_workers
from sweeper.training.optimizers.base import OPTIMIZERS, Setting
from sweeper.training.schedule import RATE_SHAPES, TrainingSchedule, compute_rate_share

if TYPE_CHECKING:
    from sweeper.training.sft_trainer import LeanSFTTrainer

WEIGHT_DECAY, OTHER_WEIGHT_DECAY = "weight_decay", "weight_decay of biases and norms"
MOST_VALUES = 3
"""Different values of one setting that are kept: the second already fails the trial."""
SAME_RATE = 1e-6
"""Largest relative difference of two equal learning rates."""
SAME_NORM = 1e-2
"""Largest relative difference of two equal gradient norms; one of them may be computed in half precision."""
DTYPE_NAMES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}
"""Dtype of the arithmetic -> precision of a recipe."""


@dataclass
class AppliedSettings:
    """What the optimizer actually used during one segment of the recipe. Saved in checkpoint manifests."""

    values: dict[str, list[Setting]] = field(default_factory=dict)
    """Setting -> the different values that it had, in order."""
    steps_taken: int = 0
    """Steps in which the optimizer updated the weights."""
    updates_skipped: int = 0
    """Steps that fp16's loss scaling skipped, where gradients overflowed: they changed nothing."""
    schedule_pauses: int = 0
    """Of these, the steps after which the learning rate did not move on either."""
    peak_learning_rate: float = 0.0
    """Largest learning rate of any step."""
    shapes: list[str] = field(default_factory=lambda: [*RATE_SHAPES])
    """Shapes of a schedule, as requested otherwise, that explain all of the rates."""
    peak_share: float = -1.0
    """Largest share of the schedule's peak that a rate was."""
    peak_steps: list[int] = field(default_factory=list)
    """First and last step of the run with that share."""
    norms_read: int = 0
    """Gradient norms compared before and after clipping."""
    unexplained_norm: float | None = None
    """First norm after clipping that the clipping threshold does not explain."""
    largest_batch: int = 0
    """Most examples of one step, over all workers."""
    examples: int = 0
    """Examples trained on up to the last `AppliedSettingsCallback.add_examples`, over all workers."""

    def add(self, name: str, value: Setting) -> None:
        """Note a value, unless it is a known one."""
        known = self.values.setdefault(name, [])
        if value not in known and len(known) < MOST_VALUES:
            known.append(value)


@dataclass
class _Step:
    """What the optimizer used for one step; with ZeRO it takes several calls of its `step`."""

    groups: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    """Number of a parameter group -> its settings."""
    dtypes: set[torch.dtype] = field(default_factory=set)
    """Of the weights that it updates."""
    squared_norm: float = 0.0
    """Of this worker's gradients as the optimizer got them."""
    has_overflowed: bool = False
    """Whether the gradients had overflowed, so that a fused kernel changed nothing."""


@dataclass
class _Rows:
    """Examples that this worker trained on: all, and the most in one step."""

    total: int = 0
    largest: int = 0

    def add(self, rows: int) -> None:
        self.total, self.largest = self.total + rows, max(self.largest, rows)


class AppliedSettingsCallback(TrainerCallback):
    """Reads what each optimizer step used: rates, groups and gradients in the step itself, and rows from the trainer.

    The gradients' norm costs a pass over all of them: it is read in the first ten steps of a segment, where clipping
    acts, and in every tenth.
    """

    def __init__(self, spec: TrialSpec, schedule: TrainingSchedule) -> None:
        self.segments, self.schedule = spec.recipe.segments, schedule
        self.optimizer_kind = OPTIMIZERS.load(spec.recipe.optim)
        self.holds_shares = bool(spec.engine and spec.engine.zero_stage)
        """Whether each worker's optimizer holds its share of the gradients only, as with ZeRO."""
        self.segment_settings = [AppliedSettings() for _ in self.segments]
        """One per segment of the recipe: its start, and each of its changes."""
        self.train_seconds_before = 0.0
        """Training time of the runs that this one continues."""
        self.shared_steps, self.shared_train_seconds = 0, 0.0
        """Of these, the trunk's steps and time up to the branch point."""
        self.start_time = time.monotonic()
        self._trainer: LeanSFTTrainer | None = None
        self._index = 0  # of the current segment
        self._step, self._reads_norm, self._group_numbers = _Step(), False, dict[int, int]()
        self._rows_before = 0
        self._own_rows = [_Rows() for _ in self.segments]

    @property
    def train_seconds(self) -> float:
        """Training time up to now, interrupted runs up to their checkpoints included."""
        return self.train_seconds_before + time.monotonic() - self.start_time

    @property
    def steps_taken(self) -> int:
        """Steps that changed the weights, those of the runs that this one continues included."""
        return sum(settings.steps_taken for settings in self.segment_settings)

    @property
    def updates_skipped(self) -> int:
        """Steps that fp16's loss scaling skipped."""
        return sum(settings.updates_skipped for settings in self.segment_settings)

    def watch(self, trainer: LeanSFTTrainer) -> None:
        """Read the precision of its model's arithmetic, and the norms and rows that the trainer counts."""
        self._trainer = trainer
        trainer.model.get_input_embeddings().register_forward_pre_hook(self._read_precision)

    def _read_precision(self, module: torch.nn.Module, inputs: object) -> None:
        """Read the precision within a forward pass of training: autocast's, or else that of the weights."""
        if module.training:
            weight: Any = module.weight
            kind = weight.device.type
            dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
            self.segment_settings[self._index].add("precision", DTYPE_NAMES.get(dtype, str(dtype)))

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Watch the optimizer's steps. The state of a resumed run is loaded by now."""
        optimizer = kwargs["optimizer"]
        while hasattr(optimizer, "optimizer"):  # Accelerate's and DeepSpeed's wrappers
            optimizer = optimizer.optimizer
        self._group_numbers = {id(group): number for number, group in enumerate(optimizer.param_groups)}
        optimizer.register_step_pre_hook(self._read_optimizer)
        self._find_segment(state)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Forget the step before. DeepSpeed's engine takes its step in the backward pass, before the other events."""
        self._find_segment(state)
        self._step = _Step()
        first_step = self.segments[self._index][0]
        self._reads_norm = state.global_step < first_step + 10 or state.global_step % 10 == 0

    def _find_segment(self, state: TrainerState) -> None:
        self._index = sum(step <= state.global_step for step, _ in self.segments) - 1

    def _read_optimizer(self, optimizer: torch.optim.Optimizer, args: object, kwargs: object) -> None:
        """Read what the optimizer is about to use. It is not called where the loss scaling skips the step."""
        step = self._step
        for group in optimizer.param_groups:
            if not group["params"]:  # ZeRO 3 fills one at a time
                continue
            number = self._group_numbers.get(id(group), len(self._group_numbers))
            step.groups[number] = {name: value for name, value in group.items() if name != "params"}
            step.dtypes |= {parameter.dtype for parameter in group["params"]}
            if self._reads_norm:
                gradients = [p.grad for p in group["params"] if p.grad is not None]
                step.squared_norm += float(torch.nn.utils.get_total_norm(gradients)) ** 2
        kind, name = self.optimizer_kind, type(optimizer).__name__
        known = kind.recognize(name, optimizer.param_groups[0])
        self.segment_settings[self._index].add("optim", kind.name if known else f"another {name}")
        overflow = getattr(optimizer, "found_inf", None)  # the scaler sets it for kernels that skip by themselves
        step.has_overflowed = step.has_overflowed or (overflow is not None and bool(overflow))

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Note what was read during the step, before `global_step` counts it."""
        settings, step = self.segment_settings[self._index], self._step
        pauses = sum(each.schedule_pauses for each in self.segment_settings)
        is_pause = bool(getattr(kwargs["optimizer"], "step_was_skipped", False))
        self._count_rows()
        settings.schedule_pauses += is_pause
        settings.updates_skipped += is_pause or step.has_overflowed
        if is_pause or step.has_overflowed or not step.groups:
            return
        settings.steps_taken += 1
        self._note_groups(settings, step)
        self._note_rates(settings, step, state.global_step - pauses)
        if self._reads_norm:
            self._note_clipping(settings, args.device)

    def _count_rows(self) -> None:
        rows, own = self._trainer.rows_trained if self._trainer else 0, self._own_rows[self._index]
        own.add(rows - self._rows_before)
        self._rows_before = rows

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Add up the examples of all workers: the checkpoint's manifest is to have them."""
        self.add_examples(args.device)

    def add_examples(self, device: torch.device) -> None:
        """Add the examples that each worker counted since the last call. Every worker takes part."""
        for settings, own in zip(self.segment_settings, self._own_rows, strict=True):
            settings.examples += round(add_over_workers(own.total, device))
            settings.largest_batch = max(settings.largest_batch, round(add_over_workers(own.largest, device)))
        self._own_rows = [_Rows() for _ in self.segments]

    def _note_groups(self, settings: AppliedSettings, step: _Step) -> None:
        for number, group in sorted(step.groups.items()):
            # The Trainer's first group decays; biases and norms, its second, never do.
            settings.add(OTHER_WEIGHT_DECAY if number else WEIGHT_DECAY, float(group["weight_decay"]))
            for name, value in self.optimizer_kind.read(group).items():
                settings.add(name, value)
            settings.add("learning_rate", float(group.get("initial_lr", math.nan)))
        settings.add("master_dtype", "+".join(sorted(str(dtype).removeprefix("torch.") for dtype in step.dtypes)))

    def _note_rates(self, settings: AppliedSettings, step: _Step, position: int) -> None:
        """Note the rates of a step, and which shapes explain them. `position` is that of the schedule."""
        for group in step.groups.values():
            rate, peak = float(group["lr"]), float(group.get("initial_lr", math.nan))
            settings.peak_learning_rate = max(settings.peak_learning_rate, rate)
            share = rate / peak
            expected = {shape: compute_rate_share(shape, position, self.schedule) for shape in settings.shapes}
            settings.shapes = [
                shape for shape in expected if math.isclose(share, expected[shape], rel_tol=SAME_RATE, abs_tol=1e-9)
            ]
            if share > settings.peak_share + SAME_RATE:
                settings.peak_share, settings.peak_steps = share, [position, position]
            elif math.isclose(share, settings.peak_share, rel_tol=SAME_RATE):
                settings.peak_steps[1] = position

    def _note_clipping(self, settings: AppliedSettings, device: torch.device) -> None:
        """Compare the norm that the optimizer got with the norm before clipping and the threshold that clipped it."""
        assert self._trainer is not None  # noqa: S101 - `watch` comes before training
        before, threshold = self._trainer.read_clipping()
        squared = self._step.squared_norm
        if self.holds_shares:
            squared = add_over_workers(squared, device)
        after = math.sqrt(squared)
        settings.add("max_grad_norm", threshold)
        if not (math.isfinite(before) and math.isfinite(after)):
            return
        settings.norms_read += 1
        expected = before if threshold is None else min(before, threshold)
        if settings.unexplained_norm is None and not math.isclose(after, expected, rel_tol=SAME_NORM, abs_tol=1e-6):
            settings.unexplained_norm = after

"""Hyperparameters of a training run, one file of `configs/recipes/`."""

from __future__ import annotations

import functools
import itertools
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, FiniteFloat, SerializerFunctionWrapHandler, model_serializer, model_validator

from sweeper.config.base import MAX_BATCH, MAX_COUNT, MAX_NUMBER, Choice, FrozenConfig
from sweeper.registry import Registry

_OPTIMIZERS: Registry[object] = Registry("optimizer", "training/optimizers", "OPTIMIZER", separator="_")
OptimizerName = Annotated[str, Choice(_OPTIMIZERS)]
RuntimeTunable = Literal["learning_rate", "max_grad_norm", "weight_decay"]
RUNTIME_TUNABLES: tuple[RuntimeTunable, ...] = get_args(RuntimeTunable)
"""Fields of a recipe that can change while a model trains."""


class HyperparameterChange(FrozenConfig):
    """New values of hyperparameters from an optimizer step on.

    Fields that are not given keep their value: they are not serialized, and their default is never used.
    """

    step: int = Field(gt=0, le=MAX_COUNT)
    """Optimizer steps completed before the change."""
    learning_rate: FiniteFloat = Field(default=1.0, gt=0, le=MAX_NUMBER)
    """Peak of the schedule; its shape continues."""
    max_grad_norm: FiniteFloat | None = Field(default=None, gt=0, le=MAX_NUMBER)
    """Clipping threshold; `null` disables clipping."""
    weight_decay: FiniteFloat = Field(default=0.0, ge=0, le=MAX_NUMBER)
    """Weight decay of the parameters that decay."""

    @model_validator(mode="after")
    def _check_not_empty(self) -> HyperparameterChange:
        if not self.changed_values:
            raise ValueError(f"the change has no values: give one of {', '.join(RUNTIME_TUNABLES)}")
        return self

    @model_serializer(mode="wrap")
    def _serialize_changed_values(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in dump(self).items() if key in self.model_fields_set}

    @property
    def changed_values(self) -> dict[RuntimeTunable, float | None]:
        """The new values, by field."""
        return {field: getattr(self, field) for field in RUNTIME_TUNABLES if field in self.model_fields_set}


class OptimizerTraits(FrozenConfig):
    """What an optimizer needs of memory and disk: the constant `TRAITS` of its file in `training/optimizers`."""

    state_bytes: float = Field(ge=0)
    """Bytes of its states per trained parameter."""
    update_bytes: float = Field(ge=0)
    """Bytes per trained parameter of the temporaries at an update."""


@functools.cache  # a plan estimates the memory of thousands of trials
def read_optimizer_traits(optim: str) -> OptimizerTraits:
    """Read the traits of an optimizer without importing its file."""
    return OptimizerTraits.model_validate(_OPTIMIZERS.read_literal(optim, "TRAITS"))


class Recipe(FrozenConfig):
    """Hyperparameters, spelled as `transformers.TrainingArguments` spells them."""

    num_train_epochs: FiniteFloat = Field(gt=0, le=MAX_BATCH)
    """Passes over the training set; every run has its own full schedule. Ignored when `max_steps` or
    `train_flops_budget` is set."""
    max_steps: int | None = Field(default=None, gt=0, le=MAX_COUNT)
    """Optimizer steps of a run; `null`: as many as `num_train_epochs` takes."""
    train_flops_budget: FiniteFloat | None = Field(default=None, gt=0, le=MAX_NUMBER)
    """Training compute of a run, FLOPs (`sweeper.models.flops`): every model size takes the number of optimizer steps
    that comes nearest to it. Excludes `max_steps`."""
    learning_rate: FiniteFloat = Field(gt=0, le=MAX_NUMBER)
    """Peak learning rate, reached at the end of the warm-up."""
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup", "warmup_stable_decay"]
    """Shape of the schedule after the warm-up. The paper does not state one. `warmup_stable_decay` (Hu et al. 2024,
    MiniCPM; Hägele et al. 2024) stays at the peak, and falls linearly to 0 over the last `decay_fraction`."""
    decay_fraction: FiniteFloat | None = Field(default=None, gt=0, lt=1)
    """Share of a run's optimizer steps over which `warmup_stable_decay` decays; other schedules do not take it."""
    warmup_steps: int = Field(ge=0, le=MAX_COUNT)
    """Optimizer steps of linear warm-up. `lr_scheduler_type: constant` has none."""
    per_device_train_batch_size: int = Field(gt=0, le=MAX_BATCH)
    """Examples per forward pass (micro-batch). Not part of a trial's identity; its product with the next field is."""
    gradient_accumulation_steps: int = Field(gt=0, le=MAX_BATCH)
    """Micro-batches per optimizer step on one worker; effective batch = this x per_device_train_batch_size."""
    max_grad_norm: FiniteFloat | None = Field(gt=0, le=MAX_NUMBER)
    """Gradients are clipped to this global L2 norm; `null` disables clipping."""
    optim: OptimizerName
    """Optimizer."""
    weight_decay: FiniteFloat = Field(ge=0, le=MAX_NUMBER)
    """AdamW's decoupled weight decay."""
    adam_beta1: FiniteFloat = Field(default=0.9, ge=0, lt=1)
    """AdamW's first-moment decay."""
    adam_beta2: FiniteFloat = Field(default=0.999, ge=0, lt=1)
    """AdamW's second-moment decay."""
    adam_epsilon: FiniteFloat = Field(default=1e-8, gt=0, le=MAX_NUMBER)
    """AdamW's epsilon."""
    precision: Literal["fp32", "fp16", "bf16"]
    """Arithmetic of the forward and backward pass; the master weights are always float32."""
    gradient_checkpointing: bool
    """Recompute activations in the backward pass: less memory, more time, same result."""
    train_sampling_strategy: Literal["random", "group_by_length"] = "random"
    """Order of examples: shuffled, or shuffled in groups of similar length, which leaves little padding."""
    dataloader_num_workers: int = Field(default=0, ge=0, le=MAX_BATCH)
    """Data-loader processes. Not part of a trial's identity."""
    dataloader_pin_memory: bool = False
    """Page-locked host memory. Not part of a trial's identity."""
    divergence_ratio: FiniteFloat = Field(default=2.0, gt=1, le=MAX_NUMBER)
    """A trial is DIVERGED when its mean loss over ten logged steps exceeds this multiple of the first logged loss."""
    changes: tuple[HyperparameterChange, ...] = ()
    """Changes during the run, in order of steps. Population based training produces such recipes."""

    @model_serializer(mode="wrap")
    def _serialize_without_empty_changes(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit empty `changes`, so that fingerprints and running searches from before that field stay valid."""
        return {key: value for key, value in dump(self).items() if key != "changes" or value}

    @model_validator(mode="after")
    def _check_change_order(self) -> Recipe:
        steps = [change.step for change in self.changes]
        if any(later <= step for step, later in itertools.pairwise(steps)):
            raise ValueError(f"`changes` at steps {steps}: every step must be above the one before")
        return self

    @model_validator(mode="after")
    def _check_single_end(self) -> Recipe:
        if self.max_steps is not None and self.train_flops_budget is not None:
            raise ValueError("`max_steps` and `train_flops_budget` both set the end of a run: give one of them")
        return self

    @model_validator(mode="after")
    def _check_decay_fraction(self) -> Recipe:
        if (self.lr_scheduler_type == "warmup_stable_decay") != (self.decay_fraction is not None):
            raise ValueError("`lr_scheduler_type: warmup_stable_decay` and `decay_fraction` go together")
        return self

    @model_validator(mode="after")
    def _check_warmup(self) -> Recipe:
        if self.lr_scheduler_type == "constant" and self.warmup_steps:
            raise ValueError(
                f"`lr_scheduler_type: constant` would ignore `warmup_steps: {self.warmup_steps}`: give "
                "`constant_with_warmup`, or `warmup_steps: 0`"
            )
        return self

    @property
    def segments(self) -> list[tuple[int, dict[RuntimeTunable, float | None]]]:
        """Parts of the run with constant values: (optimizer steps before the part, its values)."""
        segments: list[tuple[int, dict[RuntimeTunable, float | None]]] = [
            (0, {field: getattr(self, field) for field in RUNTIME_TUNABLES})
        ]
        for change in self.changes:
            segments.append((change.step, segments[-1][1] | change.changed_values))
        return segments

    @property
    def ends_by_epochs(self) -> bool:
        """Whether `num_train_epochs` sets the end of a run."""
        return self.max_steps is None and self.train_flops_budget is None

    @property
    def effective_batch_size(self) -> int:
        """Examples per optimizer step, over all workers."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps

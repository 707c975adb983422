"""Recipe -> TRL's SFTConfig. The one place where our words become the trainer's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.config import EngineSpec, ModelSpec, Recipe, TrialSpec
from sweeper.errors import ModelError, UsageError
from sweeper.models import compute_flops_per_token, load_config
from sweeper.training.engine import BatchSplit, make_deepspeed_config, split_batch

if TYPE_CHECKING:
    from trl import SFTConfig

CHECKPOINTS_PER_TRIAL = 5
MIN_BUDGET_STEPS = 20
"""A budget of fewer optimiser steps is not sure to be met within 5 %: rounding to whole steps takes up to half of that,
and the rows of a last, partial epoch need not have the mean length."""


@dataclass(frozen=True)
class RowFlops:
    """Training compute of one model on one data set; NaN where the model's architecture is not counted."""

    per_token: float
    """FLOPs, forward and backward, in rows of the mean length."""
    mean_length: float
    """Tokens of a training row."""

    @property
    def per_row(self) -> float:
        """FLOPs of one row of the mean length."""
        return self.per_token * self.mean_length


def compute_row_flops(model: ModelSpec, manifest: dict[str, Any]) -> RowFlops:
    """Of a model on a prepared data set, from config and manifest alone."""
    mean_length = manifest["tokens"]["train"] / manifest["rows"]["train"]
    try:
        return RowFlops(
            compute_flops_per_token(load_config(model, manifest["vocab_size"]), mean_length).total, mean_length
        )
    except ModelError:  # it can still be trained; a budget for it is refused
        return RowFlops(math.nan, mean_length)


def count_steps_per_epoch(recipe: Recipe, examples: int) -> int:
    """The last, smaller batch of an epoch is kept, as the Trainer does: ceil(n / effective batch)."""
    return math.ceil(examples / recipe.effective_batch_size)


def count_optimizer_steps(recipe: Recipe, examples: int, flops_per_row: float = math.nan) -> int:
    """Optimiser steps of a run on `examples` training rows: by steps, by compute, or else by epochs.

    By compute, the number whose rows come nearest to `train_flops_budget`. Raises UsageError where that is fewer than
    twenty, or `flops_per_row` (FLOPs, forward and backward) is not known.
    """
    if recipe.max_steps is not None:
        return recipe.max_steps
    per_epoch = count_steps_per_epoch(recipe, examples)
    if recipe.train_flops_budget is None:
        return math.ceil(recipe.num_train_epochs * per_epoch)
    asked = f"train_flops_budget {recipe.train_flops_budget:.3g}"
    if math.isnan(flops_per_row):
        raise UsageError("recipe", requested=asked, found="a model whose FLOPs are not known", hint="recipe.max_steps")
    wanted = recipe.train_flops_budget / flops_per_row
    epochs, rest = divmod(wanted, examples)
    below = int(epochs) * per_epoch + int(rest // recipe.effective_batch_size)
    steps = min(below, below + 1, key=lambda count: abs(count_examples_seen(recipe, examples, count) - wanted))
    if steps < MIN_BUDGET_STEPS:
        step = flops_per_row * recipe.effective_batch_size
        raise UsageError(
            "recipe",
            requested=asked,
            found=f"a model and batch of {step:.3g} FLOPs per optimiser step: {steps} steps",
            hint=f"a budget of at least {MIN_BUDGET_STEPS * step:.3g} (for this model), or a smaller batch",
        )
    return steps


def check_hyperparameter_changes(spec: TrialSpec, steps: float) -> None:
    """Raises UsageError for changes that a run of `steps` optimiser steps never gets to, or that nobody has tried."""
    if not spec.recipe.changes:
        return
    if (last := spec.recipe.changes[-1].step) >= steps:
        raise UsageError(
            "recipe",
            requested=f"a change at step {last}",
            found=f"a run of {steps:g} optimiser steps",
            hint="an earlier step, or a longer run",
        )
    if spec.engine and spec.engine.distributed:
        raise UsageError(
            "recipe",
            requested="changes during a run",
            found=f"the engine {spec.engine.name}, by which several workers train one model",
            hint="engine: single",
        )


def compute_branch_start(spec: TrialSpec, steps: int) -> int:
    """Optimiser steps that a trial of `steps` leaves to its trunk; 0 for one without. Raises UsageError."""
    if spec.branch is None:
        return 0
    return compute_decay_start(spec.recipe, steps) if spec.branch.step is None else spec.branch.step


def count_decay_steps(recipe: Recipe, steps: int) -> int | None:
    """Optimiser steps over which a run of `steps` decays to 0; None for a schedule without `decay_fraction`."""
    return None if recipe.decay_fraction is None else max(1, round(recipe.decay_fraction * steps))


def compute_decay_start(recipe: Recipe, steps: int) -> int:
    """Optimiser steps before the decay of `warmup_stable_decay` begins: those that a longer run takes just the same.

    Raises UsageError where the warm-up has not ended by then.
    """
    start = steps - (count_decay_steps(recipe, steps) or 0)
    if start < max(recipe.warmup_steps, 1):
        raise UsageError(
            "recipe",
            requested=f"warmup_steps {recipe.warmup_steps}, decay_fraction {recipe.decay_fraction}",
            found=f"a run of {steps} optimiser steps, whose decay begins after {start}",
            hint="fewer warmup_steps, a smaller decay_fraction, a smaller batch, or more data",
        )
    return start


def choose_logging_steps(recipe: Recipe, steps: int) -> int:
    """Optimiser steps from one row of the history to the next: twenty rows or more where there are as many steps.

    Runs with `decay_fraction` that differ in their whole epochs alone log at the same steps, whatever their length:
    they are to have the same history, and to be called diverged by the same rows, until the shorter one decays.
    """
    if recipe.decay_fraction is not None and recipe.ends_by_epochs:
        steps = min(steps, round(steps / recipe.num_train_epochs))
    return max(1, min(10, steps // 20))


def count_examples_seen(recipe: Recipe, examples: int, steps: int) -> int:
    """Rows, repetitions counted, that `steps` optimiser steps train on."""
    epochs, rest = divmod(steps, count_steps_per_epoch(recipe, examples))
    return epochs * examples + min(rest * recipe.effective_batch_size, examples)


def make_sft_config(
    recipe: Recipe,
    seed: int,
    steps: int,
    directory: Path,
    *,
    cuda: bool,
    batch_split: BatchSplit | None = None,
    engine: EngineSpec | None = None,
    start_step: int = 0,
) -> SFTConfig:
    """The trainer's configuration of one worker for a run of `steps` optimiser steps, of which it trains those after
    `begin`.

    Raises UsageError for fp16 without a GPU: PyTorch has no fp16 gradient scaling for CPU training here.
    """
    from trl import SFTConfig

    if recipe.precision == "fp16" and not cuda:
        raise UsageError("recipe", requested="precision: fp16", found="no GPU", hint="--set recipe.precision=fp32")
    batch_split = batch_split or split_batch(recipe, 1)
    return SFTConfig(
        output_dir=str(directory),
        num_train_epochs=recipe.num_train_epochs,
        max_steps=-1 if recipe.ends_by_epochs else steps,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.lr_scheduler_type,
        lr_scheduler_kwargs=_make_decay_kwargs(recipe, steps),
        warmup_steps=recipe.warmup_steps,
        per_device_train_batch_size=batch_split.micro_batch,
        gradient_accumulation_steps=batch_split.accumulation_steps,
        deepspeed=make_deepspeed_config(engine) if engine else None,
        max_grad_norm=recipe.max_grad_norm or 0.0,
        optim=recipe.optim,
        weight_decay=recipe.weight_decay,
        adam_beta1=recipe.adam_beta1,
        adam_beta2=recipe.adam_beta2,
        adam_epsilon=recipe.adam_epsilon,
        fp16=recipe.precision == "fp16",
        bf16=recipe.precision == "bf16",
        activation_checkpointing=recipe.gradient_checkpointing,  # transformers renamed it
        train_sampling_strategy=recipe.train_sampling_strategy,
        dataloader_num_workers=recipe.dataloader_num_workers,
        dataloader_pin_memory=recipe.dataloader_pin_memory,
        seed=seed,
        data_seed=seed,
        use_cpu=not cuda,
        max_length=None,
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        logging_steps=choose_logging_steps(recipe, steps),
        logging_first_step=True,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=max(1, math.ceil((steps - start_step) / CHECKPOINTS_PER_TRIAL)),
        eval_strategy="no",
        include_num_input_tokens_seen="non_padding",  # kept in checkpoints: a resumed run knows all it saw
        report_to="none",
        disable_tqdm=True,
        log_level="error",
    )


def _make_decay_kwargs(recipe: Recipe, steps: int) -> dict[str, Any] | None:
    """What transformers asks of `warmup_stable_decay`; its own decay would be a cosine."""
    count = count_decay_steps(recipe, steps)
    return None if count is None else {"num_decay_steps": count, "decay_type": "linear", "min_lr_ratio": 0.0}

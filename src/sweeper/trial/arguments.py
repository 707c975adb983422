"""Recipe -> TRL's SFTConfig. The one place where our words become the trainer's."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.errors import UsageError
from sweeper.spec import Recipe

if TYPE_CHECKING:
    from trl import SFTConfig

CHECKPOINTS_PER_TRIAL = 5


def optimizer_steps(recipe: Recipe, examples: int) -> int:
    """Optimiser steps of a run. The last partial batch of an epoch is kept, as the Trainer does: ceil(n / batch)."""
    per_epoch = math.ceil(math.ceil(examples / recipe.per_device_train_batch_size) / recipe.gradient_accumulation_steps)
    return math.ceil(recipe.num_train_epochs * per_epoch)


def sft_config(recipe: Recipe, seed: int, steps: int, directory: Path, *, cuda: bool) -> SFTConfig:
    """The trainer's configuration for a run of `steps` optimiser steps.

    Raises UsageError for fp16 without a GPU: PyTorch has no fp16 gradient scaling for CPU training here.
    """
    from trl import SFTConfig

    if recipe.precision == "fp16" and not cuda:
        raise UsageError("recipe", asked="precision: fp16", found="no GPU", do="--set recipe.precision=fp32")
    return SFTConfig(
        output_dir=str(directory),
        num_train_epochs=recipe.num_train_epochs,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.lr_scheduler_type,
        warmup_steps=recipe.warmup_steps,
        per_device_train_batch_size=recipe.per_device_train_batch_size,
        per_device_eval_batch_size=max(recipe.per_device_train_batch_size, 32),
        gradient_accumulation_steps=recipe.gradient_accumulation_steps,
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
        logging_steps=max(1, min(10, steps // 20)),
        logging_first_step=True,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=max(1, math.ceil(steps / CHECKPOINTS_PER_TRIAL)),
        save_total_limit=2,
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
        log_level="error",
    )

"""Recipe -> TRL's SFTConfig and DeepSpeed's JSON. The only place that maps recipe fields to theirs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.config import EngineSpec, Recipe
from sweeper.errors import UsageError
from sweeper.storage import JsonObject
from sweeper.training.batching import BatchSplit
from sweeper.training.optimizers.base import OPTIMIZERS
from sweeper.training.schedule import TrainingSchedule

if TYPE_CHECKING:
    from trl import SFTConfig

MIXED_PRECISION: Mapping[str, dict[str, bool]] = {
    "fp32": {"fp16": False, "bf16": False},
    "fp16": {"fp16": True, "bf16": False},
    "bf16": {"fp16": False, "bf16": True},
}
"""Precision of a recipe -> the trainer's switches. TRL switches bf16 on where neither is given."""


def make_sft_config(
    recipe: Recipe,
    seed: int,
    schedule: TrainingSchedule,
    batch_split: BatchSplit,
    directory: Path,
    *,
    cuda: bool,
    engine: EngineSpec | None = None,
) -> SFTConfig:
    """Make the trainer's configuration of one worker.

    Args:
        recipe: the hyperparameters.
        seed: seeds the order of examples and dropout.
        schedule: the run's step counts.
        batch_split: this worker's share of the effective batch.
        directory: folder of the checkpoints.
        cuda: whether it trains on a GPU.
        engine: how the workers share the model; None for one worker alone.

    Raises:
        UsageError: fp16 without a GPU, where PyTorch has no gradient scaling.
    """
    from trl import SFTConfig

    if recipe.precision == "fp16" and not cuda:
        raise UsageError("recipe", requested="precision: fp16", found="no GPU", hint="--set recipe.precision=fp32")
    optimizer = OPTIMIZERS.load(recipe.optim)
    return SFTConfig(
        output_dir=str(directory),
        num_train_epochs=recipe.num_train_epochs,
        max_steps=-1 if recipe.ends_by_epochs else schedule.total_steps,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.lr_scheduler_type,
        lr_scheduler_kwargs=_make_decay_kwargs(schedule),
        warmup_steps=schedule.warmup_steps,
        per_device_train_batch_size=batch_split.micro_batch,
        gradient_accumulation_steps=batch_split.accumulation_steps,
        deepspeed=make_deepspeed_config(engine) if engine else None,
        max_grad_norm=recipe.max_grad_norm or 0.0,
        optim=optimizer.name,
        **optimizer.request(recipe),
        weight_decay=recipe.weight_decay,
        **MIXED_PRECISION[recipe.precision],
        activation_checkpointing=recipe.gradient_checkpointing,  # transformers' new name for it
        train_sampling_strategy=recipe.train_sampling_strategy,
        dataloader_num_workers=recipe.dataloader_num_workers,
        dataloader_pin_memory=recipe.dataloader_pin_memory,
        seed=seed,
        data_seed=seed,
        use_cpu=not cuda,
        max_length=None,
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        logging_steps=schedule.logging_steps,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=schedule.save_steps,
        eval_strategy="no",
        include_num_input_tokens_seen="non_padding",  # saved with checkpoints, so a resumed run counts every token
        report_to="none",
        disable_tqdm=True,
        log_level="error",
    )


def _make_decay_kwargs(schedule: TrainingSchedule) -> dict[str, int | float | str] | None:
    """Return the arguments of `warmup_stable_decay`, whose default decay in transformers is a cosine."""
    if schedule.decay_steps is None:
        return None
    return {"num_decay_steps": schedule.decay_steps, "decay_type": "linear", "min_lr_ratio": 0.0}


def make_deepspeed_config(engine: EngineSpec) -> JsonObject | None:
    """Return DeepSpeed's JSON for an engine; None for an engine without DeepSpeed.

    Settings of the recipe are "auto": the Trainer fills them in, and `AppliedSettingsCallback` reads what the engine's
    optimizer used. The key `gradient_clipping` is required, or DeepSpeed clips at its own default. There is no
    `optimizer` section: DeepSpeed's own optimizer would also decay biases and layer norms, which would be
    another trial.
    """
    if not engine.zero_stage:
        return None
    zero: JsonObject = {"stage": engine.zero_stage, "contiguous_gradients": True, "overlap_comm": False}
    if engine.zero_stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True  # one safetensors file for any number of workers
    if engine.offload:
        zero |= {"offload_optimizer": {"device": "cpu"}, "offload_param": {"device": "cpu"}}
    return {
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "fp16": {"enabled": "auto"},
        "bf16": {"enabled": "auto"},
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }


def disable_deepspeed_jit() -> None:
    """Keep DeepSpeed from compiling a kernel that only its inference uses.

    Without a GPU the compilation takes a minute in every new home folder; without a compiler DeepSpeed skips it too.
    """
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False

"""Requested and applied settings of a run. A sweep over clipping that never clipped is worse than none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sweeper.config import RUNTIME_TUNABLES, RuntimeTunable, TrialSpec
from sweeper.errors import AppliedMismatchError
from sweeper.training.callbacks import AppliedSettings, AppliedSettingsCallback
from sweeper.training.optimizers.base import OPTIMIZERS, Setting
from sweeper.training.schedule import TrainingSchedule

if TYPE_CHECKING:
    import torch

    from sweeper.training.sft_trainer import LeanSFTTrainer

Settings = dict[str, Setting]
"""Name of a setting -> its value, as records store them under `asked` and `applied`."""


def list_requested_settings(spec: TrialSpec, schedule: TrainingSchedule, *, positions: int | None) -> Settings:
    """Return what the specification requests, under the names of `read_applied_settings`.

    Args:
        schedule: its step counts.
        positions: the model's learned positions; None for a model without.
    """
    recipe = spec.recipe
    changed = {
        _name_setting(field, step): values[field] for step, values in recipe.segments[1:] for field in RUNTIME_TUNABLES
    }
    stage: Settings = {"zero_stage": spec.engine.zero_stage} if spec.engine and spec.engine.zero_stage else {}
    decay: Settings = {}
    if schedule.decay_steps is not None:
        decay = {"decay": f"linear over {schedule.decay_steps} of {schedule.total_steps} steps"}
    return stage | {
        **decay,
        "learning_rate": recipe.learning_rate,
        "max_grad_norm": recipe.max_grad_norm,
        "effective_batch_size": recipe.effective_batch_size,
        "optimizer_steps": schedule.total_steps,
        "examples_seen": schedule.examples_seen,
        "weight_decay": recipe.weight_decay,
        **OPTIMIZERS.load(recipe.optim).request(recipe),
        "lr_scheduler_type": recipe.lr_scheduler_type,
        "warmup_steps": recipe.warmup_steps,
        "master_dtype": "float32",
        "precision": recipe.precision,
        "train_sampling_strategy": recipe.train_sampling_strategy,
        "positions": positions,
        **changed,
    }


def _name_setting(field: RuntimeTunable, step: int) -> str:
    return f"{field} from step {step}" if step else field


def read_applied_settings(
    trainer: LeanSFTTrainer, settings_callback: AppliedSettingsCallback, *, optim: str, examples: int
) -> Settings:
    """Read the settings back from optimizer groups, scheduler, model, trainer counters and engine.

    Args:
        trainer: the trainer, after training.
        settings_callback: what was read during training.
        optim: the recipe's optimizer.
        examples: training rows.
    """
    optimizer = trainer.optimizer
    # ZeRO 3 empties its groups between steps; their dtype is read from the engine below.
    groups = [group for group in optimizer.param_groups if group["params"]] or optimizer.param_groups
    state, args = trainer.state, trainer.args
    dtypes = sorted({str(p.dtype).removeprefix("torch.") for group in groups for p in group["params"]})
    mixed = trainer.accelerator.mixed_precision
    skipped = sum(settings.updates_skipped for settings in settings_callback.segment_settings)
    return (
        _read_tunable_settings(settings_callback)
        | {
            "effective_batch_size": args.train_batch_size
            * args.gradient_accumulation_steps
            * trainer.accelerator.num_processes,
            "optimizer_steps": state.global_step,
            "examples_seen": _count_trainer_examples(trainer, examples),
            **OPTIMIZERS.load(optim).read(groups[0]),
            "lr_scheduler_type": str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type)),
            "warmup_steps": args.get_warmup_steps(state.max_steps),
            "master_dtype": "+".join(dtypes),
            "precision": {"no": "fp32"}.get(mixed, mixed),
            "train_sampling_strategy": trainer.sampling_strategy,
            "positions": getattr(trainer.model.config, "max_position_embeddings", None),
            **_describe_decay(trainer),
            **({"updates_skipped": skipped} if skipped else {}),
        }
        | read_deepspeed_settings(trainer)
    )


def _read_tunable_settings(settings_callback: AppliedSettingsCallback) -> Settings:
    """Return learning rate, clipping and weight decay of every segment."""
    tunable: Settings = {}
    has_changes = len(settings_callback.segments) > 1
    for (step, values), settings in zip(settings_callback.segments, settings_callback.segment_settings, strict=True):
        tunable[_name_setting("learning_rate", step)] = (
            settings.scheduled_learning_rate if has_changes else settings.peak_learning_rate
        )
        tunable[_name_setting("max_grad_norm", step)] = _infer_max_grad_norm(values["max_grad_norm"], settings)
        tunable[_name_setting("weight_decay", step)] = settings.weight_decay
    return tunable


def _infer_max_grad_norm(requested: float | None, settings: AppliedSettings) -> float | None:
    """Return the norm to which gradients were clipped. Without a sample it is unknown: None, a mismatch."""
    if settings.clipping_off:
        return None
    clipped = (
        settings.norms_read > 0 and requested is not None and settings.largest_norm_after_clipping <= requested * 1.001
    )
    return requested if clipped else settings.largest_norm_after_clipping or None


def _describe_decay(trainer: LeanSFTTrainer) -> Settings:
    """Describe the decay from the function that sets the learning rate; empty for a schedule without one."""
    scheduler = getattr(trainer.lr_scheduler, "scheduler", trainer.lr_scheduler)  # Accelerate wraps it with DeepSpeed
    keywords = getattr(next(iter(getattr(scheduler, "lr_lambdas", ())), None), "keywords", {})
    if "num_decay_steps" not in keywords:
        return {}
    count = keywords["num_decay_steps"]
    whole = keywords["num_warmup_steps"] + keywords["num_stable_steps"] + count
    return {"decay": f"{keywords['decay_type']} over {count} of {whole} steps"}


def _count_trainer_examples(trainer: LeanSFTTrainer, examples: int) -> int:
    """Count from the trainer's epoch, which counts micro-batches: the last one of an epoch may be smaller."""
    batch: int = trainer.args.train_batch_size * trainer.accelerator.num_processes
    epochs, rest = divmod(float(trainer.state.epoch or 0.0), 1.0)
    return int(epochs) * examples + min(round(rest * math.ceil(examples / batch)) * batch, examples)


def read_deepspeed_settings(trainer: LeanSFTTrainer) -> Settings:
    """Read back what DeepSpeed's engine applies; empty without DeepSpeed."""
    engine = getattr(trainer, "deepspeed", None)
    if engine is None:
        return {}
    optimizer = engine.optimizer
    stage = engine.zero_optimization_stage()
    masters = optimizer.fp32_partitioned_groups_flat if stage == 3 else optimizer.single_partition_of_fp32_groups
    precision = "fp16" if engine.fp16_enabled() else "bf16" if engine.bfloat16_enabled() else "fp32"
    return {
        "max_grad_norm": engine.gradient_clipping() or None,
        "effective_batch_size": engine.train_batch_size(),
        "precision": precision,
        "master_dtype": "+".join(sorted({str(part.dtype).removeprefix("torch.") for part in masters})),
        "zero_stage": stage,
    }


def count_trained_parameters(model: torch.nn.Module) -> int:
    """Count the parameters that a model trained, also of one whose weights are sharded over several workers."""
    return sum(int(getattr(p, "ds_numel", p.numel())) for p in model.parameters() if p.requires_grad)


def list_mismatches(requested: Mapping[str, Setting], applied: Mapping[str, Setting]) -> list[str]:
    """Return one line for every requested value that was not applied (relative tolerance 1e-6).

    Example:
        >>> list_mismatches({"max_grad_norm": 0.3}, {"max_grad_norm": 1.0})
        ['max_grad_norm: requested 0.3, applied 1.0']
    """
    lines = []
    for key, want in requested.items():
        got = applied.get(key)
        if isinstance(want, int | float) and isinstance(got, int | float):
            same = math.isclose(want, got, rel_tol=1e-6)
        else:
            same = want == got
        if not same:
            lines.append(f"{key}: requested {want!r}, applied {got!r}")
    return lines


def check_applied_settings(requested: Mapping[str, Setting], applied: Mapping[str, Setting]) -> None:
    """Refuse a run whose settings were not applied as requested.

    Raises:
        AppliedMismatchError: they differ.
    """
    lines = list_mismatches(requested, applied)
    if lines:
        skipped = applied.get("updates_skipped")
        raise AppliedMismatchError(
            "trial",
            requested="every setting of the recipe",
            found="; ".join([*lines, *([f"{skipped} updates skipped by fp16's loss scaling"] if skipped else [])]),
            hint="a longer run or bf16" if skipped else "report this: the trainer ignored a setting",
        )

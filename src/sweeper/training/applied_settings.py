"""Requested and applied settings of a run. A sweep over clipping that never clipped is worse than none."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sweeper.config import RUNTIME_TUNABLES, RuntimeTunable, TrialSpec
from sweeper.errors import AppliedMismatchError
from sweeper.models import count_positions
from sweeper.training.optimizers.base import OPTIMIZERS, Setting
from sweeper.training.schedule import RATE_SHAPES, TrainingSchedule
from sweeper.training.step_readings import (
    OTHER_WEIGHT_DECAY,
    SAME_RATE,
    WEIGHT_DECAY,
    AppliedSettings,
    AppliedSettingsCallback,
)

if TYPE_CHECKING:
    import torch

    from sweeper.training.sft_trainer import LeanSFTTrainer

Settings = dict[str, Setting]
"""Name of a setting -> its value, as records store them under `asked` and `applied`."""

_SETTINGS_OF_SEGMENTS = {"learning_rate", "max_grad_norm", WEIGHT_DECAY, OTHER_WEIGHT_DECAY}
"""Values that every segment of a recipe has for itself."""


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
        "optim": recipe.optim,
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


def read_applied_settings(trainer: LeanSFTTrainer, readings: AppliedSettingsCallback, *, scheduler: str) -> Settings:
    """Return what the optimizer's steps used, and what model, sampler and engine hold. Every worker takes part.

    Args:
        trainer: the trainer, after training.
        readings: what was read in each step.
        scheduler: the requested shape of the schedule: several may explain the same rates.
    """
    readings.add_examples(trainer.args.device)
    segments = [settings for settings in readings.segment_settings if settings.steps_taken]
    own = sorted({name for settings in segments for name in settings.values} - _SETTINGS_OF_SEGMENTS)
    skipped = readings.updates_skipped
    return (
        _read_tunable_settings(readings)
        | {name: _join([value for settings in segments for value in settings.values.get(name, [])]) for name in own}
        | _read_schedule(segments, scheduler, readings.schedule, taken=trainer.state.global_step)
        | {
            "effective_batch_size": _read_batch_size(trainer, segments, readings.schedule.examples),
            "optimizer_steps": readings.steps_taken,
            "examples_seen": sum(settings.examples for settings in readings.segment_settings),
            "train_sampling_strategy": trainer.sampling_strategy,
            "positions": count_positions(trainer.model),
            **({"updates_skipped": skipped} if skipped else {}),
            **_read_zero_stage(trainer),
        }
    )


def _join(values: Sequence[Setting]) -> Setting:
    """Return the value that a setting had; all of them for one that changed, and None where it was never read."""
    different = list(dict.fromkeys(values))
    return " then ".join(map(str, different)) if len(different) > 1 else next(iter(different), None)


def _read_tunable_settings(readings: AppliedSettingsCallback) -> Settings:
    """Return learning rate, clipping and weight decay of every segment."""
    tunable: Settings = {}
    has_changes = len(readings.segments) > 1
    for (step, values), settings in zip(readings.segments, readings.segment_settings, strict=True):
        # A peak that the schedule lies below in a segment is that from which it derived the rates.
        peak = _join(settings.values.get("learning_rate", [])) if has_changes else settings.peak_learning_rate
        tunable[_name_setting("learning_rate", step)] = peak
        tunable[_name_setting("max_grad_norm", step)] = _read_max_grad_norm(values["max_grad_norm"], settings)
        tunable[_name_setting("weight_decay", step)] = _read_weight_decay(settings)
    return tunable


def _read_max_grad_norm(requested: float | None, settings: AppliedSettings) -> Setting:
    """Return the norm to which gradients were clipped. Without a sample it is unknown: None, mostly a mismatch."""
    if settings.unexplained_norm is not None:
        return f"a norm of {settings.unexplained_norm:.3g}"
    if requested is not None and not settings.norms_read:
        return None
    return _join(settings.values.get("max_grad_norm", []))


def _read_weight_decay(settings: AppliedSettings) -> Setting:
    """Return the decay of the parameters that are to decay, and that of the others where it is not 0."""
    decay, others = (_join(settings.values.get(name, [])) for name in (WEIGHT_DECAY, OTHER_WEIGHT_DECAY))
    return decay if others in (None, 0.0) else f"{decay}, and {others} of biases and norms"


def _read_schedule(
    segments: Sequence[AppliedSettings], scheduler: str, schedule: TrainingSchedule, *, taken: int
) -> Settings:
    """Return shape, warm-up and decay as the rates of the steps show them."""
    shapes = [shape for shape in RATE_SHAPES if all(shape in settings.shapes for settings in segments)]
    peak = max((settings.peak_share for settings in segments), default=0.0)
    steps = [
        step
        for settings in segments
        if math.isclose(settings.peak_share, peak, rel_tol=SAME_RATE)
        for step in settings.peak_steps
    ]
    applied: Settings = {
        "lr_scheduler_type": scheduler if scheduler in shapes else " or ".join(shapes) or "another shape",
        "warmup_steps": min(steps, default=None),
    }
    if schedule.decay_steps is not None:
        shape = "linear" if "warmup_stable_decay" in shapes else "not linear"
        applied["decay"] = f"{shape} over {taken - max(steps, default=0)} of {taken} steps"
    return applied


def _read_batch_size(trainer: LeanSFTTrainer, segments: Sequence[AppliedSettings], examples: int) -> int:
    """Return the most examples of one step. Where every step had all examples, the trainer's limit was not reached."""
    largest = max((settings.largest_batch for settings in segments), default=0)
    args = trainer.args
    limit = args.train_batch_size * args.gradient_accumulation_steps * trainer.accelerator.num_processes
    return max(largest, int(limit)) if largest == examples else largest


def _read_zero_stage(trainer: LeanSFTTrainer) -> Settings:
    """Read the stage back from DeepSpeed's engine; empty without DeepSpeed."""
    engine = getattr(trainer, "deepspeed", None)
    return {} if engine is None else {"zero_stage": int(engine.zero_optimization_stage())}


def count_trained_parameters(model: torch.nn.Module) -> int:
    """Count the parameters that a model trained, also of one whose weights are sharded over several workers."""
    return sum(int(getattr(p, "ds_numel", p.numel())) for p in model.parameters() if p.requires_grad)


def list_mismatches(requested: Mapping[str, Setting], applied: Mapping[str, Setting]) -> list[str]:
    """Return one line for every requested value that was not applied (relative tolerance 1e-6).

    Optimizer steps that fp16's loss scaling skipped were not taken, and are no mismatch: `applied` has both counts.

    Example:
        >>> list_mismatches({"max_grad_norm": 0.3}, {"max_grad_norm": 1.0})
        ['max_grad_norm: requested 0.3, applied 1.0']
    """
    lines = []
    for key, want in requested.items():
        got = shown = applied.get(key)
        if key == "optimizer_steps" and (skipped := applied.get("updates_skipped")):
            got, shown = int(got or 0) + int(skipped), f"{got} and {skipped} skipped"
        if isinstance(want, int | float) and isinstance(got, int | float):
            same = math.isclose(want, got, rel_tol=1e-6)
        else:
            same = want == got
        if not same:
            lines.append(f"{key}: requested {want!r}, applied {shown if shown != got else repr(got)}")
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

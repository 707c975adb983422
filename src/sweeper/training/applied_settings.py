"""Asked against applied. A sweep over clipping that never clipped is worse than none."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from sweeper.config import RUNTIME_TUNABLES, RuntimeTunable, TrialSpec
from sweeper.errors import AppliedMismatchError
from sweeper.training.arguments import count_decay_steps, count_examples_seen
from sweeper.training.callbacks import AppliedSettings, AppliedSettingsCallback
from sweeper.training.engine import applied_deepspeed_settings

if TYPE_CHECKING:
    from trl import SFTTrainer


def requested_settings(spec: TrialSpec, *, steps: int, examples: int, positions: int | None) -> dict[str, Any]:
    """What the specification asks for, in the words of `applied_by`."""
    recipe = spec.recipe
    changed = {
        _name_setting(field, step): values[field] for step, values in recipe.segments[1:] for field in RUNTIME_TUNABLES
    }
    stage = {"zero_stage": spec.engine.zero_stage} if spec.engine and spec.engine.zero_stage else {}
    count = count_decay_steps(recipe, steps)
    return stage | {
        **({} if count is None else {"decay": f"linear over {count} of {steps} steps"}),
        "learning_rate": recipe.learning_rate,
        "max_grad_norm": recipe.max_grad_norm,
        "effective_batch_size": recipe.effective_batch_size,
        "optimizer_steps": steps,
        "examples_seen": count_examples_seen(recipe, examples, steps),
        "weight_decay": recipe.weight_decay,
        "adam_beta1": recipe.adam_beta1,
        "adam_beta2": recipe.adam_beta2,
        "adam_epsilon": recipe.adam_epsilon,
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


def applied_settings(
    trainer: SFTTrainer, settings_callback: AppliedSettingsCallback, *, examples: int
) -> dict[str, Any]:
    """The same, read from the optimiser's groups, the scheduler, the model, the trainer's counters and the engine."""
    optimizer = trainer.optimizer
    # ZeRO 3 empties its groups between steps; the engine is asked for their dtype below.
    groups = [group for group in optimizer.param_groups if group["params"]] or optimizer.param_groups
    state, args = trainer.state, trainer.args
    dtypes = sorted({str(p.dtype).removeprefix("torch.") for group in groups for p in group["params"]})
    live: dict[str, float | None] = {}
    for (step, values), reading in zip(settings_callback.segments, settings_callback.segment_settings, strict=True):
        changes = len(settings_callback.segments) > 1
        live[_name_setting("learning_rate", step)] = (
            reading.scheduled_learning_rate if changes else reading.peak_learning_rate
        )
        live[_name_setting("max_grad_norm", step)] = _infer_max_grad_norm(values["max_grad_norm"], reading)
        live[_name_setting("weight_decay", step)] = reading.weight_decay
    mixed = trainer.accelerator.mixed_precision
    return (
        live
        | {
            "effective_batch_size": args.train_batch_size
            * args.gradient_accumulation_steps
            * trainer.accelerator.num_processes,
            "optimizer_steps": state.global_step,
            "examples_seen": _count_trainer_examples(trainer, examples),
            "adam_beta1": groups[0]["betas"][0],
            "adam_beta2": groups[0]["betas"][1],
            "adam_epsilon": groups[0]["eps"],
            "lr_scheduler_type": str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type)),
            "warmup_steps": args.get_warmup_steps(state.max_steps),
            "master_dtype": "+".join(dtypes),
            "precision": {"no": "fp32"}.get(mixed, mixed),
            "train_sampling_strategy": trainer.sampling_strategy,
            "positions": getattr(trainer.model.config, "max_position_embeddings", None),
            **_describe_decay(trainer),
            **(
                {"updates_skipped": skipped}
                if (skipped := sum(r.updates_skipped for r in settings_callback.segment_settings))
                else {}
            ),
        }
        | applied_deepspeed_settings(trainer)
    )


def _infer_max_grad_norm(requested: float | None, reading: AppliedSettings) -> float | None:
    """Where gradients were clipped. Nothing read, nothing known: then asked and applied differ."""
    if reading.clipping_off:
        return None
    clipped = (
        reading.norms_read > 0 and requested is not None and reading.largest_norm_after_clipping <= requested * 1.001
    )
    return requested if clipped else reading.largest_norm_after_clipping or None


def _describe_decay(trainer: SFTTrainer) -> dict[str, Any]:
    """From the function that gives the optimiser its learning rate; empty for a schedule without a decay of its own."""
    scheduler = getattr(trainer.lr_scheduler, "scheduler", trainer.lr_scheduler)  # Accelerate wraps it with DeepSpeed
    keywords = getattr(next(iter(getattr(scheduler, "lr_lambdas", ())), None), "keywords", {})
    if "num_decay_steps" not in keywords:
        return {}
    count = keywords["num_decay_steps"]
    whole = keywords["num_warmup_steps"] + keywords["num_stable_steps"] + count
    return {"decay": f"{keywords['decay_type']} over {count} of {whole} steps"}


def _count_trainer_examples(trainer: SFTTrainer, examples: int) -> int:
    """From the trainer's epoch counter, which counts micro-batches: the last one of an epoch may be smaller."""
    batch: int = trainer.args.train_batch_size * trainer.accelerator.num_processes
    epochs, rest = divmod(float(trainer.state.epoch or 0.0), 1.0)
    return int(epochs) * examples + min(round(rest * math.ceil(examples / batch)) * batch, examples)


def list_mismatches(requested: dict[str, Any], applied: dict[str, Any]) -> list[str]:
    """One line for every asked value that was not applied (relative tolerance 1e-6)."""
    lines = []
    for key, want in requested.items():
        got = applied.get(key)
        numbers = isinstance(want, int | float) and isinstance(got, int | float)
        same = math.isclose(want, got, rel_tol=1e-6) if numbers else want == got  # type: ignore[arg-type]
        if not same:
            lines.append(f"{key}: asked {want!r}, applied {got!r}")
    return lines


def check_applied_settings(requested: dict[str, Any], applied: dict[str, Any]) -> None:
    """Raises AppliedMismatchError where they differ."""
    lines = list_mismatches(requested, applied)
    if lines:
        skipped = applied.get("updates_skipped")
        raise AppliedMismatchError(
            "trial",
            requested="the recipe to be applied as written",
            found="; ".join([*lines, *([f"{skipped} updates skipped by fp16's loss scaling"] if skipped else [])]),
            hint="a longer run or bf16" if skipped else "report this: the trainer ignored a setting",
        )

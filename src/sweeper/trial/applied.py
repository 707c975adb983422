"""Asked against applied. A sweep over clipping that never clipped is worse than none."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from sweeper.errors import AppliedMismatchError
from sweeper.spec import LIVE, Live, TrialSpec
from sweeper.trial.arguments import decay_steps, examples_seen
from sweeper.trial.engine import read_back
from sweeper.trial.watch import AppliedWatch, Reading

if TYPE_CHECKING:
    from trl import SFTTrainer


def asked_of(spec: TrialSpec, *, steps: int, examples: int, positions: int | None) -> dict[str, Any]:
    """What the specification asks for, in the words of `applied_by`."""
    recipe = spec.recipe
    changed = {_name(field, step): values[field] for step, values in recipe.segments[1:] for field in LIVE}
    stage = {"zero_stage": spec.engine.zero_stage} if spec.engine and spec.engine.zero_stage else {}
    count = decay_steps(recipe, steps)
    return stage | {
        **({} if count is None else {"decay": f"linear over {count} of {steps} steps"}),
        "learning_rate": recipe.learning_rate,
        "max_grad_norm": recipe.max_grad_norm,
        "effective_batch_size": recipe.effective_batch_size,
        "optimizer_steps": steps,
        "examples_seen": examples_seen(recipe, examples, steps),
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


def _name(field: Live, step: int) -> str:
    return f"{field} from step {step}" if step else field


def applied_by(trainer: SFTTrainer, watch: AppliedWatch, *, examples: int) -> dict[str, Any]:
    """The same, read from the optimiser's groups, the scheduler, the model, the trainer's counters and the engine."""
    optimizer = trainer.optimizer
    # ZeRO 3 empties its groups between steps; the engine is asked for their dtype below.
    groups = [group for group in optimizer.param_groups if group["params"]] or optimizer.param_groups
    state, args = trainer.state, trainer.args
    dtypes = sorted({str(p.dtype).removeprefix("torch.") for group in groups for p in group["params"]})
    live: dict[str, float | None] = {}
    for (step, values), reading in zip(watch.segments, watch.readings, strict=True):
        changes = len(watch.segments) > 1
        live[_name("learning_rate", step)] = reading.scheduled_learning_rate if changes else reading.peak_learning_rate
        live[_name("max_grad_norm", step)] = _clipped_above(values["max_grad_norm"], reading)
        live[_name("weight_decay", step)] = reading.weight_decay
    mixed = trainer.accelerator.mixed_precision
    return (
        live
        | {
            "effective_batch_size": args.train_batch_size
            * args.gradient_accumulation_steps
            * trainer.accelerator.num_processes,
            "optimizer_steps": state.global_step,
            "examples_seen": _examples_seen(trainer, examples),
            "adam_beta1": groups[0]["betas"][0],
            "adam_beta2": groups[0]["betas"][1],
            "adam_epsilon": groups[0]["eps"],
            "lr_scheduler_type": str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type)),
            "warmup_steps": args.get_warmup_steps(state.max_steps),
            "master_dtype": "+".join(dtypes),
            "precision": {"no": "fp32"}.get(mixed, mixed),
            "train_sampling_strategy": trainer.sampled_by,
            "positions": getattr(trainer.model.config, "max_position_embeddings", None),
            **_decay_of(trainer),
            **({"updates_skipped": skipped} if (skipped := sum(r.updates_skipped for r in watch.readings)) else {}),
        }
        | read_back(trainer)
    )


def _clipped_above(asked: float | None, reading: Reading) -> float | None:
    """Where gradients were clipped. Nothing read, nothing known: then asked and applied differ."""
    if reading.clipping_off:
        return None
    clipped = reading.norms_read > 0 and asked is not None and reading.largest_norm_after_clipping <= asked * 1.001
    return asked if clipped else reading.largest_norm_after_clipping or None


def _decay_of(trainer: SFTTrainer) -> dict[str, Any]:
    """From the function that gives the optimiser its learning rate; empty for a schedule without a decay of its own."""
    scheduler = getattr(trainer.lr_scheduler, "scheduler", trainer.lr_scheduler)  # Accelerate wraps it with DeepSpeed
    keywords = getattr(next(iter(getattr(scheduler, "lr_lambdas", ())), None), "keywords", {})
    if "num_decay_steps" not in keywords:
        return {}
    count = keywords["num_decay_steps"]
    whole = keywords["num_warmup_steps"] + keywords["num_stable_steps"] + count
    return {"decay": f"{keywords['decay_type']} over {count} of {whole} steps"}


def _examples_seen(trainer: SFTTrainer, examples: int) -> int:
    """From the trainer's epoch counter, which counts micro-batches: the last one of an epoch may be smaller."""
    batch: int = trainer.args.train_batch_size * trainer.accelerator.num_processes
    epochs, rest = divmod(float(trainer.state.epoch or 0.0), 1.0)
    return int(epochs) * examples + min(round(rest * math.ceil(examples / batch)) * batch, examples)


def mismatches(asked: dict[str, Any], applied: dict[str, Any]) -> list[str]:
    """One line for every asked value that was not applied (relative tolerance 1e-6)."""
    lines = []
    for key, want in asked.items():
        got = applied.get(key)
        numbers = isinstance(want, int | float) and isinstance(got, int | float)
        same = math.isclose(want, got, rel_tol=1e-6) if numbers else want == got  # type: ignore[arg-type]
        if not same:
            lines.append(f"{key}: asked {want!r}, applied {got!r}")
    return lines


def check_applied(asked: dict[str, Any], applied: dict[str, Any]) -> None:
    """Raises AppliedMismatchError where they differ."""
    lines = mismatches(asked, applied)
    if lines:
        skipped = applied.get("updates_skipped")
        raise AppliedMismatchError(
            "trial",
            asked="the recipe to be applied as written",
            found="; ".join([*lines, *([f"{skipped} updates skipped by fp16's loss scaling"] if skipped else [])]),
            do="a longer run or bf16" if skipped else "report this: the trainer ignored a setting",
        )

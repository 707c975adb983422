"""Asked against applied. A sweep over clipping that never clipped is worse than none."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from sweeper.errors import AppliedMismatchError
from sweeper.spec import TrialSpec
from sweeper.trial.arguments import decay_steps, examples_seen
from sweeper.trial.engine import read_back
from sweeper.trial.watch import AppliedWatch

if TYPE_CHECKING:
    from trl import SFTTrainer


def asked_of(spec: TrialSpec, *, steps: int, examples: int, positions: int | None) -> dict[str, Any]:
    """What the specification asks for, in the words of `applied_by`."""
    recipe = spec.recipe
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
    }


def applied_by(trainer: SFTTrainer, watch: AppliedWatch, *, examples: int) -> dict[str, Any]:
    """The same, read from the optimiser's groups, the scheduler, the model, the trainer's counters and the engine."""
    optimizer = trainer.optimizer
    # ZeRO 3 empties its groups between steps; the engine is asked for their dtype below.
    groups = [group for group in optimizer.param_groups if group["params"]] or optimizer.param_groups
    state, args = trainer.state, trainer.args
    dtypes = sorted({str(p.dtype).removeprefix("torch.") for group in groups for p in group["params"]})
    # Nothing read, nothing known: then asked and applied differ.
    clipped = (
        watch.norms_read > 0
        and watch.clipped_above is not None
        and watch.largest_norm_after_clipping <= watch.clipped_above * 1.001
    )
    norm = watch.clipped_above if clipped else watch.largest_norm_after_clipping or None
    mixed = trainer.accelerator.mixed_precision
    return {
        "learning_rate": watch.peak_learning_rate,
        "max_grad_norm": None if args.max_grad_norm == 0 else norm,
        "effective_batch_size": args.train_batch_size
        * args.gradient_accumulation_steps
        * trainer.accelerator.num_processes,
        "optimizer_steps": state.global_step,
        "examples_seen": _examples_seen(trainer, examples),
        "weight_decay": max(group["weight_decay"] for group in groups),
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
    } | read_back(trainer)


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
        raise AppliedMismatchError(
            "trial",
            asked="the recipe to be applied as written",
            found="; ".join(lines),
            do="report this: the trainer ignored a setting",
        )

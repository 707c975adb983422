"""How the workers of one trial share a model: DeepSpeed's configuration, generated, and what the engine really did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeper.config import EngineSpec, Recipe, TrialSpec
from sweeper.errors import UsageError

if TYPE_CHECKING:
    from trl import SFTTrainer


@dataclass(frozen=True)
class BatchSplit:
    """How an effective batch is cut up: `micro_batch` x `accumulation` x `workers` is always the recipe's."""

    micro_batch: int
    """Examples per forward pass of one worker."""
    accumulation_steps: int
    """Forward passes of one worker per optimiser step."""
    workers: int
    """Workers that train together."""


def split_batch(recipe: Recipe, workers: int, max_micro_batch: int | None = None) -> BatchSplit:
    """The recipe's effective batch over `workers`, with the largest micro-batch that divides it.

    That is at most the recipe's own, and at most `at_most` (after running out of memory). Raises UsageError where the
    effective batch cannot be shared out evenly: another one would be another trial.
    """
    whole = recipe.effective_batch_size
    if whole % workers:
        raise UsageError(
            "runtime",
            requested=f"{workers} workers",
            found=f"an effective batch of {whole}, which they cannot share evenly",
            hint=f"a number of workers that divides {whole}",
        )
    largest = min(recipe.per_device_train_batch_size, max_micro_batch or recipe.per_device_train_batch_size)
    micro = max(size for size in range(1, largest + 1) if (whole // workers) % size == 0)
    return BatchSplit(micro, whole // workers // micro, workers)


def split_for_trial(spec: TrialSpec, max_micro_batch: int | None = None) -> BatchSplit:
    """A trial's effective batch over its workers; its runtime may ask for a smaller micro-batch. Raises UsageError."""
    bounds = [size for size in (max_micro_batch, spec.runtime.micro_batch) if size is not None]
    return split_batch(spec.recipe, spec.runtime.workers, min(bounds, default=None))


def disable_deepspeed_jit() -> None:
    """Without a GPU, DeepSpeed would compile a kernel for a minute, in every new home folder, that only its inference
    uses; where there is no compiler, it goes without. So do we."""
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def make_deepspeed_config(engine: EngineSpec) -> dict[str, Any] | None:
    """DeepSpeed's JSON for an engine; None where it does not use DeepSpeed.

    Everything that the recipe says is "auto": the Trainer fills it in, and `read_back` looks what came of it. The key
    `gradient_clipping` must be there, or DeepSpeed clips at its own default. The optimiser is the Trainer's (no
    `optimizer` section): DeepSpeed's own would decay biases and layer norms too, and the trial would be another one.
    """
    if not engine.zero_stage:
        return None
    zero: dict[str, Any] = {"stage": engine.zero_stage, "contiguous_gradients": True, "overlap_comm": False}
    if engine.zero_stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True  # one safetensors file, whatever the number of workers
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


def applied_deepspeed_settings(trainer: SFTTrainer) -> dict[str, Any]:
    """What DeepSpeed's engine applied, in the words of `applied_by`; empty without DeepSpeed."""
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


def count_sharded_parameters(model: Any) -> int:
    """Parameters of a model, also of one whose weights lie on several workers."""
    return sum(int(getattr(p, "ds_numel", p.numel())) for p in model.parameters())

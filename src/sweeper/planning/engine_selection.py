"""Selection of a trial's engine, and whether the trial fits its GPU, by the memory model. Uses no GPU."""

from __future__ import annotations

from dataclasses import dataclass

from sweeper import models
from sweeper.config import HardwareSpec, Sweep, TrialSpec
from sweeper.errors import ModelError, UsageError
from sweeper.storage import JsonObject
from sweeper.training.batching import split_batch, split_for_trial


@dataclass(frozen=True)
class MemoryFit:
    """Predicted memory of a worker, and the memory of its (share of a) GPU, GiB; None if unknown."""

    required_gib: float | None
    available_gib: float | None

    @property
    def fits(self) -> bool | None:
        """Whether the worker fits; None if one of the two is unknown."""
        return (
            None if self.required_gib is None or self.available_gib is None else self.required_gib <= self.available_gib
        )


def select_engine(
    spec: TrialSpec, sweep: Sweep, vocab_size: int, hardware: HardwareSpec | None = None
) -> tuple[TrialSpec, MemoryFit]:
    """Select the engine of a trial; `engine: auto` becomes the first engine that fits.

    Args:
        sweep: the sweep, which lists engines and hardware.
        vocab_size: entries of the tokenizer.
        hardware: the GPU, if the trial's runtime names none.

    Returns:
        The trial with its engine, and how it fits.

    Raises:
        UsageError: no engine fits, the GPU is unknown, the workers cannot share the effective batch, or the engine
            allows one worker only.
    """
    runtime = spec.runtime
    gpu = sweep.hardware.get(runtime.hardware or "") or hardware
    available_gib = gpu.memory_gib * runtime.gpus if gpu and gpu.memory_gib and runtime.gpus else None
    if spec.engine is None:
        spec = _choose_engine(spec, sweep, vocab_size, available_gib)
    engine, workers = spec.engine, spec.runtime.workers
    if engine is not None and workers > 1 and not engine.distributed:
        raise UsageError(
            f"runtime of {spec.model.name}",
            requested=f"{workers} workers with engine {engine.name}",
            found="an engine of one worker",
            hint="engine: ddp, zero2, zero3 or auto; or workers: 1",
        )
    split = split_for_trial(spec)
    predicted = None
    if engine is not None and runtime.gpus:
        try:
            predicted = models.estimate_training_memory(
                models.load_config(spec.model, vocab_size),
                spec.recipe,
                engine,
                workers=workers,
                micro_batch=split.micro_batch,
                length=spec.data.max_length,
            ).total_gib
        except ModelError:  # an architecture without a memory model can still be trained
            predicted = None
    return spec, MemoryFit(predicted, available_gib)


def _choose_engine(spec: TrialSpec, sweep: Sweep, vocab_size: int, available_gib: float | None) -> TrialSpec:
    runtime = spec.runtime
    if not runtime.gpus:  # memory does not limit trials on CPUs
        choice = (sweep.engines["single"], 1)
    elif available_gib is None:
        raise UsageError(
            f"runtime of {spec.model.name}",
            requested="engine: auto",
            found="unknown GPU: `runtime.hardware` is not set",
            hint="set runtime.hardware to a name of configs/hardware/, or plan with --cluster",
        )
    else:
        chosen = models.choose_engine(
            models.load_config(spec.model, vocab_size),
            spec.recipe,
            sweep.engines,
            workers=runtime.workers,
            micro_batch_for=lambda workers: split_batch(spec.recipe, workers, runtime.micro_batch).micro_batch,
            length=spec.data.max_length,
            memory_gib=available_gib,
        )
        if chosen is None:
            raise UsageError(
                f"runtime of {spec.model.name}",
                requested=f"engine: auto, at most {runtime.workers} workers",
                found=f"no engine that fits {available_gib:g} GiB",
                hint="more workers, a smaller runtime.micro_batch, a larger GPU",
            )
        choice = chosen
    engine, workers = choice
    return spec.model_copy(
        update={"engine": engine, "runtime": runtime.model_copy(update={"engine": engine.name, "workers": workers})}
    )


def build_engine_columns(spec: TrialSpec, memory_fit: MemoryFit | None) -> JsonObject:
    """Return the columns of a trial's row in the plan; cpus and gpus are those of all workers together."""
    runtime = spec.runtime
    return {
        "engine": spec.engine.name if spec.engine else runtime.engine,
        "workers": runtime.workers,
        "cpus": runtime.cpus * runtime.workers,
        "gpus": runtime.gpus * runtime.workers,
        "memory_gib_predicted": memory_fit.required_gib if memory_fit else None,
        "memory_gib_there": memory_fit.available_gib if memory_fit else None,
        "fits": memory_fit.fits if memory_fit else None,
    }

"""Which engine a trial gets, and whether it fits its GPU, by the memory model. Touches no GPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sweeper import models
from sweeper.config import HardwareSpec, Sweep, TrialSpec
from sweeper.errors import ModelError, UsageError
from sweeper.training.engine import split_batch, split_for_trial


@dataclass(frozen=True)
class MemoryFit:
    """Memory that a worker is predicted to need beside what its (share of a) GPU has, GiB; None where not known."""

    required_gib: float | None
    available_gib: float | None

    @property
    def fits(self) -> bool | None:
        """None where one of the two is not known."""
        return (
            None if self.required_gib is None or self.available_gib is None else self.required_gib <= self.available_gib
        )


def select_engine(
    spec: TrialSpec, sweep: Sweep, vocab_size: int, hardware: HardwareSpec | None = None
) -> tuple[TrialSpec, MemoryFit]:
    """The trial with its engine chosen, and how it fits. `hardware` is the GPU where its runtime names none.

    `engine: auto` becomes the first engine that fits. Raises UsageError where none does or the GPU is not known, where
    the workers cannot share the effective batch, and for several workers under an engine of one.
    """
    runtime = spec.runtime
    gpu = sweep.hardware.get(runtime.hardware or "") or hardware
    there = gpu.memory_gib * runtime.gpus if gpu and gpu.memory_gib and runtime.gpus else None
    if spec.engine is None:
        spec = _choose_engine(spec, sweep, vocab_size, there)
    engine, workers = spec.engine, spec.runtime.workers
    if engine is not None and workers > 1 and not engine.distributed:
        raise UsageError(
            f"runtime of {spec.model.name}",
            requested=f"{workers} workers with engine {engine.name}",
            found="an engine of one worker",
            hint="engine: ddp, zero2, zero3 or auto; or workers: 1",
        )
    share = split_for_trial(spec)
    predicted = None
    if engine is not None and runtime.gpus:
        try:
            predicted = models.estimate_training_memory(
                models.load_config(spec.model, vocab_size),
                spec.recipe,
                engine,
                workers=workers,
                micro_batch=share.micro_batch,
                length=spec.data.max_length,
            ).total_gib
        except ModelError:  # an architecture that is not counted can still be trained
            predicted = None
    return spec, MemoryFit(predicted, there)


def _choose_engine(spec: TrialSpec, sweep: Sweep, vocab_size: int, available_gib: float | None) -> TrialSpec:
    runtime = spec.runtime
    if not runtime.gpus:  # on CPUs memory is not what decides
        found = (sweep.engines["single"], 1)
    elif available_gib is None:
        raise UsageError(
            f"runtime of {spec.model.name}",
            requested="engine: auto",
            found="no `hardware`: what fits depends on the GPU",
            hint="runtime.hardware, a name of configs/hardware/; or plan with --cluster",
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
        found = chosen
    engine, workers = found
    return spec.model_copy(
        update={"engine": engine, "runtime": runtime.model_copy(update={"engine": engine.name, "workers": workers})}
    )


def build_engine_columns(spec: TrialSpec, memory_fit: MemoryFit | None) -> dict[str, Any]:
    """Of a trial, as `plan --json` prints it: cpus and gpus are those of all its workers together."""
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

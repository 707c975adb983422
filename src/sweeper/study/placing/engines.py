"""Which engine a trial gets, and whether it fits its GPU, by the memory model. Touches no GPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sweeper import models
from sweeper.errors import ModelError, UsageError
from sweeper.spec import HardwareSpec, Sweep, TrialSpec
from sweeper.trial.engine import share_batch, share_of


@dataclass(frozen=True)
class Fit:
    """Memory that a worker is predicted to need beside what its (share of a) GPU has, GiB; None where not known."""

    predicted: float | None
    there: float | None

    @property
    def fits(self) -> bool | None:
        """None where one of the two is not known."""
        return None if self.predicted is None or self.there is None else self.predicted <= self.there


def with_engine(
    spec: TrialSpec, sweep: Sweep, vocab_size: int, hardware: HardwareSpec | None = None
) -> tuple[TrialSpec, Fit]:
    """The trial with its engine chosen, and how it fits. `hardware` is the GPU where its runtime names none.

    `engine: auto` becomes the first engine that fits. Raises UsageError where none does or the GPU is not known, where
    the workers cannot share the effective batch, and for several workers under an engine of one.
    """
    runtime = spec.runtime
    gpu = sweep.hardware.get(runtime.hardware or "") or hardware
    there = gpu.memory_gib * runtime.gpus if gpu and gpu.memory_gib and runtime.gpus else None
    if spec.engine is None:
        spec = _chosen(spec, sweep, vocab_size, there)
    engine, workers = spec.engine, spec.runtime.workers
    if engine is not None and workers > 1 and not engine.distributed:
        raise UsageError(
            f"runtime of {spec.model.name}",
            asked=f"{workers} workers with engine {engine.name}",
            found="an engine of one worker",
            do="engine: ddp, zero2, zero3 or auto; or workers: 1",
        )
    share = share_of(spec)
    predicted = None
    if engine is not None and runtime.gpus:
        try:
            predicted = models.training_memory(
                models.config_of(spec.model, vocab_size),
                spec.recipe,
                engine,
                workers=workers,
                micro_batch=share.micro_batch,
                length=spec.data.max_length,
            ).gib
        except ModelError:  # an architecture that is not counted can still be trained
            predicted = None
    return spec, Fit(predicted, there)


def _chosen(spec: TrialSpec, sweep: Sweep, vocab_size: int, there: float | None) -> TrialSpec:
    runtime = spec.runtime
    if not runtime.gpus:  # on CPUs memory is not what decides
        found = (sweep.engines["single"], 1)
    elif there is None:
        raise UsageError(
            f"runtime of {spec.model.name}",
            asked="engine: auto",
            found="no `hardware`: what fits depends on the GPU",
            do="runtime.hardware, a name of configs/hardware/; or plan with --cluster",
        )
    else:
        chosen = models.choose_engine(
            models.config_of(spec.model, vocab_size),
            spec.recipe,
            sweep.engines,
            workers=runtime.workers,
            micro_batch_of=lambda workers: share_batch(spec.recipe, workers, runtime.micro_batch).micro_batch,
            length=spec.data.max_length,
            memory_gib=there,
        )
        if chosen is None:
            raise UsageError(
                f"runtime of {spec.model.name}",
                asked=f"engine: auto, at most {runtime.workers} workers",
                found=f"no engine that fits {there:g} GiB",
                do="more workers, a smaller runtime.micro_batch, a larger GPU",
            )
        found = chosen
    engine, workers = found
    return spec.model_copy(
        update={"engine": engine, "runtime": runtime.model_copy(update={"engine": engine.name, "workers": workers})}
    )


def row(spec: TrialSpec, fit: Fit | None) -> dict[str, Any]:
    """Of a trial, as `plan --json` prints it: cpus and gpus are those of all its workers together."""
    runtime = spec.runtime
    return {
        "engine": spec.engine.name if spec.engine else runtime.engine,
        "workers": runtime.workers,
        "cpus": runtime.cpus * runtime.workers,
        "gpus": runtime.gpus * runtime.workers,
        "memory_gib_predicted": fit.predicted if fit else None,
        "memory_gib_there": fit.there if fit else None,
        "fits": fit.fits if fit else None,
    }

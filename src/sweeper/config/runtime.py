"""Resources of one trial, and the engines of `configs/engines/`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, FiniteFloat, model_validator

from sweeper.config.base import MAX_BATCH, FrozenConfig

AUTO_ENGINES = ("single", "zero2", "zero3", "zero3-offload")
"""Candidates of `engine: auto`, in order of preference: the simplest first."""


class EngineSpec(FrozenConfig):
    """How the workers of one trial share a model, which decides where memory lies.

    The result is the same but for rounding, except that ZeRO holds the weights themselves in half precision where the
    recipe computes in it: such a trial has an identity of its own.
    """

    name: str = Field(min_length=1)
    """Name used under `runtime`."""
    distributed: bool = False
    """Whether several workers can train one model together, one process and at most one GPU each."""
    zero_stage: Literal[0, 2, 3] = 0
    """DeepSpeed's ZeRO stage. 2 partitions optimizer states and gradients, 3 also parameters; 0: no DeepSpeed."""
    offload: bool = False
    """Keep optimizer states and parameters in host memory (ZeRO 3 only)."""

    @model_validator(mode="after")
    def _check_zero_options(self) -> EngineSpec:
        if self.zero_stage and not self.distributed:
            raise ValueError("ZeRO partitions a model over workers: `zero_stage` needs `distributed: true`")
        if self.offload and self.zero_stage != 3:
            raise ValueError("`offload` needs `zero_stage: 3`")
        return self


class Runtime(FrozenConfig):
    """Resources of one trial of a model. Of these only ZeRO in half precision is part of a trial's identity."""

    engine: str = "single"
    """An engine of `configs/engines/`; `auto`: the first of single, zero2, zero3, zero3-offload that fits the GPU."""
    workers: int = Field(default=1, gt=0, le=MAX_BATCH)
    """Processes that train one model together; with `engine: auto`, at most. They split the effective batch."""
    micro_batch: int | None = Field(default=None, gt=0, le=MAX_BATCH)
    """Upper limit on examples per forward pass of one worker: less memory, the same effective batch. `null`: the
    recipe's."""
    checkpoints: Literal["last", "best", "none-after-evaluation"] = "last"
    """What a trained trial keeps: its model; also the checkpoint of lowest validation loss; or, once it is evaluated,
    neither."""
    cpus: FiniteFloat = Field(default=1, gt=0, le=MAX_BATCH)
    """CPU cores of one worker. PyTorch's thread count is this rounded down (at least 1)."""
    gpus: FiniteFloat = Field(default=0, ge=0, le=MAX_BATCH)
    """GPUs of one worker, at most 1; a fraction packs several trials on one."""
    hardware: str | None = None
    """Planned GPU, of `configs/hardware/`. `engine: auto` needs it, and the plan then checks that the model fits."""

    @model_validator(mode="after")
    def _check_gpu_share(self) -> Runtime:
        if self.gpus > 1:
            raise ValueError(f"`gpus: {self.gpus:g}`: a worker has one GPU at most; increase `workers`")
        if self.workers > 1 and 0 < self.gpus < 1:
            raise ValueError(
                f"`gpus: {self.gpus:g}` with {self.workers} workers: only trials of one worker can share a GPU"
            )
        return self

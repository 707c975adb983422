"""How the workers of one trial split its effective batch."""

from __future__ import annotations

from dataclasses import dataclass

from sweeper.config import Recipe, TrialSpec
from sweeper.errors import UsageError


@dataclass(frozen=True)
class BatchSplit:
    """A split of the effective batch: `micro_batch` x `accumulation_steps` x `workers` always equals the recipe's."""

    micro_batch: int
    """Examples per forward pass of one worker."""
    accumulation_steps: int
    """Forward passes of one worker per optimizer step."""
    workers: int
    """Workers that train together."""


def split_batch(recipe: Recipe, workers: int, max_micro_batch: int | None = None) -> BatchSplit:
    """Split the recipe's effective batch over the workers, with the largest micro-batch that divides it.

    Args:
        recipe: its `per_device_train_batch_size` bounds the micro-batch.
        workers: workers that train together.
        max_micro_batch: a further bound, after running out of memory.

    Raises:
        UsageError: the workers cannot share the effective batch evenly; another batch would be another trial.

    Example:
        An effective batch of 24 (8 x 3) over two workers is split into micro-batches of 6, two per step.
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
    share = whole // workers
    micro = next(size for size in range(min(largest, share), 0, -1) if share % size == 0)
    return BatchSplit(micro, share // micro, workers)


def split_for_trial(spec: TrialSpec, max_micro_batch: int | None = None) -> BatchSplit:
    """Split a trial's effective batch over its workers; `runtime.micro_batch` bounds the micro-batch too.

    Raises:
        UsageError: the workers cannot share the effective batch evenly.
    """
    bounds = [size for size in (max_micro_batch, spec.runtime.micro_batch) if size is not None]
    return split_batch(spec.recipe, spec.runtime.workers, min(bounds, default=None))

"""Every combination of the listed values, enqueued before anything is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sweeper.config import Sweep
from sweeper.search.samplers.base import SamplerOption

if TYPE_CHECKING:
    from optuna.samplers import RandomSampler

TRAITS = {"is_grid": True}


def make_sampler(seed: int, options: Mapping[str, SamplerOption], sweep: Sweep) -> RandomSampler:
    """Make the sampler that Optuna requires. It draws nothing: every point of the grid is enqueued."""
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=seed)

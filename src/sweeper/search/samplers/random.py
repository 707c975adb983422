"""Independent random draws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sweeper.config import Sweep
from sweeper.search.samplers.base import SamplerOption

if TYPE_CHECKING:
    from optuna.samplers import RandomSampler

TRAITS = {"metric_counts": (1, 2)}


def make_sampler(seed: int, options: Mapping[str, SamplerOption], sweep: Sweep) -> RandomSampler:
    """Make a sampler that draws each value from its axis's distribution."""
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=seed)

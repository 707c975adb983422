"""Non-dominated sorting genetic algorithm II (Deb et al. 2002), for two metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sweeper.config import Sweep
from sweeper.search.samplers.base import SamplerOption, construct_quietly

if TYPE_CHECKING:
    from optuna.samplers import NSGAIISampler

TRAITS = {
    "options": {
        "population_size": "integer",
        "mutation_prob": "number",
        "crossover_prob": "number",
        "swapping_prob": "number",
    },
    "startup": ("population_size", 50),
    "metric_counts": (2,),
}


def make_sampler(seed: int, options: Mapping[str, SamplerOption], sweep: Sweep) -> NSGAIISampler:
    """Make an NSGA-II sampler with Optuna's defaults."""
    from optuna.samplers import NSGAIISampler

    return construct_quietly(NSGAIISampler, seed=seed, **options)

"""Bayesian optimization with a Gaussian process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sweeper.config import Sweep
from sweeper.search.samplers.base import SamplerOption, construct_quietly

if TYPE_CHECKING:
    from optuna.samplers import GPSampler

TRAITS = {
    "options": {"n_startup_trials": "integer", "deterministic_objective": "boolean"},
    "startup": ("n_startup_trials", 10),
}


def make_sampler(seed: int, options: Mapping[str, SamplerOption], sweep: Sweep) -> GPSampler:
    """Make a Gaussian process sampler with Optuna's defaults."""
    from optuna.samplers import GPSampler

    return construct_quietly(GPSampler, seed=seed, **options)

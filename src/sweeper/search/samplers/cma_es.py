"""Covariance matrix adaptation evolution strategy (Hansen 2016), for numeric axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sweeper.config import Sweep
from sweeper.search.samplers.base import SamplerOption, construct_quietly

if TYPE_CHECKING:
    from optuna.samplers import CmaEsSampler

TRAITS = {
    "options": {
        "n_startup_trials": "integer",
        "popsize": "integer",
        "sigma0": "number",
        "with_margin": "boolean",
        "consider_pruned_trials": "boolean",
    },
    "startup": ("n_startup_trials", 1),
    "needs_numeric_axes": True,
}


def make_sampler(seed: int, options: Mapping[str, SamplerOption], sweep: Sweep) -> CmaEsSampler:
    """Make a CMA-ES sampler with Optuna's defaults."""
    from optuna.samplers import CmaEsSampler

    return construct_quietly(CmaEsSampler, seed=seed, **options)

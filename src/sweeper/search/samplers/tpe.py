"""Tree-structured Parzen estimator (Bergstra et al. 2011), multivariate (Falkner et al. 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sweeper.config import Sweep
from sweeper.search.samplers.base import SamplerOption, construct_quietly

if TYPE_CHECKING:
    from optuna.samplers import TPESampler

TRAITS = {
    "options": {
        "n_startup_trials": "integer",
        "n_ei_candidates": "integer",
        "multivariate": "boolean",
        "group": "boolean",
        "constant_liar": "boolean",
    },
    "startup": ("n_startup_trials", 10),
    "metric_counts": (1, 2),
}


def make_sampler(seed: int, options: Mapping[str, SamplerOption], sweep: Sweep) -> TPESampler:
    """Make a TPE sampler, by default multivariate and with the constant liar."""
    from optuna.samplers import TPESampler

    arguments = {"multivariate": True, "constant_liar": True} | dict(options)
    is_conditional = any(axis.when or axis.or_null for axis in sweep.searched.values())
    if arguments["multivariate"] and is_conditional:
        arguments.setdefault("group", True)  # otherwise Optuna draws conditional axes independently
    return construct_quietly(TPESampler, seed=seed, **arguments)

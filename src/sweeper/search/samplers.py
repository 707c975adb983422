"""Optuna's samplers and pruners, as a search asks for them."""

from __future__ import annotations

import warnings
import zlib
from typing import Any

from sweeper.config import SearchSpec, Sweep


def make_sampler(search: SearchSpec, sweep: Sweep, group: str, number: int) -> Any:
    """Optuna's sampler for one proposal, seeded by the search, its group and the number: a search that was broken off
    draws what the whole one would have drawn, given the same history."""
    from optuna import samplers

    seed = zlib.crc32(f"{search.seed} {group} {number}".encode())
    options = dict(search.sampler)
    if search.algorithm == "tpe":
        options = {"multivariate": True, "constant_liar": True} | options
        conditional = any(how.when or how.or_null for how in sweep.searched.values())
        if options["multivariate"] and conditional:
            options.setdefault("group", True)  # else what is not always there is drawn apart from the rest
        return _construct_without_warnings(samplers.TPESampler, seed=seed, **options)
    if search.algorithm == "gp":
        return _construct_without_warnings(samplers.GPSampler, seed=seed, **options)
    if search.algorithm == "cma-es":
        return _construct_without_warnings(samplers.CmaEsSampler, seed=seed, **options)
    if search.algorithm == "nsga2":
        return _construct_without_warnings(samplers.NSGAIISampler, seed=seed, **options)
    return samplers.RandomSampler(seed=seed)


HYPERBAND_RUNGS = 3
"""Brackets begin at the first rung and at the three after it."""


MEDIAN_STARTUP_TRIALS = 5
"""Trials that end before the median of the others stops one: Optuna's default, and Vizier's (Golovin et al. 2017)."""


def make_pruner(search: SearchSpec) -> Any:
    """Optuna's pruner. Its rungs are in the resource that trials report, and lie in the storage."""
    from optuna import pruners

    rungs = search.rungs
    if search.scheduler in ("none", "pbt") or rungs is None:  # a population has a rule of its own
        return pruners.NopPruner()
    if search.scheduler == "asha":
        return pruners.SuccessiveHalvingPruner(min_resource=rungs.first, reduction_factor=rungs.reduction_factor)
    if search.scheduler == "hyperband":
        # "auto" would wait for a first complete trial; the farthest rung that counts is the last before the end.
        return pruners.HyperbandPruner(
            min_resource=rungs.first,
            max_resource=rungs.first * rungs.reduction_factor**HYPERBAND_RUNGS,
            reduction_factor=rungs.reduction_factor,
        )
    return pruners.MedianPruner(n_startup_trials=MEDIAN_STARTUP_TRIALS, n_warmup_steps=0)


def _construct_without_warnings(sampler: Any, **options: Any) -> Any:
    """Without the warning that a part of it is experimental, at every proposal."""
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return sampler(**options)

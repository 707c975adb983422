"""Planned trials -> what each has to compute, also where the data are not prepared and their size is only taken."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sweeper import data, evaluate, models, toolworld
from sweeper.data.queries import COMPLETE
from sweeper.errors import ModelError, StoreError, SweeperError
from sweeper.spec import DataSpec, EvaluationSpec, TrialSpec
from sweeper.store import Store
from sweeper.study.costs.trial import FLOAT32, Asked, Work
from sweeper.study.plan import PlannedTrial
from sweeper.trial import arguments

QUERIES_TAKEN = sum(COMPLETE["solvable-765"].values())
"""Queries of a suite that cannot be read here: those of StableToolBench."""
Manifest = dict[str, Any]


def works_of(trials: Sequence[PlannedTrial], store: Store | None) -> list[Work]:
    """The work of each trial, equal for trials that differ in their seed alone."""
    manifests: dict[tuple[str, int], tuple[Manifest | None, bool]] = {}
    known: dict[tuple[Any, ...], Work] = {}
    found = []
    for trial in trials:
        spec = trial.spec
        place = (trial.data, id(spec.data))
        if place not in manifests:
            manifests[place] = _manifest(trial, store)
        key = (place, id(spec.model), spec.recipe, spec.branch is None, trial.planned_steps, trial.planned_train_flops)
        if key not in known:
            known[key] = work_of(trial, *manifests[place])
        found.append(known[key])
    return found


def work_of(trial: PlannedTrial, manifest: Manifest | None, assumed: bool) -> Work:
    """Of one trial, from the manifest of its data, or a stand-in of one (`assumed`); NaN where something is missing."""
    parameters, nan = float(trial.parameters or math.nan), math.nan
    steps = nan if trial.planned_steps is None else float(trial.planned_steps)
    if manifest is None:
        return Work(steps, nan, nan, parameters, nan, nan, nan, assumed=False)
    spec, flops = trial.spec, arguments.row_flops(trial.spec.model, manifest)
    train = nan if trial.planned_train_flops is None else trial.planned_train_flops
    if math.isnan(steps) or math.isnan(train):
        steps, train = _expected(spec, manifest["rows"]["train"], flops.per_row)
    return Work(
        steps=steps,
        tokens=train / flops.per_token,
        train_flops=train,
        parameters=parameters,
        length=flops.mean_length,
        forward_flops=flops.per_token / 3,
        cache_bytes=_cache_bytes(spec, manifest["vocab_size"]),
        assumed=assumed,
    )


def stand_in(spec: DataSpec) -> Manifest | None:
    """What costs need of a manifest, of data that are not prepared (`DataSpec.assumed`); None: nothing is taken."""
    if spec.assumed is None:
        return None
    examples = spec.assumed.examples
    if examples is None:
        if spec.source != "toolworld":
            return None
        examples = toolworld.WorldConfig.from_mapping(spec.toolworld).train_queries
    length = min(spec.assumed.mean_tokens or math.inf, spec.max_length)
    return {"rows": {"train": examples}, "tokens": {"train": examples * length}, "vocab_size": spec.vocab_size}


def asked_of(evaluation: EvaluationSpec, spec: DataSpec) -> tuple[Asked, bool]:
    """How a suite is asked, and whether the number of its queries is taken because they cannot be read."""
    taken = False
    if evaluation.queries is None:
        world = toolworld.WorldConfig.from_mapping(spec.toolworld)
        test = len(toolworld.SUBSETS) * world.test_queries_per_subset
        queries = world.validation_queries if evaluation.split == "validation" else test
    else:
        try:
            queries = sum(evaluate.suite(evaluation, spec).counts.values())
        except SweeperError:
            queries, taken = QUERIES_TAKEN, True
    return Asked(queries, evaluation.batch_size, evaluation.max_steps, evaluation.max_new_tokens), taken


def _manifest(trial: PlannedTrial, store: Store | None) -> tuple[Manifest | None, bool]:
    """(the manifest of its data, False), or (what stands in for it, True)."""
    if trial.data and store is not None:
        try:
            return data.prepared_manifest(store, trial.data), False
        except StoreError:
            pass
    return stand_in(trial.spec.data), True


def _expected(spec: TrialSpec, examples: int, flops_per_row: float) -> tuple[float, float]:
    """(optimiser steps, training FLOPs) that it does itself; NaN for a recipe that cannot be met."""
    try:
        steps = arguments.optimizer_steps(spec.recipe, examples, flops_per_row)
        begin = arguments.branch_start(spec, steps)
    except SweeperError:
        return math.nan, math.nan
    rows = arguments.examples_seen(spec.recipe, examples, steps) - arguments.examples_seen(spec.recipe, examples, begin)
    return float(steps - begin), flops_per_row * rows


def _cache_bytes(spec: TrialSpec, vocab_size: int) -> float:
    """Keys and values of one token, all layers."""
    try:
        config = models.config_of(spec.model, vocab_size)
    except ModelError:
        return math.nan
    return float(2 * int(config["num_hidden_layers"]) * int(config["hidden_size"]) * FLOAT32)

"""Workload of planned trials. Data that are not prepared have an assumed size."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sweeper import data, models, toolworld
from sweeper.config import DataSpec, EvaluationSpec, TrialSpec
from sweeper.data import DataSize
from sweeper.data.test_queries import PUBLISHED_SUITES
from sweeper.errors import ModelError, StoreError, SweeperError
from sweeper.evaluation import compute_suite_fingerprint, load_evaluation_suite
from sweeper.planning.cost_model import FLOAT32_BYTES, EvaluationLoad, Workload
from sweeper.planning.plan import PlannedTrial
from sweeper.storage import Store
from sweeper.training.schedule import check_decay, compute_row_flops, make_schedule

ASSUMED_QUERIES = sum(PUBLISHED_SUITES["solvable-765"].values())
"""Assumed number of queries of a suite that cannot be read: that of StableToolBench."""


def build_workloads(trials: Sequence[PlannedTrial], store: Store | None) -> list[Workload]:
    """Build the workload of each trial. Trials that differ in their seed alone share one."""
    sizes: dict[tuple[str, int], tuple[DataSize | None, bool]] = {}
    known: dict[tuple[object, ...], Workload] = {}
    workloads = []
    for trial in trials:
        spec = trial.spec
        place = (trial.data_fingerprint, id(spec.data))
        if place not in sizes:
            sizes[place] = _load_size(trial, store)
        key = (place, id(spec.model), spec.recipe, spec.branch is None, trial.planned_steps, trial.planned_train_flops)
        if key not in known:
            known[key] = build_workload(trial, *sizes[place])
        workloads.append(known[key])
    return workloads


def build_workload(trial: PlannedTrial, size: DataSize | None, is_assumed: bool) -> Workload:
    """Build the workload of one trial.

    Args:
        size: size of its data, prepared or assumed; None: the workload is unknown (NaN).
        is_assumed: whether the size is assumed.
    """
    parameters, nan = float(trial.parameters or math.nan), math.nan
    steps = nan if trial.planned_steps is None else float(trial.planned_steps)
    if size is None:
        return Workload(steps, nan, nan, parameters, nan, nan, nan, is_assumed=False)
    spec, flops = trial.spec, compute_row_flops(trial.spec.model, trial.spec.recipe, size)
    train = nan if trial.planned_train_flops is None else trial.planned_train_flops
    if math.isnan(steps) or math.isnan(train):
        steps, train = _estimate_steps_and_flops(spec, size)
    return Workload(
        steps=steps,
        tokens=train / flops.per_token,
        train_flops=train,
        parameters=parameters,
        mean_length=flops.mean_length,
        forward_flops_per_token=flops.forward_per_token,
        kv_cache_bytes_per_token=_compute_kv_cache_bytes(spec, size.vocab_size),
        is_assumed=is_assumed,
    )


def assume_size(spec: DataSpec) -> DataSize | None:
    """Return the assumed size of data that are not prepared (`DataSpec.assumed`); None without an assumption."""
    if spec.assumed is None:
        return None
    examples = spec.assumed.examples
    if examples is None:
        if spec.source != "toolworld":
            return None
        examples = toolworld.WorldConfig.from_mapping(spec.toolworld).train_queries
    length = min(spec.assumed.mean_tokens or math.inf, spec.max_length)
    return DataSize(examples, examples * length, spec.vocab_size)


def build_evaluation_load(evaluation: EvaluationSpec, spec: DataSpec) -> tuple[EvaluationLoad, bool]:
    """Build the load of an evaluation, and whether its number of queries is assumed because they cannot be read."""
    is_assumed = False
    if evaluation.queries is None:
        world = toolworld.WorldConfig.from_mapping(spec.toolworld)
        test = len(toolworld.SUBSETS) * world.test_queries_per_subset
        queries = world.validation_queries if evaluation.split == "validation" else test
    else:
        try:
            queries = sum(load_evaluation_suite(evaluation, spec).query_counts.values())
        except SweeperError:
            queries, is_assumed = ASSUMED_QUERIES, True
    return EvaluationLoad(queries, evaluation.batch_size, evaluation.max_steps, evaluation.max_new_tokens), is_assumed


def compute_suite_fingerprints(trials: Sequence[PlannedTrial]) -> list[str | None]:
    """Compute the fingerprint of the suite that each trial is evaluated on; None for a trial without evaluation.

    Raises:
        SweeperError: the queries of a suite cannot be read.
    """
    known: dict[tuple[str, str], str] = {}
    suites: list[str | None] = []
    for trial in trials:
        if trial.evaluation is None:
            suites.append(None)
            continue
        key = trial.evaluation.model_dump_json(), trial.spec.data.model_dump_json()
        if key not in known:
            known[key] = compute_suite_fingerprint(trial.evaluation, trial.spec.data)
        suites.append(known[key])
    return suites


def _load_size(trial: PlannedTrial, store: Store | None) -> tuple[DataSize | None, bool]:
    """Return (size of its prepared data, False), or (assumed size, True)."""
    if trial.data_fingerprint and store is not None:
        try:
            return data.read_data_manifest(store, trial.data_fingerprint).size, False
        except StoreError:
            pass
    return assume_size(trial.spec.data), True


def _estimate_steps_and_flops(spec: TrialSpec, size: DataSize) -> tuple[float, float]:
    """Return the optimizer steps and training FLOPs of the trial itself; NaN for a recipe that cannot be met."""
    try:
        schedule = make_schedule(spec, size)
        if spec.branch is not None and spec.branch.step is None:
            check_decay(spec.recipe, schedule.total_steps)
    except SweeperError:
        return math.nan, math.nan
    own_flops = schedule.train_flops - schedule.shared_train_flops
    return float(schedule.total_steps - schedule.start_step), own_flops


def _compute_kv_cache_bytes(spec: TrialSpec, vocab_size: int) -> float:
    """Compute the size of one token in the KV cache, all layers."""
    try:
        config = models.load_config(spec.model, vocab_size)
        layers, width = models.read_size(config, "num_hidden_layers"), models.read_size(config, "hidden_size")
    except ModelError:
        return math.nan
    return float(2 * layers * width * FLOAT32_BYTES)

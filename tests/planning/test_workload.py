"""Workload of trials and their evaluations; sizes are assumed where data or queries are missing."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from small_studies import load_small_sweep

from sweeper.config import DataSpec, load_data_spec
from sweeper.data import DataSize
from sweeper.planning.planner import plan_sweep
from sweeper.planning.workload import (
    ASSUMED_QUERIES,
    assume_size,
    build_evaluation_load,
    build_workload,
    build_workloads,
    compute_suite_fingerprints,
)


def test_assume_size_is_bounded_by_the_row_length() -> None:
    spec = load_data_spec("toolbench")
    assert assume_size(spec) == DataSize(187542, 187542 * 2048, 512)
    assert assume_size(DataSpec.model_validate(spec.model_dump() | {"assumed": None})) is None
    long = spec.model_copy(update={"assumed": spec.assumed.model_copy(update={"mean_tokens": 9e9})})  # type: ignore[union-attr]
    assert assume_size(long) == assume_size(spec)


def test_build_workloads_shares_one_workload_between_seeds() -> None:
    plan = plan_sweep(load_small_sweep("axes.seed=[0,1]", "axes.num_train_epochs=[1,2]"))
    workloads = build_workloads(plan.trials, store=None)
    by_epochs = [(trial.spec.recipe.num_train_epochs, load) for trial, load in zip(plan.trials, workloads, strict=True)]
    short, long = ([load for epochs, load in by_epochs if epochs == number] for number in (1, 2))
    assert short[0] is short[1]
    assert long[0].steps == 2 * short[0].steps
    assert long[0].tokens == pytest.approx(2 * short[0].tokens)
    assert long[0].is_assumed


def test_build_workload_is_unknown_without_a_size() -> None:
    (trial, *_) = plan_sweep(load_small_sweep()).trials
    workload = build_workload(trial, None, is_assumed=False)
    assert math.isnan(workload.tokens)
    assert workload.parameters == trial.parameters


def test_build_evaluation_load_counts_the_queries_of_the_split() -> None:
    sweep = load_small_sweep()
    assert sweep.evaluation is not None
    test, is_assumed = build_evaluation_load(sweep.evaluation, sweep.data)
    assert (test.queries, is_assumed) == (6, False)
    validation, _ = build_evaluation_load(sweep.evaluation.model_copy(update={"split": "validation"}), sweep.data)
    assert validation.queries == 6


def test_build_evaluation_load_assumes_queries_that_cannot_be_read(tmp_path: Path) -> None:
    sweep = load_small_sweep()
    assert sweep.evaluation is not None
    missing = sweep.evaluation.model_copy(update={"queries": str(tmp_path / "missing")})
    load, is_assumed = build_evaluation_load(missing, sweep.data)
    assert (load.queries, is_assumed) == (ASSUMED_QUERIES, True)


def test_compute_suite_fingerprints_is_none_without_evaluation() -> None:
    trials = plan_sweep(load_small_sweep("evaluation=null")).trials
    assert compute_suite_fingerprints(trials) == [None] * len(trials)
    evaluated = compute_suite_fingerprints(plan_sweep(load_small_sweep()).trials)
    assert len(set(evaluated)) == 1

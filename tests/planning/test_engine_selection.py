"""Engines in a plan: chosen by memory, refused where they make no sense, and shown with what they need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweeper.config import find_sweep, load_hardware_specs, load_sweep
from sweeper.planning.planner import plan_sweep

ROOT = Path(__file__).resolve().parents[2]


def plan_rows(model: str, *overrides: str, hardware: str | None = None) -> tuple[list[dict[str, Any]], str]:
    sweep = load_sweep(
        find_sweep("scaling"),
        [f"axes.model=[{model}]", "axes.seed=[0]", "claims=[]", "evaluation=null", "runtime={}", *overrides],
    )
    plan = plan_sweep(sweep, hardware=load_hardware_specs()[hardware] if hardware else None)
    return plan.to_document()["trials"], "\n".join(problem for problem in plan.problems if "toolbench" not in problem)


@pytest.mark.parametrize(
    ("model", "gpu", "workers", "engine", "used_workers"),
    [
        ("opt-125m", "a10g", 4, "single", 1),
        ("opt-350m", "a10g", 4, "single", 1),
        ("opt-1.3b", "a10g", 4, "zero2", 4),
        ("opt-1.3b", "a100-80gb", 4, "single", 1),
        ("opt-2.7b", "a10g", 4, "zero3-offload", 4),
    ],
)
def test_select_engine_chooses_the_simplest_that_fits(
    model: str, gpu: str, workers: int, engine: str, used_workers: int
) -> None:
    auto = f"runtime.default={{engine: auto, workers: {workers}, gpus: 1, cpus: 2, hardware: {gpu}}}"
    (row,), problems = plan_rows(model, auto)
    assert problems == ""
    assert (row["engine"], row["workers"], row["gpus"], row["cpus"]) == (
        engine,
        used_workers,
        used_workers,
        2 * used_workers,
    )
    assert row["fits"] is True
    assert 0 < row["memory_gib_predicted"] <= row["memory_gib_there"] == load_hardware_specs()[gpu].memory_gib


def test_select_engine_uses_the_gpu_of_the_cluster() -> None:
    auto = "runtime.default={engine: auto, workers: 4, gpus: 1}"
    (row,), problems = plan_rows("opt-1.3b", auto)
    assert "hardware" in problems
    assert row["fits"] is None
    (row,), problems = plan_rows("opt-1.3b", auto, hardware="h100")
    assert problems == ""
    assert row["engine"] == "single"


@pytest.mark.parametrize(
    ("runtime", "says"),
    [
        ("{engine: single, gpus: 1, hardware: a10g}", "GiB per GPU"),
        ("{engine: auto, workers: 2, gpus: 1, hardware: l4}", ""),
        ("{engine: auto, gpus: 0.5, hardware: a10g}", "no engine that fits"),
        ("{engine: single, workers: 2, gpus: 1}", "an engine of one worker"),
        ("{engine: zero2, workers: 5, gpus: 1}", "cannot share evenly"),
    ],
)
def test_select_engine_problems_are_problems_of_the_plan(runtime: str, says: str) -> None:
    _, problems = plan_rows("opt-1.3b", f"runtime.default={runtime}")
    assert says in problems
    assert bool(says) == bool(problems)


def test_select_engine_scales_memory_with_the_gpu_share_and_micro_batch() -> None:
    share = "runtime.default={engine: single, gpus: 0.4, hardware: a10g%s}"
    (whole,), problems = plan_rows("opt-350m", share % "")
    assert whole["fits"] is False
    assert "opt-350m" in problems
    (smaller,), problems = plan_rows("opt-350m", share % ", micro_batch: 4")
    assert problems == ""
    assert smaller["memory_gib_predicted"] < whole["memory_gib_predicted"]
    assert smaller["memory_gib_there"] == whole["memory_gib_there"] == load_hardware_specs()["a10g"].memory_gib * 0.4
    assert smaller["fingerprint"] == whole["fingerprint"], "how it runs is no part of what it is"


def test_engine_does_not_change_fingerprints() -> None:
    quick = [
        plan_sweep(load_sweep(ROOT / "sweeps/quickstart.yaml", ["axes.seed=[0]", f"runtime.default={runtime}"]))
        for runtime in (
            "{engine: single}",
            "{engine: ddp, workers: 2}",
            "{engine: zero3, workers: 4}",
            "{engine: auto}",
        )
    ]
    assert len({tuple(trial.fingerprint for trial in plan.trials) for plan in quick}) == 1
    assert all(plan.problems == () for plan in quick)
    assert {trial.to_row()["engine"] for trial in quick[3].trials} == {"single"}

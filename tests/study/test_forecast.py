"""Seconds from FLOPs, a makespan from the queue, and NaN with its reason where something is not known."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

from sweeper.spec import HardwareSpec, expand, load_hardware, load_sweep
from sweeper.study.admission import Need
from sweeper.study.clusters import ClusterSpec, NodeKind, read_cluster
from sweeper.study.forecast import cluster_lines, forecast_document, need_of, training_seconds
from sweeper.study.plan import Plan, PlannedTrial

GPU = HardwareSpec(name="g", memory_gib=10, tflops={"fp16": 100, "fp32": 50}, utilisation=0.25, source="a test")
ONE_FOUR = ClusterSpec("c", (NodeKind("m", 64, 4, 2, "x.1", "g", None),))
FLOPS = 9e16


def plan(root: Path, flops: float | None, *overrides: str) -> Plan:
    sweep = load_sweep(root / "sweeps/scaling.yaml", ["axes.seed=[0,1,2,3,4]", *overrides])
    trials = [PlannedTrial(f"{i:x}", spec, 1, "d") for i, spec in enumerate(expand(sweep))]
    return Plan(sweep, tuple(dataclasses.replace(trial, planned_train_flops=flops) for trial in trials), ())


ALONE = ("runtime.opt-1.3b.engine=single", "runtime.opt-1.3b.workers=1")


def seconds(**changes: Any) -> float:
    asked: dict[str, Any] = {"precision": "fp16", "gradient_checkpointing": False, "workers": 1, "gpus": 1}
    return training_seconds(changes.pop("flops", FLOPS), GPU, **(asked | changes))


def test_seconds_are_work_over_speed() -> None:
    assert seconds() == pytest.approx(FLOPS / (100e12 * 0.25)) == pytest.approx(3600)
    assert seconds(gradient_checkpointing=True) == pytest.approx(3600 * 4 / 3)
    assert seconds(precision="fp32") == pytest.approx(7200)
    assert seconds(workers=4) == pytest.approx(900)
    assert seconds(gpus=0.5) == pytest.approx(7200)  # halves together do no more than one


@pytest.mark.parametrize("unknown", [{"flops": None}, {"flops": math.nan}, {"precision": "bf16"}, {"gpus": 0}])
def test_unknown_is_nan(unknown: dict[str, Any]) -> None:
    assert math.isnan(seconds(**unknown))


def test_a_plan_on_a_cluster(root: Path) -> None:
    asked = plan(root, FLOPS, "recipe.gradient_checkpointing=false", *ALONE)
    document = forecast_document(asked, ONE_FOUR, {"g": GPU})
    assert (document["nodes"], document["gpus"], document["hardware"]) == (2, 8, ["g"])
    assert document["problems"] == document["reasons"] == []
    # Five trials of half a GPU and two hours, ten of one GPU and one hour.
    assert [trial["seconds"] for trial in document["trials"]] == pytest.approx([7200] * 5 + [3600] * 10)
    assert document["lower_bound_hours"] == pytest.approx(2)
    assert document["makespan_hours"] >= document["lower_bound_hours"]
    assert document["utilisation"] == pytest.approx(15 / (8 * document["makespan_hours"]))
    assert document["efficiency"] == pytest.approx(document["lower_bound_hours"] / document["makespan_hours"])
    assert document["concurrency"] == 5 + 5
    text = "\n".join(cluster_lines(document))
    assert "2 machines, 128 CPUs, 8 GPUs (g); at most 10 trials at once" in text
    assert f"makespan {document['makespan_hours']:.1f} h" in text
    assert "25% of g (taken, not measured)" in text


def test_with_the_shipped_cluster_and_gpu(root: Path) -> None:
    document = forecast_document(plan(root, 1e17), read_cluster(root / "cluster/aws/g5.yaml"), load_hardware())
    assert document["hardware"] == ["a10g"]
    assert 0 < document["lower_bound_hours"] <= document["makespan_hours"] < math.inf


def test_data_that_are_not_prepared_leave_the_time_open_and_say_so(root: Path) -> None:
    document = forecast_document(plan(root, None), ONE_FOUR, {"g": GPU})
    assert math.isnan(document["makespan_hours"])
    assert math.isnan(document["utilisation"])
    assert all(math.isnan(trial["seconds"]) for trial in document["trials"])
    assert document["concurrency"] == 10
    assert "makespan unknown: data not prepared" in "\n".join(cluster_lines(document))


def test_a_gpu_nobody_described_leaves_it_open_too(root: Path) -> None:
    asked = plan(root, FLOPS)
    for kinds, hardware in (("g", {}), (None, {"g": GPU})):
        cluster = ClusterSpec("c", (NodeKind("m", 64, 4, 2, None, kinds, None),))
        document = forecast_document(asked, cluster, hardware)
        assert math.isnan(document["makespan_hours"])
        assert "names the machines of m" in document["reasons"][0]


def test_a_precision_without_a_speed_is_named(root: Path) -> None:
    document = forecast_document(plan(root, FLOPS, "recipe.precision=bf16"), ONE_FOUR, {"g": GPU})
    assert document["reasons"] == ["g has no `tflops` of bf16"]


def test_of_two_kinds_of_gpu_the_slower_is_taken(root: Path) -> None:
    fast = GPU.model_copy(update={"name": "f", "utilisation": 0.5})
    both = ClusterSpec("c", (*ONE_FOUR.kinds, NodeKind("n", 64, 4, 1, "y.1", "f", None)))
    asked = plan(root, FLOPS)
    slow, mixed = (forecast_document(asked, cluster, {"g": GPU, "f": fast}) for cluster in (ONE_FOUR, both))
    assert [t["seconds"] for t in mixed["trials"]] == [t["seconds"] for t in slow["trials"]]


def test_trials_on_cpus_have_no_forecast(root: Path) -> None:
    document = forecast_document(plan(root, FLOPS, "runtime={default: {cpus: 2}}"), ONE_FOUR, {"g": GPU})
    assert document["reasons"] == ["trials without a GPU: nothing is known of the speed of CPUs"]
    assert document["concurrency"] == 15


def test_what_fits_no_node_is_a_problem_named_once(root: Path) -> None:
    asked = plan(root, FLOPS, "runtime.opt-1.3b.cpus=65", *ALONE)
    assert need_of(asked.trials[-1]) == Need(1, 65, 1)
    document = forecast_document(asked, ONE_FOUR, {"g": GPU})
    (problem,) = document["problems"]
    assert problem.startswith("opt-1.3b (5 trials) asks for 65 CPUs and 1 GPU: ")
    assert math.isnan(document["makespan_hours"])

"""A makespan from the queue over predicted seconds, and NaN with its reason where something is not known."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.config import (
    UNKNOWN_ESTIMATE,
    Branch,
    Estimate,
    HardwareSpec,
    expand_sweep,
    load_hardware_specs,
    load_sweep,
)
from sweeper.planning.cluster_files import ClusterSpec, NodeType, read_cluster
from sweeper.planning.estimate import estimate_plan
from sweeper.planning.makespan import (
    RUN_START_SECONDS,
    build_resource_request,
    choose_default_nodes,
    forecast_cluster,
    simulate_makespan,
)
from sweeper.planning.plan import Plan, PlannedTrial
from sweeper.scheduling import Node, ResourceRequest
from sweeper.storage import Store

ONE = Estimate(low=0.25, expected=0.25, high=0.25)
GPU = HardwareSpec(
    name="g",
    memory_gib=10,
    tflops={"fp16": 100, "fp32": 50},
    bandwidth_gb_s=1000,
    power_watts=100,
    utilisation=ONE,
    step_seconds=Estimate(low=0, expected=0, high=0),
    startup_seconds=0,
    source="a test",
)
ONE_FOUR = ClusterSpec("c", (NodeType("m", 64, 4, 2, "x.1", "g", None),))
HOUR = Estimate(3000, 3600, 7200)


def plan(root: Path, *overrides: str) -> Plan:
    alone = () if overrides and overrides[0].startswith("runtime={") else ALONE
    planned = ["axes.seed=[0,1,2,3,4]", "evaluation=null", "claims=[]", *alone, *overrides]
    sweep = load_sweep(root / "sweeps/scaling.yaml", planned)
    trials = [
        PlannedTrial(f"{i:x}", spec, 10**8, "", trainable_parameters=10**8)
        for i, spec in enumerate(expand_sweep(sweep))
    ]
    return Plan(sweep, tuple(trials), ())


ALONE = ("runtime.opt-1.3b.engine=single", "runtime.opt-1.3b.workers=1")


def test_forecast_cluster_simulates_the_plan(root: Path) -> None:
    planned = plan(root)
    # Five trials of half a GPU and two hours, ten of one GPU and one hour.
    seconds = [HOUR.scale(2)] * 5 + [HOUR] * 10
    wall = simulate_makespan(planned.trials, seconds, ONE_FOUR.nodes)
    forecast = forecast_cluster(planned, ONE_FOUR, wall)
    document = forecast.to_document()
    assert (document["nodes"], document["gpus"], document["hardware"]) == (2, 8, ["g"])
    assert document["problems"] == document["reasons"] == []
    assert document["lower_bound_hours"] == pytest.approx(2)
    makespan = document["makespan_hours"] - RUN_START_SECONDS / 3600
    assert makespan >= document["lower_bound_hours"]
    assert document["utilisation"] == pytest.approx(15 / (8 * makespan))
    assert document["concurrency"] == 5 + 5
    assert wall.seconds.low < wall.seconds.expected < wall.seconds.high
    text = "\n".join(forecast.format_lines())
    assert "2 machines, 128 CPUs, 8 GPUs (g); at most 10 trials at once" in text
    assert f"makespan {document['makespan_hours']:.1f} h" in text


def test_forecast_cluster_of_the_shipped_cluster(root: Path, tmp_path: Path) -> None:
    cluster, known = read_cluster(root / "cluster/aws/g5.yaml"), load_hardware_specs()
    priced, wall = estimate_plan(
        plan(root), Store(tmp_path), known, gpu_kinds=cluster.list_gpu_kinds(known), nodes=cluster.nodes
    )
    document = forecast_cluster(priced, cluster, wall).to_document()
    assert document["hardware"] == ["a10g"]
    assert 0 < document["lower_bound_hours"] <= document["makespan_hours"] < math.inf


def test_makespan_is_unknown_if_a_trial_is(root: Path) -> None:
    planned = plan(root)
    wall = simulate_makespan(planned.trials, [HOUR] * 14 + [UNKNOWN_ESTIMATE], ONE_FOUR.nodes)
    forecast = forecast_cluster(planned, ONE_FOUR, wall)
    document = forecast.to_document()
    assert math.isnan(document["makespan_hours"])
    assert math.isnan(document["utilisation"])
    assert document["concurrency"] == 10
    assert "makespan unknown: " in "\n".join(forecast.format_lines())


def test_makespan_names_why_it_is_unknown(root: Path, tmp_path: Path) -> None:
    unsized = plan(root, "data.assumed=null")
    for planned, gpus, why in (
        (unsized, [GPU], "data not prepared"),
        (plan(root, "recipe.precision=bf16"), [GPU], "g lists no `tflops` for bf16"),
        (plan(root, "runtime={default: {gpus: 1}}"), [], "unknown GPU"),
    ):
        priced, wall = estimate_plan(planned, Store(tmp_path), load_hardware_specs(), gpu_kinds=gpus)
        assert not wall.seconds.is_known
        assert any(reason.startswith(why) for reason in wall.reasons), wall.reasons
        assert priced.estimate is not None
        assert math.isnan(priced.estimate.cost.gpu_hours.expected)


def test_estimate_uses_the_slower_of_two_gpus(root: Path, tmp_path: Path) -> None:
    fast = GPU.model_copy(update={"name": "f", "utilisation": Estimate(low=0.5, expected=0.5, high=0.5)})
    planned = plan(root)
    slow, mixed = (estimate_plan(planned, Store(tmp_path), {}, gpu_kinds=gpus)[0] for gpus in ([GPU], [fast, GPU]))
    assert [t.estimate for t in mixed.trials] == [t.estimate for t in slow.trials]


def test_makespan_names_an_unplaceable_request_once(root: Path) -> None:
    planned = plan(root, "runtime.opt-1.3b.cpus=65")
    assert build_resource_request(planned.trials[-1]) == ResourceRequest(1, 65, 1)
    (problem,) = simulate_makespan(planned.trials, [HOUR] * 15, ONE_FOUR.nodes).problems
    assert problem.startswith("opt-1.3b (5 trials) needs 65 CPUs and 1 GPU: ")


def test_choose_default_nodes_fits_the_largest_trial(root: Path) -> None:
    planned = plan(root, "runtime.opt-1.3b.engine=ddp", "runtime.opt-1.3b.workers=4")
    assert choose_default_nodes(planned.trials, 2) == (Node("one machine", 32, 4),)  # half GPUs ask for four cores each
    on_cpus = plan(root, "runtime={default: {cpus: 2}}")
    assert choose_default_nodes(on_cpus.trials, 2) == (Node("this machine", 2, 0),)
    wall = simulate_makespan(on_cpus.trials, [HOUR] * 15, choose_default_nodes(on_cpus.trials, 4))
    assert wall.seconds.expected == pytest.approx(RUN_START_SECONDS + 8 * 3600)  # two at once
    assert choose_default_nodes((), 2) == ()
    assert simulate_makespan((), [], ()).seconds.expected == 0


@given(durations=st.lists(st.floats(1, 1e5), min_size=1, max_size=30), cores=st.integers(1, 8))
def test_makespan_is_at_most_the_sum_of_durations(durations: list[float], cores: int) -> None:
    root = Path(__file__).resolve().parents[2]
    sweep = load_sweep(root / "sweeps/quickstart.yaml")
    trial = PlannedTrial("x", expand_sweep(sweep)[0], 1, "d")
    trials = [dataclasses.replace(trial, fingerprint=str(i)) for i in range(len(durations))]
    seconds = [Estimate(each, each, each) for each in durations]
    makespan = simulate_makespan(trials, seconds, [Node("n", cores, 0)]).seconds.expected - RUN_START_SECONDS
    assert max(durations) - 1e-6 <= makespan <= sum(durations) + 1e-6


def test_makespan_orders_trunks_branches_search_and_confirmations(root: Path) -> None:
    trial = PlannedTrial("x", expand_sweep(load_sweep(root / "sweeps/quickstart.yaml"))[0], 1, "d")
    branch = dataclasses.replace(trial, spec=trial.spec.model_copy(update={"branch": Branch(trunk="x")}))
    explored, confirmed = (dataclasses.replace(trial, role=role) for role in ("explore", "confirm"))
    trials = [confirmed, branch, explored, trial]
    schedule = simulate_makespan(trials, [HOUR] * 4, [Node("n", 8, 0)]).schedule
    assert schedule is not None
    assert {run.key: run.start / 3600 for run in schedule.trials} == {"3": 0, "1": 1, "2": 2, "0": 3}
    assert schedule.makespan == 4 * 3600

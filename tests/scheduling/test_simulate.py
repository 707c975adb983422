"""Simulated schedules."""

from __future__ import annotations

import math
import random
import time
from fractions import Fraction

import pytest
from cluster_requests import FOUR, GANG, HALF, ONE, clusters, requests
from hypothesis import given
from hypothesis import strategies as st

from sweeper.errors import UsageError
from sweeper.scheduling import (
    Node,
    QueuedTrial,
    ResourceLedger,
    ResourceRequest,
    Schedule,
    count_max_concurrent,
    simulate_schedule,
)


@given(nodes=clusters(), asked=st.lists(requests(), max_size=30), seed=st.integers(0, 9))
def test_simulate_schedule_ends_every_trial_within_the_resources(
    nodes: list[Node], asked: list[ResourceRequest], seed: int
) -> None:
    rng, ledger = random.Random(seed), ResourceLedger(nodes)
    jobs = [
        QueuedTrial(str(i), need, rng.uniform(1, 9)) for i, need in enumerate(asked) if ledger.fits_empty_cluster(need)
    ]
    found = simulate_schedule(nodes, jobs, patience=seed)
    assert sorted(run.key for run in found.trials) == sorted(job.key for job in jobs)
    assert found.makespan >= found.lower_bound * (1 - 1e-9)
    assert is_within_resources(found, nodes, {job.key: job.request for job in jobs})
    assert not jobs or found.makespan <= sum(job.seconds for job in jobs) * (1 + 1e-9)


def is_within_resources(found: Schedule, nodes: list[Node], needs: dict[str, ResourceRequest]) -> bool:
    """Counted from the schedule alone, node by node."""
    for node in nodes:
        for moment in {run.start for run in found.trials}:
            cpus = gpus = Fraction(0)
            for run in found.trials:
                if run.start <= moment < run.end:
                    workers = run.nodes.count(node.name)
                    cpus += workers * Fraction(needs[run.key].cpus)
                    gpus += workers * Fraction(needs[run.key].gpus)
            if cpus > node.cpus or gpus > node.gpus + Fraction(1, 100):
                return False
    return True


def test_simulate_schedule_keeps_gpus_busy_with_mixed_trials() -> None:
    jobs = [
        QueuedTrial(f"{kind}{i}", need, 60 + i)
        for kind, need in (("h", HALF), ("o", ONE), ("g", GANG))
        for i in range(20)
    ]
    found = simulate_schedule([Node("a", 32, 4), Node("b", 32, 4)], jobs)
    assert len(found.trials) == 60
    assert found.efficiency > 0.9
    assert found.utilization > 0.9
    assert found.peak_concurrency <= count_max_concurrent([Node("a", 32, 4), Node("b", 32, 4)], jobs) == 16


def test_simulate_schedule_matches_a_schedule_made_by_hand() -> None:
    found = simulate_schedule(
        [FOUR],
        [
            QueuedTrial("g", GANG, 10),
            QueuedTrial("x", ONE, 7),
            QueuedTrial("y", HALF, 3),
            QueuedTrial("z", HALF, 3),
        ],
    )
    assert [(run.key, run.start, run.end) for run in found.trials] == [
        ("g", 0, 10),
        ("x", 10, 17),
        ("y", 10, 13),
        ("z", 10, 13),
    ]
    assert (found.makespan, found.longest_seconds, found.peak_concurrency) == (17, 10, 3)
    assert found.lower_bound == pytest.approx((40 + 7 + 3) / 4)
    assert found.utilization == pytest.approx(50 / (4 * 17))
    assert found.efficiency == pytest.approx(12.5 / 17)


def test_simulate_schedule_names_a_trial_that_does_not_fit() -> None:
    with pytest.raises(UsageError, match=r"(?s)trial wide.*5 workers of 1 CPU and 1 GPU each"):
        simulate_schedule([FOUR], [QueuedTrial("x", ONE, 1), QueuedTrial("wide", ResourceRequest(5, 1, 1), 1)])


def test_simulate_schedule_refuses_unknown_seconds() -> None:
    with pytest.raises(ValueError, match="nan seconds"):
        simulate_schedule([FOUR], [QueuedTrial("x", ONE)])


def test_simulate_schedule_of_no_trials_takes_no_time() -> None:
    found = simulate_schedule([FOUR], [])
    assert (found.makespan, found.peak_concurrency) == (0, 0)
    assert math.isnan(found.utilization)
    assert math.isnan(found.efficiency)


def test_simulate_schedule_of_ten_thousand_trials_takes_seconds() -> None:
    rng = random.Random(0)
    jobs = [QueuedTrial(str(i), (HALF, ONE, GANG)[i % 3], rng.uniform(50, 150)) for i in range(10_000)]
    nodes = [Node(f"n{i}", 48, 4) for i in range(64)]
    started = time.process_time()
    found = simulate_schedule(nodes, jobs)
    assert time.process_time() - started < 10  # 0.7 s on a quiet core
    assert found.efficiency > 0.9


def test_simulate_schedule_runs_phases_one_after_the_other() -> None:
    nodes = [Node("n", 2, 0)]
    jobs = [
        QueuedTrial("trunk", ResourceRequest(1, 1, 0), 10.0),
        QueuedTrial("long", ResourceRequest(1, 1, 0), 30.0),
        QueuedTrial("branch", ResourceRequest(1, 1, 0), 5.0, 1),
    ]
    found = simulate_schedule(nodes, jobs)
    assert {run.key: run.start for run in found.trials} == {"trunk": 0.0, "long": 0.0, "branch": 30.0}
    assert (found.makespan, found.longest_seconds, found.peak_concurrency) == (35.0, 30.0, 2)
    assert simulate_schedule(nodes, []).makespan == 0.0

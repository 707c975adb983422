"""Episodes that step together in batches."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from scripted_agents import DATA, N_TASKS, CallingAgent, FinishingAgent, make_evaluation

from sweeper.evaluation.agent_loop import run_episodes
from sweeper.evaluation.environments import Environment, Observation, make_environment
from sweeper.evaluation.episode import Episode
from sweeper.evaluation.tasks import Task, load_tasks


def run(agent: Any, environment: Environment | None = None, **options: Any) -> list[Episode]:
    evaluation = make_evaluation()
    environment = environment or make_environment(evaluation, DATA)
    return run_episodes(load_tasks(evaluation, DATA), agent, environment, evaluation, **options)


def test_run_episodes_returns_the_order_of_the_tasks() -> None:
    tasks = load_tasks(make_evaluation(), DATA)
    assert [episode.key for episode in run(FinishingAgent())] == [task.key for task in tasks]


def test_run_episodes_skips_batches_that_are_complete() -> None:
    whole = run(FinishingAgent())
    known = {episode.key: episode for episode in whole[:3]}  # one whole batch, and half of the next
    agent, ended, shares = FinishingAgent(), list[int](), list[float]()
    again = run(
        agent,
        completed_episodes=known,
        on_batch_end=lambda batch: ended.append(len(batch)),
        on_progress=shares.append,
    )
    assert again == whole
    assert agent.batch_indices == list(range(1, N_TASKS // 2))
    assert ended == [2] * (N_TASKS // 2 - 1)
    assert shares == [k / (N_TASKS // 2) for k in range(1, N_TASKS // 2 + 1)]


def test_calls_run_at_once_where_the_environment_allows_it() -> None:
    barrier = threading.Barrier(2, timeout=20)

    class Server(Environment):
        max_concurrent_calls = 2

        def execute(self, task: Task, name: str, arguments: Mapping[str, object]) -> Observation:
            barrier.wait()  # passes only if both calls of a batch are in flight
            return Observation("{}")

    assert {episode.ended for episode in run(CallingAgent(), Server())} == {"answered"}

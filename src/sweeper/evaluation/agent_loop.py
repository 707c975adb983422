"""The agent loop: ToolBench's single chain (CoT@1), many episodes at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from sweeper.config import EvaluationSpec
from sweeper.evaluation.agents.base import Agent, AgentInput, Generation
from sweeper.evaluation.environments import Environment
from sweeper.evaluation.episode import Episode
from sweeper.evaluation.tasks import Task

MAX_CONCURRENT_CALLS = 16
"""Calls executed side by side, where the environment is a server."""

QueryKey = tuple[str, str]


def run_episodes(
    tasks: Sequence[Task],
    agent: Agent,
    environment: Environment,
    evaluation: EvaluationSpec,
    *,
    completed_episodes: Mapping[QueryKey, Episode] | None = None,
    on_group_end: Callable[[list[Episode]], None] = lambda episodes: None,
    on_progress: Callable[[float], None] = lambda share: None,
) -> list[Episode]:
    """Run every task to its end, in the order of `tasks`. `done`: episodes that need not be run again.

    Episodes step together in the agent's groups. A group of which any episode is missing is run whole, so that its
    batches, and with them its numbers, are those of a run that was never stopped; `finished` gets each group run.
    """
    known = dict(completed_episodes or {})
    groups = agent.batches(tasks)
    for number, group in enumerate(groups):
        if not all(task.key in known for task in group):
            agent.start_batch(number)
            episodes = _run_group(group, agent, environment, evaluation)
            on_group_end(episodes)
            known |= {(e.subset, e.query_id): e for e in episodes}
        on_progress((number + 1) / len(groups))
    return [known[task.key] for task in tasks]


def _run_group(
    group: Sequence[Task], agent: Agent, environment: Environment, evaluation: EvaluationSpec
) -> list[Episode]:
    episodes = [Episode.from_task(task) for task in group]
    active = list(zip(group, episodes, strict=True))

    def step(task: Task, episode: Episode, reply: Generation) -> None:
        if reply.text is None:
            episode.stop(reply.end_reason, reply.reason)
            return
        episode.step(
            reply.text,
            reply.tokens,
            lambda name, arguments: environment.execute(task, name, arguments),
            max_steps=evaluation.max_steps,
            max_tokens=evaluation.max_episode_tokens,
        )

    with ThreadPoolExecutor(MAX_CONCURRENT_CALLS if evaluation.environment == "http" else 1) as pool:
        while active:
            replies = agent.generate([AgentInput(task, tuple(episode.turns)) for task, episode in active])
            list(pool.map(step, *zip(*active, strict=True), replies))
            active = [(task, episode) for task, episode in active if episode.ended is None]
    return episodes

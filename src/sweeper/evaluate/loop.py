"""The agent loop: ToolBench's single chain (CoT@1), many episodes at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from sweeper.evaluate.agent import Agent, Reply, Talk
from sweeper.evaluate.environments import Environment
from sweeper.evaluate.episode import Episode
from sweeper.evaluate.tasks import Task
from sweeper.spec import EvaluationSpec

CALLS_AT_ONCE = 16
"""Calls executed side by side, where the environment is a server."""

Key = tuple[str, str]


def run_episodes(
    tasks: Sequence[Task],
    agent: Agent,
    environment: Environment,
    evaluation: EvaluationSpec,
    *,
    done: Mapping[Key, Episode] | None = None,
    finished: Callable[[list[Episode]], None] = lambda episodes: None,
    tell: Callable[[float], None] = lambda share: None,
) -> list[Episode]:
    """Run every task to its end, in the order of `tasks`. `done`: episodes that need not be run again.

    Episodes step together in the agent's groups. A group of which any episode is missing is run whole, so that its
    batches, and with them its numbers, are those of a run that was never stopped; `finished` gets each group run.
    """
    known = dict(done or {})
    groups = agent.chunks(tasks)
    for number, group in enumerate(groups):
        if not all(task.key in known for task in group):
            agent.begin(number)
            episodes = _run_group(group, agent, environment, evaluation)
            finished(episodes)
            known |= {(e.subset, e.query_id): e for e in episodes}
        tell((number + 1) / len(groups))
    return [known[task.key] for task in tasks]


def _run_group(
    group: Sequence[Task], agent: Agent, environment: Environment, evaluation: EvaluationSpec
) -> list[Episode]:
    episodes = [Episode.of(task) for task in group]
    active = list(zip(group, episodes, strict=True))

    def step(task: Task, episode: Episode, reply: Reply) -> None:
        if reply.text is None:
            episode.stop(reply.ended, reply.reason)
            return
        episode.step(
            reply.text,
            reply.tokens,
            lambda name, arguments: environment.execute(task, name, arguments),
            max_steps=evaluation.max_steps,
            max_tokens=evaluation.max_episode_tokens,
        )

    with ThreadPoolExecutor(CALLS_AT_ONCE if evaluation.environment == "http" else 1) as pool:
        while active:
            replies = agent.reply([Talk(task, tuple(episode.turns)) for task, episode in active])
            list(pool.map(step, *zip(*active, strict=True), replies))
            active = [(task, episode) for task, episode in active if episode.ended is None]
    return episodes

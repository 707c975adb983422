"""The agent loop: ToolBench's single chain (CoT@1), with many episodes at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from sweeper.config import EvaluationSpec
from sweeper.evaluation.agents.base import Agent, AgentInput, Generation
from sweeper.evaluation.answers import QueryKey
from sweeper.evaluation.environments import Environment
from sweeper.evaluation.episode import Episode
from sweeper.evaluation.tasks import Task


def run_episodes(
    tasks: Sequence[Task],
    agent: Agent,
    environment: Environment,
    evaluation: EvaluationSpec,
    *,
    completed_episodes: Mapping[QueryKey, Episode] | None = None,
    on_batch_end: Callable[[list[Episode]], None] = lambda episodes: None,
    on_progress: Callable[[float], None] = lambda share: None,
) -> list[Episode]:
    """Run every task to its end.

    Episodes step together in the agent's batches. A batch with any missing episode is run as a whole, so that its
    results are those of an uninterrupted run.

    Args:
        tasks: what to run.
        agent: continues the episodes.
        environment: executes their calls.
        evaluation: step and token limits.
        completed_episodes: episodes of an earlier run, which are not repeated.
        on_batch_end: called with the episodes of each batch that was run.
        on_progress: called with the finished share of all batches, 0 to 1.

    Returns:
        The episodes, in the order of `tasks`.

    Example:
        >>> from sweeper.config import load_data_spec, load_evaluation_spec
        >>> evaluation, data = load_evaluation_spec("toolworld"), load_data_spec("toolworld")
        >>> class SilentAgent:
        ...     def batches(self, tasks):
        ...         return [list(tasks)]
        ...     def start_batch(self, index):
        ...         pass
        ...     def generate(self, inputs):
        ...         return [Generation(None, reason="nothing to say") for _ in inputs]
        >>> tasks = load_tasks(evaluation, data)[:2]
        >>> episodes = run_episodes(tasks, SilentAgent(), make_environment(evaluation, data), evaluation)
        >>> [episode.ended for episode in episodes]
        ['context', 'context']
    """
    known = dict(completed_episodes or {})
    batches = agent.batches(tasks)
    for index, batch in enumerate(batches):
        if not all(task.key in known for task in batch):
            agent.start_batch(index)
            episodes = _run_batch(batch, agent, environment, evaluation)
            on_batch_end(episodes)
            known |= {episode.key: episode for episode in episodes}
        on_progress((index + 1) / len(batches))
    return [known[task.key] for task in tasks]


def _run_batch(
    batch: Sequence[Task], agent: Agent, environment: Environment, evaluation: EvaluationSpec
) -> list[Episode]:
    episodes = [Episode.from_task(task) for task in batch]
    active = list(zip(batch, episodes, strict=True))

    def advance_episode(task: Task, episode: Episode, generation: Generation) -> None:
        if generation.text is None:
            episode.stop(generation.end_reason, generation.reason)
            return
        episode.step(
            generation.text,
            generation.tokens,
            lambda name, arguments: environment.execute(task, name, arguments),
            max_steps=evaluation.max_steps,
            max_tokens=evaluation.max_episode_tokens,
        )

    with ThreadPoolExecutor(environment.max_concurrent_calls) as pool:
        while active:
            generations = agent.generate([AgentInput(task, tuple(episode.turns)) for task, episode in active])
            list(pool.map(advance_episode, *zip(*active, strict=True), generations))
            active = [(task, episode) for task, episode in active if episode.ended is None]
    return episodes

"""A whole run of an agent over a suite: episodes and answers in one folder, resumable, with counts of faults."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.config import DataSpec, EvaluationSpec, ModelSpec
from sweeper.data import load_tokenizer
from sweeper.evaluation.agent_loop import run_episodes
from sweeper.evaluation.agents.base import Agent
from sweeper.evaluation.answers import Answer, QueryKey
from sweeper.evaluation.environments import make_environment
from sweeper.evaluation.episode import Episode
from sweeper.evaluation.tasks import load_tasks
from sweeper.storage import truncate_partial_line, write_bytes, write_json

if TYPE_CHECKING:
    from sweeper.evaluation.agents.local import LocalAgent

_LINE_SEAL = ', "crc32": '
MIN_REPEATED_CALLS = 3
"""The same call with the same input, this many times, counts as a loop."""


def load_local_agent(
    model: str, evaluation: EvaluationSpec, data: DataSpec, *, seed: int, threads: int | None
) -> LocalAgent:
    """Load a checkpoint as an agent.

    Args:
        model: a folder or a hub id.
        evaluation: generation settings.
        data: prompt format.
        seed: of the sampling.
        threads: PyTorch's CPU threads; None leaves them as they are.

    Raises:
        ModelError: a model that cannot be loaded.
    """
    import torch

    from sweeper.evaluation.agents.local import LocalAgent
    from sweeper.models import load_pretrained
    from sweeper.models.quiet_libraries import quiet_libraries

    quiet_libraries()
    if threads is not None:
        torch.set_num_threads(threads)
    weights = load_pretrained(model).to("cuda" if torch.cuda.is_available() else "cpu")
    return LocalAgent(weights, load_tokenizer(ModelSpec(name=model, source=model)), evaluation, data, seed=seed)


def run_agent(
    directory: Path,
    agent: Agent,
    evaluation: EvaluationSpec,
    data: DataSpec,
    *,
    method: str,
    on_progress: Callable[[float], None] = lambda share: None,
) -> tuple[list[Episode], list[Answer]]:
    """Run an agent over the tasks of an evaluation, continuing from the episodes on disk.

    Writes `episodes.jsonl`, `answers.jsonl` and `environment.json` (the counts of `count_environment_calls`).

    Args:
        directory: where the files are.
        agent: what to run.
        evaluation: the tasks, the environment and the limits.
        data: prompt format, and the settings of the synthetic tool environment.
        method: name of the agent in its answers.
        on_progress: called with the finished share, 0 to 1.

    Raises:
        DataError: queries or recorded responses that cannot be read.
        UsageError: a wrong setting, or settings under which no prompt fits.
    """
    from sweeper.evaluation.answer_files import format_answer_line

    tasks = load_tasks(evaluation, data)
    environment = make_environment(evaluation, data)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "episodes.jsonl"

    def append_episodes(batch: list[Episode]) -> None:
        # "replace": a served model can send lone surrogates, which UTF-8 cannot write.
        with path.open("a", encoding="utf-8", errors="replace") as file:
            file.write("".join(_seal_line(episode.format_line()) + "\n" for episode in batch))

    truncate_partial_line(path)
    episodes = run_episodes(
        tasks,
        agent,
        environment,
        evaluation,
        completed_episodes=load_finished_episodes(directory),
        on_batch_end=append_episodes,
        on_progress=on_progress,
    )
    answers = [episode.make_answer(task, method) for task, episode in zip(tasks, episodes, strict=True)]
    lines = "".join(format_answer_line(answer) + "\n" for answer in answers)
    write_bytes(directory / "answers.jsonl", lines.encode("utf-8", "replace"))
    write_json(directory / "environment.json", count_environment_calls(episodes))
    return episodes, answers


def load_finished_episodes(directory: Path) -> dict[QueryKey, Episode]:
    """Load the episodes on disk that need not be repeated, the last of each query.

    A line that is not valid, or not what was written, is skipped: its query is run again.
    """
    path = directory / "episodes.jsonl"
    episodes: dict[QueryKey, Episode] = {}
    # Not splitlines: it also splits at characters that texts may contain.
    for line in path.read_bytes().decode("utf-8", "replace").split("\n") if path.exists() else ():
        try:
            episode = Episode.parse_line(_unseal_line(line))
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
        episodes[episode.key] = episode
    return {key: episode for key, episode in episodes.items() if episode.ended not in (None, "unreachable")}


def _seal_line(line: str) -> str:
    """Add a checksum to a line of JSON, as its last key."""
    return f"{line[:-1]}{_LINE_SEAL}{zlib.crc32(line.encode('utf-8', 'replace'))}}}"


def _unseal_line(line: str) -> str:
    """Return a line without its checksum. Lines of version 0.1.0 have none.

    Raises:
        ValueError: the line is not what was written.
    """
    start, seal, checksum = line.rpartition(_LINE_SEAL)
    if not seal:
        return line
    if checksum != f"{zlib.crc32((start + '}').encode())}}}":
        raise ValueError("another checksum")
    return start + "}"


def count_environment_calls(episodes: Sequence[Episode]) -> dict[str, int]:
    """Count the calls to the environment, and those not executed: `missed`, `substituted` (replay), `failed` (http)."""
    faults = Counter(fault for episode in episodes for fault, _ in episode.faults)
    kinds = {kind: faults[kind] for kind in ("missed", "substituted", "failed")}
    return {"calls": sum(episode.requests for episode in episodes), **kinds}


def no_signal_reason(episodes: Sequence[Episode]) -> str:
    """Return why a pass rate of these episodes would not measure the model; '' where it would.

    Either no query reached the model and the environment, or the environment executed no call.
    """
    unreachable = Counter(episode.reason for episode in episodes if episode.ended == "unreachable")
    if episodes and unreachable.total() == len(episodes):
        return f"none of {len(episodes):,} queries could be run: {unreachable.most_common(1)[0][0]}"
    counts = count_environment_calls(episodes)
    if counts["calls"] > 0 and counts["missed"] + counts["failed"] == counts["calls"]:
        reason = Counter(reason for episode in episodes for _, reason in episode.faults).most_common(1)[0][0]
        split = f"{counts['missed']:,} not recorded, {counts['failed']:,} failed"
        return f"the environment executed none of {counts['calls']:,} calls ({split}): {reason}"
    return ""


def is_incoherent(episode: Episode) -> bool:
    """Return whether a step has no action or a call is repeated: loss of coherence (arXiv 2512.15943)."""
    repeats = max(Counter((name, arguments) for name, arguments, _ in episode.calls).values(), default=0)
    return episode.malformed > 0 or repeats >= MIN_REPEATED_CALLS

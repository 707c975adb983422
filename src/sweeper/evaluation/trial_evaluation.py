"""Tasks + agent + environment + judge -> episodes, answers, outcomes and a summary, in one folder."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.config import DataSpec, EvaluationSpec, ModelSpec
from sweeper.data import load_tokenizer
from sweeper.errors import DataError, EvaluationError, MissingPathError
from sweeper.evaluation.agent_loop import run_episodes
from sweeper.evaluation.agents.base import Agent
from sweeper.evaluation.answers import Answer
from sweeper.evaluation.environments import make_environment
from sweeper.evaluation.episode import Episode
from sweeper.evaluation.judges import Vote, judge_answers, make_judge, make_llm_judge
from sweeper.evaluation.tasks import load_tasks
from sweeper.storage import Store, read_json, truncate_partial_line, write_bytes, write_json

if TYPE_CHECKING:
    import pandas as pd

    from sweeper.evaluation.agents.local import LocalAgent

EVALUATION_SEMANTICS = 4
"""Raised whenever a change to `evaluate/` changes the outcome of an unchanged evaluation."""

_NON_IDENTITY_LLM_FIELDS = {"concurrency", "requests_per_minute", "timeout_seconds", "input_price", "output_price"}
_NON_IDENTITY_FIELDS = {"name": True, "batch_size": True, "llm": _NON_IDENTITY_LLM_FIELDS}
_PASSED_BY_STATUS = {"solved": 1.0, "unsolved": 0.0, "unsure": 0.0, None: float("nan")}
"""A vote as the headline counts it: strict, so that `unsure` has not passed."""


def compute_suite_fingerprint(evaluation: EvaluationSpec, data: DataSpec) -> str:
    """SHA-256 (first 16 hex digits) over what can change an outcome: the queries, the prompt, the loop, the judge."""
    from sweeper import toolworld

    identity = {
        "semantics": EVALUATION_SEMANTICS,
        "world": [toolworld.WORLD_VERSION, asdict(toolworld.WorldConfig.from_mapping(data.toolworld))],
        "files": [_hash_content(path) for path in (evaluation.queries, evaluation.recorded) if path is not None],
        "api_format": data.api_format,
        "fit": data.fit,
        "evaluation": _select_identity_settings(evaluation),
        "judge": make_llm_judge(evaluation.llm, None).identity if evaluation.llm and "llm" in evaluation.judges else "",
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def _select_identity_settings(evaluation: EvaluationSpec) -> dict[str, Any]:
    asked = evaluation.model_dump(exclude=_NON_IDENTITY_FIELDS | {"queries": True, "recorded": True})  # type: ignore[arg-type]
    if asked["split"] == "test":
        del asked["split"]  # what it always was, before there was another
    return asked


def extract_metrics(summary: Mapping[str, Any], evaluation: EvaluationSpec) -> dict[str, float]:
    """A summary's numbers as metrics of the trial. On validation queries the pass rate is `val_pass_rate`, and nothing
    has the name of what is measured on test queries."""
    numbers = {key: value for key, value in summary.items() if isinstance(value, int | float)}
    if evaluation.split == "test":
        return numbers
    return {"val_pass_rate": numbers["pass_rate"], "val_eval_seconds": numbers["eval_seconds"]}


def evaluate_trial(
    store: Store, fingerprint: str, evaluation: EvaluationSpec, data: DataSpec, *, seed: int, threads: int
) -> dict[str, Any]:
    """Run the suite over the trial's model, unless done. Returns the summary, by the first judge, with the batches that
    did not fit into memory, if any did not; the outcomes hold every judge's, the first one's first. Raises what the
    model or a judge raises."""
    import pandas as pd

    asked = compute_suite_fingerprint(evaluation, data)
    directory = store.evaluation_folder(fingerprint, asked)
    with store.lock_folder(directory) as hold:
        store.pull(directory)
        if (directory / "summary.json").exists():
            return dict(read_json(directory / "summary.json"))
        store.pull(store.trial_folder(fingerprint), patterns=["model/*"])
        started = time.monotonic()
        agent = load_local_agent(
            str(store.trial_folder(fingerprint) / "model"), evaluation, data, seed=seed, threads=threads
        )
        episodes, answers = run_agent(directory, agent, evaluation, data, method=fingerprint)
        if silence := no_signal_reason(episodes):
            raise EvaluationError(f"suite {evaluation.name}", found=silence, hint="run it again once that answers")
        store.push(directory)  # a judge that fails then costs no machine the episodes
        judged = []
        for name in evaluation.judges:
            # Judgements are kept on this machine only: they save money, and a summary is whole without them.
            judge = make_judge(name, evaluation, data, store.root / "judgements")
            votes = judge_answers(judge, answers)
            if all(vote.status is None for cast in votes for vote in cast):
                why = next((vote.reason for cast in votes for vote in cast), "no answers")
                raise EvaluationError(f"judge {judge.name}", found=f"nothing is scored: {why}", hint="run it again")
            judged.append(_make_outcomes_table(fingerprint, judge.name, episodes, votes))
        outcomes = pd.concat(judged, ignore_index=True)
        summary = _summarize_outcomes(judged[0]) | {"suite": asked, "eval_seconds": time.monotonic() - started}
        if agent.out_of_memory_at:
            summary |= {"out_of_memory_at": agent.out_of_memory_at}
        write_bytes(directory / "outcomes.parquet", outcomes.to_parquet())
        hold.check_lease()
        store.push(directory)
        store.publish(directory / "summary.json", summary)
        return summary


def read_summary(store: Store, fingerprint: str, suite: str) -> dict[str, Any] | None:
    """Summary of a finished evaluation, None where it did not finish. Raises StoreError."""
    path = store.evaluation_folder(fingerprint, suite) / "summary.json"
    return dict(read_json(path)) if path.exists() else None


def load_local_agent(
    model: str, evaluation: EvaluationSpec, data: DataSpec, *, seed: int, threads: int | None
) -> LocalAgent:
    """A checkpoint (directory or hub id) as an agent. Raises ModelError."""
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
    """Run the evaluation's tasks, going on from the episodes on disk; writes `episodes.jsonl` and `answers.jsonl`.

    Also writes `environment.json`, what the environment was asked. Raises DataError or UsageError for queries or an
    environment that cannot be had, and for settings under which no prompt fits.
    """
    from sweeper.evaluation.answer_files import format_answer_line

    asked = load_tasks(evaluation, data)
    environment = make_environment(evaluation, data)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "episodes.jsonl"

    def finished(group: list[Episode]) -> None:
        # "replace": half a character, which a served model can send, has no place in a file.
        with path.open("a", encoding="utf-8", errors="replace") as file:
            file.write("".join(episode.format_line() + "\n" for episode in group))

    truncate_partial_line(path)
    done = load_finished_episodes(directory)
    episodes = run_episodes(
        asked, agent, environment, evaluation, completed_episodes=done, on_group_end=finished, on_progress=on_progress
    )
    answers = [episode.make_answer(task, method) for task, episode in zip(asked, episodes, strict=True)]
    write_bytes(
        directory / "answers.jsonl",
        "".join(format_answer_line(answer) + "\n" for answer in answers).encode("utf-8", "replace"),
    )
    write_json(directory / "environment.json", count_environment_calls(episodes))
    return episodes, answers


def count_environment_calls(episodes: Sequence[Episode]) -> dict[str, int]:
    """Calls that the environment was asked to execute, and how many it did not: `missed` and `substituted` of a replay,
    `failed` of a server."""
    faults = Counter(fault for episode in episodes for fault, _ in episode.faults)
    kinds = {kind: faults[kind] for kind in ("missed", "substituted", "failed")}
    return {"calls": sum(episode.requests for episode in episodes), **kinds}


def no_signal_reason(episodes: Sequence[Episode]) -> str:
    """Why a pass rate of these episodes would say nothing of the model; '' where it would.

    No query reached the model or the environment, or the environment executed no call: a rate measures only that.
    """
    away = Counter(episode.reason for episode in episodes if episode.ended == "unreachable")
    if episodes and away.total() == len(episodes):
        return f"none of {len(episodes):,} queries could be tried: {away.most_common(1)[0][0]}"
    counts = count_environment_calls(episodes)
    if counts["calls"] > 0 and counts["missed"] + counts["failed"] == counts["calls"]:
        why = Counter(reason for episode in episodes for _, reason in episode.faults).most_common(1)[0][0]
        asked = f"{counts['missed']:,} not recorded, {counts['failed']:,} failed"
        return f"the environment executed none of {counts['calls']:,} calls ({asked}): {why}"
    return ""


def load_finished_episodes(directory: Path) -> dict[tuple[str, str], Episode]:
    """Episodes on disk that need not be run again, the last of each query; a line that is none is left out."""
    path = directory / "episodes.jsonl"
    found: dict[tuple[str, str], Episode] = {}
    # Not splitlines: texts hold other characters that it takes for ends of lines.
    for line in path.read_bytes().decode("utf-8", "replace").split("\n") if path.exists() else ():
        try:
            episode = Episode.parse_line(line)
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
        found[episode.subset, episode.query_id] = episode
    return {key: episode for key, episode in found.items() if episode.ended not in (None, "unreachable")}


def _make_outcomes_table(
    fingerprint: str, judge: str, episodes: Sequence[Episode], votes: Sequence[list[Vote]]
) -> pd.DataFrame:
    """One row per (query, vote): who, what was decided, and the format metrics of the whole episode."""
    import pandas as pd

    return pd.DataFrame(
        {
            "fingerprint": fingerprint,
            "subset": e.subset,
            "query_id": e.query_id,
            "judge": judge,
            "vote": vote.index,
            "passed": _PASSED_BY_STATUS[vote.status],
            "status": vote.status,
            "task": vote.task_status,
            "reason": vote.reason,
            "answered": e.ended == "answered",
            "finished": e.ended == "answered",
            "ended": e.ended,
            "valid_action": e.valid_actions == e.actions,
            "valid_json": e.valid_inputs == e.actions,
            "hallucinated": e.hallucinated > 0,
            "overgenerated": e.overgenerated > 0,
            "incoherent": is_incoherent(e),
            "calls": sum(name != "Finish" for name, _, _ in e.calls),
            "tokens": e.tokens,
        }
        for e, cast in zip(episodes, votes, strict=True)
        for vote in cast
    )


MIN_REPEATED_CALLS = 3
"""The same call so often, with the same input, is a loop that the agent does not leave."""


def is_incoherent(episode: Episode) -> bool:
    """Loss of coherence (arXiv 2512.15943): a step without any action, or the same call again and again."""
    often = max(Counter((name, given) for name, given, _ in episode.calls).values(), default=0)
    return episode.malformed > 0 or often >= MIN_REPEATED_CALLS


def _summarize_outcomes(outcomes: pd.DataFrame) -> dict[str, Any]:
    """Query-weighted means over the suite, and each subset's pass rate; a query passes by majority of its votes."""
    queries = outcomes.drop_duplicates(["subset", "query_id"]).set_index(["subset", "query_id"])
    shares = outcomes.groupby(["subset", "query_id"], sort=False)["passed"].mean()
    passed = (shares > 0.5).astype(float).where(shares.notna())
    names = ("finished", "valid_action", "valid_json", "hallucinated", "overgenerated", "incoherent")
    return {
        "pass_rate": float(passed.mean()),
        **{name: float(queries[name].mean()) for name in names},
        "calls_per_query": float(queries["calls"].mean()),
        "tokens_per_query": float(queries["tokens"].mean()),
        "queries": len(queries),
        "unscored": int(passed.isna().sum()),
        "subsets": {str(name): float(rates.mean()) for name, rates in passed.groupby(level="subset", sort=False)},
    }


def _hash_content(path: str) -> str:
    """SHA-256 of a folder's file names and bytes, or of a file's."""
    root = Path(path).expanduser()
    if not root.exists():
        raise MissingPathError(
            f"evaluation path {path}", found="no such file or folder", hint="an existing path of queries or recorded"
        )
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*.json")) if root.is_dir() else [root]:
        try:
            digest.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
        except OSError as error:
            raise DataError(
                str(file),
                found=f"cannot be read: {error.strerror}",
                hint="give the path of evaluation.queries or .recorded",
            ) from error
    return digest.hexdigest()

"""A trained trial -> answers, outcomes and a summary, stored beside it."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from sweeper.data import Suite, open_suite
from sweeper.errors import StoreError
from sweeper.evaluate.episode import Episode
from sweeper.spec import DataSpec, EvaluationSpec
from sweeper.store import Store, read_json, write_bytes, write_json

if TYPE_CHECKING:
    import pandas as pd

EVALUATION_SEMANTICS = 2
"""Raised whenever a change to `evaluate/` changes the outcome of an unchanged evaluation."""


def suite_fingerprint(evaluation: EvaluationSpec, data: DataSpec) -> str:
    """SHA-256 (first 16 hex digits) over what can change an outcome: the world, the prompt, the loop, the judge."""
    from sweeper import toolworld

    identity = {
        "semantics": EVALUATION_SEMANTICS,
        "world": [toolworld.WORLD_VERSION, asdict(toolworld.WorldConfig.from_mapping(data.toolworld))],
        "api_format": data.api_format,
        "fit": data.fit,
        "evaluation": evaluation.model_dump(exclude={"name", "batch_size"}),
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def suite(evaluation: EvaluationSpec, data: DataSpec) -> Suite:
    """The queries that an evaluation asks. Raises DataError, or UsageError for a wrong setting."""
    return open_suite(data.model_copy(update={"source": evaluation.environment}))


def evaluate_trial(
    store: Store, fingerprint: str, evaluation: EvaluationSpec, data: DataSpec, *, seed: int, threads: int
) -> dict[str, Any]:
    """Run the suite over the trial's model, unless done. Returns the summary. Raises what the model or judge raises."""
    asked = suite_fingerprint(evaluation, data)
    directory = store.evaluation(fingerprint, asked)
    directory.mkdir(parents=True, exist_ok=True)
    with FileLock(directory / ".lock"):
        if (directory / "summary.json").exists():
            return dict(read_json(directory / "summary.json"))
        started = time.monotonic()
        episodes, judged = _run_toolworld(store.trial(fingerprint) / "model", evaluation, data, seed, threads)
        outcomes = _outcomes(fingerprint, episodes, judged)
        summary = _summary(outcomes) | {"suite": asked, "eval_seconds": time.monotonic() - started}
        lines = [json.dumps(_answer(episode), ensure_ascii=False) for episode in episodes]
        write_bytes(directory / "answers.jsonl", ("\n".join(lines) + "\n").encode())
        write_bytes(directory / "outcomes.parquet", outcomes.to_parquet())
        write_json(directory / "summary.json", summary)
        return summary


def read_evaluation(store: Store, fingerprint: str, suite: str) -> tuple[dict[str, Any], pd.DataFrame] | None:
    """Summary and outcome rows of a finished evaluation, None where it did not finish."""
    import pandas as pd

    directory = store.evaluation(fingerprint, suite)
    if not (directory / "summary.json").exists():
        return None
    try:
        return dict(read_json(directory / "summary.json")), pd.read_parquet(directory / "outcomes.parquet")
    except (OSError, ValueError) as error:
        raise StoreError(
            str(directory), found=f"outcomes cannot be read: {error}", do="delete the folder and run again"
        ) from error


def _run_toolworld(
    model_directory: Path, evaluation: EvaluationSpec, data: DataSpec, seed: int, threads: int
) -> tuple[list[Episode], list[bool]]:
    import torch
    from transformers import AutoTokenizer

    from sweeper import toolworld
    from sweeper.data import ApiList, fitter
    from sweeper.evaluate.generate import LocalModel
    from sweeper.models import load
    from sweeper.quiet import quiet_libraries

    quiet_libraries()
    torch.set_num_threads(threads)
    world = toolworld.build_world(toolworld.WorldConfig.from_mapping(data.toolworld))
    tokenizer = AutoTokenizer.from_pretrained(model_directory)
    agent = LocalModel(load(str(model_directory)), tokenizer, temperature=evaluation.temperature, seed=seed)
    queries = [world.query(q["query_id"]) for subset in toolworld.test_queries(world).values() for q in subset]
    episodes = [Episode(str(q.query_id), q.subset, frozenset(f["name"] for f in q.functions)) for q in queries]
    active = list(zip(queries, episodes, strict=True))
    fit, tokens = fitter(tokenizer, data.fit, data.max_length, data.api_format)
    room = (agent.positions or data.max_length) - evaluation.max_new_tokens
    while active:
        talks = [(q.system, q.query, ApiList(q.functions), e.turns) for q, e in active]
        tokens.ahead(segment for talk in talks for segment in fit.prompt_segments(*talk))
        prompts = [fit.prompt(*talk, room) for talk in talks]
        texts = agent.continue_prompts(prompts, evaluation.max_new_tokens, evaluation.batch_size)
        for (query, episode), text in zip(active, texts, strict=True):
            if text is None:
                episode.overrun()
            else:
                episode.step(
                    text,
                    lambda name, arguments, query=query: toolworld.execute(
                        world.catalogue, query.apis, name, arguments
                    ),  # type: ignore[misc]
                    evaluation.max_steps,
                )
        active = [(q, e) for q, e in active if e.ended is None]
    judged = [
        e.final_answer is not None and toolworld.solved(world, q, e.calls, e.final_answer)
        for q, e in zip(queries, episodes, strict=True)
    ]
    return episodes, judged


def _outcomes(fingerprint: str, episodes: list[Episode], judged: list[bool]) -> pd.DataFrame:
    """One row per query: who, what was decided, and the format metrics of the whole episode."""
    import pandas as pd

    return pd.DataFrame(
        {
            "fingerprint": fingerprint,
            "subset": e.subset,
            "query_id": e.query_id,
            "judge": "oracle",
            "vote": 0,
            "passed": float(solved),
            "finished": e.ended == "answered",
            "ended": e.ended,
            "valid_action": e.valid_actions == e.actions,
            "valid_json": e.valid_inputs == e.actions,
            "hallucinated": e.hallucinated > 0,
            "calls": len(e.calls),
        }
        for e, solved in zip(episodes, judged, strict=True)
    )


def _summary(outcomes: pd.DataFrame) -> dict[str, Any]:
    """Query-weighted means over the suite, and the pass rate of each subset."""
    names = {"passed": "pass_rate", "finished": "finished", "valid_action": "valid_action", "valid_json": "valid_json"}
    means = {name: float(outcomes[column].mean()) for column, name in names.items()}
    subsets = {str(name): float(rows["passed"].mean()) for name, rows in outcomes.groupby("subset")}
    return means | {
        "hallucinated": float(outcomes["hallucinated"].mean()),
        "calls_per_query": float(outcomes["calls"].mean()),
        "queries": len(outcomes),
        "subsets": subsets,
    }


def _answer(episode: Episode) -> dict[str, Any]:
    return {
        "query_id": episode.query_id,
        "subset": episode.subset,
        "turns": [{"role": role, "content": content} for role, content in episode.turns],
        "final_answer": episode.final_answer,
        "ended": episode.ended,
    }

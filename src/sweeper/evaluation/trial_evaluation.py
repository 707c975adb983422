"""Evaluation of a trained trial: its model runs over a suite as an agent, and the answers are judged."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sweeper.config import DataSpec, EvaluationSpec
from sweeper.errors import EvaluationError
from sweeper.evaluation.agent_run import load_local_agent, no_signal_reason, run_agent
from sweeper.evaluation.answers import Answer
from sweeper.evaluation.episode import Episode
from sweeper.evaluation.gold_likelihood import measure_gold_likelihood
from sweeper.evaluation.judges import JudgeContext, judge_answers, make_judge
from sweeper.evaluation.outcomes_table import build_outcomes_table
from sweeper.evaluation.suite_fingerprint import compute_suite_fingerprint
from sweeper.evaluation.summary import EvaluationSummary, read_summary, summarize_outcomes
from sweeper.storage import Store, digest_files, write_bytes
from sweeper.training import check_trial_files

if TYPE_CHECKING:
    import pandas as pd


def evaluate_trial(
    store: Store, fingerprint: str, evaluation: EvaluationSpec, data: DataSpec, *, seed: int, threads: int
) -> EvaluationSummary:
    """Evaluate a trial's model, or return the summary of an earlier evaluation.

    Writes `episodes.jsonl`, `answers.jsonl`, `outcomes.parquet` (the first judge's rows first) and, last,
    `summary.json`, by the first judge.

    Args:
        store: holds the trial's model, and receives the results.
        fingerprint: of the trial.
        evaluation: the suite, the environment and the judges.
        data: the trial's prompt format and synthetic tool environment.
        seed: of the sampling.
        threads: PyTorch's CPU threads.

    Returns:
        Pass rates, overall and by subset, and how episodes ended.

    Raises:
        EvaluationError: the episodes or a judge give no signal.
        SweeperError: whatever the model, the environment or a judge raises.
    """
    import pandas as pd

    suite = compute_suite_fingerprint(evaluation, data)
    directory = store.evaluation_folder(fingerprint, suite)
    with store.lock_folder(directory) as lock:
        store.pull(directory)
        if (earlier := read_summary(store, fingerprint, suite)) is not None:
            return earlier
        model = store.trial_folder(fingerprint) / "model"
        store.pull(store.trial_folder(fingerprint), patterns=["model/*"])
        check_trial_files(store, fingerprint, "model/")
        started = time.monotonic()
        agent = load_local_agent(str(model), evaluation, data, seed=seed, threads=threads)
        episodes, answers = run_agent(directory, agent, evaluation, data, method=fingerprint)
        if reason := no_signal_reason(episodes):
            raise EvaluationError(f"suite {evaluation.name}", found=reason, hint="fix this and run it again")
        store.push(directory)  # a judge that fails does not lose the episodes
        # Judgements are cached on this machine only: they save cost, and the summary is complete without them.
        context = JudgeContext(data, llm=evaluation.llm, cache=store.root / "judgements")
        tables = [_judge_episodes(name, context, fingerprint, episodes, answers) for name in evaluation.judges]
        summary = summarize_outcomes(tables[0], suite=suite, eval_seconds=time.monotonic() - started)
        if evaluation.gold is not None:
            gold = measure_gold_likelihood(agent.model, agent.tokenizer, evaluation, data)
            summary = dataclasses.replace(
                summary, gold_nll=gold.nll, gold_queries=gold.queries, gold_left_out=gold.left_out
            )
        summary = dataclasses.replace(summary, out_of_memory_at=tuple(agent.out_of_memory_at))
        write_bytes(directory / "outcomes.parquet", pd.concat(tables, ignore_index=True).to_parquet())
        files = digest_files(directory, ["outcomes.parquet", "*.jsonl"])
        summary = dataclasses.replace(summary, files=files)
        lock.check_lease()
        store.push(directory)
        store.publish(directory / "summary.json", summary.to_document())
        return summary


def _judge_episodes(
    judge_name: str, context: JudgeContext, fingerprint: str, episodes: Sequence[Episode], answers: Sequence[Answer]
) -> pd.DataFrame:
    judge = make_judge(judge_name, context)
    votes = judge_answers(judge, answers)
    if all(vote.status is None for cast in votes for vote in cast):
        reason = next((vote.reason for cast in votes for vote in cast), "no answers")
        raise EvaluationError(f"judge {judge.name}", found=f"no answer is scored: {reason}", hint="run it again")
    return build_outcomes_table(fingerprint, judge.name, episodes, votes)

"""Evaluation of a trial: judges, outcomes, summary, and failures that leave none."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted_agents import DATA, FinishingAgent, UnreachableAgent, make_evaluation

from sweeper.config import EvaluationSpec
from sweeper.errors import EvaluationError
from sweeper.evaluation import compute_suite_fingerprint, evaluate_trial, read_outcomes
from sweeper.storage import Store


def test_unreachable_agent_leaves_no_summary_and_is_retried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    monkeypatch.setattr("sweeper.evaluation.trial_evaluation.load_local_agent", lambda *a, **k: UnreachableAgent())
    with pytest.raises(EvaluationError, match="connection refused"):
        evaluate_trial(store, "f", make_evaluation(), DATA, seed=0, threads=1)
    monkeypatch.setattr("sweeper.evaluation.trial_evaluation.load_local_agent", lambda *a, **k: FinishingAgent())
    assert evaluate_trial(store, "f", make_evaluation(), DATA, seed=0, threads=1).unscored == 0


def test_several_judges_judge_the_same_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeper.evaluation.trial_evaluation.load_local_agent", lambda *a, **k: FinishingAgent())
    evaluation = make_evaluation(also_judges=["rules"])
    store = Store(tmp_path)
    summary = evaluate_trial(store, "f", evaluation, DATA, seed=0, threads=1)
    alone = evaluate_trial(store, "g", make_evaluation(), DATA, seed=0, threads=1)
    for name in ("pass_rate", "queries", "calls_per_query"):
        assert getattr(summary, name) == getattr(alone, name), "the first judge's"
    assert compute_suite_fingerprint(evaluation, DATA) != compute_suite_fingerprint(make_evaluation(), DATA)
    found = read_outcomes(
        [store.evaluation_folder("f", compute_suite_fingerprint(evaluation, DATA)) / "outcomes.parquet"]
    )
    assert list(found["judge"].unique()) == ["oracle", "rules"]
    assert found.groupby("judge", observed=True).size().nunique() == 1
    with pytest.raises(ValueError, match="repeats a judge"):
        EvaluationSpec.model_validate(make_evaluation().model_dump() | {"also_judges": ["oracle"]})

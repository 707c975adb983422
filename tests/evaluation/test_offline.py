"""Evaluation without a study."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted_agents import DATA, FinishingAgent, make_evaluation

from sweeper.errors import StoppedError, UsageError
from sweeper.evaluation.judge_panel import JudgePanel
from sweeper.evaluation.judges import JudgeContext
from sweeper.evaluation.offline import ModelEvaluation, evaluate_model


def test_interrupted_evaluation_reports_saved_episodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setattr("sweeper.evaluation.offline.load_local_agent", lambda *a, **k: FinishingAgent(fail_after=6))
    monkeypatch.setattr("sweeper.evaluation.offline.compute_weights_fingerprint", lambda model: "w")
    told: list[float] = []
    with pytest.raises(StoppedError, match="6 episodes saved"):
        panel = JudgePanel(("rules",), JudgeContext(DATA))
        evaluate_model(ModelEvaluation("m", make_evaluation(), DATA, panel, tmp_path), told.append)
    assert told == sorted(told)
    assert StoppedError.exit_code == 130


def test_missing_judge_endpoint_fails_before_the_model_is_loaded(tmp_path: Path) -> None:
    panel = JudgePanel(("llm",), JudgeContext(DATA))
    with pytest.raises(UsageError, match="no endpoint"):
        evaluate_model(ModelEvaluation("no/such/model", make_evaluation(), DATA, panel, tmp_path))
    assert list(tmp_path.iterdir()) == []

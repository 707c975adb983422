"""Evaluation without a study."""

from __future__ import annotations

from pathlib import Path

import pytest
from judged_answers import answer
from scripted_agents import DATA, FinishingAgent, make_evaluation

from sweeper.errors import DataError, StoppedError, UsageError
from sweeper.evaluation.judge_panel import JudgePanel
from sweeper.evaluation.judges import JudgeContext
from sweeper.evaluation.offline import LabelFile, ModelEvaluation, compare_saved_answers, evaluate_model


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


def test_labels_of_both_sides_correct_the_difference_of_the_pass_rates(tmp_path: Path) -> None:
    a = [answer(k) for k in range(30)]
    b = [answer(k, finished=k % 2 == 0) for k in range(29)]
    files = []
    for side, passes in (("a", {1, 2, 3, 5, 6, 7}), ("b", {2, 6})):
        labelled = range(8) if side == "b" else [*range(8), 29]
        rows = [f"G1_tool,{k},{'solved' if k in passes else 'unsolved'}" for k in labelled]
        path = tmp_path / f"{side}.csv"
        path.write_text("\n".join(["subset,query_id,label", *rows]))
        files.append(LabelFile(path))
    panel = JudgePanel(("rules",), JudgeContext(DATA))
    report = compare_saved_answers(a, b, panel, labels=(files[0], files[1]))
    found = report.difference
    assert found is not None
    assert (found.method, found.n_labelled, found.n_judged) == ("PPI++ of pairs", 8, 29)
    assert found.labels.value == pytest.approx(6 / 8 - 2 / 8)
    assert found.labels_left_out == 1, "B has no answer to it"
    assert report.to_document()["prediction_powered"] == {"rules": found.to_json()}
    assert compare_saved_answers(a, b, panel).to_document()["prediction_powered"] == {}
    with pytest.raises(DataError, match="no such answer"):
        compare_saved_answers(b, a, panel, labels=(files[0], files[1]))

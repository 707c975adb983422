from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeper.api import (
    EvaluationOptions,
    JudgeSettings,
    compare_answers,
    evaluate_model,
    judge_answers,
    load_evaluation,
    write_label_sheet,
)
from sweeper.errors import UsageError

STORE = Path(__file__).resolve().parents[1] / "pinned/store"
ANSWERS = sorted(STORE.glob("trials/*/evaluation/*/answers.jsonl"))


def test_judges_are_checked_when_they_are_named() -> None:
    with pytest.raises(UsageError, match="did you mean `rules`"):
        JudgeSettings(["rule"])


def test_judge_answers_gives_rates_by_judge(tmp_path: Path) -> None:
    report = judge_answers(ANSWERS[:1], JudgeSettings(["rules"], storage=tmp_path), out=tmp_path / "out")
    document = report.to_document()
    n_answers = len(ANSWERS[0].read_text().splitlines())
    assert document["overall"]["n"] == n_answers > 0
    assert len((tmp_path / "out/answers.jsonl").read_text().splitlines()) == n_answers
    assert report.problems == ()


def test_compare_answers_of_one_model_with_itself_is_even(tmp_path: Path) -> None:
    report = compare_answers(ANSWERS[0], ANSWERS[0], JudgeSettings(storage=tmp_path))
    assert (report.only_a, report.only_b) == (0, 0)
    assert report.queries == len(ANSWERS[0].read_text().splitlines())


def test_human_labels_are_for_judging_alone(tmp_path: Path) -> None:
    human = JudgeSettings(["human"], storage=tmp_path)
    with pytest.raises(UsageError, match="compare reads no labels"):
        compare_answers(ANSWERS[0], ANSWERS[0], human)
    with pytest.raises(UsageError, match="evaluate reads no labels"):
        evaluate_model("m", load_evaluation("toolworld"), human, EvaluationOptions())


def test_label_sheet_has_the_items_and_a_key(tmp_path: Path) -> None:
    sheet = write_label_sheet(ANSWERS[:1], tmp_path / "sheet.csv", n_items=6)
    assert sheet.n_items == 6
    assert json.loads(sheet.key.read_text())


def test_load_evaluation_takes_overrides() -> None:
    evaluation = load_evaluation("toolworld", ["max_new_tokens=7"], environment="toolworld")
    assert (evaluation.max_new_tokens, evaluation.environment) == (7, "toolworld")

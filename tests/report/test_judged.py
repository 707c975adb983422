"""The document of `judge`: rates by hand, missing and unscored in the right places, agreement by pair."""

from __future__ import annotations

from typing import Any

import pytest

from sweeper.evaluate.answers import Answer, ToolCall
from sweeper.evaluate.compare import Comparison
from sweeper.evaluate.judges import Vote
from sweeper.report.judged import judge_document, outcomes_of, votes_table

FINISH = ToolCall("Finish", '{"return_type": "give_answer", "final_answer": "x"}', "")


def answer(number: int, subset: str = "G1_tool", finished: bool = True) -> Answer:
    steps = (FINISH,) if finished else ()
    return Answer(str(number), subset, "q", (), steps, FINISH.arguments if finished else "")


def votes(judge: str, *statuses: str | None, **rules: bool | None) -> list[Vote]:
    return [Vote(judge, k, status, "why", None, rules) for k, status in enumerate(statuses)]  # type: ignore[arg-type]


ANSWERS = [answer(1), answer(2), answer(3, "G3_instruction"), answer(4, "G3_instruction", finished=False)]
JUDGED: dict[str, Any] = {
    "rules": [
        votes("rules", "solved", grounded=False),
        votes("rules", "unsure", grounded=None),
        votes("rules", "solved", grounded=False),
        votes("rules", "unsolved", grounded=True),
    ],
    "llm": [
        votes("llm", "solved", "solved", "unsure"),
        votes("llm", "unsolved", "unsolved", "solved"),
        votes("llm", None, None, None),
        votes("llm", "unsolved", "unsolved", "unsolved"),
    ],
}


def test_rates_rules_and_denominators() -> None:
    found = judge_document(ANSWERS, JUDGED, missing=[("G1_tool", "9")], solvable={("G1_tool", "1")})
    overall = found["overall"]
    assert found["judge"] == "rules"
    assert (overall["n"], overall["unscored"], found["missing"]) == (5, 0, 1)
    assert overall["pass_rate"]["strict"]["value"] == pytest.approx(2 / 5)
    assert overall["pass_rate"]["stabletoolbench"]["value"] == pytest.approx(2.5 / 4)
    low, high = overall["pass_rate"]["strict"]["interval"]
    assert low < 0.4 < high
    assert overall["rules"]["grounded"] == {"failed": 1, "undecided": 1, "n": 4, "share": pytest.approx(1 / 3)}
    assert found["subsets"]["G1_tool"]["rules"]["grounded"]["n"] == 2
    assert found["subsets"]["G3_instruction"]["pass_rate"]["strict"]["value"] == 0.5
    assert found["subset_mean"]["strict"] == pytest.approx((1 / 3 + 1 / 2) / 2)
    rows = found["judges"]["rules"]["sensitivity"]["rows"]
    assert {row["queries"] for row in rows} == {"all", "solvable"}


def test_unscored_is_neither_passed_nor_failed_and_says_why() -> None:
    found = judge_document(ANSWERS, JUDGED)["judges"]["llm"]
    assert (found["overall"]["n"], found["overall"]["unscored"]) == (4, 1)
    assert found["overall"]["votes"] == {"solved": 3, "unsolved": 5, "unsure": 1, "unscored": 3}
    assert found["overall"]["pass_rate"]["strict"]["value"] == pytest.approx(1 / 3)
    assert found["unscored_reasons"] == {"why": 3}


def test_agreement_is_by_pair_and_among_votes() -> None:
    found = judge_document(ANSWERS, JUDGED)
    assert set(found["agreement"]) == {"rules~llm", "llm (votes)"}
    pair = found["agreement"]["rules~llm"]
    assert (pair["n"], pair["raw"]["value"]) == (3, 1.0)
    assert found["overall"]["agreement"] == found["agreement"]
    same = found["same_answers"]
    assert same["left_out"] == 1
    assert {name: rates["pass_rate"]["strict"]["value"] for name, rates in same["judges"].items()} == pytest.approx(
        {"rules": 1 / 3, "llm": 1 / 3}
    )


def test_an_answer_without_finish_is_failed_by_toolevals_definition() -> None:
    table = votes_table(ANSWERS, [votes("j", "solved")] * 4)
    assert list(table["answered"]) == [True, True, True, False]
    found = judge_document(ANSWERS, {"j": [votes("j", "solved")] * 4})
    assert found["overall"]["pass_rate"]["strict"]["value"] == 1.0
    assert found["overall"]["pass_rate"]["tooleval"]["value"] == 0.75


def test_win_rates_by_subset() -> None:
    made = [
        Comparison("a", "pass", ""),
        Comparison("tie", "tie", ""),
        Comparison(None, "unscored", ""),
        Comparison("b", "preference", ""),
    ]
    found = outcomes_of(made, ANSWERS)
    assert found["decided_by"] == {"pass": 1, "preference": 1, "tie": 1, "unscored": 1}
    assert (found["overall"]["n"], found["overall"]["unscored"], found["overall"]["value"]) == (3, 1, 0.5)
    assert found["subsets"]["G1_tool"]["value"] == 0.75

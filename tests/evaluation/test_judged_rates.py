"""Rates of judged answers, against numbers by hand."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console, RenderableType

from sweeper.cli.tables_judging import render_comparison_table, render_judging_table
from sweeper.evaluation.answers import Answer, ToolCall
from sweeper.evaluation.judged_rates import build_votes_table, summarize_comparisons, summarize_votes
from sweeper.evaluation.judges import Vote
from sweeper.evaluation.pairwise import PairwiseResult

FINISH = ToolCall("Finish", '{"return_type": "give_answer", "final_answer": "x"}', "")


def answer(number: int, subset: str = "G1_tool", finished: bool = True) -> Answer:
    steps = (FINISH,) if finished else ()
    return Answer(str(number), subset, "q", (), steps, FINISH.arguments if finished else "")


def votes(judge: str, *statuses: str | None, **rules: bool | None) -> list[Vote]:
    return [Vote(judge, k, status, "why", None, rules) for k, status in enumerate(statuses)]  # type: ignore[arg-type]


ANSWERS = [answer(1), answer(2), answer(3, "G3_instruction"), answer(4, "G3_instruction", finished=False)]
JUDGED: dict[str, Any] = {
    "rules": [
        votes("rules", "solved", grounded=True),
        votes("rules", "unsure", grounded=None),
        votes("rules", "solved", grounded=True),
        votes("rules", "unsolved", grounded=False),
    ],
    "llm": [
        votes("llm", "solved", "solved", "unsure"),
        votes("llm", "unsolved", "unsolved", "solved"),
        votes("llm", None, None, None),
        votes("llm", "unsolved", "unsolved", "unsolved"),
    ],
}


def test_summarize_votes_counts_rates_rules_and_denominators() -> None:
    found = summarize_votes(ANSWERS, JUDGED, missing=[("G1_tool", "9")], solvable={("G1_tool", "1")})
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


def test_summarize_votes_excludes_unscored_answers_and_lists_reasons() -> None:
    found = summarize_votes(ANSWERS, JUDGED)["judges"]["llm"]
    assert (found["overall"]["n"], found["overall"]["unscored"]) == (4, 1)
    assert found["overall"]["votes"] == {"solved": 3, "unsolved": 5, "unsure": 1, "unscored": 3}
    assert found["overall"]["pass_rate"]["strict"]["value"] == pytest.approx(1 / 3)
    assert found["unscored_reasons"] == {"why": 3}


def test_summarize_votes_measures_agreement_of_judges_and_of_votes() -> None:
    found = summarize_votes(ANSWERS, JUDGED)
    assert set(found["agreement"]) == {"rules~llm", "llm (votes)"}
    pair = found["agreement"]["rules~llm"]
    assert (pair["n"], pair["raw"]["value"]) == (3, 1.0)
    assert found["overall"]["agreement"] == found["agreement"]
    same = found["same_answers"]
    assert same["left_out"] == 1
    assert {name: rates["pass_rate"]["strict"]["value"] for name, rates in same["judges"].items()} == pytest.approx(
        {"rules": 1 / 3, "llm": 1 / 3}
    )


def test_answer_without_finish_fails_under_toolevals_definition() -> None:
    table = build_votes_table(ANSWERS, [votes("j", "solved")] * 4)
    assert list(table["answered"]) == [True, True, True, False]
    found = summarize_votes(ANSWERS, {"j": [votes("j", "solved")] * 4})
    assert found["overall"]["pass_rate"]["strict"]["value"] == 1.0
    assert found["overall"]["pass_rate"]["tooleval"]["value"] == 0.75


def shown(table: RenderableType) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_missing_task_status_is_counted_and_shown() -> None:
    cast = [[Vote("llm", k, "unsolved", "gave up", None, {}, "500") for k in range(2)] for _ in ANSWERS[:3]]
    found = summarize_votes(ANSWERS, {"llm": [*cast, votes("llm", "solved")]}) | {"judging_usage": {}}
    assert found["task_unanswered"] == {"500": 6}
    assert "llm did not judge whether the query is solvable for 6 votes" in shown(render_judging_table(found))


def test_table_shows_undefined_rates_as_dashes() -> None:
    found = summarize_votes(ANSWERS, {"llm": [votes("llm", None, None) for _ in ANSWERS]}) | {"judging_usage": {}}
    text = shown(render_judging_table(found))
    assert "(–" not in text
    assert "unscored answers" in text
    assert "unscored by llm: 8 votes: why" in text
    row = next(line.split() for line in text.splitlines() if line.startswith("overall"))
    assert row == ["overall", "4", "4", "0", "4", "–", "–", "–"]


def test_table_has_a_column_of_missing_queries() -> None:
    found = summarize_votes(ANSWERS, JUDGED, missing=[("G1_tool", "9")]) | {"judging_usage": {}}
    row = next(line.split() for line in shown(render_judging_table(found)).splitlines() if line.startswith("G1_tool"))
    assert row[1:5] == ["3", "2", "1", "0"]


@pytest.mark.parametrize(("wins", "p"), [(30, "<0.001"), (3, "0.250"), (0, "–")])
def test_table_never_shows_a_p_value_of_zero(wins: int, p: str) -> None:
    rows = [answer(k) for k in range(wins + 1)]
    made = [*(PairwiseResult("a", "pass", "") for _ in range(wins)), PairwiseResult("tie", "tie", "")]
    found = summarize_comparisons(made, rows) | {"judge": "rules", "answered_by_one_side_only": {"a": 0, "b": 0}}
    line = next(
        line for line in shown(render_comparison_table(found | {"judging_usage": {}})).splitlines() if "overall" in line
    )
    assert line.split()[-1] == p


def test_summarize_comparisons_by_subset() -> None:
    made = [
        PairwiseResult("a", "pass", ""),
        PairwiseResult("tie", "tie", ""),
        PairwiseResult(None, "unscored", ""),
        PairwiseResult("b", "preference", ""),
        PairwiseResult(None, "undecided", ""),
    ]
    found = summarize_comparisons(made, [*ANSWERS, answer(5)])
    assert found["decided_by"] == {"pass": 1, "preference": 1, "tie": 1, "undecided": 1, "unscored": 1}
    assert (found["overall"]["n"], found["overall"]["unscored"], found["overall"]["value"]) == (3, 1, 0.5)
    assert (found["overall"]["undecided"], found["subsets"]["G1_tool"]["undecided"]) == (1, 1)
    assert found["subsets"]["G1_tool"]["value"] == 0.75

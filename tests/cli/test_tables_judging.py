"""Tables of `evaluate`, `judge` and `compare`."""

from __future__ import annotations

import pytest
from judged_answers import ANSWERS, JUDGED, answer, votes
from rich.console import Console, RenderableType

from sweeper.cli.tables_judging import render_comparison_table, render_judging_table
from sweeper.evaluation.judged_rates import summarize_comparisons, summarize_votes
from sweeper.evaluation.judges import Vote
from sweeper.evaluation.pairwise import PairwiseResult
from sweeper.statistics import estimate_corrected_difference


def print_text(table: RenderableType, width: int = 200) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_missing_task_status_is_counted_and_print_text() -> None:
    cast = [[Vote("llm", k, "unsolved", "gave up", None, {}, "500") for k in range(2)] for _ in ANSWERS[:3]]
    found = summarize_votes(ANSWERS, {"llm": [*cast, votes("llm", "solved")]}) | {"judging_usage": {}}
    assert found["task_unanswered"] == {"500": 6}
    assert "llm did not judge whether the query is solvable for 6 votes" in print_text(render_judging_table(found))


def test_table_shows_undefined_rates_as_dashes() -> None:
    found = summarize_votes(ANSWERS, {"llm": [votes("llm", None, None) for _ in ANSWERS]}) | {"judging_usage": {}}
    text = print_text(render_judging_table(found))
    assert "(–" not in text
    assert "unscored answers" in text
    assert "unscored by llm: 8 votes: why" in text
    row = next(line.split() for line in text.splitlines() if line.startswith("overall"))
    assert row == ["overall", "4", "4", "0", "4", "–", "–", "–"]


def test_table_has_a_column_of_missing_queries() -> None:
    found = summarize_votes(ANSWERS, JUDGED, missing=[("G1_tool", "9")]) | {"judging_usage": {}}
    row = next(
        line.split() for line in print_text(render_judging_table(found)).splitlines() if line.startswith("G1_tool")
    )
    assert row[1:5] == ["3", "2", "1", "0"]


def test_rates_corrected_by_labels_fit_a_narrow_terminal() -> None:
    answers = [answer(k) for k in range(300)]
    by_llm = [votes("llm", "solved" if k % 3 else "unsolved") for k in range(300)]
    by_person = [votes("human", ("solved" if k % 2 else "unsolved") if k < 60 else None) for k in range(300)]
    found = summarize_votes(answers, {"llm": by_llm, "human": by_person}) | {"judging_usage": {}}
    lines = print_text(render_judging_table(found), width=80).splitlines()
    start = lines.index(next(line for line in lines if line.startswith("strict pass rate, llm and labels")))
    rows = [line.split("  ")[0] for line in lines[start + 2 : start + 5]]
    assert rows == ["human labels alone", "judge alone", "judge corrected by labels (PPI++)"]
    assert "50.0% (" in lines[start + 2]
    assert "66.7% (" in lines[start + 3]
    assert lines[start + 4].split()[5:7] == ["60", "300"]
    assert lines[start + 5].startswith("PPI++: 60 labels with the judge are as precise as ")
    assert "corrected by labels" not in print_text(
        render_judging_table(summarize_votes(ANSWERS, JUDGED) | {"judging_usage": {}})
    )


def test_rates_that_labels_cannot_correct_have_a_reason() -> None:
    by_person = [votes("human", "solved"), *[votes("human", None)] * 2, votes("human", None)]
    judged = {"llm": [votes("llm", None), *[votes("llm", "solved")] * 3], "human": by_person}
    text = print_text(render_judging_table(summarize_votes(ANSWERS, judged) | {"judging_usage": {}}))
    assert "no corrected rate: fewer than 2 labels of answers that the judge scored" in text
    assert "1 label not used: no score or counterpart" in text


@pytest.mark.parametrize(("wins", "p"), [(30, "<0.001"), (3, "0.250"), (0, "–")])
def test_table_never_shows_a_p_value_of_zero(wins: int, p: str) -> None:
    rows = [answer(k) for k in range(wins + 1)]
    made = [*(PairwiseResult("a", "pass", "") for _ in range(wins)), PairwiseResult("tie", "tie", "")]
    found = summarize_comparisons(made, rows) | {"judge": "rules", "answered_by_one_side_only": {"a": 0, "b": 0}}
    found |= {"prediction_powered": {}}
    line = next(
        line
        for line in print_text(render_comparison_table(found | {"judging_usage": {}})).splitlines()
        if "overall" in line
    )
    assert line.split()[-1] == p


def test_difference_corrected_by_labels_names_its_method() -> None:
    a = [float(k % 3 > 0) for k in range(90)]
    b = [float(k % 2) for k in range(90)]
    labels = [[value if k < 30 else float("nan") for k, value in enumerate(side)] for side in (a, b)]
    corrected = estimate_corrected_difference((labels[0], labels[1]), (a, b), ["G1_tool"] * 90).to_json()
    made = summarize_comparisons([PairwiseResult("a", "pass", "")], [answer(0)]) | {"judge": "rules"}
    made |= {"answered_by_one_side_only": {"a": 0, "b": 0}, "judging_usage": {}}
    text = print_text(render_comparison_table(made | {"prediction_powered": {"rules": corrected}}), width=80)
    assert "strict pass rate of A minus B, rules and labels" in text
    assert "PPI++ of pairs: 30 labels with the judge are as precise as " in text

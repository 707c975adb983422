"""Tables of `evaluate`, `judge` and `compare`."""

from __future__ import annotations

import pytest
from judged_answers import ANSWERS, JUDGED, answer, votes
from rich.console import Console, RenderableType

from sweeper.cli.tables_judging import render_comparison_table, render_judging_table
from sweeper.evaluation.judged_rates import summarize_comparisons, summarize_votes
from sweeper.evaluation.judges import Vote
from sweeper.evaluation.pairwise import PairwiseResult


def print_text(table: RenderableType) -> str:
    console = Console(width=200)
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


@pytest.mark.parametrize(("wins", "p"), [(30, "<0.001"), (3, "0.250"), (0, "–")])
def test_table_never_shows_a_p_value_of_zero(wins: int, p: str) -> None:
    rows = [answer(k) for k in range(wins + 1)]
    made = [*(PairwiseResult("a", "pass", "") for _ in range(wins)), PairwiseResult("tie", "tie", "")]
    found = summarize_comparisons(made, rows) | {"judge": "rules", "answered_by_one_side_only": {"a": 0, "b": 0}}
    line = next(
        line
        for line in print_text(render_comparison_table(found | {"judging_usage": {}})).splitlines()
        if "overall" in line
    )
    assert line.split()[-1] == p

from __future__ import annotations

import pytest

from sweeper.cli.formatting import (
    MAX_LISTED_LINES,
    format_plural,
    format_problems,
    make_status,
    make_table,
    truncate_lines,
)


def test_make_table_aligns_numbers_right_and_words_left() -> None:
    table = make_table("", ["model", "loss", "status"], n_left_columns=1)
    assert [column.justify for column in table.columns] == ["left", "right", "left"]
    assert [column.no_wrap for column in table.columns] == [True, False, False]
    assert table.title is None


@pytest.mark.parametrize(("status", "style"), [("COMPLETE", "green"), ("refuted", "red"), ("PENDING", "")])
def test_make_status_colors_known_words(status: str, style: str) -> None:
    assert (make_status(status).plain, make_status(status).style) == (status, style)


def test_format_plural_groups_thousands() -> None:
    assert [format_plural(n, "vote") for n in (0, 1, 1234)] == ["0 votes", "1 vote", "1,234 votes"]


@pytest.mark.parametrize("n_more", [0, 1, 5])
def test_truncate_lines_counts_the_lines_that_it_leaves_out(n_more: int) -> None:
    lines = [str(k) for k in range(MAX_LISTED_LINES + n_more)]
    expected = [*lines[:MAX_LISTED_LINES], *([f"and {n_more} more"] if n_more else [])]
    assert truncate_lines(lines) == expected


def test_format_problems_counts_those_that_it_leaves_out() -> None:
    shown = [line.plain for line in format_problems(["bad"] * (MAX_LISTED_LINES + 2))]
    assert shown == ["problem: bad"] * MAX_LISTED_LINES + ["and 2 more"]

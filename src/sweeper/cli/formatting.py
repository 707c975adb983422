"""Parts that every table of the command line uses."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

MAX_LISTED_LINES = 20
"""Lines of a long list that a terminal shows."""
_STATUS_COLORS = {
    "COMPLETE": "green",
    "RUNNING": "cyan",
    "FAILED": "red",
    "DIVERGED": "yellow",
    "supported": "green",
    "refuted": "red",
    "inconclusive": "yellow",
    "ok": "green",
    "missing": "red",
    "optional": "yellow",
    "holds": "green",
    "broken": "red",
    "unknown": "yellow",
}
_LEFT_ALIGNED = ("status", "engine")


def make_table(title: str, columns: Sequence[str], *, n_left_columns: int) -> Table:
    """Make an empty table; columns after the first `n_left_columns` align right."""
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="dim")
    for i, column in enumerate(columns):
        is_left = i < n_left_columns or column in _LEFT_ALIGNED
        table.add_column(column, justify="left" if is_left else "right", no_wrap=i == 0)
    return table


def make_status(status: str) -> Text:
    """Color a status, a verdict or a state; an unlisted one, such as PENDING, has the terminal's own color."""
    return Text(status, style=_STATUS_COLORS.get(status, ""))


def make_warning(text: str) -> Text:
    """Make a yellow line."""
    return Text(text, style="yellow")


def format_plural(count: int, noun: str) -> str:
    """Format `1 vote`, `2 votes`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def truncate_lines(lines: Sequence[str]) -> list[str]:
    """Keep the first lines, and add a line that counts the others."""
    n_more = len(lines) - MAX_LISTED_LINES
    return [*lines[:MAX_LISTED_LINES], f"and {n_more:,} more"] if n_more > 0 else list(lines)


def format_problems(problems: Sequence[str]) -> list[Text]:
    """Make one warning per problem."""
    shown = [make_warning(f"problem: {problem}") for problem in problems[:MAX_LISTED_LINES]]
    n_more = len(problems) - len(shown)
    return [*shown, make_warning(f"and {n_more} more")] if n_more else shown

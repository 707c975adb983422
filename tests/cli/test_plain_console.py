"""No text is markup, and no text controls the terminal."""

from __future__ import annotations

import io

import pytest
from rich.table import Table
from rich.text import Text

from sweeper.cli.output import show_control_characters
from sweeper.cli.plain_console import PlainConsole

HOSTILE = "\x1b]0;owned\x07\x1b[31m[red]x[/y] \u202eabc\x9b2J\x00"


def print_all(*renderables: object, terminal: bool = False) -> str:
    stream = io.StringIO()
    console = PlainConsole(
        file=stream, width=200, force_terminal=terminal, color_system="standard" if terminal else None
    )
    for renderable in renderables:
        console.print(renderable)
    return stream.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_texts_in_every_place_are_shown_as_they_are(terminal: bool) -> None:
    table = Table(title=HOSTILE)
    table.add_column(HOSTILE)
    table.add_row(HOSTILE)
    table.add_row(Text(HOSTILE, style="red"))
    shown = print_all(HOSTILE, table, terminal=terminal)
    assert shown.count("[red]x[/y]") == 5
    assert shown.count("␛]0;owned") == 5  # rich itself removes the bell
    assert not set("\x07\x9b\x00\u202e") & set(shown)
    assert ("\x1b[31m" in shown) == terminal, "our own color, of the text with a style"
    assert "\x1b]" not in shown


def test_control_characters_become_pictures() -> None:
    assert show_control_characters("a\x1b\x7f\x85\u2066\tb\n") == "a␛␡\\u0085\\u2066\tb\n"

"""Output shared by all commands: a console, JSON, a progress bar, and errors with an exit code.

Texts of models, servers, data and sweeps reach the terminal here: they are never markup, and control characters, which
could move the cursor or recolor the screen, are shown as text.
"""

from __future__ import annotations

import io
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sized
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, ParamSpec

if TYPE_CHECKING:
    from types import FrameType

    from rich.console import Console, RenderableType

P = ParamSpec("P")
_MAX_INDENTED_TRIALS = 1_000
_CONTROL_CHARACTERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters, and those that change the direction of text."""


def print_table(*renderables: RenderableType) -> None:
    """Print rich renderables to standard output."""
    console = make_console()
    for renderable in renderables:
        console.print(renderable)


def make_console(*, stderr: bool = False) -> Console:
    """Make a rich console without markup; output to a file or a pipe is 140 columns wide."""
    from sweeper.cli.plain_console import PlainConsole

    console = PlainConsole(stderr=stderr)
    return console if console.is_terminal else PlainConsole(stderr=stderr, width=140)


def show_control_characters(text: str) -> str:
    """Replace characters that control a terminal, or reorder its text, by visible ones; line breaks and tabs stay.

    Args:
        text: any text.

    Returns:
        The text as it may be printed.

    Example:
        >>> show_control_characters("\x1b[31mred")
        '␛[31mred'
    """
    return _CONTROL_CHARACTERS.sub(_show_character, text)


def _show_character(match: re.Match[str]) -> str:
    code = ord(match[0])
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else f"\\u{code:04x}"


def make_streams_safe() -> None:
    """Let no output stream end a command: a character that it cannot write is escaped, and a closed one is ignored."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller: `sweeper … >&-`
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - open until the process ends
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def print_json(document: Mapping[str, object]) -> None:
    """Print a document as strict JSON: NaN and infinity become null."""
    from sweeper.api.formatting import dump_json

    # Indented JSON is written by Python code, which takes seconds for ten thousand trials.
    trials = document.get("trials", ())
    indent = 2 if not isinstance(trials, Sized) or len(trials) <= _MAX_INDENTED_TRIALS else None
    sys.stdout.write(dump_json(document, indent) + "\n")


@contextmanager
def show_progress(description: str) -> Iterator[Callable[[float], None]]:
    """Show a progress bar on standard error.

    Yields:
        A function that sets the completed share, from 0 to 1.
    """
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    console = make_console(stderr=True)
    with Progress(TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), console=console) as bar:
        task = bar.add_task(description, total=1.0)
        yield lambda share: bar.update(task, completed=share)
        bar.update(task, completed=1.0)


def check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    """Check the value of an option against its choices.

    Raises:
        UsageError: `value` is not one of `choices`.
    """
    from sweeper.errors import UsageError

    if value not in choices:
        raise UsageError(option, requested=value, found="not one of the choices", hint=f"one of: {', '.join(choices)}")


def exit_with_error(message: str, exit_code: int) -> NoReturn:
    """Print a message to standard error and exit."""
    sys.stdout.flush()
    sys.stderr.write(show_control_characters(message) + "\n")
    raise SystemExit(exit_code)


@contextmanager
def announce_interrupt(text: str) -> Iterator[None]:
    """Print a line at the first Ctrl-C, before anything is stopped: ending processes takes seconds."""
    original = signal.getsignal(signal.SIGINT)
    if not callable(original):  # ignored, as in a background job
        yield
        return

    def announce(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, original)
        with suppress(OSError):
            os.write(2, f"\nInterrupted: {text}\n".encode())
        original(number, frame)

    signal.signal(signal.SIGINT, announce)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, original)


def exit_on_interrupt(command: Callable[P, None]) -> Callable[P, None]:
    """Decorate a command so that Ctrl-C before anything is saved prints one line and exits with 130."""

    @wraps(command)
    def run_command(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except KeyboardInterrupt:
            exit_with_error("Interrupted; nothing saved yet. Run again to restart.", 130)

    return run_command

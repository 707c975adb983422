"""Output shared by all commands: a console, JSON, a progress bar, and errors with an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sized
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, NoReturn, ParamSpec

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

P = ParamSpec("P")
_MAX_INDENTED_TRIALS = 1_000


def print_table(*renderables: RenderableType) -> None:
    """Print rich renderables to standard output."""
    console = make_console()
    for renderable in renderables:
        console.print(renderable)


def make_console(*, stderr: bool = False) -> Console:
    """Make a rich console; output to a file or a pipe is 140 columns wide."""
    from rich.console import Console

    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=140)


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
    sys.stderr.write(message + "\n")
    raise SystemExit(exit_code)


def exit_on_interrupt(command: Callable[P, None]) -> Callable[P, None]:
    """Decorate a command so that Ctrl-C before anything is saved prints one line and exits with 130."""

    @wraps(command)
    def run_command(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except KeyboardInterrupt:
            exit_with_error("Interrupted; nothing saved yet. Run again to restart.", 130)

    return run_command

"""The command line: parse, call one function, print. Heavy imports wait until a command needs them."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from sweeper.cli import cluster, data, evaluate, study
from sweeper.cli.options import JsonOption
from sweeper.cli.output import exit_with_error, make_streams_safe, print_json, print_table

_OLD_SPELLINGS = {"rehearse": "smoke-test", "leave": "drain"}
"""Spellings from version 0.1 that still work, and their current names: `--rehearse` and `cluster leave`."""


def _translate_old_spelling(token: str) -> str:
    """Return the current name of an option or a command."""
    return _OLD_SPELLINGS.get(token, token)


app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "token_normalize_func": _translate_old_spelling},
    help="Answer questions about fine-tuning small language models, with confidence intervals.\n\n"
    "A question is a YAML file under sweeps/: which sizes, epochs, learning rates and seeds. `run` trains and "
    "evaluates every combination; `report` turns the outcomes into verdicts with confidence intervals.",
    epilog="Start with: sweeper plan quickstart, then sweeper run quickstart, then sweeper report quickstart",
)
for commands in (study.commands, evaluate.commands):
    app.registered_commands += commands.registered_commands
app.add_typer(data.commands, name="data")
app.add_typer(cluster.commands, name="cluster")
app.add_typer(study.search_commands, name="search")


def _print_version(is_requested: bool) -> None:
    if is_requested:
        from sweeper import __version__

        typer.echo(f"sweeper {__version__}")
        raise typer.Exit


@app.callback()
def main_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of `sweeper` itself."""


@app.command("doctor")
def check_environment_command(json_: JsonOption = False) -> None:
    """Check this environment: what can run here, and what is missing."""
    from sweeper.cli.doctor import check_environment
    from sweeper.cli.tables_study import render_environment_table

    report = check_environment()
    if json_:
        print_json(report.to_json())
    else:
        print_table(render_environment_table(report))
    if not report.ok:
        raise typer.Exit(1)


@app.command("schema")
def print_schema_command(
    kind: Annotated[
        str, typer.Option(help="sweep, or a kind of file in configs/: recipe, data, evaluation, claim, model, …")
    ] = "sweep",
) -> None:
    """Print the JSON Schema of a sweep file, for completion and documentation in an editor."""
    from sweeper import api

    print_json(api.build_schema(kind))


def run_command_line() -> None:
    """Run the command line. Errors are printed for people; exit code 2 for usage errors, 1 for failed trials."""
    from sweeper.errors import SweeperError

    make_streams_safe()
    try:
        app(prog_name="sweeper")
    except SweeperError as error:
        exit_with_error(str(error), error.exit_code)
    except BrokenPipeError:  # the reader of a pipe, e.g. `head`, closed it
        sys.stderr.close()
        raise SystemExit(0) from None
    except OSError as error:
        # A file is written under another name first, and then renamed to its own, the second name of the error.
        where, found = str(error.filename2 or error.filename or "sweeper"), error.strerror or str(error)
        exit_with_error(str(SweeperError(where, found=found, hint="give a path that can be used")), 1)

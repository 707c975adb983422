"""The command line: parse, call one function, print. Heavy imports wait until a command needs them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Answer questions about fine-tuning small language models with evidence.\n\n"
    "A question is a YAML file under sweeps/: which sizes, epochs, learning rates and seeds. `run` trains and "
    "evaluates every combination, `report` turns the outcomes into verdicts with intervals.",
    epilog="Start with: sweeper plan quickstart, then sweeper run quickstart, then sweeper report quickstart",
)
data_app = typer.Typer(no_args_is_help=True, help="Look at training data before it is trained on.")
app.add_typer(data_app, name="data")

SweepArgument = Annotated[str, typer.Argument(help="A sweep file, or the name of one in sweeps/.")]
StudyArgument = Annotated[str, typer.Argument(help="A sweep file or name, or the name of a study in the store.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override any key, e.g. --set axes.seed=[0].")
]
StorageOption = Annotated[str, typer.Option(help="Folder of the store.", envvar="SWEEPER_STORAGE")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


@app.command()
def plan(sweep: SweepArgument, set_: SetOption = None, json_: JsonOption = False) -> None:
    """Show every trial of a sweep, and what stands in its way, without starting anything."""
    from sweeper import spec, study
    from sweeper.tables import plan_table

    planned = study.plan_sweep(spec.load_sweep(spec.find_sweep(sweep), set_ or []))
    if json_:
        _print_json(planned.json())
    else:
        _console().print(plan_table(planned))
    if planned.problems:
        _fail("\n".join(f"problem: {problem}" for problem in planned.problems), 2)


@app.command()
def run(
    sweep: SweepArgument,
    set_: SetOption = None,
    storage: StorageOption = "storage",
    backend: Annotated[str, typer.Option(help="`ray` schedules over workers; `inline` runs one by one here.")] = "ray",
    address: Annotated[str | None, typer.Option(help="Ray cluster to use; one is started here if not given.")] = None,
    tracking: Annotated[
        str, typer.Option(help="`wandb` (offline unless WANDB_MODE says otherwise) or `none`.")
    ] = "wandb",
) -> None:
    """Train and evaluate every trial that is not finished. Run it again to resume."""
    from sweeper import spec, study
    from sweeper.store import Store
    from sweeper.study.progress import ProgressDisplay

    _one_of("--backend", backend, ("ray", "inline"))
    _one_of("--tracking", tracking, ("wandb", "none"))
    planned = study.plan_sweep(spec.load_sweep(spec.find_sweep(sweep), set_ or []))
    store = Store.at(storage)
    display = ProgressDisplay(_console(stderr=True))
    try:
        with display:
            study.run_study(planned, store, backend=backend, address=address, tracking=tracking, display=display)  # type: ignore[arg-type]
    except KeyboardInterrupt:
        _fail(f"stopped; run `sweeper run {sweep}` again to go on from the checkpoints", 130)
    typer.echo(f"done; next: sweeper report {planned.sweep.name} --storage {storage}")


@app.command()
def status(
    study: StudyArgument, storage: StorageOption = "storage", set_: SetOption = None, json_: JsonOption = False
) -> None:
    """Show every planned trial of a study: status and metrics, read from the store."""
    from sweeper import study as studies
    from sweeper.store import Store
    from sweeper.tables import status_table

    store = Store.at(storage)
    tables = studies.collect(studies.load_study(study, store, set_), store)
    if json_:
        _print_json({"study": tables.plan.sweep.name, "trials": tables.trials})
    else:
        _console().print(status_table(tables.plan.sweep.name, tables.trials))


@app.command()
def report(
    study: StudyArgument,
    storage: StorageOption = "storage",
    set_: SetOption = None,
    json_: JsonOption = False,
    out: Annotated[Path | None, typer.Option(help="Where to write the HTML report.")] = None,
) -> None:
    """Decide the claims and write the report (HTML and JSON)."""
    from sweeper import report as reports
    from sweeper import study as studies
    from sweeper.store import Store
    from sweeper.tables import verdict_lines

    store = Store.at(storage)
    tables = studies.collect(studies.load_study(study, store, set_), store)
    document = reports.report_study(tables)
    folder = store.study(tables.plan.sweep.name)
    path = out or folder / "report.html"
    reports.write(document, html=path, json=folder / "report.json" if out is None else path.with_suffix(".json"))
    if json_:
        _print_json(document)
        return
    for line in verdict_lines(document):
        _console().print(line)
    typer.echo(f"report: {path}")


@data_app.command("inspect")
def data_inspect(
    source: Annotated[str, typer.Argument(help="ToolBench answers (folder or file), or `toolworld`.")],
    model: Annotated[str, typer.Option("--model", help="A model of configs/models/, whose tokeniser counts.")],
    max_length: Annotated[int, typer.Option("--max-length", min=1, help="Longest row, tokens.")] = 2048,
    json_: JsonOption = False,
) -> None:
    """Count what training on a source would keep, cut and drop, in a model's tokens."""
    from sweeper import data, spec
    from sweeper.tables import inspect_table

    found = data.inspect(source, spec.load_model(model), max_length)
    if json_:
        _print_json(found)
    else:
        _console().print(inspect_table(found))


@app.command()
def doctor(json_: JsonOption = False) -> None:
    """Say what this machine can run, and what is missing."""
    from sweeper.doctor import examine
    from sweeper.tables import doctor_table

    found = examine()
    if json_:
        _print_json(found)
    else:
        _console().print(doctor_table(found))
    if not found["ok"]:
        raise typer.Exit(1)


def main() -> None:
    """Entry point: errors for people, exit code 2 for usage, 1 for failed trials."""
    from sweeper.errors import SweeperError

    try:
        app(prog_name="sweeper")
    except SweeperError as error:
        _fail(str(error), error.exit_code)


def _one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    from sweeper.errors import UsageError

    if value not in known:
        raise UsageError(option, asked=value, found="not one of the choices", do=f"one of: {', '.join(known)}")


def _console(stderr: bool = False) -> Any:
    from rich.console import Console

    console = Console(stderr=stderr)
    # Into a file or a pipe nothing needs to fit a window.
    return console if console.is_terminal else Console(stderr=stderr, width=140)


def _print_json(document: Any) -> None:
    from sweeper.store import without_nan

    sys.stdout.write(
        json.dumps(without_nan(document), indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n"
    )


def _fail(text: str, code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.write(text + "\n")
    raise SystemExit(code)


if __name__ == "__main__":
    main()

"""The commands of a study: `plan`, `claims`, `simulate`, `run`, `status`, `report` and `search history`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeper.cli.options import (
    AcceptUnderpoweredOption,
    JsonOption,
    SetOption,
    SmokeTestOption,
    StorageOption,
    StudyArgument,
    SweepArgument,
    UntilOption,
)
from sweeper.cli.output import announce_interrupt, exit_with_error, make_console, print_json, print_table, show_progress
from sweeper.errors import UsageError

if TYPE_CHECKING:
    from sweeper.api import StudyReport

commands = typer.Typer()
search_commands = typer.Typer(no_args_is_help=True, help="Inspect the proposals of a search.")


@commands.command("plan")
def show_plan_command(
    sweep: SweepArgument,
    set_: SetOption = None,
    smoke_test: SmokeTestOption = False,
    storage: StorageOption = "storage",
    accept_underpowered: AcceptUnderpoweredOption = False,
    cluster: Annotated[
        Path | None,
        typer.Option(help="A cluster file (Ray launcher or KubeRay): what fits, how many trials at once, how long."),
    ] = None,
    hardware: Annotated[
        str | None, typer.Option(help="Plan for this GPU of configs/hardware/ instead of the sweep's.")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Show every trial of a sweep, its cost, what its claims can detect, and what is missing. Starts nothing."""
    from sweeper import api
    from sweeper.cli.tables_study import format_look_price, render_claims_table, render_plan_table

    loaded = api.load_sweep(sweep, set_ or [], smoke_test=smoke_test)
    planned = api.plan(loaded, storage, cluster=cluster, hardware=hardware)
    if json_:
        print_json(planned.to_document())
    else:
        print_table(render_plan_table(planned.to_document(), planned.axes))
        for line in planned.forecast.format_lines() if planned.forecast else ():
            make_console().print(line, highlight=False, markup=False)
        if claims := planned.list_claims():
            print_table(render_claims_table(claims), *format_look_price(planned.look_price))
    if planned.problems:
        exit_with_error("\n".join(f"problem: {problem}" for problem in planned.problems), 2)
    if not (accept_underpowered or loaded.accept_underpowered):
        api.refuse_underpowered(planned)


@commands.command("claims")
def show_claims_command(
    sweep: SweepArgument, set_: SetOption = None, storage: StorageOption = "storage", json_: JsonOption = False
) -> None:
    """Show what this design can say of each claim: power, expected seeds, and the minimum detectable effect."""
    from sweeper import api
    from sweeper.cli.tables_study import render_claims_table

    planned = api.plan(api.load_sweep(sweep, set_ or []), storage)
    claims = planned.list_claims()
    if json_:
        print_json({"sweep": planned.sweep.name, "claims": claims})
    elif claims:
        print_table(render_claims_table(claims))
    else:
        typer.echo(f"{planned.sweep.name} registers no claim; configs/claims/ has some to choose from")


@commands.command("simulate")
def simulate_verdicts_command(
    sweep: SweepArgument,
    truth: Annotated[
        Path,
        typer.Option("--truth", help="YAML file: the true pass rate of each arm, and the spread of seeds and queries."),
    ],
    studies: Annotated[int, typer.Option(min=1, help="Number of simulated studies.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the simulation.")] = 0,
    set_: SetOption = None,
    json_: JsonOption = False,
) -> None:
    """Simulate studies under assumed true pass rates: how often is each verdict correct, wrong or inconclusive?"""
    from sweeper import api
    from sweeper.cli.tables_study import render_simulation_table

    planned = api.plan(api.load_sweep(sweep, set_ or []), storage=None)
    if not planned.sweep.claims:
        typer.echo(f"{planned.sweep.name} registers no claim: there is no verdict to simulate", err=True)
        raise typer.Exit(2)
    with show_progress("simulating") as on_progress:
        document = planned.simulate(truth, studies=studies, seed=seed, on_progress=on_progress)
    if json_:
        print_json(document)
    else:
        print_table(render_simulation_table(document))


@commands.command("run")
def run_sweep_command(
    sweep: SweepArgument,
    set_: SetOption = None,
    smoke_test: SmokeTestOption = False,
    storage: StorageOption = "storage",
    backend: Annotated[
        str, typer.Option(help="`ray` runs trials in parallel on a cluster; `inline` runs them one by one here.")
    ] = "ray",
    address: Annotated[
        str | None,
        typer.Option(
            help="Ray cluster: `auto`, host:port, `local` (from `cluster up-local`), or http://… (dashboard) or "
            "ray://… (client server) to submit the sweep as a job. Default: start Ray here."
        ),
    ] = None,
    tracking: Annotated[str, typer.Option(help="`wandb` (offline unless WANDB_MODE is set) or `none`.")] = "wandb",
    accept_underpowered: AcceptUnderpoweredOption = False,
    until: UntilOption = None,
) -> None:
    """Train and evaluate every unfinished trial. Run again to resume."""
    from sweeper import api

    set_ = [*(set_ or []), *([f"until={until}"] if until else [])]
    if address is not None:
        options = api.RunOptions(tracking, smoke_test=smoke_test, accept_underpowered=accept_underpowered)
        exit_code = api.submit_run(
            sweep,
            address,
            storage,
            backend=backend,
            overrides=set_,
            options=options,
        )
        if exit_code is not None:
            raise typer.Exit(exit_code)
    loaded, console = api.load_sweep(sweep, set_, smoke_test=smoke_test), make_console(stderr=True)
    if until == "decided" and not any(claim.looks for claim in loaded.claims):
        hint = "give a claim `looks: [3, 6, 10]`, or leave out --until"
        raise UsageError("--until", requested=until, found="no claim with `looks`: nothing is decided early", hint=hint)
    try:
        with announce_interrupt("stopping the trials; their checkpoints are kept …"):
            study = api.run(
                loaded,
                storage,
                backend=backend,
                address=address,
                tracking=tracking,
                accept_underpowered=accept_underpowered,
                console=console,
            )
    except KeyboardInterrupt:
        command = f"sweeper {shlex.join(sys.argv[1:])}"
        exit_with_error(f"Interrupted. Run `{command}` again to resume from the checkpoints.", 130)
    if smoke_test:
        _print_verdicts(study.report())
    else:
        typer.echo(f"done; next: sweeper report {study.name} --storage {storage}")


@commands.command("status")
def show_status_command(
    study: StudyArgument, storage: StorageOption = "storage", set_: SetOption = None, json_: JsonOption = False
) -> None:
    """Show the status and metrics of every planned trial of a study."""
    from sweeper import api
    from sweeper.cli.tables_study import format_part_lines, render_status_table

    opened = api.open_study(study, storage, set_ or [])
    opened.require_run()
    document = opened.to_document()
    if json_:
        print_json(document)
    else:
        parts = format_part_lines(opened.part_statuses)
        print_table(render_status_table(opened.name, document["trials"], opened.varying_axes), *parts)


@search_commands.command("history")
def show_search_history_command(
    study: StudyArgument, storage: StorageOption = "storage", set_: SetOption = None, json_: JsonOption = False
) -> None:
    """Show the proposals of a search in order: values, state, and which are baseline trials."""
    from sweeper import api
    from sweeper.cli.tables_study import render_search_table

    document = api.open_study(study, storage, set_ or []).read_search_history()
    if json_:
        print_json(document)
    else:
        print_table(render_search_table(document))


@commands.command("report")
def write_report_command(
    study: StudyArgument,
    storage: StorageOption = "storage",
    set_: SetOption = None,
    json_: JsonOption = False,
    out: Annotated[
        Path | None, typer.Option(help="Path of the HTML report; the JSON report is written next to it.")
    ] = None,
    wandb: Annotated[
        bool, typer.Option("--wandb", help="Also write wandb_report.json: the report as W&B blocks.")
    ] = False,
    push: Annotated[
        bool, typer.Option("--push", help="Send the W&B report to WANDB_ENTITY and WANDB_PROJECT (`sweeper`).")
    ] = False,
) -> None:
    """Evaluate the claims and write the report: HTML, JSON and, on request, a W&B report."""
    from sweeper import api
    from sweeper.errors import UsageError

    opened = api.open_study(study, storage, set_ or [])
    if opened.is_combined and (wandb or push):
        hint = "run `sweeper report --wandb` on each of its sweeps"
        raise UsageError("report --wandb", requested=study, found="a union of sweeps", hint=hint)
    written = opened.report(out)
    wandb_path = written.write_wandb_report() if wandb or push else None
    if json_:
        print_json(written.document)
    else:
        _print_verdicts(written)
        if wandb_path:
            typer.echo(f"W&B report: {wandb_path}")
    if push:
        typer.echo(f"sent: {written.push_to_wandb()}", err=json_)


def _print_verdicts(report: StudyReport) -> None:
    from sweeper.cli.tables_study import render_verdict_lines

    print_table(*render_verdict_lines(report.document))
    typer.echo(f"report: {report.path}")

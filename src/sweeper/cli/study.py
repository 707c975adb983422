"""The commands of a study: `plan`, `claims`, `simulate`, `run`, `status`, `report` and `search history`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from sweeper.cli.options import (
    JsonOption,
    SetOption,
    SmokeTestOption,
    StorageOption,
    StudyArgument,
    SweepArgument,
)
from sweeper.cli.output import exit_with_error, make_console, print_json, print_table, show_progress

if TYPE_CHECKING:
    from sweeper.config import HardwareSpec
    from sweeper.report.combined_document import CombinedReport
    from sweeper.report.document import Report
    from sweeper.results.study_tables import StudyTables
    from sweeper.storage import Store

commands = typer.Typer()
search_commands = typer.Typer(no_args_is_help=True, help="Inspect the proposals of a search.")


@commands.command("plan")
def show_plan_command(
    sweep: SweepArgument,
    set_: SetOption = None,
    smoke_test: SmokeTestOption = False,
    storage: StorageOption = "storage",
    accept_underpowered: Annotated[
        bool,
        typer.Option("--accept-underpowered", help="Accept claims whose minimum detectable effect exceeds the margin."),
    ] = False,
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
    from sweeper.cli.tables_study import render_claims_table, render_plan_table
    from sweeper.config import find_hardware_spec, find_sweep, load_hardware_specs, load_sweep
    from sweeper.planning.claim_power import build_power_table
    from sweeper.planning.cluster_files import read_cluster
    from sweeper.planning.estimate import estimate_plan, retarget_hardware
    from sweeper.planning.makespan import forecast_cluster
    from sweeper.planning.planner import plan_sweep
    from sweeper.storage import Store

    specs = load_hardware_specs()
    gpu = find_hardware_spec(hardware, specs) if hardware else None
    machines = read_cluster(cluster) if cluster else None
    cluster_gpus = machines.list_gpu_kinds(specs) if machines else []
    if gpu and machines:
        _check_gpu_in_cluster(gpu, cluster_gpus, cluster)
    loaded = load_sweep(find_sweep(sweep), set_ or [], smoke_test=smoke_test)
    loaded = retarget_hardware(loaded, gpu) if gpu else loaded
    store = Store.from_location(storage)
    planned = plan_sweep(loaded, store, gpu or (machines.find_smallest_gpu(specs) if machines else None))
    nodes = machines.nodes if machines else None
    gpu_kinds = cluster_gpus or ([gpu] if gpu else [])
    planned, makespan = estimate_plan(planned, store, specs, gpu_kinds=gpu_kinds, nodes=nodes)
    claims = [row.to_document() for row in build_power_table(planned)]
    forecast = forecast_cluster(planned, machines, makespan) if machines else None
    if json_:
        document = planned.to_document() | ({"cluster": forecast.to_document()} if forecast else {})
        print_json(document | {"claims": [a | b for a, b in zip(document["claims"], claims, strict=True)]})
    else:
        print_table(render_plan_table(planned))
        for line in forecast.format_lines() if forecast else ():
            make_console().print(line, highlight=False, markup=False)
        if claims:
            print_table(render_claims_table(claims))
    if problems := [*planned.problems, *(makespan.problems if machines else ())]:
        exit_with_error("\n".join(f"problem: {problem}" for problem in problems), 2)
    underpowered = [claim for claim in claims if claim["underpowered"]]
    if underpowered and not (accept_underpowered or planned.sweep.accept_underpowered):
        lines = [f"claim {claim['id']}: {claim['reason']}" for claim in underpowered]
        hint = "to plan it anyway: --accept-underpowered, or `accept_underpowered: true` in the sweep"
        exit_with_error("\n".join([*lines, hint]), 2)


def _check_gpu_in_cluster(gpu: HardwareSpec, cluster_gpus: list[HardwareSpec], cluster: Path | None) -> None:
    from sweeper.errors import UsageError

    if gpu.name not in {kind.name for kind in cluster_gpus}:
        raise UsageError(
            "--hardware",
            requested=f"{gpu.name} with --cluster {cluster}",
            found=f"a cluster with {', '.join(kind.name for kind in cluster_gpus) or 'unknown GPUs'}",
            hint="give --hardware or --cluster, not both",
        )


@commands.command("claims")
def show_claims_command(sweep: SweepArgument, set_: SetOption = None, json_: JsonOption = False) -> None:
    """Show each claim of a sweep: arms, seeds, margin, and the minimum detectable effect of this design."""
    from sweeper.cli.tables_study import render_claims_table
    from sweeper.config import find_sweep, load_sweep
    from sweeper.planning.claim_power import build_power_table
    from sweeper.planning.planner import plan_sweep

    planned = plan_sweep(load_sweep(find_sweep(sweep), set_ or []))
    claims = [row.to_document() for row in build_power_table(planned)]
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
    from sweeper.cli.tables_study import render_simulation_table
    from sweeper.config import find_sweep, load_sweep, read_yaml_as_dict
    from sweeper.errors import UsageError
    from sweeper.planning.claim_power import simulate_plan
    from sweeper.planning.planner import plan_sweep

    planned = plan_sweep(load_sweep(find_sweep(sweep), set_ or []))
    if planned.parts:
        raise UsageError("simulate", requested=sweep, found="a union of sweeps", hint="simulate each of its sweeps")
    assumed = read_yaml_as_dict(truth)
    with show_progress("simulating") as on_progress:
        document = simulate_plan(planned, assumed, n_studies=studies, seed=seed, on_progress=on_progress)
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
) -> None:
    """Train and evaluate every unfinished trial. Run again to resume."""
    from sweeper.config import find_sweep, load_hardware_specs, load_sweep
    from sweeper.execution.backends.base import BACKENDS, SweepSubmission
    from sweeper.execution.progress import ProgressDisplay
    from sweeper.execution.study_runner import run_study
    from sweeper.planning.estimate import estimate_plan
    from sweeper.planning.planner import plan_sweep
    from sweeper.results.study_tables import collect_study
    from sweeper.storage import Store
    from sweeper.tracking import TRACKERS

    BACKENDS.check(backend, where="--backend")
    TRACKERS.check(tracking, where="--tracking")
    if address is not None:
        options = ["--tracking", tracking, *(["--smoke-test"] if smoke_test else [])]
        submission = SweepSubmission(sweep, storage, set_ or [], options)
        if (exit_code := BACKENDS.load(backend).submit(submission, address)) is not None:
            raise typer.Exit(exit_code)
    store = Store.from_location(storage)
    planned = plan_sweep(load_sweep(find_sweep(sweep), set_ or [], smoke_test=smoke_test), store)
    planned, _ = estimate_plan(planned, store, load_hardware_specs())
    display = ProgressDisplay(make_console(stderr=True))
    if address is not None:
        address = BACKENDS.load(backend).resolve_address(address)
    try:
        with display:
            planned = run_study(
                planned,
                store,
                backend=backend,
                address=address,
                tracking=tracking,  # type: ignore[arg-type]
                display=display,
            )
    except KeyboardInterrupt:
        command = f"sweeper {shlex.join(sys.argv[1:])}"
        exit_with_error(f"Interrupted. Run `{command}` again to resume from the checkpoints.", 130)
    if smoke_test:
        _print_verdicts(*_write_report_files(collect_study(planned, store), store))
    else:
        typer.echo(f"done; next: sweeper report {planned.sweep.name} --storage {storage}")


@commands.command("status")
def show_status_command(
    study: StudyArgument, storage: StorageOption = "storage", set_: SetOption = None, json_: JsonOption = False
) -> None:
    """Show the status and metrics of every planned trial of a study."""
    from sweeper.cli.tables_study import format_part_lines, render_status_table
    from sweeper.results.study_tables import collect_study, load_study_plan
    from sweeper.storage import Store

    store = Store.from_location(storage)
    tables = collect_study(load_study_plan(study, store, set_), store)
    if json_:
        print_json({"study": tables.plan.sweep.name, "trials": [row.to_document() for row in tables.trials]})
    else:
        print_table(
            render_status_table(tables.plan.sweep.name, tables.trials, tables.plan.varying_axes),
            *format_part_lines(tables.plan, tables.trials),
        )


@search_commands.command("history")
def show_search_history_command(
    study: StudyArgument, storage: StorageOption = "storage", set_: SetOption = None, json_: JsonOption = False
) -> None:
    """Show the proposals of a search in order: values, state, and which are baseline trials."""
    from sweeper.cli.tables_study import render_search_table
    from sweeper.errors import UsageError
    from sweeper.results.study_tables import load_study_plan
    from sweeper.search import load_search_history
    from sweeper.storage import Store

    store = Store.from_location(storage)
    sweep = load_study_plan(study, store, set_).sweep
    history = load_search_history(sweep, store.study_folder(sweep.name))
    if history is None:
        raise UsageError(f"study {study}", found="a sweep without a search", hint="`sweeper status` shows its trials")
    if json_:
        print_json(history.to_document())
    else:
        print_table(render_search_table(history.to_document()))


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
    import os

    from sweeper import report as reports
    from sweeper.errors import UsageError
    from sweeper.results.study_tables import collect_study, load_study_plan
    from sweeper.storage import Store

    store = Store.from_location(storage)
    tables = collect_study(load_study_plan(study, store, set_), store)
    if not tables.manifest and all(row.status == "PENDING" for row in tables.trials):
        raise UsageError(f"study {study}", found=f"it has not run in {store.location}", hint=f"sweeper run {study}")
    if tables.plan.parts and (wandb or push):
        hint = "run `sweeper report --wandb` on each of its sweeps"
        raise UsageError("report --wandb", requested=study, found="a union of sweeps", hint=hint)
    document, path = _write_report_files(tables, store, out)
    report = cast("Report", document)  # a union has no W&B report
    wandb_path = reports.write_wandb_report(report, path.parent) if wandb or push else None
    if json_:
        print_json(document)
    else:
        _print_verdicts(document, path)
        if wandb_path:
            typer.echo(f"W&B report: {wandb_path}")
    if push:
        entity, project = os.environ.get("WANDB_ENTITY"), os.environ.get("WANDB_PROJECT", "sweeper")
        typer.echo(f"sent: {reports.push_wandb_report(report, entity, project)}", err=json_)


def _write_report_files(
    tables: StudyTables, store: Store, out: Path | None = None
) -> tuple[Report | CombinedReport, Path]:
    """Evaluate the claims and write the report; for a union of sweeps, each sweep's own report beside it.

    Returns:
        The report document and the path of its page.
    """
    from sweeper import report as reports
    from sweeper.results.study_tables import collect_part_studies

    folder = store.study_folder(tables.plan.sweep.name)
    html_path = out or folder / "report.html"
    json_path = html_path.with_suffix(".json")
    document: Report | CombinedReport
    if tables.plan.parts:
        combined, parts = reports.build_combined_report(tables, collect_part_studies(tables, store))
        reports.write_combined_report(combined, parts, html_path=html_path, json_path=json_path)
        document = combined
    else:
        document = report = reports.build_study_report(tables)
        reports.write_report(report, html_path=html_path, json_path=json_path)
    store.push(folder, patterns=["report*"])
    return document, html_path


def _print_verdicts(document: Report | CombinedReport, report_path: Path) -> None:
    from sweeper.cli.tables_study import render_verdict_lines

    print_table(*render_verdict_lines(document))
    typer.echo(f"report: {report_path}")

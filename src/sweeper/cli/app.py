"""The command line: parse, call one function, print. Heavy imports wait until a command needs them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from sweeper.results.study_tables import StudyTables
    from sweeper.storage import Store

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
cluster_app = typer.Typer(no_args_is_help=True, help="Start a small Ray cluster here, or send sweeps to one.")
app.add_typer(cluster_app, name="cluster")
search_app = typer.Typer(no_args_is_help=True, help="Look at what a search has proposed.")
app.add_typer(search_app, name="search")

SweepArgument = Annotated[str, typer.Argument(help="A sweep file, or the name of one in sweeps/.")]
StudyArgument = Annotated[str, typer.Argument(help="A sweep file or name, or the name of a study in the store.")]
SmokeTestOption = Annotated[
    bool,
    typer.Option(
        "--rehearse",
        help="The same sweep with toy models on a generated world (configs/rehearsal.yaml), two seeds: minutes on two "
        "CPU cores, without data, GPU or server. Its study is NAME-rehearsal. `run` also writes its report.",
    ),
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override any key, e.g. --set axes.seed=[0].")
]
StorageOption = Annotated[
    str, typer.Option(help="Folder of the store, or a URL such as s3://bucket/folder.", envvar="SWEEPER_STORAGE")
]
SourceArgument = Annotated[
    str,
    typer.Argument(
        help="Training data: a folder of ToolBench answers, ToolLLaMA's released file or the folder of its train and "
        "eval files, a Hugging Face dataset (folder or hub id), or a name of configs/data/ such as `toolworld`."
    ),
]
ModelOption = Annotated[str, typer.Option("--model", help="A model of configs/models/, whose tokeniser counts.")]
MaxLengthOption = Annotated[
    int | None,
    typer.Option("--max-length", min=1, help="Longest row, tokens; not given: the data's, at most the model's."),
]
LengthPolicyOption = Annotated[
    str | None,
    typer.Option("--fit", help="What becomes of longer examples: strict, keep-target, compact-apis or truncate."),
]
ExtendPositionsOption = Annotated[
    bool, typer.Option("--extend-positions", help="Allow more tokens than the model has positions (interpolated).")
]
JudgesOption = Annotated[
    list[str] | None,
    typer.Option("--judge", help="oracle, rules, llm or human; several are compared, the first leads."),
]
JudgeEndpointOption = Annotated[
    str | None,
    typer.Option(
        help="Base URL of the OpenAI-compatible server of --judge llm; its key: OPENAI_API_KEY, where it needs one."
    ),
]
JudgeModelOption = Annotated[str | None, typer.Option(help="Name of the model that judges.")]
VotesOption = Annotated[
    int, typer.Option(min=1, help="Judgements of each answer by --judge llm; the majority decides.")
]
RequestRateOption = Annotated[float | None, typer.Option(help="Requests a minute of --judge llm, at most.")]
InputPriceOption = Annotated[
    float | None, typer.Option(min=0, help="Price of a million input tokens: money is counted.")
]
OutputPriceOption = Annotated[float | None, typer.Option(min=0, help="Price of a million output tokens.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


def _exit_on_interrupt(command: Callable[..., None]) -> Callable[..., None]:
    """Ctrl-C where the work has not said itself what is kept: one line."""

    @wraps(command)
    def stoppable(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except KeyboardInterrupt:
            _exit_with_error("stopped; the same command goes on from 0 kept", 130)

    return stoppable


@app.command()
def plan(
    sweep: SweepArgument,
    set_: SetOption = None,
    smoke_test: SmokeTestOption = False,
    storage: StorageOption = "storage",
    accept_underpowered: Annotated[
        bool, typer.Option("--accept-underpowered", help="Accept a design that cannot find the margin of its claims.")
    ] = False,
    cluster: Annotated[
        Path | None,
        typer.Option(help="A cluster's file (Ray's launcher or KubeRay): what fits, how many at once, how long."),
    ] = None,
    hardware: Annotated[
        str | None, typer.Option(help="Plan for this GPU of configs/hardware/, whatever the sweep names.")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Show every trial of a sweep, what it will cost, what its claims could show, and what stands in its way. Starts
    nothing."""
    from sweeper.claims.power_table import build_power_table
    from sweeper.cli.tables import render_claims_table, render_plan_table
    from sweeper.config import find_hardware_spec, find_sweep, load_hardware_specs, load_sweep
    from sweeper.errors import UsageError
    from sweeper.planning.cluster_files import read_cluster
    from sweeper.planning.estimate import estimate_plan, retarget_hardware
    from sweeper.planning.makespan import build_cluster_document, format_cluster_lines
    from sweeper.planning.plan import plan_sweep
    from sweeper.storage import Store

    known = load_hardware_specs()
    kind = find_hardware_spec(hardware, known) if hardware else None
    machines = read_cluster(cluster) if cluster else None
    there = machines.list_gpu_kinds(known) if machines else []
    if kind and machines and kind.name not in {gpu.name for gpu in there}:
        raise UsageError(
            "--hardware",
            requested=f"{kind.name} with --cluster {cluster}",
            found=f"a cluster of {', '.join(gpu.name for gpu in there) or 'GPUs that are not known'}",
            hint="give one of the two",
        )
    given = load_sweep(find_sweep(sweep), set_ or [], smoke_test=smoke_test)
    given = retarget_hardware(given, kind) if kind else given
    store = Store.from_location(storage)
    planned = plan_sweep(given, store, kind or (machines.find_smallest_gpu(known) if machines else None))
    nodes = machines.nodes if machines else None
    planned, wall = estimate_plan(planned, store, known, gpu_kinds=there or ([kind] if kind else []), nodes=nodes)
    claims = build_power_table(planned)
    weak = [claim for claim in claims if claim["underpowered"]]
    forecast = build_cluster_document(planned, machines, wall) if machines else None
    if json_:
        registered = planned.to_document() | ({"cluster": forecast} if forecast else {})
        _print_json(registered | {"claims": [a | b for a, b in zip(registered["claims"], claims, strict=True)]})
    else:
        _make_console().print(render_plan_table(planned))
        for line in format_cluster_lines(forecast) if forecast else ():
            _make_console().print(line, highlight=False, markup=False)
        if claims:
            _make_console().print(render_claims_table(claims))
    if problems := [*planned.problems, *(wall.problems if machines else ())]:
        _exit_with_error("\n".join(f"problem: {problem}" for problem in problems), 2)
    if weak and not (accept_underpowered or planned.sweep.accept_underpowered):
        lines = [f"underpowered: claim {claim['id']}: {claim['reason']}" for claim in weak]
        _exit_with_error(
            "\n".join([*lines, "--accept-underpowered, or accept_underpowered: true in the sweep, plans it anyway"]), 2
        )


@app.command()
def claims(sweep: SweepArgument, set_: SetOption = None, json_: JsonOption = False) -> None:
    """Show each claim of a sweep: its arms, seeds and margin, and the smallest effect that this design can find."""
    from sweeper.claims.power_table import build_power_table
    from sweeper.cli.tables import render_claims_table
    from sweeper.config import find_sweep, load_sweep
    from sweeper.planning.plan import plan_sweep

    planned = plan_sweep(load_sweep(find_sweep(sweep), set_ or []))
    found = build_power_table(planned)
    if json_:
        _print_json({"sweep": planned.sweep.name, "claims": found})
    elif found:
        _make_console().print(render_claims_table(found))
    else:
        typer.echo(f"{planned.sweep.name} registers no claim; configs/claims/ has some to choose from")


@app.command()
def simulate(
    sweep: SweepArgument,
    truth: Annotated[
        Path, typer.Option("--truth", help="YAML: the pass rate of each arm, spread of seeds and queries.")
    ],
    studies: Annotated[int, typer.Option(min=1, help="Studies drawn.")] = 200,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    set_: SetOption = None,
    json_: JsonOption = False,
) -> None:
    """Draw studies from a stated truth and measure how often this sweep's verdicts are right, wrong and silent."""
    from sweeper.claims import operating_characteristics as simulated
    from sweeper.cli.tables import render_simulation_table
    from sweeper.config import find_sweep, load_sweep, read_yaml_as_dict
    from sweeper.errors import UsageError
    from sweeper.planning.plan import plan_sweep

    planned = plan_sweep(load_sweep(find_sweep(sweep), set_ or []))
    if planned.parts:
        raise UsageError("simulate", requested=sweep, found="a union of sweeps", hint="simulate each of its sweeps")
    stated = simulated.parse_truth(read_yaml_as_dict(truth), planned)
    with _show_progress("simulating") as tell:
        found = simulated.simulate_verdicts(planned, stated, studies, seed, tell)
    if json_:
        _print_json(found)
    else:
        _make_console().print(render_simulation_table(found))


@app.command()
def run(
    sweep: SweepArgument,
    set_: SetOption = None,
    smoke_test: SmokeTestOption = False,
    storage: StorageOption = "storage",
    backend: Annotated[str, typer.Option(help="`ray` schedules over workers; `inline` runs one by one here.")] = "ray",
    address: Annotated[
        str | None,
        typer.Option(
            help="Ray cluster to use: `auto`, host:port, `local` (of `cluster up-local`); http://… (its dashboard) or "
            "ray://… (its client server) send the sweep there as a job; started here if not given."
        ),
    ] = None,
    tracking: Annotated[
        str, typer.Option(help="`wandb` (offline unless WANDB_MODE says otherwise) or `none`.")
    ] = "wandb",
) -> None:
    """Train and evaluate every trial that is not finished. Run it again to resume."""
    import os

    from sweeper import cluster
    from sweeper.config import find_sweep, load_hardware_specs, load_sweep
    from sweeper.execution.progress import ProgressDisplay
    from sweeper.execution.study_runner import run_study
    from sweeper.planning.estimate import estimate_plan
    from sweeper.planning.plan import plan_sweep
    from sweeper.results.study_tables import collect_study
    from sweeper.storage import Store

    _check_choice("--backend", backend, ("ray", "inline"))
    _check_choice("--tracking", tracking, ("wandb", "none"))
    if address is not None and address.startswith(("http://", "https://", "ray://")):
        more = ["--tracking", tracking, *(["--rehearse"] if smoke_test else [])]
        raise typer.Exit(cluster.submit_sweep(sweep, address, storage=storage, overrides=set_ or [], options=more))
    store = Store.from_location(storage)
    planned = plan_sweep(load_sweep(find_sweep(sweep), set_ or [], smoke_test=smoke_test), store)
    planned, _ = estimate_plan(planned, store, load_hardware_specs())
    display = ProgressDisplay(_make_console(stderr=True))
    if address is not None:
        os.environ.update(cluster.make_client_environment(address))  # before Ray is imported
        address = cluster.resolve_address(address)
    try:
        with display:
            planned = run_study(
                planned,
                store,
                backend=backend,  # type: ignore[arg-type]
                address=address,
                tracking=tracking,  # type: ignore[arg-type]
                display=display,
            )
    except KeyboardInterrupt:
        _exit_with_error(f"stopped; run `sweeper {shlex.join(sys.argv[1:])}` again to go on from the checkpoints", 130)
    if smoke_test:
        _print_verdicts(*_write_report_files(collect_study(planned, store), store))
    else:
        typer.echo(f"done; next: sweeper report {planned.sweep.name} --storage {storage}")


@app.command()
def status(
    study: StudyArgument, storage: StorageOption = "storage", set_: SetOption = None, json_: JsonOption = False
) -> None:
    """Show every planned trial of a study: status and metrics, read from the store."""
    from sweeper.cli.tables import format_part_lines, render_status_table
    from sweeper.results.study_tables import collect_study, load_study_plan
    from sweeper.storage import Store

    store = Store.from_location(storage)
    tables = collect_study(load_study_plan(study, store, set_), store)
    if json_:
        _print_json({"study": tables.plan.sweep.name, "trials": tables.trials})
    else:
        _make_console().print(render_status_table(tables.plan.sweep.name, tables.trials, tables.plan.varying_axes))
        for line in format_part_lines(tables.plan, tables.trials):
            _make_console().print(line)


@search_app.command("history")
def show_search_history_command(
    study: StudyArgument, storage: StorageOption = "storage", set_: SetOption = None, json_: JsonOption = False
) -> None:
    """Show the proposals of a search in order: their values, how they ended, and which are anchors."""
    from sweeper.cli.tables import render_search_table
    from sweeper.errors import UsageError
    from sweeper.results.study_tables import load_study_plan
    from sweeper.search import build_search_document
    from sweeper.storage import Store

    store = Store.from_location(storage)
    sweep = load_study_plan(study, store, set_).sweep
    folder = store.study_folder(sweep.name)
    found = build_search_document(sweep, folder)
    if found is None:
        raise UsageError(f"study {study}", found="a sweep without a search", hint="`sweeper status` shows its trials")
    if json_:
        _print_json(found)
    else:
        _make_console().print(render_search_table(found))


@app.command()
def report(
    study: StudyArgument,
    storage: StorageOption = "storage",
    set_: SetOption = None,
    json_: JsonOption = False,
    out: Annotated[Path | None, typer.Option(help="Where to write the HTML report.")] = None,
    wandb: Annotated[
        bool, typer.Option("--wandb", help="Also write wandb_report.json beside it: the report as W&B blocks.")
    ] = False,
    push: Annotated[
        bool, typer.Option("--push", help="Send that W&B report, to WANDB_ENTITY and WANDB_PROJECT (`sweeper`).")
    ] = False,
) -> None:
    """Decide the claims and write the report: HTML, JSON, and a W&B report on request."""
    import os

    from sweeper import report as reports
    from sweeper.errors import UsageError
    from sweeper.results.study_tables import collect_study, load_study_plan
    from sweeper.storage import Store

    store = Store.from_location(storage)
    tables = collect_study(load_study_plan(study, store, set_), store)
    if not tables.manifest and all(row["status"] == "PENDING" for row in tables.trials):
        raise UsageError(f"study {study}", found=f"it has not run in {store.location}", hint=f"sweeper run {study}")
    if tables.plan.parts and (wandb or push):
        raise UsageError(
            "report --wandb", requested=study, found="a union of sweeps", hint="sweeper report --wandb of each of them"
        )
    document, path = _write_report_files(tables, store, out)
    described = reports.write_wandb_report(document, path.parent) if wandb or push else None
    if json_:
        _print_json(document)
    else:
        _print_verdicts(document, path)
        if described:
            typer.echo(f"W&B report: {described}")
    if push:
        sent = reports.push_wandb_report(
            document, os.environ.get("WANDB_ENTITY"), os.environ.get("WANDB_PROJECT", "sweeper")
        )
        typer.echo(f"sent: {sent}", err=json_)


def _write_report_files(tables: StudyTables, store: Store, out: Path | None = None) -> tuple[dict[str, Any], Path]:
    """Decide the claims and write the report, of a union with its parts' beside it. The document and the page."""
    from sweeper import report as reports
    from sweeper.results.study_tables import collect_part_studies

    folder = store.study_folder(tables.plan.sweep.name)
    path = out or folder / "report.html"
    beside = path.with_suffix(".json")
    if tables.plan.parts:
        document, parts = reports.build_combined_report(tables, collect_part_studies(tables, store))
        reports.write_combined_report(document, parts, html_path=path, json_path=beside)
    else:
        document = reports.build_study_report(tables)
        reports.write_report(document, html_path=path, json_path=beside)
    store.push(folder, patterns=["report*"])
    return document, path


def _print_verdicts(document: dict[str, Any], report_path: Path) -> None:
    from sweeper.cli.tables import render_verdict_lines

    for line in render_verdict_lines(document):
        _make_console().print(line)
    typer.echo(f"report: {report_path}")


@app.command("evaluate")
@_exit_on_interrupt
def evaluate_model_command(
    model: Annotated[
        str,
        typer.Argument(
            help="A checkpoint folder, a name of configs/models/, a trial's fingerprint in the store, or a hub id; "
            "with --endpoint, the model's name there."
        ),
    ],
    suite: Annotated[
        str,
        typer.Option("--suite", help="An evaluation of configs/evaluation/, or a folder of ToolBench test queries."),
    ],
    endpoint: Annotated[
        str | None,
        typer.Option(
            help="Base URL of an OpenAI-compatible server to ask; its key: OPENAI_API_KEY, where it needs one."
        ),
    ] = None,
    protocol: Annotated[str, typer.Option(help="How that server is asked: chat or completions.")] = "chat",
    judge: JudgesOption = None,
    environment: Annotated[str | None, typer.Option(help="toolworld, replay or http; else the suite's own.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the evaluation.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="The data whose prompt format (and world) is used; else the suite's own.")
    ] = None,
    judge_endpoint: JudgeEndpointOption = None,
    judge_model: JudgeModelOption = None,
    votes: VotesOption = 4,
    input_price: Annotated[
        float | None, typer.Option(min=0, help="Price of a million input tokens at --endpoint: money is counted.")
    ] = None,
    output_price: Annotated[
        float | None, typer.Option(min=0, help="Price of a million output tokens at --endpoint.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the sampling.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder of answers and judgements, gone on from; else one under the store.")
    ] = None,
    storage: StorageOption = "storage",
    json_: JsonOption = False,
) -> None:
    """Run a model over a suite as a tool-using agent, judge its answers, and write them in ToolBench's formats."""
    from sweeper.cli.tables import render_judging_table
    from sweeper.config import load_data_spec, load_evaluation_spec
    from sweeper.evaluation import offline as judging
    from sweeper.storage import Store

    _check_choice("--protocol", protocol, ("chat", "completions"))
    given = {"environment": environment} if environment else {}
    evaluation = load_evaluation_spec(suite, set_ or [], **given)
    asked = load_data_spec(data or ("toolworld" if evaluation.queries is None else "toolbench"))
    names = judge or [evaluation.judge]
    _refuse_human_judge("evaluate", names)
    cache = Store.from_location(storage).root / "judgements"
    panel = _make_judge_panel(names, asked, judge_endpoint, judge_model, votes, None, None, cache, llm=evaluation.llm)
    where = model if endpoint else judging.resolve_model_path(model, Store.from_location(storage))
    with _show_progress("evaluating") as tell:
        found = judging.evaluate_model(
            where,
            evaluation,
            asked,
            panel,
            out,
            Store.from_location(storage).root,
            endpoint=endpoint,
            protocol=protocol,  # type: ignore[arg-type]
            input_price=input_price,
            output_price=output_price,
            seed=seed,
            on_progress=tell,
        )
    if json_:
        _print_json(found)
    else:
        _make_console().print(render_judging_table(found))
        typer.echo(f"answers and judgements: {found['directory']}")
    _fail_on_problems(found["problems"])


@app.command("judge")
@_exit_on_interrupt
def judge_answers_command(
    answers: Annotated[
        list[Path],
        typer.Argument(help="ToolEval's converted answers, ToolBench's raw ones, or ours: files or folders."),
    ],
    judge: JudgesOption = None,
    judge_endpoint: JudgeEndpointOption = None,
    judge_model: JudgeModelOption = None,
    votes: VotesOption = 4,
    labels: Annotated[Path | None, typer.Option(help="Labels of people (CSV), for --judge human.")] = None,
    key: Annotated[Path | None, typer.Option(help="The key that --label-sheet wrote beside its sheet.")] = None,
    label_sheet: Annotated[
        Path | None, typer.Option(help="Write a blinded sheet to label here, a new file, and end.")
    ] = None,
    items: Annotated[int, typer.Option(min=1, help="Answers on that sheet; all where there are fewer.")] = 100,
    suite: Annotated[str | None, typer.Option(help="Test queries: those without an answer count as missing.")] = None,
    solvable: Annotated[str | None, typer.Option(help="The solvable queries, for the sensitivity panel.")] = None,
    requests_per_minute: RequestRateOption = None,
    input_price: InputPriceOption = None,
    output_price: OutputPriceOption = None,
    data: Annotated[str, typer.Option(help="The world of --judge oracle.")] = "toolworld",
    out: Annotated[Path | None, typer.Option(help="Also write votes and ToolEval's result files here.")] = None,
    storage: StorageOption = "storage",
    json_: JsonOption = False,
) -> None:
    """Judge anyone's answers: pass rates under every definition, failing rules, agreement between judges."""
    from sweeper.cli.tables import render_judging_table
    from sweeper.config import load_data_spec
    from sweeper.evaluation import offline as judging
    from sweeper.evaluation.answer_files import read_answers
    from sweeper.storage import Store

    found = read_answers(answers)
    if label_sheet is not None:
        written = judging.write_label_sheet(found, label_sheet, items)
        if json_:
            _print_json(written)
        else:
            fewer = f" (all there are; {items} asked)" if written["items"] < items else ""
            typer.echo(f"{written['items']} answers to label{fewer}: {written['sheet']}; their key: {written['key']}")
        return
    names = list(judge or ["rules"])
    if labels is not None and "human" not in names:
        names.append("human")
    cache = Store.from_location(storage).root / "judgements"
    pace = {"requests_per_minute": requests_per_minute, "input_price": input_price, "output_price": output_price}
    panel = _make_judge_panel(
        names, load_data_spec(data), judge_endpoint, judge_model, votes, labels, key, cache, **pace
    )
    suites = [judging.open_test_suite(load_data_spec(name)) if name else None for name in (suite, solvable)]
    model = answers[0].name.removesuffix(".json")
    with _show_progress("judging") as tell:
        document = judging.judge_saved_answers(
            found, panel, suite=suites[0], solvable=suites[1], out=out, model=model, on_progress=tell
        )
    if json_:
        _print_json(document)
    else:
        _make_console().print(render_judging_table(document))
    _fail_on_problems(document["problems"])


@app.command("compare")
@_exit_on_interrupt
def compare_answers_command(
    answers_a: Annotated[Path, typer.Argument(help="Answers of one model.")],
    answers_b: Annotated[Path, typer.Argument(help="Answers of another, to the same queries.")],
    judge: JudgesOption = None,
    judge_endpoint: JudgeEndpointOption = None,
    judge_model: JudgeModelOption = None,
    votes: VotesOption = 4,
    requests_per_minute: RequestRateOption = None,
    input_price: InputPriceOption = None,
    output_price: OutputPriceOption = None,
    data: Annotated[str, typer.Option(help="The world of --judge oracle.")] = "toolworld",
    storage: StorageOption = "storage",
    json_: JsonOption = False,
) -> None:
    """Win rate of A over B: a pass beats a fail; about all else --judge llm is asked. The default judge is rules."""
    from sweeper.cli.tables import render_comparison_table
    from sweeper.config import load_data_spec
    from sweeper.evaluation import offline as judging
    from sweeper.evaluation.answer_files import read_answers
    from sweeper.storage import Store

    names = judge or ["rules"]
    _refuse_human_judge("compare", names)
    cache = Store.from_location(storage).root / "judgements"
    pace = {"requests_per_minute": requests_per_minute, "input_price": input_price, "output_price": output_price}
    panel = _make_judge_panel(
        names, load_data_spec(data), judge_endpoint, judge_model, votes, None, None, cache, **pace
    )
    sides = read_answers([answers_a]), read_answers([answers_b])
    with _show_progress("comparing") as tell:
        found = judging.compare_saved_answers(*sides, panel, tell)
    if json_:
        _print_json(found)
    else:
        _make_console().print(render_comparison_table(found))
    _fail_on_problems(found["problems"])


def _refuse_human_judge(command: str, judge_names: list[Any]) -> None:
    from sweeper.errors import UsageError

    if "human" in judge_names:
        raise UsageError(
            f"{command} --judge human",
            found=f"{command} reads no labels",
            hint="oracle, rules or llm here; judge ANSWERS --labels CSV gives people's pass rates",
        )


def _fail_on_problems(problems: list[str]) -> None:
    """Exit code 1 where the printed document has no rate to give."""
    if problems:
        _exit_with_error("\n".join(f"no rate: {problem}" for problem in problems), 1)


def _make_judge_panel(
    judge_names: list[Any],
    data: Any,
    judge_endpoint: str | None,
    judge_model: str | None,
    votes: int,
    labels: Path | None,
    key: Path | None,
    cache: Path,
    llm: Any = None,
    **llm_options: Any,
) -> Any:
    from sweeper.config import LlmSpec
    from sweeper.errors import UsageError
    from sweeper.evaluation import offline as judging

    for name in judge_names:
        _check_choice("--judge", name, judging.JUDGE_NAMES)
    if judge_endpoint is not None and judge_model is None:
        do = f"--judge-model NAME, one of those at {judge_endpoint.rstrip('/')}/models"
        raise UsageError(
            "--judge llm", requested=f"--judge-endpoint {judge_endpoint}", found="no --judge-model", hint=do
        )
    if judge_model is not None and judge_endpoint is None:
        do = "--judge-endpoint URL, the server's base URL"
        raise UsageError("--judge llm", requested=f"--judge-model {judge_model}", found="no --judge-endpoint", hint=do)
    if judge_endpoint is not None and "llm" not in judge_names:
        found = f"--judge {', '.join(judge_names)}: none of them asks it"
        raise UsageError("--judge-endpoint", requested=judge_endpoint, found=found, hint="add --judge llm")
    if judge_endpoint is not None and judge_model is not None:
        given = {key: value for key, value in llm_options.items() if value is not None}
        llm = LlmSpec(url=judge_endpoint, model=judge_model, votes=votes, **given)
    return judging.JudgePanel(tuple(judge_names), data, llm, labels, key, cache)


@data_app.command("inspect")
def inspect_data_command(
    source: SourceArgument,
    model: ModelOption,
    max_length: MaxLengthOption = None,
    fit: LengthPolicyOption = None,
    extend_positions: ExtendPositionsOption = False,
    json_: JsonOption = False,
) -> None:
    """Count what training on a source would keep, cut and drop under every fitting policy. Writes nothing."""
    from sweeper import data
    from sweeper.cli.tables import render_length_table

    asked, for_model = _load_data_and_model(source, model, max_length, fit, extend_positions)
    with _show_progress("reading") as tell:
        found = data.report_lengths(asked, for_model, tell)
    if json_:
        _print_json(found)
    else:
        _make_console().print(render_length_table(found))


@data_app.command("prepare")
def prepare_data_command(
    source: SourceArgument,
    model: ModelOption,
    max_length: MaxLengthOption = None,
    fit: LengthPolicyOption = None,
    extend_positions: ExtendPositionsOption = False,
    storage: StorageOption = "storage",
    json_: JsonOption = False,
) -> None:
    """Tokenise a source into the store, once; print the manifest. `run` does the same where it was not done."""
    from sweeper import data
    from sweeper.cli.tables import render_manifest_table
    from sweeper.storage import Store

    asked, for_model = _load_data_and_model(source, model, max_length, fit, extend_positions)
    with _show_progress("preparing") as tell:
        prepared = data.prepare_data(asked, for_model, Store.from_location(storage), tell)
    if json_:
        _print_json(prepared.manifest | {"directory": str(prepared.directory)})
    else:
        _make_console().print(render_manifest_table(prepared.manifest, str(prepared.directory)))


@data_app.command("export")
def export_data_command(
    source: SourceArgument,
    out: Annotated[Path, typer.Option("--out", help="The file to write.")],
    format_: Annotated[str, typer.Option("--format", help="`toolllama`: the shape of ToolLLaMA's release.")],
    json_: JsonOption = False,
) -> None:
    """Write a source's conversations in another tool's shape."""
    from sweeper import data
    from sweeper.config import load_data_spec

    _check_choice("--format", format_, ("toolllama",))
    with _show_progress("writing") as tell:
        written = data.export_toolllama(load_data_spec(source), out, tell)
    if json_:
        _print_json(written)
    else:
        from sweeper.cli.tables import format_counts

        typer.echo(f"{out}: {written['conversations']:,} conversations; left out: {format_counts(written['dropped'])}")


@data_app.command("leakage")
def check_contamination_command(
    train: Annotated[str, typer.Argument(help="Training data: as for `inspect`.")],
    test: Annotated[
        str,
        typer.Argument(
            help="Test queries: the folder of test_instruction/ (and test_query_ids/), that folder itself, one of its "
            "files, or `toolworld`."
        ),
    ],
    threshold: Annotated[
        float, typer.Option(min=0.1, max=1.0, help="Jaccard similarity from which two queries are near duplicates.")
    ] = 0.7,
    out: Annotated[
        Path | None, typer.Option(help="Also write what to exclude here: a line `subset<TAB>query_id` each.")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Find test queries that the training data give away, and check each subset's "unseen" promise."""
    from sweeper import data
    from sweeper.cli.tables import render_contamination_table
    from sweeper.config import load_data_spec
    from sweeper.storage import write_bytes

    with _show_progress("comparing") as tell:
        found = data.audit_contamination(load_data_spec(train), data.open_suite(load_data_spec(test)), threshold, tell)
    if out is not None:
        lines = [f"{entry['subset']}\t{entry['query_id']}\n" for entry in found["exclude"]]
        write_bytes(out, "".join(lines).encode())
    if json_:
        _print_json(found)
    else:
        _make_console().print(render_contamination_table(found))


@cluster_app.command("up-local")
def start_local_cluster_command(
    nodes: Annotated[int, typer.Option(min=1, help="Nodes, each a Ray process of its own.")] = 2,
    gpus_per_node: Annotated[int, typer.Option(min=0, help="GPUs that each says it has; may be made up.")] = 0,
    cpus_per_node: Annotated[int | None, typer.Option(min=1, help="CPUs of each; not given: this machine's.")] = None,
    json_: JsonOption = False,
) -> None:
    """Start a Ray cluster of several nodes on this machine, to rehearse a sweep before it costs money."""
    from sweeper import cluster

    up = cluster.start_local_cluster(nodes, gpus_per_node, cpus_per_node)
    if json_:
        _print_json(up.to_dict())
    else:
        typer.echo(
            f"up: {len(up.nodes)} nodes at {up.address}, dashboard {up.dashboard}\n"
            "next: sweeper run SWEEP --address local; sweeper cluster down-local"
        )


@cluster_app.command("down-local")
def stop_local_cluster_command(json_: JsonOption = False) -> None:
    """End that cluster: its own processes and no others."""
    from sweeper import cluster

    down = cluster.stop_local_cluster()
    if json_:
        _print_json(down.to_dict())
    else:
        typer.echo(f"down: {len(down.nodes)} nodes that were at {down.address}")


@cluster_app.command("leave")
def drain_node_command(
    seconds: Annotated[float, typer.Option(min=0, help="So long is waited for them.")] = 100.0,
    json_: JsonOption = False,
) -> None:
    """Before this machine goes: have the trials on it save a checkpoint and end; others go on from there."""
    from sweeper.training import drain

    asked, left = drain(seconds)
    if json_:
        _print_json({"asked": asked, "still_training": left})
    elif not left:
        typer.echo(f"{asked} training processes saved and ended")
    if left:
        _exit_with_error(
            f"{left} of {asked} training processes go on after {seconds:g} s; their last checkpoints stand", 1
        )


@cluster_app.command("submit")
def submit_sweep_command(
    sweep: SweepArgument,
    address: Annotated[str, typer.Option(help="http(s)://… (the cluster's dashboard), ray://… or `local`.")],
    storage: Annotated[str, typer.Option(help="Folder of the store as the cluster sees it: absolute.")],
    set_: SetOption = None,
) -> None:
    """Run a sweep as a job of a Ray cluster, follow its log, and end with its exit code."""
    from sweeper import cluster

    raise typer.Exit(cluster.submit_sweep(sweep, address, storage=storage, overrides=set_ or []))


@app.command()
def doctor(json_: JsonOption = False) -> None:
    """Say what this machine can run, and what is missing."""
    from sweeper.cli.doctor import check_environment
    from sweeper.cli.tables import render_environment_table

    found = check_environment()
    if json_:
        _print_json(found)
    else:
        _make_console().print(render_environment_table(found))
    if not found["ok"]:
        raise typer.Exit(1)


def main() -> None:
    """Entry point: errors for people, exit code 2 for usage, 1 for failed trials."""
    from sweeper.errors import SweeperError

    try:
        app(prog_name="sweeper")
    except SweeperError as error:
        _exit_with_error(str(error), error.exit_code)
    except BrokenPipeError:  # whoever read our output had enough of it
        sys.stderr.close()
        raise SystemExit(0) from None
    except OSError as error:
        _exit_with_error(
            f"{error.filename or 'sweeper'}\n  found: {error.strerror or error}\n  do:    give a path that can be used",
            1,
        )


def _load_data_and_model(
    source: str, model: str, max_length: int | None, fit: str | None, extend_positions: bool
) -> tuple[Any, Any]:
    """The data and the model that a `data` command speaks of."""
    from sweeper import models
    from sweeper.config import LENGTH_POLICIES, load_data_spec, load_model_spec

    if fit is not None:
        _check_choice("--fit", fit, LENGTH_POLICIES)
    for_model = load_model_spec(model)
    given = {"fit": fit, "max_length": max_length, "extend_positions": "interpolate" if extend_positions else None}
    data = load_data_spec(source, **{key: value for key, value in given.items() if value is not None})
    limit = models.get_max_positions(for_model)
    if max_length is None and limit is not None and limit < data.max_length and not extend_positions:
        data = data.model_copy(update={"max_length": limit})
    return data, for_model


@contextmanager
def _show_progress(description: str) -> Iterator[Callable[[float], None]]:
    """A bar on standard error; what is done in the block tells it the share that is behind."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    console = _make_console(stderr=True)
    with Progress(TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), console=console) as bar:
        task = bar.add_task(description, total=1.0)
        yield lambda share: bar.update(task, completed=share)
        bar.update(task, completed=1.0)


def _check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    from sweeper.errors import UsageError

    if value not in choices:
        raise UsageError(option, requested=value, found="not one of the choices", hint=f"one of: {', '.join(choices)}")


def _make_console(stderr: bool = False) -> Any:
    from rich.console import Console

    console = Console(stderr=stderr)
    # Into a file or a pipe nothing needs to fit a window.
    return console if console.is_terminal else Console(stderr=stderr, width=140)


_MAX_INDENTED_TRIALS = 1_000


def _print_json(document: Any) -> None:
    from sweeper.storage import dump_json

    # Indented JSON is written by Python itself: ten thousand trials would take seconds.
    indent = 2 if len(document.get("trials", ())) <= _MAX_INDENTED_TRIALS else None
    sys.stdout.write(dump_json(document, indent) + "\n")


def _exit_with_error(message: str, exit_code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.write(message + "\n")
    raise SystemExit(exit_code)


if __name__ == "__main__":
    main()

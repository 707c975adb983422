"""The command line: parse, call one function, print. Heavy imports wait until a command needs them."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from sweeper.store import Store
    from sweeper.study import StudyTables

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
RehearseOption = Annotated[
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
FitOption = Annotated[
    str | None,
    typer.Option("--fit", help="What becomes of longer examples: strict, keep-target, compact-apis or truncate."),
]
ExtendOption = Annotated[
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
PaceOption = Annotated[float | None, typer.Option(help="Requests a minute of --judge llm, at most.")]
InputPriceOption = Annotated[
    float | None, typer.Option(min=0, help="Price of a million input tokens: money is counted.")
]
OutputPriceOption = Annotated[float | None, typer.Option(min=0, help="Price of a million output tokens.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


def _stoppable(command: Callable[..., None]) -> Callable[..., None]:
    """Ctrl-C where the work has not said itself what is kept: one line."""

    @wraps(command)
    def stoppable(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except KeyboardInterrupt:
            _fail("stopped; the same command goes on from 0 kept", 130)

    return stoppable


@app.command()
def plan(
    sweep: SweepArgument,
    set_: SetOption = None,
    rehearse: RehearseOption = False,
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
    from sweeper import spec, study
    from sweeper.errors import UsageError
    from sweeper.report.design import claims_document
    from sweeper.store import Store
    from sweeper.tables import claims_table, plan_table

    known = spec.load_hardware()
    kind = spec.hardware_named(hardware, known) if hardware else None
    machines = study.read_cluster(cluster) if cluster else None
    there = machines.kinds_of_gpu(known) if machines else []
    if kind and machines and kind.name not in {gpu.name for gpu in there}:
        raise UsageError(
            "--hardware",
            asked=f"{kind.name} with --cluster {cluster}",
            found=f"a cluster of {', '.join(gpu.name for gpu in there) or 'GPUs that are not known'}",
            do="give one of the two",
        )
    given = spec.load_sweep(spec.find_sweep(sweep), set_ or [], rehearsed=rehearse)
    given = study.on_hardware(given, kind) if kind else given
    store = Store.at(storage)
    planned = study.plan_sweep(given, store, kind or (machines.smallest_gpu(known) if machines else None))
    nodes = machines.nodes if machines else None
    planned, wall = study.price(planned, store, known, gpus=there or ([kind] if kind else []), nodes=nodes)
    claims = claims_document(planned)
    weak = [claim for claim in claims if claim["underpowered"]]
    forecast = study.cluster_document(planned, machines, wall) if machines else None
    if json_:
        registered = planned.json() | ({"cluster": forecast} if forecast else {})
        _print_json(registered | {"claims": [a | b for a, b in zip(registered["claims"], claims, strict=True)]})
    else:
        _console().print(plan_table(planned))
        for line in study.cluster_lines(forecast) if forecast else ():
            _console().print(line, highlight=False, markup=False)
        if claims:
            _console().print(claims_table(claims))
    if problems := [*planned.problems, *(wall.problems if machines else ())]:
        _fail("\n".join(f"problem: {problem}" for problem in problems), 2)
    if weak and not (accept_underpowered or planned.sweep.accept_underpowered):
        lines = [f"underpowered: claim {claim['id']}: {claim['reason']}" for claim in weak]
        _fail(
            "\n".join([*lines, "--accept-underpowered, or accept_underpowered: true in the sweep, plans it anyway"]), 2
        )


@app.command()
def claims(sweep: SweepArgument, set_: SetOption = None, json_: JsonOption = False) -> None:
    """Show each claim of a sweep: its arms, seeds and margin, and the smallest effect that this design can find."""
    from sweeper import spec, study
    from sweeper.report.design import claims_document
    from sweeper.tables import claims_table

    planned = study.plan_sweep(spec.load_sweep(spec.find_sweep(sweep), set_ or []))
    found = claims_document(planned)
    if json_:
        _print_json({"sweep": planned.sweep.name, "claims": found})
    elif found:
        _console().print(claims_table(found))
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
    from sweeper import spec, study
    from sweeper.errors import UsageError
    from sweeper.report import simulated
    from sweeper.tables import simulated_table

    planned = study.plan_sweep(spec.load_sweep(spec.find_sweep(sweep), set_ or []))
    if planned.parts:
        raise UsageError("simulate", asked=sweep, found="a union of sweeps", do="simulate each of its sweeps")
    stated = simulated.truth_from(spec.read_plain(truth), planned)
    with _progress("simulating") as tell:
        found = simulated.simulate(planned, stated, studies, seed, tell)
    if json_:
        _print_json(found)
    else:
        _console().print(simulated_table(found))


@app.command()
def run(
    sweep: SweepArgument,
    set_: SetOption = None,
    rehearse: RehearseOption = False,
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

    from sweeper import cluster, spec, study
    from sweeper.store import Store
    from sweeper.study.progress import ProgressDisplay

    _one_of("--backend", backend, ("ray", "inline"))
    _one_of("--tracking", tracking, ("wandb", "none"))
    if address is not None and address.startswith(("http://", "https://", "ray://")):
        more = ["--tracking", tracking, *(["--rehearse"] if rehearse else [])]
        raise typer.Exit(cluster.submit(sweep, address, storage=storage, overrides=set_ or [], options=more))
    store = Store.at(storage)
    planned = study.plan_sweep(spec.load_sweep(spec.find_sweep(sweep), set_ or [], rehearsed=rehearse), store)
    planned, _ = study.price(planned, store, spec.load_hardware())
    display = ProgressDisplay(_console(stderr=True))
    if address is not None:
        os.environ.update(cluster.client_environment(address))  # before Ray is imported
        address = cluster.resolve_address(address)
    try:
        with display:
            planned = study.run_study(
                planned,
                store,
                backend=backend,  # type: ignore[arg-type]
                address=address,
                tracking=tracking,  # type: ignore[arg-type]
                display=display,
            )
    except KeyboardInterrupt:
        _fail(f"stopped; run `sweeper {shlex.join(sys.argv[1:])}` again to go on from the checkpoints", 130)
    if rehearse:
        _told(*_reported(study.collect(planned, store), store))
    else:
        typer.echo(f"done; next: sweeper report {planned.sweep.name} --storage {storage}")


@app.command()
def status(
    study: StudyArgument, storage: StorageOption = "storage", set_: SetOption = None, json_: JsonOption = False
) -> None:
    """Show every planned trial of a study: status and metrics, read from the store."""
    from sweeper import study as studies
    from sweeper.store import Store
    from sweeper.tables import part_lines, status_table

    store = Store.at(storage)
    tables = studies.collect(studies.load_study(study, store, set_), store)
    if json_:
        _print_json({"study": tables.plan.sweep.name, "trials": tables.trials})
    else:
        _console().print(status_table(tables.plan.sweep.name, tables.trials, tables.plan.varied))
        for line in part_lines(tables.plan, tables.trials):
            _console().print(line)


@search_app.command("history")
def search_history(
    study: StudyArgument, storage: StorageOption = "storage", set_: SetOption = None, json_: JsonOption = False
) -> None:
    """Show the proposals of a search in order: their values, how they ended, and which are anchors."""
    from sweeper import study as studies
    from sweeper.errors import UsageError
    from sweeper.store import Store
    from sweeper.tables import search_table

    store = Store.at(storage)
    sweep = studies.load_study(study, store, set_).sweep
    folder = store.study(sweep.name)
    found = studies.search_document(sweep, folder)
    if found is None:
        raise UsageError(f"study {study}", found="a sweep without a search", do="`sweeper status` shows its trials")
    if json_:
        _print_json(found)
    else:
        _console().print(search_table(found))


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
    from sweeper import study as studies
    from sweeper.errors import UsageError
    from sweeper.store import Store

    store = Store.at(storage)
    tables = studies.collect(studies.load_study(study, store, set_), store)
    if not tables.manifest and all(row["status"] == "PENDING" for row in tables.trials):
        raise UsageError(f"study {study}", found=f"it has not run in {store.location}", do=f"sweeper run {study}")
    if tables.plan.parts and (wandb or push):
        raise UsageError(
            "report --wandb", asked=study, found="a union of sweeps", do="sweeper report --wandb of each of them"
        )
    document, path = _reported(tables, store, out)
    described = reports.write_spec(document, path.parent) if wandb or push else None
    if json_:
        _print_json(document)
    else:
        _told(document, path)
        if described:
            typer.echo(f"W&B report: {described}")
    if push:
        sent = reports.push(document, os.environ.get("WANDB_ENTITY"), os.environ.get("WANDB_PROJECT", "sweeper"))
        typer.echo(f"sent: {sent}", err=json_)


def _reported(tables: StudyTables, store: Store, out: Path | None = None) -> tuple[dict[str, Any], Path]:
    """Decide the claims and write the report, of a union with its parts' beside it. The document and the page."""
    from sweeper import report as reports
    from sweeper import study as studies

    folder = store.study(tables.plan.sweep.name)
    path = out or folder / "report.html"
    beside = path.with_suffix(".json")
    if tables.plan.parts:
        document, parts = reports.report_union(tables, studies.collect_parts(tables, store))
        reports.write_union(document, parts, html=path, json=beside)
    else:
        document = reports.report_study(tables)
        reports.write(document, html=path, json=beside)
    store.push(folder, only=["report*"])
    return document, path


def _told(document: dict[str, Any], path: Path) -> None:
    from sweeper.tables import verdict_lines

    for line in verdict_lines(document):
        _console().print(line)
    typer.echo(f"report: {path}")


@app.command("evaluate")
@_stoppable
def evaluate_(
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
    from sweeper import spec
    from sweeper.report import judging
    from sweeper.store import Store
    from sweeper.tables import judged_table

    _one_of("--protocol", protocol, ("chat", "completions"))
    given = {"environment": environment} if environment else {}
    evaluation = spec.load_evaluation(suite, set_ or [], **given)
    asked = spec.load_data(data or ("toolworld" if evaluation.queries is None else "toolbench"))
    names = judge or [evaluation.judge]
    _no_labels("evaluate", names)
    cache = Store.at(storage).root / "judgements"
    panel = _panel(names, asked, judge_endpoint, judge_model, votes, None, None, cache, llm=evaluation.llm)
    where = model if endpoint else judging.model_path(model, Store.at(storage))
    with _progress("evaluating") as tell:
        found = judging.evaluate_model(
            where,
            evaluation,
            asked,
            panel,
            out,
            Store.at(storage).root,
            endpoint=endpoint,
            protocol=protocol,  # type: ignore[arg-type]
            input_price=input_price,
            output_price=output_price,
            seed=seed,
            tell=tell,
        )
    if json_:
        _print_json(found)
    else:
        _console().print(judged_table(found))
        typer.echo(f"answers and judgements: {found['directory']}")
    _fail_on(found["problems"])


@app.command("judge")
@_stoppable
def judge_(
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
    requests_per_minute: PaceOption = None,
    input_price: InputPriceOption = None,
    output_price: OutputPriceOption = None,
    data: Annotated[str, typer.Option(help="The world of --judge oracle.")] = "toolworld",
    out: Annotated[Path | None, typer.Option(help="Also write votes and ToolEval's result files here.")] = None,
    storage: StorageOption = "storage",
    json_: JsonOption = False,
) -> None:
    """Judge anyone's answers: pass rates under every definition, failing rules, agreement between judges."""
    from sweeper import spec
    from sweeper.evaluate.read_answers import read_answers
    from sweeper.report import judging
    from sweeper.store import Store
    from sweeper.tables import judged_table

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
    cache = Store.at(storage).root / "judgements"
    pace = {"requests_per_minute": requests_per_minute, "input_price": input_price, "output_price": output_price}
    panel = _panel(names, spec.load_data(data), judge_endpoint, judge_model, votes, labels, key, cache, **pace)
    suites = [judging.suite_at(spec.load_data(name)) if name else None for name in (suite, solvable)]
    model = answers[0].name.removesuffix(".json")
    with _progress("judging") as tell:
        document = judging.judge_files(
            found, panel, suite=suites[0], solvable=suites[1], out=out, model=model, tell=tell
        )
    if json_:
        _print_json(document)
    else:
        _console().print(judged_table(document))
    _fail_on(document["problems"])


@app.command("compare")
@_stoppable
def compare_(
    answers_a: Annotated[Path, typer.Argument(help="Answers of one model.")],
    answers_b: Annotated[Path, typer.Argument(help="Answers of another, to the same queries.")],
    judge: JudgesOption = None,
    judge_endpoint: JudgeEndpointOption = None,
    judge_model: JudgeModelOption = None,
    votes: VotesOption = 4,
    requests_per_minute: PaceOption = None,
    input_price: InputPriceOption = None,
    output_price: OutputPriceOption = None,
    data: Annotated[str, typer.Option(help="The world of --judge oracle.")] = "toolworld",
    storage: StorageOption = "storage",
    json_: JsonOption = False,
) -> None:
    """Win rate of A over B: a pass beats a fail; about all else --judge llm is asked. The default judge is rules."""
    from sweeper import spec
    from sweeper.evaluate.read_answers import read_answers
    from sweeper.report import judging
    from sweeper.store import Store
    from sweeper.tables import compared_table

    names = judge or ["rules"]
    _no_labels("compare", names)
    cache = Store.at(storage).root / "judgements"
    pace = {"requests_per_minute": requests_per_minute, "input_price": input_price, "output_price": output_price}
    panel = _panel(names, spec.load_data(data), judge_endpoint, judge_model, votes, None, None, cache, **pace)
    sides = read_answers([answers_a]), read_answers([answers_b])
    with _progress("comparing") as tell:
        found = judging.compare_files(*sides, panel, tell)
    if json_:
        _print_json(found)
    else:
        _console().print(compared_table(found))
    _fail_on(found["problems"])


def _no_labels(command: str, names: list[Any]) -> None:
    from sweeper.errors import UsageError

    if "human" in names:
        raise UsageError(
            f"{command} --judge human",
            found=f"{command} reads no labels",
            do="oracle, rules or llm here; judge ANSWERS --labels CSV gives people's pass rates",
        )


def _fail_on(problems: list[str]) -> None:
    """Exit code 1 where the printed document has no rate to give."""
    if problems:
        _fail("\n".join(f"no rate: {problem}" for problem in problems), 1)


def _panel(
    names: list[Any],
    data: Any,
    judge_endpoint: str | None,
    judge_model: str | None,
    votes: int,
    labels: Path | None,
    key: Path | None,
    cache: Path,
    llm: Any = None,
    **pace: Any,
) -> Any:
    from sweeper import spec
    from sweeper.errors import UsageError
    from sweeper.report import judging

    for name in names:
        _one_of("--judge", name, judging.JUDGES)
    if judge_endpoint is not None and judge_model is None:
        do = f"--judge-model NAME, one of those at {judge_endpoint.rstrip('/')}/models"
        raise UsageError("--judge llm", asked=f"--judge-endpoint {judge_endpoint}", found="no --judge-model", do=do)
    if judge_model is not None and judge_endpoint is None:
        do = "--judge-endpoint URL, the server's base URL"
        raise UsageError("--judge llm", asked=f"--judge-model {judge_model}", found="no --judge-endpoint", do=do)
    if judge_endpoint is not None and "llm" not in names:
        found = f"--judge {', '.join(names)}: none of them asks it"
        raise UsageError("--judge-endpoint", asked=judge_endpoint, found=found, do="add --judge llm")
    if judge_endpoint is not None and judge_model is not None:
        given = {key: value for key, value in pace.items() if value is not None}
        llm = spec.LlmSpec(url=judge_endpoint, model=judge_model, votes=votes, **given)
    return judging.Panel(tuple(names), data, llm, labels, key, cache)


@data_app.command("inspect")
def data_inspect(
    source: SourceArgument,
    model: ModelOption,
    max_length: MaxLengthOption = None,
    fit: FitOption = None,
    extend_positions: ExtendOption = False,
    json_: JsonOption = False,
) -> None:
    """Count what training on a source would keep, cut and drop under every fitting policy. Writes nothing."""
    from sweeper import data
    from sweeper.tables import inspect_table

    asked, for_model = _data_spec(source, model, max_length, fit, extend_positions)
    with _progress("reading") as tell:
        found = data.inspect(asked, for_model, tell)
    if json_:
        _print_json(found)
    else:
        _console().print(inspect_table(found))


@data_app.command("prepare")
def data_prepare(
    source: SourceArgument,
    model: ModelOption,
    max_length: MaxLengthOption = None,
    fit: FitOption = None,
    extend_positions: ExtendOption = False,
    storage: StorageOption = "storage",
    json_: JsonOption = False,
) -> None:
    """Tokenise a source into the store, once; print the manifest. `run` does the same where it was not done."""
    from sweeper import data
    from sweeper.store import Store
    from sweeper.tables import manifest_table

    asked, for_model = _data_spec(source, model, max_length, fit, extend_positions)
    with _progress("preparing") as tell:
        prepared = data.prepare(asked, for_model, Store.at(storage), tell)
    if json_:
        _print_json(prepared.manifest | {"directory": str(prepared.directory)})
    else:
        _console().print(manifest_table(prepared.manifest, str(prepared.directory)))


@data_app.command("export")
def data_export(
    source: SourceArgument,
    out: Annotated[Path, typer.Option("--out", help="The file to write.")],
    format_: Annotated[str, typer.Option("--format", help="`toolllama`: the shape of ToolLLaMA's release.")],
    json_: JsonOption = False,
) -> None:
    """Write a source's conversations in another tool's shape."""
    from sweeper import data, spec

    _one_of("--format", format_, ("toolllama",))
    with _progress("writing") as tell:
        written = data.export_toolllama(spec.load_data(source), out, tell)
    if json_:
        _print_json(written)
    else:
        from sweeper.tables import listed

        typer.echo(f"{out}: {written['conversations']:,} conversations; left out: {listed(written['dropped'])}")


@data_app.command("leakage")
def data_leakage(
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
    from sweeper import data, spec
    from sweeper.store import write_bytes
    from sweeper.tables import leakage_table

    with _progress("comparing") as tell:
        found = data.audit(spec.load_data(train), data.open_suite(spec.load_data(test)), threshold, tell)
    if out is not None:
        lines = [f"{entry['subset']}\t{entry['query_id']}\n" for entry in found["exclude"]]
        write_bytes(out, "".join(lines).encode())
    if json_:
        _print_json(found)
    else:
        _console().print(leakage_table(found))


@cluster_app.command("up-local")
def cluster_up_local(
    nodes: Annotated[int, typer.Option(min=1, help="Nodes, each a Ray process of its own.")] = 2,
    gpus_per_node: Annotated[int, typer.Option(min=0, help="GPUs that each says it has; may be made up.")] = 0,
    cpus_per_node: Annotated[int | None, typer.Option(min=1, help="CPUs of each; not given: this machine's.")] = None,
    json_: JsonOption = False,
) -> None:
    """Start a Ray cluster of several nodes on this machine, to rehearse a sweep before it costs money."""
    from sweeper import cluster

    up = cluster.up_local(nodes, gpus_per_node, cpus_per_node)
    if json_:
        _print_json(up.json())
    else:
        typer.echo(
            f"up: {len(up.nodes)} nodes at {up.address}, dashboard {up.dashboard}\n"
            "next: sweeper run SWEEP --address local; sweeper cluster down-local"
        )


@cluster_app.command("down-local")
def cluster_down_local(json_: JsonOption = False) -> None:
    """End that cluster: its own processes and no others."""
    from sweeper import cluster

    down = cluster.down_local()
    if json_:
        _print_json(down.json())
    else:
        typer.echo(f"down: {len(down.nodes)} nodes that were at {down.address}")


@cluster_app.command("leave")
def cluster_leave(
    seconds: Annotated[float, typer.Option(min=0, help="So long is waited for them.")] = 100.0,
    json_: JsonOption = False,
) -> None:
    """Before this machine goes: have the trials on it save a checkpoint and end; others go on from there."""
    from sweeper import trial

    asked, left = trial.leave(seconds)
    if json_:
        _print_json({"asked": asked, "still_training": left})
    elif not left:
        typer.echo(f"{asked} training processes saved and ended")
    if left:
        _fail(f"{left} of {asked} training processes go on after {seconds:g} s; their last checkpoints stand", 1)


@cluster_app.command("submit")
def cluster_submit(
    sweep: SweepArgument,
    address: Annotated[str, typer.Option(help="http(s)://… (the cluster's dashboard), ray://… or `local`.")],
    storage: Annotated[str, typer.Option(help="Folder of the store as the cluster sees it: absolute.")],
    set_: SetOption = None,
) -> None:
    """Run a sweep as a job of a Ray cluster, follow its log, and end with its exit code."""
    from sweeper import cluster

    raise typer.Exit(cluster.submit(sweep, address, storage=storage, overrides=set_ or []))


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
    except BrokenPipeError:  # whoever read our output had enough of it
        sys.stderr.close()
        raise SystemExit(0) from None
    except OSError as error:
        _fail(
            f"{error.filename or 'sweeper'}\n  found: {error.strerror or error}\n  do:    give a path that can be used",
            1,
        )


def _data_spec(
    source: str, model: str, max_length: int | None, fit: str | None, extend_positions: bool
) -> tuple[Any, Any]:
    """The data and the model that a `data` command speaks of."""
    from sweeper import models, spec

    if fit is not None:
        _one_of("--fit", fit, spec.FIT_POLICIES)
    for_model = spec.load_model(model)
    given = {"fit": fit, "max_length": max_length, "extend_positions": "interpolate" if extend_positions else None}
    data = spec.load_data(source, **{key: value for key, value in given.items() if value is not None})
    limit = models.positions(for_model)
    if max_length is None and limit is not None and limit < data.max_length and not extend_positions:
        data = data.model_copy(update={"max_length": limit})
    return data, for_model


@contextmanager
def _progress(what: str) -> Iterator[Callable[[float], None]]:
    """A bar on standard error; what is done in the block tells it the share that is behind."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    console = _console(stderr=True)
    with Progress(TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), console=console) as bar:
        task = bar.add_task(what, total=1.0)
        yield lambda share: bar.update(task, completed=share)
        bar.update(task, completed=1.0)


def _one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    from sweeper.errors import UsageError

    if value not in known:
        raise UsageError(option, asked=value, found="not one of the choices", do=f"one of: {', '.join(known)}")


def _console(stderr: bool = False) -> Any:
    from rich.console import Console

    console = Console(stderr=stderr)
    # Into a file or a pipe nothing needs to fit a window.
    return console if console.is_terminal else Console(stderr=stderr, width=140)


_INDENTED_TRIALS = 1_000


def _print_json(document: Any) -> None:
    from sweeper.store import without_nan

    # Indented JSON is written by Python itself: ten thousand trials would take seconds.
    indent = 2 if len(document.get("trials", ())) <= _INDENTED_TRIALS else None
    sys.stdout.write(
        json.dumps(without_nan(document), indent=indent, ensure_ascii=False, allow_nan=False, default=str) + "\n"
    )


def _fail(text: str, code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.write(text + "\n")
    raise SystemExit(code)


if __name__ == "__main__":
    main()

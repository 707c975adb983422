"""`sweeper evaluate`, `judge` and `compare`: evaluation without a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast, get_args

import typer

from sweeper.cli.options import (
    InputPriceOption,
    JsonOption,
    JudgeEndpointOption,
    JudgeModelOption,
    JudgesOption,
    LabelsOption,
    OutputPriceOption,
    RequestRateOption,
    StorageOption,
    VotesOption,
    WorldOption,
)
from sweeper.cli.output import check_choice, exit_on_interrupt, exit_with_error, print_json, print_table, show_progress

if TYPE_CHECKING:
    from sweeper.api import LabelFile, LlmSpec

commands = typer.Typer()
Protocol = Literal["chat", "completions"]


@dataclass(frozen=True)
class LlmJudgeOptions:
    """The options of `--judge llm`."""

    endpoint: str | None
    model: str | None
    votes: int
    requests_per_minute: float | None = None
    input_price: float | None = None
    output_price: float | None = None

    def make_spec(self, judge_names: Sequence[str], default: LlmSpec | None = None) -> LlmSpec | None:
        """Make the judge's configuration; `default` without an endpoint.

        Raises:
            UsageError: one of endpoint and model is missing, an impossible value, or no judge uses them.
        """
        from pydantic import ValidationError

        from sweeper.api import LlmSpec
        from sweeper.errors import UsageError

        where = "--judge llm"
        if self.endpoint is None and self.model is None:
            return default
        if self.endpoint is None:
            hint = "--judge-endpoint URL, the server's base URL"
            raise UsageError(where, requested=f"--judge-model {self.model}", found="no --judge-endpoint", hint=hint)
        if self.model is None:
            hint = f"--judge-model NAME, one of those at {self.endpoint.rstrip('/')}/models"
            raise UsageError(where, requested=f"--judge-endpoint {self.endpoint}", found="no --judge-model", hint=hint)
        if "llm" not in judge_names:
            found = f"--judge {', '.join(judge_names)}: none of them uses an endpoint"
            raise UsageError("--judge-endpoint", requested=self.endpoint, found=found, hint="add --judge llm")
        limits = {
            "requests_per_minute": self.requests_per_minute,
            "input_price": self.input_price,
            "output_price": self.output_price,
        }
        limits = {name: value for name, value in limits.items() if value is not None}
        try:
            return LlmSpec.model_validate({"url": self.endpoint, "model": self.model, "votes": self.votes, **limits})
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            requested = "" if first["loc"] == ("url",) else f"{first['loc'][0]}: {first['input']}"
            raise UsageError(where, requested=requested, found=first["msg"].removeprefix("Value error, ")) from None


@commands.command("evaluate")
@exit_on_interrupt
def evaluate_model_command(  # every option of the command line is one parameter
    model: Annotated[
        str,
        typer.Argument(
            help="A checkpoint folder, a name in configs/models/, a trial's fingerprint in the store, or a hub id; "
            "with --endpoint, the model's name on that server."
        ),
    ],
    suite: Annotated[
        str,
        typer.Option("--suite", help="An evaluation in configs/evaluation/, or a folder of ToolBench test queries."),
    ],
    endpoint: Annotated[
        str | None,
        typer.Option(help="Base URL of an OpenAI-compatible server with the model. Its API key: OPENAI_API_KEY."),
    ] = None,
    protocol: Annotated[str, typer.Option(help="API of that server: chat or completions.")] = "chat",
    judge: JudgesOption = None,
    environment: Annotated[
        str | None, typer.Option(help="toolworld, replay or http. Default: the evaluation's.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the evaluation.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="The data whose prompt format (and world) to use. Default: the suite's own.")
    ] = None,
    judge_endpoint: JudgeEndpointOption = None,
    judge_model: JudgeModelOption = None,
    votes: VotesOption = 4,
    input_price: InputPriceOption = None,
    output_price: OutputPriceOption = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sampling.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Output folder; resumed if it exists. Default: one in the store.")
    ] = None,
    storage: StorageOption = "storage",
    json_: JsonOption = False,
) -> None:
    """Run a model over a suite as a tool-using agent, judge its answers, and write them in ToolBench's formats."""
    from sweeper import api
    from sweeper.cli.tables_judging import render_judging_table

    check_choice("--protocol", protocol, get_args(Protocol))
    evaluation = api.load_evaluation(suite, set_ or [], environment)
    llm_options = LlmJudgeOptions(judge_endpoint, judge_model, votes)
    judges = api.JudgeSettings(names := judge or [evaluation.judge], storage=storage)
    judges = replace(judges, llm=llm_options.make_spec(names, evaluation.llm))
    server = api.AgentEndpoint(endpoint, cast("Protocol", protocol), input_price, output_price) if endpoint else None
    options = api.EvaluationOptions(endpoint=server, data=data, seed=seed, out=out)
    with show_progress("evaluating") as on_progress:
        report = api.evaluate_model(model, evaluation, judges, options, on_progress)
    document = report.to_document()
    if json_:
        print_json(document)
    else:
        print_table(render_judging_table(document))
        typer.echo(f"answers and judgments: {document['directory']}")
    _exit_on_problems(report.problems)


@commands.command("judge")
@exit_on_interrupt
def judge_answers_command(  # every option of the command line is one parameter
    answers: Annotated[
        list[Path],
        typer.Argument(
            help="Answers, files or folders: ToolEval's converted form, ToolBench's raw form, or sweeper's own format."
        ),
    ],
    judge: JudgesOption = None,
    judge_endpoint: JudgeEndpointOption = None,
    judge_model: JudgeModelOption = None,
    votes: VotesOption = 4,
    labels: LabelsOption = None,
    key: Annotated[Path | None, typer.Option(help="The key that --label-sheet wrote beside its sheet.")] = None,
    label_sheet: Annotated[
        Path | None, typer.Option(help="Write a blinded sheet to label to this new file, and exit.")
    ] = None,
    items: Annotated[int, typer.Option(min=1, help="Maximum number of answers on that sheet.")] = 100,
    suite: Annotated[str | None, typer.Option(help="Test queries; those without an answer count as missing.")] = None,
    solvable: Annotated[str | None, typer.Option(help="The solvable queries, for the sensitivity analysis.")] = None,
    requests_per_minute: RequestRateOption = None,
    input_price: InputPriceOption = None,
    output_price: OutputPriceOption = None,
    data: WorldOption = "toolworld",
    out: Annotated[Path | None, typer.Option(help="Also write votes and ToolEval's result files here.")] = None,
    storage: StorageOption = "storage",
    json_: JsonOption = False,
) -> None:
    """Judge existing answers: pass rates under every definition, failing rules, agreement between judges."""
    from sweeper import api
    from sweeper.cli.tables_judging import render_judging_table

    if label_sheet is not None:
        sheet = api.write_label_sheet(answers, label_sheet, items)
        if json_:
            print_json(sheet.to_document())
        else:
            fewer = f" (all there are; --items {items})" if sheet.n_items < items else ""
            typer.echo(f"{sheet.n_items} answers to label{fewer}: {sheet.sheet}; their key: {sheet.key}")
        return
    names = list(judge or ["rules"])
    if labels is not None and "human" not in names:
        names.append("human")
    judges = api.JudgeSettings(names, labels=labels, label_key=key, world=data, storage=storage)
    llm_options = LlmJudgeOptions(judge_endpoint, judge_model, votes, requests_per_minute, input_price, output_price)
    judges = replace(judges, llm=llm_options.make_spec(names))
    with show_progress("judging") as on_progress:
        report = api.judge_answers(answers, judges, suite=suite, solvable=solvable, out=out, on_progress=on_progress)
    document = report.to_document()
    if json_:
        print_json(document)
    else:
        print_table(render_judging_table(document))
    _exit_on_problems(report.problems)


@commands.command("compare")
@exit_on_interrupt
def compare_answers_command(  # every option of the command line is one parameter
    answers_a: Annotated[Path, typer.Argument(help="Answers of model A.")],
    answers_b: Annotated[Path, typer.Argument(help="Answers of model B to the same queries.")],
    judge: JudgesOption = None,
    judge_endpoint: JudgeEndpointOption = None,
    judge_model: JudgeModelOption = None,
    votes: VotesOption = 4,
    requests_per_minute: RequestRateOption = None,
    input_price: InputPriceOption = None,
    output_price: OutputPriceOption = None,
    labels_a: Annotated[Path | None, typer.Option(help="CSV of human labels of some of A's answers.")] = None,
    key_a: Annotated[Path | None, typer.Option(help="The key of the sheet of --labels-a.")] = None,
    labels_b: Annotated[Path | None, typer.Option(help="CSV of human labels of some of B's answers.")] = None,
    key_b: Annotated[Path | None, typer.Option(help="The key of the sheet of --labels-b.")] = None,
    data: WorldOption = "toolworld",
    storage: StorageOption = "storage",
    json_: JsonOption = False,
) -> None:
    """Report the win rate of A over B.

    A pass beats a fail; --judge llm decides between two passes or two fails. The default judge is `rules`. Labels of a
    random part of both sides add the difference of the pass rates, corrected by them.
    """
    from sweeper import api
    from sweeper.cli.tables_judging import render_comparison_table

    judges = api.JudgeSettings(names := judge or ["rules"], world=data, storage=storage)
    llm_options = LlmJudgeOptions(judge_endpoint, judge_model, votes, requests_per_minute, input_price, output_price)
    judges = replace(judges, llm=llm_options.make_spec(names))
    labels = _pair_label_files(labels_a, key_a, labels_b, key_b)
    with show_progress("comparing") as on_progress:
        report = api.compare_answers(answers_a, answers_b, judges, on_progress, labels)
    document = report.to_document()
    if json_:
        print_json(document)
    else:
        print_table(render_comparison_table(document))
    _exit_on_problems(report.problems)


def _pair_label_files(
    labels_a: Path | None, key_a: Path | None, labels_b: Path | None, key_b: Path | None
) -> tuple[LabelFile, LabelFile] | None:
    """Return the labels of both sides, or None without any. Raises UsageError for those of one side only."""
    from sweeper.api import LabelFile
    from sweeper.errors import UsageError

    if labels_a is not None and labels_b is not None:
        return LabelFile(labels_a, key_a), LabelFile(labels_b, key_b)
    if (labels_a, key_a, labels_b, key_b) != (None,) * 4:
        raise UsageError("compare", found="labels of one side only", hint="give --labels-a and --labels-b, or neither")
    return None


def _exit_on_problems(problems: Sequence[str]) -> None:
    """Exit with code 1 where a pass rate could not be measured."""
    if problems:
        exit_with_error("\n".join(f"no pass rate: {problem}" for problem in problems), 1)

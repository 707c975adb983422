"""Options that several commands share, each with its help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SweepArgument = Annotated[str, typer.Argument(help="A sweep file, or the name of one in sweeps/.")]
StudyArgument = Annotated[str, typer.Argument(help="A sweep file or name, or the name of a study in the store.")]
SmokeTestOption = Annotated[
    bool,
    typer.Option(
        "--smoke-test",
        help="Use toy models and a generated world (configs/rehearsal.yaml) with two seeds: minutes on two CPU cores, "
        "without data, GPU or server. The study is named NAME-rehearsal. `run` also writes its report.",
    ),
]
AcceptUnderpoweredOption = Annotated[
    bool,
    typer.Option("--accept-underpowered", help="Accept claims whose minimum detectable effect exceeds the margin."),
]
UntilOption = Annotated[
    str | None,
    typer.Option(
        help="`decided`: train only the seeds that open claims need for their next look. `complete`: every trial. "
        "Default: as the sweep says."
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
        "eval files, a Hugging Face dataset (folder or hub id), or a name in configs/data/ such as `toolworld`."
    ),
]
ModelOption = Annotated[str, typer.Option("--model", help="A model in configs/models/; its tokenizer is used.")]
MaxLengthOption = Annotated[
    int | None,
    typer.Option(
        "--max-length", min=1, help="Maximum tokens per row. Default: the data's, at most the model's positions."
    ),
]
LengthPolicyOption = Annotated[
    str | None,
    typer.Option("--fit", help="Policy for longer examples: strict, keep-target, compact-apis or truncate."),
]
ExtendPositionsOption = Annotated[
    bool, typer.Option("--extend-positions", help="Allow more tokens than the model has positions (interpolated).")
]
JudgesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--judge", help="oracle, rules, llm or human. Repeat to compare judges; the first decides the verdict."
    ),
]
JudgeEndpointOption = Annotated[
    str | None,
    typer.Option(
        help="Base URL of the OpenAI-compatible server for --judge llm. Its API key, if needed: OPENAI_API_KEY."
    ),
]
JudgeModelOption = Annotated[str | None, typer.Option(help="Model name for --judge llm.")]
VotesOption = Annotated[int, typer.Option(min=1, help="Votes per answer for --judge llm; the majority decides.")]
LabelsOption = Annotated[Path | None, typer.Option(help="CSV of human labels, for --judge human.")]
RequestRateOption = Annotated[float | None, typer.Option(help="Maximum requests per minute for --judge llm.")]
InputPriceOption = Annotated[
    float | None, typer.Option(min=0, help="Price per million input tokens. With --output-price: report the cost.")
]
OutputPriceOption = Annotated[float | None, typer.Option(min=0, help="Price per million output tokens.")]
WorldOption = Annotated[str, typer.Option(help="The world for --judge oracle.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]

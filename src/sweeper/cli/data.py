"""`sweeper data`: inspect, prepare, export and audit training data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweeper.cli.options import (
    ExtendPositionsOption,
    JsonOption,
    LengthPolicyOption,
    MaxLengthOption,
    ModelOption,
    SourceArgument,
    StorageOption,
)
from sweeper.cli.output import check_choice, print_json, print_table, show_progress

commands = typer.Typer(no_args_is_help=True, help="Inspect, prepare, export and audit training data.")


@commands.command("inspect")
def inspect_data_command(
    source: SourceArgument,
    model: ModelOption,
    max_length: MaxLengthOption = None,
    fit: LengthPolicyOption = None,
    extend_positions: ExtendPositionsOption = False,
    json_: JsonOption = False,
) -> None:
    """Count what training would keep, cut and drop under every length policy. Writes nothing."""
    from sweeper import api
    from sweeper.cli.tables_data import render_length_table

    specs = api.load_specs(source, model, max_length=max_length, length_policy=fit, extend_positions=extend_positions)
    with show_progress("reading") as on_progress:
        report = api.inspect_data(*specs, on_progress)
    if json_:
        print_json(report.to_document())
    else:
        print_table(render_length_table(report.to_document()))


@commands.command("prepare")
def prepare_data_command(
    source: SourceArgument,
    model: ModelOption,
    max_length: MaxLengthOption = None,
    fit: LengthPolicyOption = None,
    extend_positions: ExtendPositionsOption = False,
    storage: StorageOption = "storage",
    json_: JsonOption = False,
) -> None:
    """Tokenize a source into the store, once, and print its manifest. `run` does this when needed."""
    from sweeper import api
    from sweeper.cli.tables_data import render_manifest_table

    specs = api.load_specs(source, model, max_length=max_length, length_policy=fit, extend_positions=extend_positions)
    with show_progress("preparing") as on_progress:
        prepared = api.prepare_data(*specs, storage, on_progress)
    if json_:
        print_json(prepared.manifest.to_document() | {"directory": str(prepared.directory)})
    else:
        print_table(render_manifest_table(prepared.manifest.to_document(), str(prepared.directory)))


@commands.command("export")
def export_data_command(
    source: SourceArgument,
    out: Annotated[Path, typer.Option("--out", help="The file to write.")],
    format_: Annotated[str, typer.Option("--format", help="`toolllama`: the format of ToolLLaMA's released data.")],
    json_: JsonOption = False,
) -> None:
    """Write a source's conversations in another tool's format."""
    from sweeper import api
    from sweeper.api.formatting import format_counts

    check_choice("--format", format_, ("toolllama",))
    with show_progress("writing") as on_progress:
        summary = api.export_data(source, out, on_progress)
    if json_:
        print_json(summary.to_document())
    else:
        typer.echo(
            f"{out}: {summary.conversations:,} conversations; left out: {format_counts(summary.counts.drop_counts)}"
        )


@commands.command("leakage")
def check_contamination_command(
    train: Annotated[str, typer.Argument(help="Training data, as for `inspect`.")],
    test: Annotated[
        str,
        typer.Argument(
            help="Test queries: the folder that holds test_instruction/ (and test_query_ids/), that folder itself, one "
            "of its files, or `toolworld`."
        ),
    ],
    threshold: Annotated[
        float, typer.Option(min=0.1, max=1.0, help="Jaccard similarity from which two queries are near duplicates.")
    ] = 0.7,
    out: Annotated[
        Path | None, typer.Option(help="Also write the queries to exclude here, one `subset<TAB>query_id` per line.")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Find leaked test queries (train/test contamination), and check what each subset promises to be unseen."""
    from sweeper import api
    from sweeper.cli.tables_data import render_contamination_table

    with show_progress("comparing") as on_progress:
        audit = api.check_contamination(train, test, threshold=threshold, out=out, on_progress=on_progress)
    if json_:
        print_json(audit.to_document())
    else:
        print_table(render_contamination_table(audit.to_document()))

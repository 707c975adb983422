"""`sweeper data`: inspect, prepare, export and audit training data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from sweeper.config import DataSpec, ModelSpec

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
    from sweeper import data
    from sweeper.cli.tables_data import render_length_table

    data_spec, model_spec = _load_specs(source, model, max_length, fit, extend_positions)
    with show_progress("reading") as on_progress:
        report = data.report_lengths(data_spec, model_spec, on_progress)
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
    from sweeper import data
    from sweeper.cli.tables_data import render_manifest_table
    from sweeper.storage import Store

    data_spec, model_spec = _load_specs(source, model, max_length, fit, extend_positions)
    with show_progress("preparing") as on_progress:
        prepared = data.prepare_data(data_spec, model_spec, Store.from_location(storage), on_progress)
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
    from sweeper import data
    from sweeper.config import load_data_spec
    from sweeper.report.formatting import format_counts

    check_choice("--format", format_, ("toolllama",))
    with show_progress("writing") as on_progress:
        summary = data.export_toolllama(load_data_spec(source), out, on_progress)
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
    from sweeper import data
    from sweeper.cli.tables_data import render_contamination_table
    from sweeper.config import load_data_spec
    from sweeper.storage import write_bytes

    with show_progress("comparing") as on_progress:
        suite = data.open_suite(load_data_spec(test))
        audit = data.audit_contamination(load_data_spec(train), suite, threshold, on_progress)
    if out is not None:
        lines = [f"{query.subset}\t{query.query_id}\n" for query in audit.exclude]
        write_bytes(out, "".join(lines).encode())
    if json_:
        print_json(audit.to_document())
    else:
        print_table(render_contamination_table(audit.to_document()))


def _load_specs(
    source: str, model: str, max_length: int | None, fit: str | None, extend_positions: bool
) -> tuple[DataSpec, ModelSpec]:
    """Load the data and the model of a command; without `max_length`, rows fit the model's positions."""
    from sweeper import models
    from sweeper.config import LENGTH_POLICIES, load_data_spec, load_model_spec

    if fit is not None:
        check_choice("--fit", fit, LENGTH_POLICIES)
    model_spec = load_model_spec(model)
    options = {"fit": fit, "max_length": max_length, "extend_positions": "interpolate" if extend_positions else None}
    data_spec = load_data_spec(source, **{key: value for key, value in options.items() if value is not None})
    max_positions = models.get_max_positions(model_spec)
    if (
        max_length is None
        and max_positions is not None
        and max_positions < data_spec.max_length
        and not extend_positions
    ):
        data_spec = data_spec.model_copy(update={"max_length": max_positions})
    return data_spec, model_spec

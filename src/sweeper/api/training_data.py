"""Training data: what a source holds, tokens of it, another tool's format, and leaked test queries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.config import DataSpec, ModelSpec, load_data_spec, load_model_spec
from sweeper.storage import Store, write_bytes

if TYPE_CHECKING:
    from sweeper.data import PreparedData
    from sweeper.data.contamination import ContaminationReport
    from sweeper.data.export import ExportSummary
    from sweeper.data.length_report import LengthReport

__all__ = ["check_contamination", "export_data", "inspect_data", "load_specs", "prepare_data"]

ShareCallback = Callable[[float], None]


def load_specs(
    source: str,
    model: str,
    *,
    max_length: int | None = None,
    length_policy: str | None = None,
    extend_positions: bool = False,
) -> tuple[DataSpec, ModelSpec]:
    """Load a data source and the model whose tokenizer reads it.

    Args:
        source: a folder of ToolBench answers, ToolLLaMA's released file, a Hugging Face dataset, or a name in
            `configs/data/`.
        model: a name in `configs/models/`.
        max_length: tokens per row, at most; None: the data's own, at most the model's positions.
        length_policy: what happens to longer examples; None: the data's own.
        extend_positions: allow more tokens than the model has positions (interpolated).

    Returns:
        The data and the model.

    Raises:
        ConfigError: an unknown source, model or policy.

    Example:
        >>> data, model = load_specs("toolworld", "opt-tiny-32", length_policy="truncate")
        >>> data.fit, model.name
        ('truncate', 'opt-tiny-32')
    """
    from sweeper.models import get_max_positions

    model_spec = load_model_spec(model)
    options = {
        "fit": length_policy,
        "max_length": max_length,
        "extend_positions": "interpolate" if extend_positions else None,
    }
    data_spec = load_data_spec(source, **{key: value for key, value in options.items() if value is not None})
    positions = get_max_positions(model_spec)
    if max_length is None and positions is not None and positions < data_spec.max_length and not extend_positions:
        data_spec = data_spec.model_copy(update={"max_length": positions})
    return data_spec, model_spec


def inspect_data(data: DataSpec, model: ModelSpec, on_progress: ShareCallback = lambda share: None) -> LengthReport:
    """Count what training would keep, cut and drop under every length policy. Writes nothing.

    Args:
        data: the source, as `load_specs` returns it.
        model: the model whose tokenizer counts.
        on_progress: called with the share read, 0 to 1.

    Returns:
        What every policy keeps, cuts and drops, and quantiles of tokens.

    Raises:
        DataError: the source has no usable example.
        UsageError: the model has too few positions.

    Example:
        >>> report = inspect_data(*load_specs("toolworld", "opt-tiny-32"))
        >>> report.to_document()["valid_queries"]
        2520
    """
    from sweeper.data import report_lengths

    return report_lengths(data, model, on_progress)


def prepare_data(
    data: DataSpec, model: ModelSpec, storage: str | Path = "storage", on_progress: ShareCallback = lambda share: None
) -> PreparedData:
    """Tokenize a source into the store, once. `run` does this when needed.

    Args:
        data: the source, as `load_specs` returns it.
        model: the model whose tokenizer is used.
        storage: the store: a folder or a URL.
        on_progress: called with the share done, 0 to 1.

    Returns:
        The data set, with its manifest.

    Raises:
        DataError: the source cannot be read, or no example is left.
        UsageError: the model has too few positions.

    Example:
        >>> import tempfile
        >>> prepared = prepare_data(*load_specs("toolworld", "opt-tiny-32"), storage=tempfile.mkdtemp())
        >>> prepared.manifest.examples
        6300
    """
    from sweeper.data import prepare_data as prepare

    return prepare(data, model, Store.from_location(storage), on_progress)


def export_data(source: str, out: Path, on_progress: ShareCallback = lambda share: None) -> ExportSummary:
    """Write the conversations of a source in the format of ToolLLaMA's released data.

    Args:
        source: as for `load_specs`.
        out: the file; it appears complete or not at all.
        on_progress: called with the share done, 0 to 1.

    Returns:
        Numbers of conversations written and left out.

    Raises:
        DataError: nothing can be read or written.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> folder = Path(tempfile.mkdtemp())
        >>> export_data("toolworld", folder / "world.json").conversations
        6300
    """
    from sweeper.data import export_toolllama

    return export_toolllama(load_data_spec(source), out, on_progress)


def check_contamination(
    train: str,
    test: str,
    *,
    threshold: float = 0.7,
    out: Path | None = None,
    on_progress: ShareCallback = lambda share: None,
) -> ContaminationReport:
    """Find leaked test queries (train/test contamination), and check what each subset promises to be unseen.

    Args:
        train: training data, as for `load_specs`.
        test: test queries: ToolBench's folder or file, or a name in `configs/data/`.
        threshold: Jaccard similarity of word shingles from which two queries are near duplicates.
        out: also write the queries to exclude here, one `subset<TAB>query_id` per line.
        on_progress: called with the share of the training data read, 0 to 1.

    Returns:
        Duplicates by subset, what each subset promises, and the queries to exclude.

    Raises:
        DataError: training data or queries that cannot be read.

    Example:
        >>> report = check_contamination("toolworld", "toolworld")
        >>> len(report.exclude)
        28
    """
    from sweeper.data import audit_contamination, open_suite

    audit = audit_contamination(load_data_spec(train), open_suite(load_data_spec(test)), threshold, on_progress)
    if out is not None:
        write_bytes(out, "".join(f"{query.subset}\t{query.query_id}\n" for query in audit.exclude).encode())
    return audit

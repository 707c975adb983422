"""The summary of one evaluation: means over its outcomes, as stored in `summary.json`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from pydantic import TypeAdapter, ValidationError

from sweeper.config import EvaluationSpec
from sweeper.errors import StoreError
from sweeper.storage import FileDigests, Store, read_json

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class EvaluationSummary:
    """Means over the queries of a suite, by the first judge. A value that an older file lacks is NaN."""

    pass_rate: float
    """Share of the scored queries that passed by majority of votes."""
    finished: float = math.nan
    """Share of the queries that ended with an answer."""
    valid_action: float = math.nan
    """Share of the queries whose actions all named an offered function."""
    valid_json: float = math.nan
    """Share of the queries whose action inputs were all JSON objects."""
    hallucinated: float = math.nan
    """Share of the queries with a call to a function that was not offered."""
    overgenerated: float = math.nan
    """Share of the queries with text after an action."""
    incoherent: float = math.nan
    """Share of the queries with a step without action, or with a repeated call."""
    calls_per_query: float = math.nan
    tokens_per_query: float = math.nan
    queries: float = math.nan
    """Number of queries."""
    unscored: float = math.nan
    """Number of queries without any scored vote."""
    subsets: Mapping[str, float | None] = dataclasses.field(default_factory=dict)
    """Subset -> pass rate; None where no query is scored."""
    gold_nll: float = math.nan
    """Nats per target token of the gold answers; NaN where they are not measured."""
    gold_queries: float = math.nan
    """Number of queries with a gold answer that counts."""
    gold_left_out: float = math.nan
    """Number of texts of gold answers that do not count."""
    suite: str = ""
    """Fingerprint of the suite."""
    eval_seconds: float = math.nan
    out_of_memory_at: tuple[int, ...] = ()
    """Sizes of the generation batches that did not fit into memory."""
    files: FileDigests = dataclasses.field(default_factory=dict)
    """Files of the evaluation -> size in bytes and SHA-256. Empty in summaries of version 0.1.0."""

    def to_document(self) -> dict[str, object]:
        """Make the JSON document. What is empty of `out_of_memory_at`, `files` and gold answers is left out."""
        document: dict[str, object] = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del document["out_of_memory_at"], document["files"]
        if math.isnan(self.gold_queries):
            del document["gold_nll"], document["gold_queries"], document["gold_left_out"]
        if self.out_of_memory_at:
            document["out_of_memory_at"] = list(self.out_of_memory_at)
        if self.files:
            document["files"] = {name: list(digest) for name, digest in self.files.items()}
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, object]) -> EvaluationSummary:
        """Read the JSON document.

        Raises:
            ValueError: it is not a summary.
        """
        try:
            return _SUMMARY.validate_python({"pass_rate": math.nan} | _drop_unknown(cls, document))
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _drop_unknown(cls: type[EvaluationSummary], document: Mapping[str, object]) -> dict[str, object]:
    names = {f.name for f in dataclasses.fields(cls)}
    return {name: value for name, value in document.items() if name in names and value is not None}


_SUMMARY = TypeAdapter(EvaluationSummary)


def read_summary(store: Store, fingerprint: str, suite: str) -> EvaluationSummary | None:
    """Read the summary of a finished evaluation; None where it did not finish.

    Args:
        store: the store.
        fingerprint: of the trial.
        suite: the result of `compute_suite_fingerprint`.

    Returns:
        The summary; None where the evaluation did not finish.

    Raises:
        StoreError: a file that cannot be read.

    Example:
        >>> from pathlib import Path
        >>> from sweeper.storage import Store
        >>> read_summary(Store(Path("no-store")), "0123456789abcdef", "0123456789abcdef") is None
        True
    """
    path = store.evaluation_folder(fingerprint, suite) / "summary.json"
    if not path.exists():
        return None
    hint = f"delete {path.parent} and run again"
    try:
        summary = EvaluationSummary.from_document(read_json(path))
    except ValueError as error:
        raise StoreError(str(path), found=f"not the summary of an evaluation: {error}", hint=hint) from error
    if summary.suite not in ("", suite):
        raise StoreError(str(path), found=f"the summary of another suite, {summary.suite}", hint=hint)
    return summary


def extract_metrics(summary: EvaluationSummary, evaluation: EvaluationSpec) -> dict[str, float]:
    """Return the numbers of a summary as metrics of its trial.

    On validation queries the pass rate is named `val_pass_rate`, and no other number is returned: the names of numbers
    on test queries never stand for numbers on validation queries.

    Args:
        summary: of a finished evaluation.
        evaluation: its suite.

    Returns:
        Name -> value.
    """
    match evaluation.split:
        case "validation":
            return {"val_pass_rate": summary.pass_rate, "val_eval_seconds": summary.eval_seconds}
        case "test":
            document = summary.to_document()
            return {name: v for name, v in document.items() if isinstance(v, int | float) and not math.isnan(v)}
        case _:
            assert_never(evaluation.split)


def summarize_outcomes(outcomes: pd.DataFrame, *, suite: str, eval_seconds: float) -> EvaluationSummary:
    """Average one judge's outcomes over the queries of a suite. A query passes by majority of its votes."""
    keys = ["subset", "query_id"]
    queries = outcomes.drop_duplicates(keys).set_index(keys)
    shares = outcomes.groupby(keys, sort=False)["passed"].mean()
    passed = (shares > 0.5).astype(float).where(shares.notna())
    by_subset = passed.groupby(level="subset", sort=False)
    return EvaluationSummary(
        pass_rate=float(passed.mean()),
        finished=float(queries["finished"].mean()),
        valid_action=float(queries["valid_action"].mean()),
        valid_json=float(queries["valid_json"].mean()),
        hallucinated=float(queries["hallucinated"].mean()),
        overgenerated=float(queries["overgenerated"].mean()),
        incoherent=float(queries["incoherent"].mean()),
        calls_per_query=float(queries["calls"].mean()),
        tokens_per_query=float(queries["tokens"].mean()),
        queries=len(queries),
        unscored=int(passed.isna().sum()),
        subsets={str(name): float(rates.mean()) if rates.notna().any() else None for name, rates in by_subset},
        suite=suite,
        eval_seconds=eval_seconds,
    )

"""Tokenize once, store as Arrow, memory-map everywhere."""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from sweeper.config import DataSpec, ModelSpec
from sweeper.data.conversations import Conversation, ReaderCounts
from sweeper.data.length_policies.base import TokenizedRow
from sweeper.data.length_policy import IGNORE_INDEX, LengthPolicyCounts
from sweeper.data.manifest import DataManifest, SplitCounts
from sweeper.data.prompt_format import make_conversation_segments
from sweeper.data.readers.base import FractionReporter, Source, Split
from sweeper.data.sources import open_source
from sweeper.data.splits import hash_query, select_held_out
from sweeper.data.tokenize import ROWS_PER_BATCH, FoldedRow, fold_examples, make_length_limiter, tokenize_rows
from sweeper.data.tokenizer import TOKENIZER_VERSION, load_tokenizer, train_tokenizer
from sweeper.errors import DataError, StoreError
from sweeper.models import find_hub_commit, resolve_extended_positions
from sweeper.models.quiet_libraries import quiet_libraries
from sweeper.storage import Store, check_files, digest_files, read_json, write_json

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

ENCODING_VERSION = 3
"""Raised whenever the same conversations and tokenizer give other rows."""
GENERATED_ENCODING_VERSION = 2
"""The same for generated worlds. Since 2, only texts that spell special tokens or hold half characters are encoded
differently, and rows of ToolLLaMA's form that are not of its release; generated worlds have none of these."""
MAX_TOKENIZER_CONVERSATIONS = 20_000
"""Most conversations that a tokenizer is trained on; more of the same text hardly changes it."""


@dataclass(frozen=True)
class PreparedData:
    """A tokenized data set on disk: `rows.arrow`, `train.npy` and `validation.npy` (row numbers), `tokenizer/`,
    `manifest.json`."""

    fingerprint: str
    directory: Path
    manifest: DataManifest

    def load_split(self, split: Split) -> Dataset:
        """Return the rows of a split, memory-mapped: columns input_ids, labels, length, target_tokens.

        Raises:
            StoreError: the files are not those that were written.
        """
        from datasets import Dataset

        for name in ("rows.arrow", f"{split}.npy"):
            check_files(self.directory, self.manifest.files, name)
        rows = np.load(self.directory / f"{split}.npy", allow_pickle=False)
        return Dataset.from_file(str(self.directory / "rows.arrow")).select(rows)

    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        """Return the tokenizer that made them."""
        from transformers import AutoTokenizer

        check_files(self.directory, self.manifest.files, "tokenizer/")
        return AutoTokenizer.from_pretrained(self.directory / "tokenizer")


def fingerprint_data(data: DataSpec, model: ModelSpec, storage: Path | None = None) -> str:
    """Compute the identity of a data set: source content, encoding policy and tokenizer. Tokenizes nothing.

    Models built from a config share a tokenizer, and so a data set.

    Args:
        data: the source and the encoding policy.
        model: the model, for its tokenizer.
        storage: folder of a store, whose cache spares hashing unchanged files again.

    Returns:
        The first 16 hex digits of a SHA-256.

    Raises:
        DataError: the source is missing.

    Example:
        >>> from sweeper.config import load_data_spec
        >>> world = {"train_queries": 6, "validation_queries": 3, "test_queries_per_subset": 1}
        >>> data = load_data_spec("toolworld", toolworld=world)
        >>> from sweeper.config import load_model_spec
        >>> model = load_model_spec("opt-tiny-32")
        >>> len(fingerprint_data(data, model))
        16
    """
    return _compute_fingerprint(open_source(data, storage), data, model)


def _compute_fingerprint(source: Source, data: DataSpec, model: ModelSpec) -> str:
    identity = {
        "content": source.compute_sha256(),
        "encoding": GENERATED_ENCODING_VERSION if source.is_generated else ENCODING_VERSION,
        "api_format": data.api_format,
        "fold_steps": data.fold_steps,
        "max_length": data.max_length,
        "fit": data.fit,
        "validation_fraction": None if source.has_own_splits() else data.validation_fraction,
        "tokenizer": _identify_tokenizer(data, model),
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def prepare_data(
    data: DataSpec, model: ModelSpec, storage: Store | Path, on_progress: FractionReporter = lambda share: None
) -> PreparedData:
    """Return the data set under `<storage>/data/<fingerprint>/`; tokenize it first if it is not there.

    It appears complete or not at all. Two concurrent processes build it once, even on two machines that share a
    remote store.

    Args:
        data: the source and the encoding policy.
        model: the model whose tokenizer is used.
        storage: the store, or its folder.
        on_progress: receives the share done, 0 to 1.

    Returns:
        The data set, with its manifest.

    Raises:
        DataError: it cannot be read or written, or no example is left.
        UsageError: the model has too few positions.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> folder = Path(tempfile.mkdtemp())
        >>> from sweeper.config import load_data_spec
        >>> world = {"train_queries": 6, "validation_queries": 3, "test_queries_per_subset": 1}
        >>> data = load_data_spec("toolworld", toolworld=world)
        >>> from sweeper.config import load_model_spec
        >>> model = load_model_spec("opt-tiny-32")
        >>> prepare_data(data, model, folder).manifest.read
        22
    """
    resolve_extended_positions(model, data)
    store = _ensure_store(storage)
    source = open_source(data, store.root)
    identity = _compute_fingerprint(source, data, model)
    directory = store.data_folder(identity)
    try:
        with store.lock_folder(directory.parent / f".{identity}"):
            store.pull(directory)
            if not (directory / "manifest.json").exists():
                _build_dataset(source, data, model, identity, store, on_progress)
    except OSError as error:
        raise DataError(
            f"data {data.path or data.name}",
            requested=f"tokens under {directory}",
            found=f"cannot be written: {error}; the partial data set was deleted",
            hint="free some space, or another --storage",
        ) from error
    return _load_prepared_data(store, identity)


def open_prepared_data(storage: Store | Path, fingerprint: str) -> PreparedData:
    """Open a data set that was prepared before. Raises StoreError where it was not.

    Args:
        storage: the store, or its folder.
        fingerprint: the result of `fingerprint_data`.

    Returns:
        The data set.
    """
    store = _ensure_store(storage)
    store.pull(store.data_folder(fingerprint))
    return _load_prepared_data(store, fingerprint)


def read_data_manifest(store: Store, fingerprint: str) -> DataManifest:
    """Read the manifest of a data set that was prepared before. Raises StoreError where it was not.

    Args:
        store: the store.
        fingerprint: the result of `fingerprint_data`.

    Returns:
        The manifest.
    """
    store.pull(store.data_folder(fingerprint), patterns=["manifest.json"])
    return _load_prepared_data(store, fingerprint).manifest


def _load_prepared_data(store: Store, fingerprint: str) -> PreparedData:
    directory = store.data_folder(fingerprint)
    path = directory / "manifest.json"
    try:
        manifest = DataManifest.model_validate(read_json(path))
    except ValidationError as error:
        raise StoreError(str(path), found=f"not a data manifest: {error}", hint="delete it and run again") from error
    return PreparedData(fingerprint, directory, manifest)


def _ensure_store(storage: Store | Path) -> Store:
    return storage if isinstance(storage, Store) else Store(storage)


def describe_prepared_data(prepared: PreparedData) -> str:
    """Describe in a line or two what was kept, cut and dropped, and why.

    Args:
        prepared: the data set.

    Returns:
        The text.
    """
    m = prepared.manifest
    dropped = ", ".join(f"{count:,} {reason}" for reason, count in m.dropped.items()) or "none"
    text = (
        f"data {prepared.fingerprint}: {m.rows.train:,} training rows ({m.tokens.train:,} tokens), "
        f"{m.rows.validation:,} for validation; length policy {m.fit_policy}: {m.truncated:,} truncated, "
        f"dropped: {dropped}"
    )
    if m.problems:
        text += f"\n  {m.problems[0]}" + (f" (and {len(m.problems) - 1} more)" if len(m.problems) > 1 else "")
    return text


def _build_dataset(
    source: Source, data: DataSpec, model: ModelSpec, fingerprint: str, store: Store, on_progress: FractionReporter
) -> None:
    quiet_libraries()
    directory = store.data_folder(fingerprint)
    for stale in directory.parent.glob(f".{fingerprint}-*"):  # left by a killed build; we hold the lock
        shutil.rmtree(stale, ignore_errors=True)
    tokenizer = load_tokenizer(model) if model.source else train_source_tokenizer(source, data)
    counts, fits, queries = ReaderCounts(), LengthPolicyCounts(), set[int]()

    def collect_queries(
        examples: Iterable[tuple[Split | None, Conversation]],
    ) -> Iterator[tuple[Split | None, Conversation]]:
        for split, example in examples:
            queries.add(hash_query(example.query))
            yield split, example

    folded = fold_examples(collect_queries(source.read_conversations(counts, on_progress)), fold_steps=data.fold_steps)
    fit, texts = make_length_limiter(tokenizer, data.fit, data.max_length, data.api_format)
    temporary = directory.with_name(f".{fingerprint}-{uuid.uuid4().hex[:8]}")
    temporary.mkdir()  # not mkdtemp, which ignores the umask: a group could not share the store
    try:
        table = _write_rows(temporary / "rows.arrow", tokenize_rows(folded, fit, texts, fits))
        if source.has_own_splits():
            validation = np.array([split == "validation" for split in table.splits], dtype=bool)
        else:
            held_out = select_held_out(queries, data.validation_fraction)
            validation = np.array([query in held_out for query in table.queries], dtype=bool)
        chosen = {"train": ~validation, "validation": validation}
        _check_splits_not_empty(chosen, data, counts, fits)
        for name, mask in chosen.items():
            np.save(temporary / f"{name}.npy", np.flatnonzero(mask))
        tokenizer.save_pretrained(str(temporary / "tokenizer"))
        lengths, targets = np.array(table.lengths), np.array(table.targets)
        manifest = DataManifest(
            fingerprint=fingerprint,
            source=source.describe(),
            licence=source.describe_license(),
            api_format=data.api_format,
            max_length=data.max_length,
            fit_policy=data.fit,
            read=counts.conversations,
            examples=fits.examples,
            rows=SplitCounts(**{name: int(mask.sum()) for name, mask in chosen.items()}),
            tokens=SplitCounts(**{name: int(lengths[mask].sum()) for name, mask in chosen.items()}),
            target_tokens=SplitCounts(**{name: int(targets[mask].sum()) for name, mask in chosen.items()}),
            truncated=fits.truncated_rows,
            fit=fits.summarize(),
            dropped=dict(counts.drop_counts + fits.drop_counts),
            valid_queries=counts.valid_queries,
            invalid_queries=counts.invalid_queries,
            arguments_not_json=counts.arguments_not_json,
            duplicate_ids=counts.duplicate_ids,
            problems=counts.problems,
            vocab_size=len(tokenizer),
            files=digest_files(temporary, ["*.arrow", "*.npy", "tokenizer/**/*"]),
        )
        write_json(temporary / "manifest.json", manifest.to_document())
        store.push(temporary, destination=directory)
        shutil.rmtree(directory, ignore_errors=True)
        temporary.replace(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@dataclass
class _RowTable:
    """Columns of the rows written: split (None if the data have none), hash of the query, sizes in tokens."""

    splits: list[Split | None]
    queries: list[int]
    lengths: list[int]
    targets: list[int]


def _write_rows(path: Path, rows: Iterator[tuple[FoldedRow, TokenizedRow]]) -> _RowTable:
    """Stream rows to an Arrow file; memory holds one batch of them."""
    import pyarrow as pa

    ids = pa.list_(pa.int32())
    schema = pa.schema({"input_ids": ids, "labels": ids, "length": pa.int32(), "target_tokens": pa.int32()})
    table = _RowTable([], [], [], [])
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        while batch := list(islice(rows, ROWS_PER_BATCH)):
            fitted = [row for _, row in batch]
            lengths = [len(row.input_ids) for row in fitted]
            targets = [int((row.labels != IGNORE_INDEX).sum()) for row in fitted]
            offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
            columns = [np.concatenate([getattr(row, name) for row in fitted]) for name in ("input_ids", "labels")]
            lists = [pa.ListArray.from_arrays(offsets, column) for column in columns]
            sizes = [pa.array(values, pa.int32()) for values in (lengths, targets)]
            writer.write_batch(pa.record_batch([*lists, *sizes], schema=schema))
            table.splits += [row.split for row, _ in batch]
            table.queries += [hash_query(row.full_conversation.query) for row, _ in batch]
            table.lengths += lengths
            table.targets += targets
    return table


def _check_splits_not_empty(
    chosen: Mapping[str, np.ndarray[Any, np.dtype[np.bool_]]],
    data: DataSpec,
    counts: ReaderCounts,
    fits: LengthPolicyCounts,
) -> None:
    for name, mask in chosen.items():
        if mask.any():
            continue
        dropped = ", ".join(f"{n} {reason}" for reason, n in Counter(counts.drop_counts + fits.drop_counts).items())
        why = "; ".join(counts.problems[:5]) or dropped or f"{counts.invalid_queries} queries marked invalid"
        left = f"{fits.examples} of {counts.conversations} examples are kept, none of them in {name}"
        raise DataError(
            f"data {data.path or data.name}",
            requested=f"{name} rows of at most {data.max_length} tokens, length policy {data.fit}",
            found=f"{left if fits.examples else f'no usable example in {counts.files} files'}: {why}",
            hint=("a larger data.max_length, another data.fit" if fits.drop_counts else "more data")
            + (", or another data.validation_fraction" if fits.examples else ""),
        )


def train_source_tokenizer(source: Source, data: DataSpec) -> PreTrainedTokenizerBase:
    """Train a tokenizer on the training split alone: validation and test text must not shape it."""
    held_out: set[int] = set()
    if not source.has_own_splits():
        held_out = select_held_out(
            {hash_query(c.query) for _, c in source.read_conversations(ReaderCounts())}, data.validation_fraction
        )
    training = (
        c
        for split, c in source.read_conversations(ReaderCounts())
        if split in (None, "train") and hash_query(c.query) not in held_out
    )
    texts = (
        segment.text
        for conversation in islice(training, MAX_TOKENIZER_CONVERSATIONS)
        for segment in make_conversation_segments(conversation, data.api_format)
    )
    return train_tokenizer(texts, data.vocab_size)


def _identify_tokenizer(data: DataSpec, model: ModelSpec) -> str:
    if model.source is None:
        return f"bpe:{TOKENIZER_VERSION}:{data.vocab_size}"
    directory = Path(model.source)
    files = sorted(
        p for p in directory.glob("*") if p.suffix in (".json", ".txt", ".model", ".jinja") and p.name != "config.json"
    )
    if not directory.is_dir():
        commit = find_hub_commit(model.source)
        return f"hub:{model.source}@{commit}" if commit else f"hub:{model.source}"
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode() + path.read_bytes())
    return "files:" + digest.hexdigest()

"""Tokenise once, store as Arrow, memory-map everywhere."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from sweeper.data.conversations import Conversation, Counts
from sweeper.data.encode import BATCH, Folded, encode, fitter, fold
from sweeper.data.fit import IGNORED, FitCounts, Fitted
from sweeper.data.render import conversation_segments
from sweeper.data.source import Source, Tell, held_out, open_source, split_hash
from sweeper.data.tokenizer import TOKENIZER_VERSION, load_tokenizer, train_tokenizer
from sweeper.errors import DataError
from sweeper.models import stretched_to
from sweeper.quiet import quiet_libraries
from sweeper.spec import DataSpec, ModelSpec
from sweeper.store import Store, read_json, write_json

ENCODING_VERSION = 2
"""Raised whenever the same conversations and tokeniser give other rows."""
SPLITS = ("train", "validation")
TOKENIZER_CONVERSATIONS = 20_000
"""A tokeniser is trained on at most so many conversations: more of the same text hardly changes it."""


@dataclass(frozen=True)
class Prepared:
    """A tokenised data set on disk: `rows.arrow`, `train.npy` and `validation.npy` (row numbers), `tokenizer/`,
    `manifest.json`."""

    fingerprint: str
    directory: Path
    manifest: dict[str, Any]

    def load(self, split: str) -> Any:
        """The rows of `train` or `validation`, memory-mapped: columns input_ids, labels, length, target_tokens."""
        from datasets import Dataset

        rows = np.load(self.directory / f"{split}.npy", allow_pickle=False)
        return Dataset.from_file(str(self.directory / "rows.arrow")).select(rows)

    def tokenizer(self) -> Any:
        """The tokeniser that made them."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.directory / "tokenizer")


def fingerprint(data: DataSpec, model: ModelSpec, storage: Path | None = None) -> str:
    """SHA-256 (first 16 hex digits) of source content, encoding policy and tokeniser. Tokenises nothing.

    Models built from a config share a tokeniser, and so a data set. Raises DataError where the source is missing.
    With `storage`, files hashed before are not hashed again.
    """
    return _identity(open_source(data, storage), data, model)


def _identity(source: Source, data: DataSpec, model: ModelSpec) -> str:
    identity = {
        "content": source.sha256(),
        "encoding": ENCODING_VERSION,
        "api_format": data.api_format,
        "fold_steps": data.fold_steps,
        "max_length": data.max_length,
        "fit": data.fit,
        "validation_fraction": None if source.splits() else data.validation_fraction,
        "tokenizer": _tokenizer_identity(data, model),
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def prepare(data: DataSpec, model: ModelSpec, storage: Store | Path, tell: Tell = lambda share: None) -> Prepared:
    """The data set under `<storage>/data/<fingerprint>/`, tokenised now unless it is there.

    It appears whole or not at all; two processes at once build it once, on one machine or on two with a store behind
    a URL. Raises DataError, and UsageError where the model has too few positions.
    """
    stretched_to(model, data)
    store = _store(storage)
    source = open_source(data, store.root)
    identity = _identity(source, data, model)
    directory = store.data(identity)
    try:
        with store.lock(directory.parent / f".{identity}"):
            store.pull(directory)
            if not (directory / "manifest.json").exists():
                _build(source, data, model, identity, store, tell)
    except OSError as error:
        raise DataError(
            f"data {data.path or data.name}",
            asked=f"tokens under {directory}",
            found=f"cannot be written: {error}; nothing half-written was kept",
            do="free some space, or another --storage",
        ) from error
    return _opened(store, identity)


def open_prepared(storage: Store | Path, identity: str) -> Prepared:
    """A data set that was prepared before. Raises StoreError where it was not."""
    store = _store(storage)
    store.pull(store.data(identity))
    return _opened(store, identity)


def prepared_manifest(store: Store, identity: str) -> dict[str, Any]:
    """The manifest alone of a data set that was prepared before. Raises StoreError where it was not."""
    store.pull(store.data(identity), only=["manifest.json"])
    return _opened(store, identity).manifest


def _opened(store: Store, identity: str) -> Prepared:
    directory = store.data(identity)
    return Prepared(identity, directory, read_json(directory / "manifest.json"))


def _store(storage: Store | Path) -> Store:
    return storage if isinstance(storage, Store) else Store(storage)


def describe(prepared: Prepared) -> str:
    """What was kept, cut and dropped and why, in a line or two."""
    m = prepared.manifest
    dropped = ", ".join(f"{count:,} {reason}" for reason, count in m["dropped"].items()) or "none"
    text = (
        f"data {prepared.fingerprint}: {m['rows']['train']:,} training rows ({m['tokens']['train']:,} tokens), "
        f"{m['rows']['validation']:,} for validation; fit {m['fit_policy']}: {m['truncated']:,} truncated, "
        f"dropped: {dropped}"
    )
    if m["problems"]:
        text += f"\n  {m['problems'][0]}" + (f" (and {len(m['problems']) - 1} more)" if len(m["problems"]) > 1 else "")
    return text


def _build(source: Source, data: DataSpec, model: ModelSpec, identity: str, store: Store, tell: Tell) -> None:
    quiet_libraries()
    directory = store.data(identity)
    for stale in directory.parent.glob(f".{identity}-*"):  # of a build that was killed; the lock is ours
        shutil.rmtree(stale, ignore_errors=True)
    tokenizer = load_tokenizer(model) if model.source else trained_tokenizer(source, data)
    counts, fits, queries = Counts(), FitCounts(), set[int]()

    def noted(examples: Iterable[tuple[str | None, Conversation]]) -> Iterator[tuple[str | None, Conversation]]:
        for split, example in examples:
            queries.add(split_hash(example.query))
            yield split, example

    folded = fold(noted(source.read(counts, tell)), fold_steps=data.fold_steps)
    fit, texts = fitter(tokenizer, data.fit, data.max_length, data.api_format)
    temporary = Path(tempfile.mkdtemp(prefix=f".{identity}-", dir=directory.parent))
    try:
        table = _write_rows(temporary / "rows.arrow", encode(folded, fit, texts, fits))
        if source.splits():
            validation = np.array([split == "validation" for split in table.splits], dtype=bool)
        else:
            apart = held_out(queries, data.validation_fraction)
            validation = np.array([query in apart for query in table.queries], dtype=bool)
        chosen = {"train": ~validation, "validation": validation}
        _refuse_empty(chosen, data, counts, fits)
        for name, mask in chosen.items():
            np.save(temporary / f"{name}.npy", np.flatnonzero(mask))
        tokenizer.save_pretrained(str(temporary / "tokenizer"))
        lengths, targets = np.array(table.lengths), np.array(table.targets)
        manifest = {
            "fingerprint": identity,
            "source": source_json(source),
            "licence": source.licence(),
            "api_format": data.api_format,
            "max_length": data.max_length,
            "fit_policy": data.fit,
            "read": counts.conversations,
            "examples": fits.examples,
            "rows": {name: int(mask.sum()) for name, mask in chosen.items()},
            "tokens": {name: int(lengths[mask].sum()) for name, mask in chosen.items()},
            "target_tokens": {name: int(targets[mask].sum()) for name, mask in chosen.items()},
            "truncated": fits.truncated,
            "fit": fits.json(),
            "dropped": dict(counts.dropped + fits.dropped),
            "valid_queries": counts.valid_queries,
            "invalid_queries": counts.invalid_queries,
            "arguments_not_json": counts.arguments_not_json,
            "duplicate_ids": counts.duplicate_ids,
            "problems": counts.problems,
            "vocab_size": len(tokenizer),
        }
        write_json(temporary / "manifest.json", manifest)
        store.push(temporary, to=directory)
        shutil.rmtree(directory, ignore_errors=True)
        temporary.replace(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def source_json(source: Source) -> dict[str, Any]:
    """What was read, as manifests and `inspect --json` have it."""
    return {
        "kind": source.kind,
        "location": source.location,
        "files": len(source.files),
        "sha256": source.sha256(),
    }


@dataclass
class _Table:
    """Of every row written: its split where it came with one, its query, its sizes in tokens."""

    splits: list[str | None]
    queries: list[int]
    lengths: list[int]
    targets: list[int]


def _write_rows(path: Path, rows: Iterator[tuple[Folded, Fitted]]) -> _Table:
    """Stream rows to an Arrow file. Memory holds one batch of them."""
    import pyarrow as pa

    ids = pa.list_(pa.int32())
    schema = pa.schema({"input_ids": ids, "labels": ids, "length": pa.int32(), "target_tokens": pa.int32()})
    table = _Table([], [], [], [])
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        while batch := list(islice(rows, BATCH)):
            fitted = [row for _, row in batch]
            lengths = [len(row.input_ids) for row in fitted]
            targets = [int((row.labels != IGNORED).sum()) for row in fitted]
            offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
            columns = [np.concatenate([getattr(row, name) for row in fitted]) for name in ("input_ids", "labels")]
            lists = [pa.ListArray.from_arrays(offsets, column) for column in columns]
            sizes = [pa.array(values, pa.int32()) for values in (lengths, targets)]
            writer.write_batch(pa.record_batch([*lists, *sizes], schema=schema))
            table.splits += [row.split for row, _ in batch]
            table.queries += [split_hash(row.whole.query) for row, _ in batch]
            table.lengths += lengths
            table.targets += targets
    return table


def _refuse_empty(chosen: dict[str, Any], data: DataSpec, counts: Counts, fits: FitCounts) -> None:
    for name, mask in chosen.items():
        if mask.any():
            continue
        dropped = ", ".join(f"{n} {reason}" for reason, n in Counter(counts.dropped + fits.dropped).items())
        why = "; ".join(counts.problems[:5]) or dropped or f"{counts.invalid_queries} queries marked invalid"
        left = f"{fits.examples} of {counts.conversations} examples are left, none of them for {name}"
        raise DataError(
            f"data {data.path or data.name}",
            asked=f"{name} rows of at most {data.max_length} tokens, fit: {data.fit}",
            found=f"{left if fits.examples else f'no usable example in {counts.files} files'}: {why}",
            do=("a larger data.max_length, another data.fit" if fits.dropped else "more data")
            + (", or another data.validation_fraction" if fits.examples else ""),
        )


def trained_tokenizer(source: Source, data: DataSpec) -> Any:
    """Trained on the training split alone: validation and test text must not shape it."""
    apart: set[int] = set()
    if not source.splits():
        apart = held_out({split_hash(c.query) for _, c in source.read(Counts())}, data.validation_fraction)
    training = (
        c for split, c in source.read(Counts()) if split in (None, "train") and split_hash(c.query) not in apart
    )
    texts = (
        segment.text
        for conversation in islice(training, TOKENIZER_CONVERSATIONS)
        for segment in conversation_segments(conversation, data.api_format)
    )
    return train_tokenizer(texts, data.vocab_size)


def _tokenizer_identity(data: DataSpec, model: ModelSpec) -> str:
    if model.source is None:
        return f"bpe:{TOKENIZER_VERSION}:{data.vocab_size}"
    directory = Path(model.source)
    files = sorted(
        p for p in directory.glob("*") if p.suffix in (".json", ".txt", ".model") and p.name != "config.json"
    )
    if not directory.is_dir():
        return f"hub:{model.source}"
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode() + path.read_bytes())
    return "files:" + digest.hexdigest()

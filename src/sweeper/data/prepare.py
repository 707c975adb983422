"""Tokenise once, store as Arrow, memory-map everywhere."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from sweeper.data.conversations import Counts
from sweeper.data.encode import encode, fold
from sweeper.data.render import conversation_segments
from sweeper.data.source import Split, content_hash, read_split
from sweeper.data.tokenizer import TOKENIZER_VERSION, load_tokenizer, train_tokenizer
from sweeper.errors import DataError
from sweeper.quiet import quiet_libraries
from sweeper.spec import DataSpec, ModelSpec
from sweeper.store import read_json, write_json

ENCODING_VERSION = 1
"""Raised whenever the same conversations and tokeniser give other rows."""


@dataclass(frozen=True)
class Prepared:
    """A tokenised data set on disk: `train/` and `validation/` (Arrow), `tokenizer/`, `manifest.json`."""

    fingerprint: str
    directory: Path
    manifest: dict[str, Any]

    def load(self, split: str) -> Any:
        """The rows of `train` or `validation`, memory-mapped: columns input_ids, labels, length, target_tokens."""
        from datasets import load_from_disk

        return load_from_disk(str(self.directory / split))

    def tokenizer(self) -> Any:
        """The tokeniser that made them."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.directory / "tokenizer")


def fingerprint(data: DataSpec, model: ModelSpec) -> str:
    """SHA-256 (first 16 hex digits) of source content, encoding policy and tokeniser. Tokenises nothing.

    Models built from a config share a tokeniser, and so a data set. Raises DataError where the source is missing.
    """
    identity = {
        "content": content_hash(data),
        "encoding": ENCODING_VERSION,
        "api_format": data.api_format,
        "fold_steps": data.fold_steps,
        "max_length": data.max_length,
        "validation_fraction": data.validation_fraction if data.source == "toolbench" else None,
        "tokenizer": _tokenizer_identity(data, model),
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def prepare(data: DataSpec, model: ModelSpec, storage: Path) -> Prepared:
    """The data set under `<storage>/data/<fingerprint>/`, tokenised now unless it is there.

    It appears whole or not at all; two processes at once build it once. Raises DataError.
    """
    identity = fingerprint(data, model)
    directory = storage / "data" / identity
    directory.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(directory.parent / f".{identity}.lock"):
        if not (directory / "manifest.json").exists():
            _build(data, model, identity, directory)
    return Prepared(identity, directory, read_json(directory / "manifest.json"))


def describe(prepared: Prepared) -> str:
    """One line a person reads: what was kept, what was dropped and why."""
    m = prepared.manifest
    dropped = ", ".join(f"{count} {reason}" for reason, count in m["dropped"].items()) or "none"
    return (
        f"data {prepared.fingerprint}: {m['rows']['train']} training rows ({m['tokens']['train']:,} tokens), "
        f"{m['rows']['validation']} for validation; {m['truncated']} truncated, dropped: {dropped}"
    )


def _build(data: DataSpec, model: ModelSpec, identity: str, directory: Path) -> None:
    from datasets import Dataset

    quiet_libraries()
    counts = Counts()
    split = read_split(data, counts)
    examples = {name: len(conversations) for name, conversations in split.items()}
    tokenizer = load_tokenizer(model) if model.source else _trained(split, data)
    temporary = Path(tempfile.mkdtemp(prefix=f".{identity}-", dir=directory.parent))
    try:
        rows, tokens, targets = {}, {}, {}
        for name, conversations in split.items():
            folded = fold(conversations, fold_steps=data.fold_steps)
            columns = encode(folded, tokenizer, data.api_format, data.max_length, counts)
            if not columns["length"]:
                raise DataError(
                    f"data {data.path or data.name}",
                    asked=f"{name} rows of at most {data.max_length} tokens",
                    found=f"all {len(folded)} are longer",
                    do="a larger data.max_length",
                )
            Dataset.from_dict(columns).save_to_disk(str(temporary / name))
            rows[name], tokens[name] = len(columns["length"]), sum(columns["length"])
            targets[name] = sum(columns["target_tokens"])
        tokenizer.save_pretrained(str(temporary / "tokenizer"))
        manifest = {
            "fingerprint": identity,
            "source": data.source,
            "content_sha256": content_hash(data),
            "examples": examples,
            "rows": rows,
            "tokens": tokens,
            "target_tokens": targets,
            "truncated": 0,
            "dropped": dict(counts.dropped),
            "invalid_queries": counts.invalid_queries,
            "problems": counts.problems,
            "vocab_size": len(tokenizer),
        }
        write_json(temporary / "manifest.json", manifest)
        shutil.rmtree(directory, ignore_errors=True)
        temporary.replace(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _trained(split: Split, data: DataSpec) -> Any:
    """Trained on the training split alone: validation and test text must not shape it."""
    texts = (s.text for c in split["train"] for s in conversation_segments(c, data.api_format))
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

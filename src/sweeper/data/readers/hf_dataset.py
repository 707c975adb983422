"""A Hugging Face dataset, on disk or by hub id, with rows of either shape -> conversations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sweeper.data.conversations import Conversation, ReaderCounts
from sweeper.data.readers.toolbench import parse_toolbench_answer
from sweeper.data.readers.toolllama import parse_toolllama_example
from sweeper.errors import DataError

SPLIT_NAMES = {"train": "train", "validation": "validation", "eval": "validation"}
"""Split of the dataset -> ours; its test split is not read."""


def open_hf_dataset(location: str) -> dict[str | None, Any]:
    """Our split (None where the dataset has a single, unnamed one) -> rows, memory-mapped. Raises DataError."""
    import datasets

    try:
        opener = datasets.load_from_disk if Path(location).is_dir() else datasets.load_dataset
        found = opener(location)
    except Exception as error:  # the library raises a dozen kinds, and the hub's client some more
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"data {location}",
            requested="a Hugging Face dataset",
            found=why,
            hint="a folder written by save_to_disk, or a hub id that this machine can reach",
        ) from error
    if isinstance(found, datasets.Dataset):
        return {None: found}
    known: dict[str | None, Any] = {SPLIT_NAMES[name]: rows for name, rows in found.items() if name in SPLIT_NAMES}
    if "train" not in known:
        raise DataError(f"data {location}", requested="a train split", found=f"splits {', '.join(found)}")
    return known if "validation" in known else {None: known["train"]}


def read_hf_dataset(
    location: str, rows: Any, counts: ReaderCounts, on_progress: Callable[[float], None] = lambda share: None
) -> Iterator[Conversation]:
    """The conversations of rows in ToolLLaMA's released shape or in that of ToolBench's answers."""
    for number, row in enumerate(rows):
        place = f"{location}[{number}]"
        if number % 200 == 0:
            on_progress(number / len(rows))
        if "answer_generation" in row:
            yield from parse_toolbench_answer(place, row, counts)
            continue
        talk = row.get("conversations")
        if isinstance(talk, dict):  # the library turns a list of structs into a struct of lists
            talk = [dict(zip(talk, values, strict=False)) for values in zip(*talk.values(), strict=False)]
        conversation = parse_toolllama_example(place, {"id": row.get("id"), "conversations": talk}, counts)
        if conversation is not None:
            yield conversation

"""A Hugging Face dataset, on disk or by hub id, with ToolLLaMA's or ToolBench's rows -> conversations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.config import DataSpec
from sweeper.data.conversations import Conversation, ReaderCounts
from sweeper.data.readers.base import DataLocation, FractionReporter, Match, Source, SourcePart, Split
from sweeper.data.readers.toolbench import parse_toolbench_answer
from sweeper.data.readers.toolllama import parse_toolllama_example
from sweeper.errors import DataError
from sweeper.storage import list_files

if TYPE_CHECKING:
    from datasets import Dataset

SPLIT_NAMES: Mapping[str, Split] = {"train": "train", "validation": "validation", "eval": "validation"}
"""Split of the dataset -> ours; its test split is not read."""
_MARKER_FILES = ("dataset_info.json", "dataset_dict.json", "state.json")

FORMAT = {"kind": "dataset", "description": "a Hugging Face dataset"}


class HfDatasetReader:
    """Reader of a folder written by `save_to_disk`, or of a dataset of the hub."""

    def match(self, location: DataLocation) -> Match:
        """Return MARKER for a saved dataset, and for `owner/name` where no such path exists."""
        if location.path.exists():
            return Match.MARKER if any((location.path / name).is_file() for name in _MARKER_FILES) else Match.NONE
        owner, _, name = location.written.partition("/")
        is_hub_id = bool(owner and name) and "/" not in name and owner[0] not in ".~"
        return Match.MARKER if is_hub_id else Match.NONE

    def open(self, location: DataLocation, spec: DataSpec) -> Source:
        """Open it, memory-mapped. A hub dataset's identity is its own fingerprint."""
        name = str(location.path) if location.path.exists() else location.written
        files = list_files(Path(name)).files
        splits = open_hf_dataset(name)
        return Source(
            FORMAT["kind"],
            name,
            tuple(SourcePart(split, partial(read_hf_dataset, name, rows)) for split, rows in splits.items()),
            files,
            content_identity="" if files else "".join(str(rows._fingerprint) for rows in splits.values()),
            license="see the dataset's card",
            has_only_valid_answers=True,
        )


READER = HfDatasetReader()


def open_hf_dataset(location: str) -> dict[Split | None, Dataset]:
    """Open a dataset by folder or hub id.

    Returns:
        Our split -> rows, memory-mapped; None -> rows for a dataset without a validation split.

    Raises:
        DataError: it cannot be opened, or has no train split.
    """
    import datasets

    try:
        opener = datasets.load_from_disk if Path(location).is_dir() else datasets.load_dataset
        opened = opener(location)
    except Exception as error:  # the library raises a dozen kinds, and the hub's client some more
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"data {location}",
            requested="a Hugging Face dataset",
            found=why,
            hint="a folder written by save_to_disk, or a hub id that this machine can reach",
        ) from error
    if isinstance(opened, datasets.Dataset):
        return {None: opened}
    splits: dict[Split | None, Dataset] = {
        SPLIT_NAMES[name]: rows for name, rows in opened.items() if name in SPLIT_NAMES
    }
    if "train" not in splits:
        raise DataError(f"data {location}", requested="a train split", found=f"splits {', '.join(opened)}")
    return splits if "validation" in splits else {None: splits["train"]}


def read_hf_dataset(
    location: str, rows: Dataset, counts: ReaderCounts, on_progress: FractionReporter = lambda share: None
) -> Iterator[Conversation]:
    """Yield the conversations of rows in ToolLLaMA's released form or in that of ToolBench's answers."""
    for number, row in enumerate(rows):
        place = f"{location}[{number}]"
        if number % 200 == 0:
            on_progress(number / len(rows))
        if "answer_generation" in row:
            yield from parse_toolbench_answer(place, row, counts)
            continue
        example = {"id": row.get("id"), "conversations": _restore_list(row.get("conversations"))}
        conversation = parse_toolllama_example(place, example, counts)
        if conversation is not None:
            yield conversation


def _restore_list(messages: Any) -> Any:
    """Undo the library's conversion of a list of structs into a struct of lists."""
    if not isinstance(messages, dict):
        return messages
    return [dict(zip(messages, values, strict=False)) for values in zip(*messages.values(), strict=False)]

"""Hugging Face datasets give the conversations of the answers."""

from __future__ import annotations

import json
from pathlib import Path

from tiny_data import make_toolbench_spec, read_conversations

from sweeper.data.conversations import ReaderCounts
from sweeper.data.sources import open_source


def test_dataset_of_either_form_gives_the_same_conversations(answers: Path, released: Path, tmp_path: Path) -> None:
    import datasets

    expected, _ = read_conversations(answers)
    rows = json.loads(released.read_text())
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "released")
    assert read_conversations(tmp_path / "released")[0] == expected
    documents = [
        {"answer_generation": json.loads(f.read_text())["answer_generation"]} for f in sorted(answers.rglob("*.json"))
    ]
    for document in documents:  # a column has one schema for all rows
        document["answer_generation"] = {
            k: document["answer_generation"][k] for k in ("valid_data", "query", "function", "train_messages")
        }
    small = documents[:1]
    datasets.Dataset.from_list(small).save_to_disk(tmp_path / "answers")
    parsed, counts = read_conversations(tmp_path / "answers")
    assert counts.drop_counts == {}
    assert [c.turns[-1] for c in parsed] == [c.turns[-1] for c in expected[: len(parsed)]]


def test_dataset_keeps_its_own_validation_split(released: Path, tmp_path: Path) -> None:
    import datasets

    rows = json.loads(released.read_text())
    splits = {"train": rows[:5], "validation": rows[5:7], "test": rows[7:]}
    datasets.DatasetDict({k: datasets.Dataset.from_list(v) for k, v in splits.items()}).save_to_disk(tmp_path / "d")
    source = open_source(make_toolbench_spec(tmp_path / "d"))
    assert source.has_own_splits()
    assert [split for split, _ in source.read_conversations(ReaderCounts())] == ["train"] * 5 + ["validation"] * 2

"""A source is exported in ToolLLaMA's released form."""

from __future__ import annotations

from pathlib import Path

from tiny_data import read_conversations


def test_export_toolllama_and_its_reader_restore_the_conversations(answers: Path, released: Path) -> None:
    assert read_conversations(released)[0] == read_conversations(answers)[0]

"""Small training data: a generated world, and specifications of data on disk."""

from __future__ import annotations

from pathlib import Path

from sweeper.config import DataSpec, ModelSpec
from sweeper.data import Conversation, ReaderCounts
from sweeper.data.sources import open_source

MODEL = ModelSpec(name="tiny", config={"hidden_size": 8, "max_position_embeddings": 4000})
SETTINGS = {"train_queries": 20, "validation_queries": 6, "test_queries_per_subset": 3}
WORLD = DataSpec(
    name="w", source="toolworld", toolworld=SETTINGS, api_format="signature", fold_steps=True, max_length=400
)


def make_toolbench_spec(path: Path | str, **fields: object) -> DataSpec:
    """Make the specification of data at a path, whose format is detected."""
    values = {"name": "d", "source": "toolbench", "path": str(path), "api_format": "toolbench", "fold_steps": False}
    return DataSpec(**(values | {"max_length": 4000, "validation_fraction": 0.2} | fields))  # type: ignore[arg-type]


def read_conversations(path: Path | str) -> tuple[list[Conversation], ReaderCounts]:
    """Read the conversations at a path, and count what is left out."""
    counts = ReaderCounts()
    source = open_source(make_toolbench_spec(path))
    return [conversation for _, conversation in source.read_conversations(counts)], counts

"""Export of a world to disk in ToolBench's layout."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from sweeper.toolworld.toolbench_format import TrainingSplit, make_test_query_documents, make_training_documents
from sweeper.toolworld.world import World


def export_world(world: World, directory: Path) -> None:
    """Write all documents of a world; files of the same name are overwritten.

    Args:
        world: the world.
        directory: gets `answer/G*_answer/*.json` (training split), `validation_answer/G*_answer/*.json`,
            `test_instruction/`, `test_query_ids/` and `world.json` (the settings).

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> world = build_world(WorldConfig(seed=1, train_queries=20, test_queries_per_subset=1))
        >>> folder = Path(tempfile.mkdtemp())
        >>> export_world(world, folder)
        >>> sorted(path.name for path in folder.iterdir())
        ['answer', 'test_instruction', 'test_query_ids', 'validation_answer', 'world.json']
    """
    folders: dict[TrainingSplit, str] = {"train": "answer", "validation": "validation_answer"}
    for split, folder in folders.items():
        for name, document in make_training_documents(world, split):
            _write_json(directory / folder / name, document)
    for subset, queries in make_test_query_documents(world).items():
        _write_json(directory / "test_instruction" / f"{subset}.json", queries)
        ids = {str(query["query_id"]): 0 for query in queries}
        _write_json(directory / "test_query_ids" / f"{subset}.json", ids)
    _write_json(directory / "world.json", dataclasses.asdict(world.config))


def _write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

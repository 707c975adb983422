"""Write a world to disk in ToolBench's layout."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from sweeper.toolworld.formats import test_queries, training_answers
from sweeper.toolworld.world import World


def export(world: World, directory: Path) -> None:
    """Write `answer/G*_answer/*.json` (training split), `validation_answer/G*_answer/*.json`, `test_instruction/`,
    `test_query_ids/` and `world.json` (the settings). Overwrites files of the same name."""
    directory = Path(directory)
    for split, folder in (("train", "answer"), ("validation", "validation_answer")):
        for name, document in training_answers(world, split):  # type: ignore[arg-type]
            _write(directory / folder / name, document)
    for subset, queries in test_queries(world).items():
        _write(directory / "test_instruction" / f"{subset}.json", queries)
        ids = {str(query["query_id"]): 0 for query in queries}
        _write(directory / "test_query_ids" / f"{subset}.json", ids)
    _write(directory / "world.json", dataclasses.asdict(world.config))


def _write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

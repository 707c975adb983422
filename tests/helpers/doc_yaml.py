"""YAML of the documentation: whole sweeps, parts of a sweep, named configurations, and assumed truths."""

from __future__ import annotations

import copy
from dataclasses import fields
from pathlib import Path
from typing import Any

from doc_examples import Block, read_blocks
from ruamel.yaml import YAML

import sweeper
from sweeper.config.library import _FOLDERS, ConfigLibrary
from sweeper.statistics.simulated_outcomes import GroundTruth

_TRUTH_KEYS = {field.name for field in fields(GroundTruth)} - {"query_counts"} | {"judge_noise", "optional_stopping"}


def load_page_yaml(page: str) -> None:
    """Load every block of a page, and print what it was. A part of a sweep continues the sweep before it."""
    base = _read(Path("sweeps/quickstart.yaml").read_text()) | {"claims": []}
    for block in read_blocks(Path(page), "yaml"):
        content = _read(block.text)
        if "name" in content and "axes" in content:
            base = content
        try:
            print(block.place, load_block(block, content, base))
        except Exception as error:
            error.add_note(f"the block at {block.place}")
            raise


def load_block(block: Block, content: dict[str, Any], base: dict[str, Any]) -> str:
    """Load one block; what it was."""
    if block.title.startswith("configs/"):
        path = Path(block.title)
        kind = next(kind for kind, folder in _FOLDERS.items() if folder == path.parent.name)
        return ConfigLibrary().load(kind, path.stem).__class__.__name__
    if "arms" in content:
        assert set(content) <= _TRUTH_KEYS
        sweeper.plan(sweeper.load_sweep("quickstart"), storage=None).simulate(content, studies=2)
        return "truth"
    sweep = copy.deepcopy(base) | content
    if not set(content) & {"claims", "axes"}:
        sweep["claims"] = []
    if models := [name for name in content.get("runtime", {}) if name != "default"]:
        sweep["axes"]["model"] = models
    return sweeper.load_sweep(sweep).name


def _read(text: str) -> dict[str, Any]:
    content: dict[str, Any] = YAML(typ="safe").load(text)
    return content

"""Hook of MkDocs: lists the decision records of `adr/` in the navigation."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig

TAB = "Design decisions"
INDEX = "adr/index.md"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add one navigation entry per record, in order of file names."""
    entries = [{read_title(path): f"adr/{path.name}"} for path in list_records(Path(config.docs_dir))]
    config.nav = [*(config.nav or []), {TAB: [{"All decisions": INDEX}, *entries]}]
    return config


def list_records(folder: Path) -> list[Path]:
    """List the records, in order of their numbers."""
    return sorted((folder / "adr").glob("[0-9]*.md"))


def read_title(path: Path) -> str:
    """Return the first heading of a record."""
    found = re.search(r"^# (.+)$", path.read_text(), re.MULTILINE)
    return found.group(1).strip() if found else path.stem

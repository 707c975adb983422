"""Hook of MkDocs: adds the decision records of `adr/` to the navigation, by topic."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig

TAB = "Design decisions"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add one navigation entry per record, in order of numbers within each topic."""
    topics: dict[str, list[dict[str, str]]] = {}
    for topic, title, page in read_records(Path(config.docs_dir)):
        topics.setdefault(topic, []).append({title: page})
    sections = [{topic: entries} for topic, entries in topics.items()]
    config.nav = [*(config.nav or []), {TAB: ["adr/index.md", *sections]}]
    return config


def read_records(docs: Path) -> Iterator[tuple[str, str, str]]:
    """Yield topic, title and page of each record.

    Raises:
        ValueError: a record without a title or a topic.
    """
    for path in sorted((docs / "adr").glob("[0-9]*.md")):
        title, topic = (
            re.search(pattern, path.read_text(), re.MULTILINE) for pattern in (r"^# \d+\. (.+)$", r"^- Topic: (.+)$")
        )
        if title is None or topic is None:
            raise ValueError(f"{path}: no title `# NUMBER. TITLE`, or no line `- Topic: TOPIC`")
        yield topic[1].strip(), title[1].strip(), f"adr/{path.name}"

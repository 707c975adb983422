"""Hook of MkDocs: lists the decision records of `adr/` in the navigation and on a page of their own."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

TAB = "Design decisions"
INDEX = "adr/index.md"
_INTRODUCTION = """# Design decisions

One decision a page: what was decided, why, what was tried and measured, and what did not work.
"""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add one navigation entry per record, in order of file names."""
    folder = Path(config.docs_dir)
    records = list_records(folder)
    log = [{"Log": "log.md"}] if (folder / "log.md").is_file() else []
    if records or log:
        entries = [{read_title(path): f"adr/{path.name}"} for path in records]
        overview = [{"All decisions": INDEX}] if records else []
        config.nav = [*(config.nav or []), {TAB: [*overview, *entries, *log]}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the list of all records, unless the folder has an `index.md` or `README.md`."""
    records = list_records(Path(config.docs_dir))
    if records and not files.get_file_from_path(INDEX):
        rows = [f"- [{read_title(path)}]({path.name})" for path in records]
        files.append(File.generated(config, INDEX, content="\n".join((_INTRODUCTION, *rows, ""))))
    return files


def list_records(folder: Path) -> list[Path]:
    """List the records, in order of their numbers."""
    return sorted((folder / "adr").glob("[0-9]*.md"))


def read_title(path: Path) -> str:
    """Return the first heading of a record."""
    found = re.search(r"^# (.+)$", path.read_text(), re.MULTILINE)
    return found.group(1).strip() if found else path.stem

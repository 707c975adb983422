"""A source is opened by the reader that its data match best."""

from __future__ import annotations

from pathlib import Path

import pytest
from package_copy import run_with_extra_files
from tiny_data import make_toolbench_spec, read_conversations

from sweeper.data.sources import open_source
from sweeper.errors import DataError


def test_open_source_refuses_a_missing_and_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such"):
        read_conversations(tmp_path / "missing")
    with pytest.raises(DataError, match=r"no known format.*\n.*ToolBench answers; ToolLLaMA's released data"):
        read_conversations(tmp_path)


def test_open_source_names_what_is_missing_or_unreadable(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "none", "no such"), (tmp_path, "no known format")):
        with pytest.raises(DataError, match=message):
            read_conversations(path)
    with pytest.raises(DataError, match="no path"):
        open_source(make_toolbench_spec("x").model_copy(update={"path": None}))
    with pytest.raises(DataError, match="Hugging Face"):
        read_conversations("nobody/nothing-here")


LINES_READER = """
from pathlib import Path
from sweeper.data.conversations import ApiList, Conversation, Turn
from sweeper.data.readers.base import Match, Source, SourcePart

FORMAT = {"kind": "lines", "description": "a file of queries, one a line"}


def read(file, counts):
    for number, line in enumerate(file.read_text().splitlines()):
        yield Conversation(str(number), line, (Turn("user", line), Turn("assistant", "yes")), ApiList([]))


class LinesReader:
    def match(self, location):
        return Match.NAMES_OR_SHAPE if location.path.suffix == ".lines" else Match.NONE

    def open(self, location, spec):
        part = SourcePart(None, lambda counts, on_progress: read(location.path, counts))
        return Source("lines", str(location.path), (part,), (location.path,), load_categories=lambda: {"t": "Travel"})


READER = LinesReader()
"""
OPEN_LINES = """
from pathlib import Path
from tiny_data import make_toolbench_spec
from sweeper.config import find_sweep, load_sweep
from sweeper.data.conversations import ReaderCounts
from sweeper.data.sources import open_source
from sweeper.report.build import describe_data
from sweeper.training import TrialRow

path = Path(FOLDER) / "queries.lines"
path.write_text("How?\\nWhy?\\n")
source = open_source(make_toolbench_spec(str(path)))
print(len(list(source.read_conversations(ReaderCounts()))), source.load_categories())
sweep = load_sweep(find_sweep("canonical"), ["evaluation=null", "claims=[]"])
print(describe_data(sweep, [TrialRow("x", "COMPLETE", data={"source": source.describe().model_dump()})]))
"""


def test_format_is_added_by_one_file(tmp_path: Path) -> None:
    code = OPEN_LINES.replace("FOLDER", repr(str(tmp_path)))
    printed = run_with_extra_files(tmp_path, {"data/readers/lines.py": LINES_READER}, code)
    assert printed.splitlines() == ["2 {'t': 'Travel'}", "a file of queries, one a line"]

"""The decision records: one decision a file, dated, at most a page, and listed in the index."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "docs/adr"
RECORDS = sorted(FOLDER.glob("[0-9]*.md"))
MOST_WORDS = 350
STATUSES = {"accepted", "superseded", "rejected"}


def test_numbers_are_consecutive() -> None:
    assert [path.name[:4] for path in RECORDS] == [f"{k:04d}" for k in range(1, len(RECORDS) + 1)]


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.name[:4])
def test_record_has_its_parts_on_one_page(path: Path) -> None:
    text = path.read_text()
    assert text.startswith(f"# {path.name[:4]}. ")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]
    date.fromisoformat(re.search(r"^- Date: (\S+)$", text, re.MULTILINE)[1])  # type: ignore[index]
    assert re.search(r"^- Status: (\S+)$", text, re.MULTILINE)[1] in STATUSES  # type: ignore[index]
    assert len(text.split()) <= MOST_WORDS


def test_index_lists_every_record_with_its_title_date_and_status() -> None:
    index = (FOLDER / "index.md").read_text()
    for path in RECORDS:
        text = path.read_text()
        title, day, status = (
            re.search(pattern, text, re.MULTILINE)[1]  # type: ignore[index]
            for pattern in (r"^# \d+\. (.+)$", r"^- Date: (.+)$", r"^- Status: (.+)$")
        )
        assert f"| {path.name[:4]} | [{title}]({path.name}) | {day} | {status} |" in index
    assert index.count("](0") == len(RECORDS)

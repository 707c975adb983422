from __future__ import annotations

import json
import re

import pytest
from wide_tables import long_document

from sweeper.report import render_html
from sweeper.report.html_tables import build_html_tables


@pytest.mark.slow
def test_long_table_is_one_escaped_block_of_json() -> None:
    attack = "</script><script>alert(1)</script>"
    report = json.loads(json.dumps(long_document()).replace("opt-1.3b", attack))
    page = render_html(report)
    assert "<script>alert(1)" not in page
    block = json.loads(re.search(r'id="grids">(.*?)</script>', page, re.S).group(1))  # type: ignore[union-attr]
    rows = block["trials"]["rows"]
    assert len(rows) == len(report["trials"]) and any(attack in row for row in rows)
    assert page.count("<tr>") < 600
    grid = build_html_tables(report)["trials"]
    assert len(grid.static_rows) < len(grid.rows)

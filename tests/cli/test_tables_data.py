from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from sweeper.cli.tables_data import render_contamination_table

SUBSET = {"subset": "G1_tool", "promise": "unseen tools", "verdict": "broken", "queries": 1234, "exact_duplicates": 1}
SUBSET |= {"near_duplicates": 2, "excluded": 3, "tools": 10, "tools_in_training": 4, "apis": 20, "apis_in_training": 0}
SUBSET |= {"categories": 5, "categories_in_training": None}


def print_text(renderable: Any) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(renderable)
    return console.export_text()


def test_render_contamination_table_shows_shares_and_counts_what_it_leaves_out() -> None:
    excluded = [{"subset": "G1_tool", "query_id": str(k), "reasons": ["seen"]} for k in range(25)]
    text = print_text(
        render_contamination_table(
            {
                "train": {"queries": 9, "functions": 8, "location": "here", "problems": ["a file is damaged"]},
                "test": {"name": "suite", "queries": 1234, "missing_ids": {"G1_tool": ["1", "2"]}},
                "subsets": [SUBSET],
                "exclude": excluded,
            }
        )
    )
    for part in (
        "broken",
        "1,234",
        "4/10",
        "0/20",
        "unknown",
        "missing in G1_tool: 2 ids",
        "problem: a file is damaged",
    ):
        assert part in text
    assert "exclude G1_tool 19: seen" in text and "exclude G1_tool 20" not in text
    assert "and 5 more: --json or --out lists all" in text

"""A study's tables -> its report, and the report -> files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.report.html import render_html
from sweeper.report.model import CAVEAT, build_report, to_json
from sweeper.spec import load_references
from sweeper.store import write_bytes

if TYPE_CHECKING:
    from sweeper.spec import Sweep
    from sweeper.study import StudyTables


def report_study(tables: StudyTables) -> dict[str, Any]:
    """The report of a study as read from the store."""
    import pandas as pd

    sweep = tables.plan.sweep
    # `dtype=object`: whole numbers and None stay what they are in the report's own trials.
    rows = [row | {"val_loss": row["metrics"].get("val_loss")} for row in tables.trials]
    info = {
        "name": sweep.name,
        "question": sweep.question,
        "miniature": sweep.miniature,
        "axes": [*sweep.axes, *sweep.searched],
        "manifest": tables.manifest,
        "data": _data(sweep),
        "wall_hours": (tables.spent or {}).get("wall_hours"),
        "evaluated": sweep.evaluation is not None,
        # Each evaluation's first judge leads.
        "judge": None if tables.outcomes.empty else str(tables.outcomes["judge"].iloc[0]),
    }
    references = [reference.model_dump(mode="json") for reference in load_references()]
    return build_report(
        info,
        sweep.claims,
        pd.DataFrame(rows, dtype=object),
        tables.outcomes,
        tables.histories,
        references=references,
        leakage=tables.leakage,
        predicted=tables.predicted,
        searched=tables.searched,
    )


def caveat_of(sweep: Sweep) -> str:
    """What a miniature's report says of itself; empty for others."""
    return CAVEAT.format(data=_data(sweep)) if sweep.miniature else ""


def _data(sweep: Sweep) -> str:
    return "a generated world of tools" if sweep.data.source == "toolworld" else "ToolBench data"


def write(document: dict[str, Any], *, html: Path, json: Path) -> None:
    """Write both renderings, each atomically."""
    write_bytes(json, (to_json(document) + "\n").encode())
    write_bytes(html, render_html(document).encode())

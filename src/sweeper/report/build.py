"""A study's tables -> its report, and the report -> files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.config import load_references
from sweeper.report.document import MINIATURE_CAVEAT, build_report, serialize_report
from sweeper.report.html import render_html
from sweeper.storage import write_bytes

if TYPE_CHECKING:
    from sweeper.config import Sweep
    from sweeper.results.study_tables import StudyTables


def build_study_report(tables: StudyTables) -> dict[str, Any]:
    """The report of a study as read from the store."""
    import pandas as pd

    sweep = tables.plan.sweep
    # `dtype=object`: whole numbers and None stay what they are in the report's own trials.
    rows = [row.to_document() | {"val_loss": row.get_metric("val_loss")} for row in tables.trials]
    info = {
        "name": sweep.name,
        "question": sweep.question,
        "miniature": sweep.uses_toy_models,
        "axes": [*sweep.axes, *sweep.searched],
        "manifest": tables.manifest,
        "data": _describe_data(sweep),
        "wall_hours": (tables.resource_usage or {}).get("wall_hours"),
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
        leakage=tables.contamination,
        predicted_plan=tables.first_plan,
        search_history=tables.search_history,
    )


def format_caveat(sweep: Sweep) -> str:
    """What a miniature's report says of itself; empty for others."""
    return MINIATURE_CAVEAT.format(data=_describe_data(sweep)) if sweep.uses_toy_models else ""


def _describe_data(sweep: Sweep) -> str:
    return "a generated world of tools" if sweep.data.source == "toolworld" else "ToolBench data"


def write_report(document: dict[str, Any], *, html_path: Path, json_path: Path) -> None:
    """Write both renderings, each atomically."""
    write_bytes(json_path, (serialize_report(document) + "\n").encode())
    write_bytes(html_path, render_html(document).encode())

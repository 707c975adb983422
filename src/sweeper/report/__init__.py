"""Tables of a study -> verdicts -> one report: a JSON document, and an HTML page with the same numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweeper.report.html import render_html
    from sweeper.report.model import build_report, to_json
    from sweeper.report.study import report_study, write

__all__ = ["build_report", "render_html", "report_study", "to_json", "write"]

_HOME = {"build_report": "model", "to_json": "model", "render_html": "html", "report_study": "study", "write": "study"}


def __getattr__(name: str) -> Any:
    """Import on first use: the command line starts without pandas and plotly."""
    import importlib

    if name not in _HOME:
        raise AttributeError(f"module `sweeper.report` has no `{name}`")
    return getattr(importlib.import_module(f"sweeper.report.{_HOME[name]}"), name)

"""Tables of a study -> verdicts -> one report: a JSON document; a page and a W&B report with the same numbers.

document = build_study_report(collect_study(plan, store))
write_report(document, html_path=folder / "report.html", json_path=folder / "report.json")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeper.report.build import ReportTables, build_report, build_study_report, serialize_report, write_report
    from sweeper.report.combined import build_combined_report, write_combined_report
    from sweeper.report.html import render_html
    from sweeper.report.look_recording import record_report_looks
    from sweeper.report.wandb import push_wandb_report, write_wandb_report

__all__ = [
    "ReportTables",
    "build_combined_report",
    "build_report",
    "build_study_report",
    "push_wandb_report",
    "record_report_looks",
    "render_html",
    "serialize_report",
    "write_combined_report",
    "write_report",
    "write_wandb_report",
]

_MODULES = {
    "build": ("ReportTables", "build_report", "build_study_report", "serialize_report", "write_report"),
    "combined": ("build_combined_report", "write_combined_report"),
    "html": ("render_html",),
    "look_recording": ("record_report_looks",),
    "wandb": ("push_wandb_report", "write_wandb_report"),
}


def __getattr__(name: str) -> object:
    """Import a name on first use: the command line starts without pandas and plotly."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"sweeper.report.{module}"), name)
    raise AttributeError(f"module `sweeper.report` has no `{name}`")

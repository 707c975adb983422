"""Tables of a study -> verdicts -> one report: a JSON document; a page and a W&B report with the same numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweeper.report.html import render_html
    from sweeper.report.model import build_report, to_json
    from sweeper.report.study import report_study, write
    from sweeper.report.union import report_union, write_union
    from sweeper.report.wandb_report import push, write_spec

__all__ = ["build_report", "push", "render_html", "report_study", "report_union", "to_json"]
__all__ += ["write", "write_spec", "write_union"]

_HOME = {"build_report": "model", "to_json": "model", "render_html": "html", "report_study": "study", "write": "study"}
_HOME |= {"report_union": "union", "write_union": "union"}
_HOME |= {"push": "wandb_report", "write_spec": "wandb_report"}


def __getattr__(name: str) -> Any:
    """Import on first use: the command line starts without pandas and plotly."""
    import importlib

    if name not in _HOME:
        raise AttributeError(f"module `sweeper.report` has no `{name}`")
    return getattr(importlib.import_module(f"sweeper.report.{_HOME[name]}"), name)

"""Tables of a study -> verdicts -> one report: a JSON document; a page and a W&B report with the same numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweeper.report.build import build_study_report, write_report
    from sweeper.report.combined import build_combined_report, write_combined_report
    from sweeper.report.document import build_report, serialize_report
    from sweeper.report.html import render_html
    from sweeper.report.wandb import push_wandb_report, write_wandb_report

__all__ = [
    "build_combined_report",
    "build_report",
    "build_study_report",
    "push_wandb_report",
    "render_html",
    "serialize_report",
]
__all__ += ["write_combined_report", "write_report", "write_wandb_report"]

_LAZY_IMPORTS = {
    "build_report": "document",
    "serialize_report": "document",
    "render_html": "html",
    "build_study_report": "build",
    "write_report": "build",
}
_LAZY_IMPORTS |= {"build_combined_report": "combined", "write_combined_report": "combined"}
_LAZY_IMPORTS |= {"push_wandb_report": "wandb", "write_wandb_report": "wandb"}


def __getattr__(name: str) -> Any:
    """Import on first use: the command line starts without pandas and plotly."""
    import importlib

    if name not in _LAZY_IMPORTS:
        raise AttributeError(f"module `sweeper.report` has no `{name}`")
    return getattr(importlib.import_module(f"sweeper.report.{_LAZY_IMPORTS[name]}"), name)

"""A study of several sweeps -> each sweep's own report, and one page over them with all verdicts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.claims.verdict import holm_adjusted
from sweeper.report.build import build_study_report, format_caveat, write_report
from sweeper.report.document import serialize_report
from sweeper.report.html import render_combined_html
from sweeper.storage import to_strict_json, write_bytes

if TYPE_CHECKING:
    from sweeper.results.study_tables import StudyTables

Document = dict[str, Any]


def build_combined_report(tables: StudyTables, parts: Sequence[StudyTables]) -> tuple[Document, dict[str, Document]]:
    """The document over all parts, and that of each part by name. `tables` are the union's, `parts` its sweeps'.

    Every claim is decided by the trials of its own part. A part's report is that of its sweep, whose claims are its
    family; the union's adjusts p-values over the claims of all parts together.
    """
    plan = tables.plan
    reports = {part.plan.sweep.name: build_study_report(_inherit_combined_tables(part, tables)) for part in parts}
    command = f"sweeper report {plan.sweep.name}"
    for report in reports.values():
        report["commands"] = [*report["commands"][:-1], command]
    claims = [
        claim | {"id": f"{name}/{claim['id']}", "part": name}
        for name, report in reports.items()
        for claim in report["claims"]
    ]
    rows = [
        row
        | {"statuses": reports[row["sweep"]]["study"]["statuses"], "partial": reports[row["sweep"]]["study"]["partial"]}
        for row in (part.to_part_row(plan) for part in plan.parts)
    ]
    document = {
        "study": {
            "name": plan.sweep.name,
            "question": plan.sweep.question,
            "miniature": plan.sweep.uses_toy_models,
            "caveat": format_caveat(plan.sweep),
            "asked": plan.requested,
            "planned": len(plan.trials),
            "statuses": dict(Counter(row.status for row in tables.trials)),
            "partial": any(row["partial"] for row in rows),
        },
        "parts": rows,
        "claims": _adjust_as_one_family(claims),
        "manifest": tables.manifest,
        "commands": [*next(iter(reports.values()))["commands"][:-1], command],
    }
    return to_strict_json(document), reports


def write_combined_report(
    document: Document, reports: dict[str, Document], *, html_path: Path, json_path: Path
) -> None:
    """Write the page over all, and beside it each part's own: `report-scaling.html` beside `report.html`."""
    for part in document["parts"]:
        page = html_path.with_stem(f"{html_path.stem}-{part['sweep']}")
        part["page"] = page.name
        write_report(
            reports[part["sweep"]], html_path=page, json_path=json_path.with_stem(f"{json_path.stem}-{part['sweep']}")
        )
    write_bytes(json_path, (serialize_report(document) + "\n").encode())
    write_bytes(html_path, render_combined_html(document).encode())


def _inherit_combined_tables(part: StudyTables, tables: StudyTables) -> StudyTables:
    """With what only the union's folder has. Its wall time is that of all parts, and no part's."""
    return replace(
        part,
        manifest=tables.manifest,
        contamination=tables.contamination,
        first_plan=_remove_wall_time(tables.first_plan),
    )


def _remove_wall_time(plan: Document | None) -> Document | None:
    return None if plan is None else {key: value for key, value in plan.items() if not key.startswith("wall_hours")}


def _adjust_as_one_family(claims: Sequence[Document]) -> list[Document]:
    if not claims:
        return []
    p_values = [math.nan if claim["p"] is None else claim["p"] for claim in claims]
    adjusted = holm_adjusted(p_values, min(claim["alpha"] for claim in claims))
    return [
        claim | {"p_adjusted": p, "family": claim["verdict"] == "supported" and p <= claim["alpha"]}
        for claim, p in zip(claims, adjusted, strict=True)
    ]

"""A study of several sweeps -> each sweep's own report, and one page over them with all verdicts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.report.html import render_union
from sweeper.report.model import jsonable, to_json
from sweeper.report.study import caveat_of, report_study, write
from sweeper.statistics import one_family
from sweeper.store import write_bytes

if TYPE_CHECKING:
    from sweeper.study import StudyTables

Document = dict[str, Any]


def report_union(tables: StudyTables, parts: Sequence[StudyTables]) -> tuple[Document, dict[str, Document]]:
    """The document over all parts, and that of each part by name. `tables` are the union's, `parts` its sweeps'.

    Every claim is decided by the trials of its own part. A part's report is that of its sweep, whose claims are its
    family; the union's adjusts p-values over the claims of all parts together.
    """
    plan = tables.plan
    reports = {part.plan.sweep.name: report_study(_of_union(part, tables)) for part in parts}
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
        for row in (part.part_row(plan) for part in plan.parts)
    ]
    document = {
        "study": {
            "name": plan.sweep.name,
            "question": plan.sweep.question,
            "miniature": plan.sweep.miniature,
            "caveat": caveat_of(plan.sweep),
            "asked": plan.asked,
            "planned": len(plan.trials),
            "statuses": dict(Counter(row["status"] for row in tables.trials)),
            "partial": any(row["partial"] for row in rows),
        },
        "parts": rows,
        "claims": _as_one_family(claims),
        "manifest": tables.manifest,
        "commands": [*next(iter(reports.values()))["commands"][:-1], command],
    }
    plain: Document = jsonable(document)
    return plain, reports


def write_union(document: Document, reports: dict[str, Document], *, html: Path, json: Path) -> None:
    """Write the page over all, and beside it each part's own: `report-scaling.html` beside `report.html`."""
    for part in document["parts"]:
        page = html.with_stem(f"{html.stem}-{part['sweep']}")
        part["page"] = page.name
        write(reports[part["sweep"]], html=page, json=json.with_stem(f"{json.stem}-{part['sweep']}"))
    write_bytes(json, (to_json(document) + "\n").encode())
    write_bytes(html, render_union(document).encode())


def _of_union(part: StudyTables, tables: StudyTables) -> StudyTables:
    """With what only the union's folder has. Its wall time is that of all parts, and no part's."""
    return replace(part, manifest=tables.manifest, leakage=tables.leakage, predicted=_without_wall(tables.predicted))


def _without_wall(plan: Document | None) -> Document | None:
    return None if plan is None else {key: value for key, value in plan.items() if not key.startswith("wall_hours")}


def _as_one_family(claims: Sequence[Document]) -> list[Document]:
    if not claims:
        return []
    p_values = [math.nan if claim["p"] is None else claim["p"] for claim in claims]
    adjusted = one_family(p_values, min(claim["alpha"] for claim in claims))
    return [
        claim | {"p_adjusted": p, "family": claim["verdict"] == "supported" and p <= claim["alpha"]}
        for claim, p in zip(claims, adjusted, strict=True)
    ]

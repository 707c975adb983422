"""The report over all sweeps of a union, beside each sweep's own."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from sweeper.claims import judge_family
from sweeper.report.build import build_study_report, format_caveat, serialize_report, write_report
from sweeper.report.combined_document import CombinedReport, PartClaimEntry, PartEntry
from sweeper.report.document import Report
from sweeper.report.html import render_combined_html
from sweeper.storage import JsonObject, to_strict_json, write_bytes

if TYPE_CHECKING:
    from sweeper.results.study_tables import StudyTables


def build_combined_report(
    tables: StudyTables, parts: Sequence[StudyTables]
) -> tuple[CombinedReport, dict[str, Report]]:
    """Build the report of a union, and that of each of its sweeps.

    Every claim is decided by the trials of its own sweep. A sweep's own report adjusts p-values over its own claims;
    the report of the union adjusts them over the claims of all sweeps together.

    Args:
        tables: the tables of the union.
        parts: the tables of each sweep.

    Returns:
        The document of the union, and those of its sweeps by name.
    """
    plan = tables.plan
    reports = {part.plan.sweep.name: _build_part_report(part, tables) for part in parts}
    command = f"sweeper report {plan.sweep.name}"
    for report in reports.values():
        report["commands"] = [*report["commands"][:-1], command]
    rows = [_describe_part(part.to_part_row(plan), reports) for part in plan.parts]
    document: CombinedReport = {
        "study": {
            "name": plan.sweep.name,
            "question": plan.sweep.question,
            "miniature": plan.sweep.uses_toy_models,
            "caveat": format_caveat(plan.sweep, tables.trials),
            "asked": plan.requested,
            "planned": len(plan.trials),
            "statuses": dict(Counter(row.status for row in tables.trials)),
            "partial": any(row["partial"] for row in rows),
        },
        "parts": rows,
        "claims": _adjust_as_one_family(_collect_claims(reports, "claims")),
        "later_claims": _collect_claims(reports, "later_claims"),
        "withdrawn_claims": [
            f"{name}/{claim}" for name, report in reports.items() for claim in report["withdrawn_claims"]
        ],
        "manifest": tables.manifest,
        "runs": tables.runs,
        "commands": [*next(iter(reports.values()))["commands"][:-1], command],
    }
    return cast(CombinedReport, to_strict_json(document)), reports


def _describe_part(row: JsonObject, reports: Mapping[str, Report]) -> PartEntry:
    study = reports[row["sweep"]]["study"]
    return cast(PartEntry, row | {"statuses": study["statuses"], "partial": study["partial"]})


def _collect_claims(reports: Mapping[str, Report], key: Literal["claims", "later_claims"]) -> list[PartClaimEntry]:
    """Collect the claims of all sweeps; their ids begin with the sweep's name."""
    return [
        cast(PartClaimEntry, claim | {"id": f"{name}/{claim['id']}", "part": name})
        for name, report in reports.items()
        for claim in report[key]
    ]


def write_combined_report(
    document: CombinedReport, reports: Mapping[str, Report], *, html_path: Path, json_path: Path
) -> None:
    """Write the page of the union, and each sweep's own beside it: `report-scaling.html` beside `report.html`."""
    for part in document["parts"]:
        page, data = (path.with_stem(f"{path.stem}-{part['sweep']}") for path in (html_path, json_path))
        part["page"] = page.name
        write_report(reports[part["sweep"]], html_path=page, json_path=data)
    write_bytes(json_path, (serialize_report(document) + "\n").encode())
    write_bytes(html_path, render_combined_html(document).encode())


def _build_part_report(part: StudyTables, tables: StudyTables) -> Report:
    """Build the report of a sweep with what only the folder of the union holds.

    Wall time covers all sweeps; a single sweep has none. Claims of a union that has not run keep the registrations of
    each sweep's own study.
    """
    part = replace(part, contamination=tables.contamination, first_plan=_remove_wall_time(tables.first_plan))
    if not tables.runs:
        return build_study_report(part)
    part = replace(part, runs=tables.runs, claim_registry=tables.claim_registry, look_ledger=tables.look_ledger)
    return build_study_report(part, claim_prefix=f"{part.plan.sweep.name}/")


def _remove_wall_time(plan: JsonObject | None) -> JsonObject | None:
    return None if plan is None else {key: value for key, value in plan.items() if not key.startswith("wall_hours")}


def _adjust_as_one_family(claims: Sequence[PartClaimEntry]) -> list[PartClaimEntry]:
    """Adjust the p-values over all claims (Holm), and note whether each claim's own verdict still stands."""
    p_values, p_refuted = (
        [math.nan if value is None else value for value in values]
        for values in ([claim["p"] for claim in claims], [claim["p_refuted"] for claim in claims])
    )
    labels = [claim["own_verdict"] for claim in claims]
    results = judge_family(labels, p_values, p_refuted, [claim["alpha"] for claim in claims])
    for claim, result in zip(claims, results, strict=True):
        claim["p_adjusted"], claim["p_refuted_adjusted"] = result.p_adjusted, result.p_refuted_adjusted
        claim["family"] = result.holds
    return list(claims)

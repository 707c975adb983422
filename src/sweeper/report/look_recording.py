"""A report that is written is a look at its verdicts: the study's ledger keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from sweeper.results.look_ledger import LOOKS_FILE, record_looks

if TYPE_CHECKING:
    from sweeper.planning.plan import Plan
    from sweeper.report.combined_document import CombinedReport
    from sweeper.report.document import Report
    from sweeper.storage import Store


def record_report_looks(plan: Plan, store: Store, document: Report | CombinedReport) -> None:
    """Record on how many seeds a report has decided each claim. Claims that could not be decided are left out.

    Args:
        plan: the study's plan.
        store: the store that holds the study.
        document: the report.

    Raises:
        StoreError: the ledger of the study cannot be read.
        OSError: it cannot be written.
    """
    claims = {claim.id: claim for claim in plan.sweep.claims}
    if plan.parts:
        claims = {f"{part.sweep.name}/{claim.id}": claim for part in plan.parts for claim in part.sweep.claims}
    seeds = dict.fromkeys(claims, plan.sweep.axes["seed"])
    for part in plan.parts:
        seeds |= {f"{part.sweep.name}/{claim.id}": part.sweep.axes["seed"] for claim in part.sweep.claims}
    looks = {
        entry["id"]: (entry["look"]["seeds"] if entry["look"] else entry["n_seeds"], entry["verdict"])
        for entry in (*document["claims"], *document["later_claims"])
        if entry["p"] is not None
    }
    folder = store.study_folder(plan.sweep.name)
    record_looks(folder, claims, looks, {name: cast("list[int]", own) for name, own in seeds.items()})
    store.push(folder, patterns=[LOOKS_FILE])

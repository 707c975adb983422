"""A written report is in the ledger of looks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from sweeper.config import find_sweep, load_sweep
from sweeper.planning.planner import plan_sweep
from sweeper.report import record_report_looks
from sweeper.results.look_ledger import read_look_ledger
from sweeper.storage import Store


def test_claims_that_could_be_decided_are_recorded(tmp_path: Path) -> None:
    store = Store.from_location(str(tmp_path))
    plan = plan_sweep(load_sweep(find_sweep("quickstart")), store)
    folder = store.study_folder("quickstart")
    folder.mkdir(parents=True)
    first, second, _ = plan.sweep.claims
    entry = {"verdict": "inconclusive", "n_seeds": 2, "look": None}
    claims = [entry | {"id": first.id, "p": 0.4}, entry | {"id": second.id, "p": None}]
    late = [entry | {"id": second.id, "p": 0.1, "look": {"seeds": 6}}]
    record_report_looks(plan, store, cast(Any, {"claims": claims, "later_claims": []}))
    ledger = read_look_ledger(folder)
    assert ledger.list_seeds(first) == [2] and ledger.list_seeds(second) == []
    record_report_looks(plan, store, cast(Any, {"claims": claims, "later_claims": late}))
    ledger = read_look_ledger(folder)
    assert ledger.list_seeds(first) == [2] and ledger.list_seeds(second) == [6]

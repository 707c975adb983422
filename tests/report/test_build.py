"""From a study's own tables to files, as `sweeper report` does it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from report_tables import SUBSETS

from sweeper import report
from sweeper.config import expand_sweep, find_sweep, load_sweep
from sweeper.planning.plan import Plan, PlannedTrial
from sweeper.results.study_tables import StudyTables


def study_tables() -> StudyTables:
    """The quickstart as if run: both epoch budgets alike, larger models better, one trial failed, one not yet run."""
    sweep = load_sweep(find_sweep("quickstart"), [])
    planned = tuple(
        PlannedTrial(f"{i:016x}", trial, 1000 * (1 + i // 4), "d") for i, trial in enumerate(expand_sweep(sweep))
    )
    rows, outcomes = [], []
    for i, trial in enumerate(planned):
        status = {3: "FAILED", 5: "PENDING"}.get(i, "COMPLETE")
        failure = {"kind": "bug", "message": "ValueError: no", "traceback": "Traceback\nValueError: no"}
        metrics: dict[str, Any] = {"pass_rate": float("nan"), "val_loss": float("nan")}
        if status == "COMPLETE":
            passed = np.arange(60) < 10 * (1 + i // 4)
            metrics = {"pass_rate": passed.mean(), "val_loss": 1.0, "steps": 10.0, "calls_per_query": 1.5}
            columns = {"subset": [SUBSETS[j % 6] for j in range(60)], "query_id": [str(j) for j in range(60)]}
            frame = pd.DataFrame(columns | {"fingerprint": trial.fingerprint, "judge": "oracle", "vote": 0})
            outcomes.append(frame.assign(passed=passed.astype(float)))
        more = {"status": status, "failure": failure if status == "FAILED" else None, "metrics": metrics}
        rows.append({**trial.to_row(), **more, "asked": {"steps": 10}, "applied": {}, "resumed_from_step": None})
    return StudyTables(Plan(sweep, planned, ()), rows, pd.concat(outcomes), {}, {"commit": None, "dirty": True}, None)


@pytest.mark.slow
def test_report_of_a_study_keeps_its_trials_and_writes_both_files(tmp_path: Path) -> None:
    tables = study_tables()
    document = report.build_study_report(tables)
    page, data = tmp_path / "deep" / "report.html", tmp_path / "deep" / "report.json"
    report.write_report(document, html_path=page, json_path=data)
    assert json.loads(data.read_text()) == document
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert document["study"]["miniature"] and document["study"]["partial"]
    for found, given in zip(document["trials"], tables.trials, strict=True):
        for key in ("fingerprint", "model", "seed", "status", "failure", "engine", "resumed_from_step", "asked"):
            assert found[key] == given[key]
        assert found["metrics"].keys() == given["metrics"].keys()
        assert isinstance(found["seed"], int)
    assert [c["id"] for c in document["claims"]] == ["sweet-spot", "single-epoch"]
    assert {c["verdict"] for c in document["claims"]} == {"inconclusive"}
    assert "FAILED" in document["claims"][0]["reason"]


def test_report_room_imports_light() -> None:
    """`sweeper --help` must not pay for pandas or plotly; a new process tells."""
    import subprocess
    import sys

    code = "import sys, sweeper.report; sys.exit('plotly' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

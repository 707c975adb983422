"""From a study's own tables to files, as `sweeper report` does it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from report_tables import CLAIMS, INFO, SUBSETS, tables
from wide_tables import INFO as WIDE_INFO
from wide_tables import leakage, wide_tables

from sweeper import report
from sweeper.config import expand_sweep, find_sweep, load_sweep
from sweeper.planning.plan import Plan, PlannedTrial
from sweeper.report import ReportTables, build_report, render_html, serialize_report
from sweeper.results.claim_registry import ClaimRegistry
from sweeper.results.study_tables import StudyTables
from sweeper.storage import JsonObject
from sweeper.training import TrialRow
from sweeper.training.failures import Failure


def study_tables() -> StudyTables:
    """The quickstart as if run: both epoch budgets alike, larger models better, one trial failed, one not yet run."""
    claims = "claims=[{extends: sweet-spot, candidate: opt-tiny-64}, single-epoch]"
    sweep = load_sweep(find_sweep("quickstart"), ["axes.seed=[0,1]", claims])
    planned = tuple(
        PlannedTrial(f"{i:016x}", trial, 1000 * (1 + i // 4), "d") for i, trial in enumerate(expand_sweep(sweep))
    )
    rows: list[TrialRow] = []
    outcomes = []
    for i, trial in enumerate(planned):
        status: Any = {3: "FAILED", 5: "PENDING"}.get(i, "COMPLETE")
        failure = Failure(kind="bug", message="ValueError: no", traceback="Traceback\nValueError: no")
        metrics: dict[str, Any] = {"pass_rate": float("nan"), "val_loss": float("nan")}
        if status == "COMPLETE":
            passed = np.arange(60) < 10 * (1 + i // 4)
            metrics = {"pass_rate": passed.mean(), "val_loss": 1.0, "steps": 10.0, "calls_per_query": 1.5}
            columns = {"subset": [SUBSETS[j % 6] for j in range(60)], "query_id": [str(j) for j in range(60)]}
            frame = pd.DataFrame(columns | {"fingerprint": trial.fingerprint, "judge": "oracle", "vote": 0})
            outcomes.append(frame.assign(passed=passed.astype(float)))
        rows.append(
            TrialRow(
                trial.fingerprint,
                status,
                metrics,
                failure if status == "FAILED" else None,
                requested={"steps": 10},
                planned=trial.to_row(),
            )
        )
    runs: list[JsonObject] = [{"commit": None, "dirty": True}]
    return StudyTables(
        Plan(sweep, planned, ()), rows, pd.concat(outcomes), {}, runs, ClaimRegistry(is_missing_late=False), None
    )


@pytest.mark.slow
def test_build_study_report_keeps_trials_and_writes_both_files(tmp_path: Path) -> None:
    tables = study_tables()
    document = report.build_study_report(tables)
    page, data = tmp_path / "deep" / "report.html", tmp_path / "deep" / "report.json"
    report.write_report(document, html_path=page, json_path=data)
    assert json.loads(data.read_text()) == document
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert document["study"]["miniature"] and document["study"]["partial"]
    for found, given in zip(document["trials"], (row.to_document() for row in tables.trials), strict=True):
        for key in ("fingerprint", "model", "seed", "status", "failure", "engine", "resumed_from_step", "asked"):
            assert found[key] == given[key]
        assert found["metrics"].keys() == given["metrics"].keys()
        assert isinstance(found["seed"], int)
    assert [c["id"] for c in document["claims"]] == ["sweet-spot", "single-epoch"]
    assert {c["verdict"] for c in document["claims"]} == {"inconclusive"}
    assert "FAILED" in document["claims"][0]["reason"]


def test_report_package_imports_neither_plotly_nor_pandas() -> None:
    """`sweeper --help` must not pay for pandas or plotly; a new process tells."""
    import subprocess
    import sys

    code = "import sys, sweeper.report; sys.exit('plotly' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_build_report_lists_every_planned_trial() -> None:
    trials, outcomes, histories = tables()
    trials["status"] = ["FAILED", "PENDING", "DIVERGED", *trials["status"][3:]]
    kept = outcomes[~outcomes["fingerprint"].isin(trials["fingerprint"][:2])]
    found = build_report(INFO, CLAIMS, ReportTables(trials, kept, histories))
    assert [t["fingerprint"] for t in found["trials"]] == list(trials["fingerprint"])
    assert found["study"]["statuses"] == {"COMPLETE": 15, "FAILED": 1, "PENDING": 1, "DIVERGED": 1}
    assert found["study"]["partial"]
    assert {c["verdict"] for c in found["claims"]} == {"inconclusive"}
    assert found["claims"][0]["excluded"]["trials"] == 2


@pytest.mark.slow
def test_build_report_is_deterministic(report: dict[str, Any]) -> None:
    again = build_report(INFO, CLAIMS, ReportTables(*tables()))
    assert again == report


def test_serialized_report_is_strict_json_with_null_for_undefined() -> None:
    trials, outcomes, histories = tables()
    trials["val_loss"] = np.nan
    found = build_report(INFO, CLAIMS, ReportTables(trials, outcomes.assign(passed=np.nan), histories))
    read = json.loads(serialize_report(found), parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert read == found
    assert read["claims"][0]["estimate"] is None and read["claims"][0]["verdict"] == "inconclusive"
    assert read["arms"][0]["pass_rate"] is None and read["trials"][0]["metrics"]["val_loss"] is None


def test_build_report_accepts_a_study_that_has_not_run() -> None:
    trials, _, _ = tables()
    found = build_report(INFO, CLAIMS, ReportTables(trials.assign(status="PENDING"), pd.DataFrame(), {}))
    assert found["study"]["partial"] and not found["subsets"]
    assert all(c["verdict"] == "inconclusive" and c["estimate"] is None and c["n"] == 0 for c in found["claims"])
    assert all("18 of 18" in c["sentence"] for c in found["claims"])


def test_toy_study_has_a_caveat_and_no_published_rates() -> None:
    reference = {"name": "published", "source": "somewhere, 2025", "rates": {"G1_tool": 0.79}}
    small = build_report(INFO, [], ReportTables(*tables(), references=[reference]))
    assert "no evidence about OPT" in small["study"]["caveat"] and small["references"] == []
    large = build_report(INFO | {"miniature": False}, [], ReportTables(*tables(), references=[reference]))
    assert large["study"]["caveat"] == "" and large["references"] == [reference]


@pytest.mark.slow
def test_document_has_hardware_commands_and_planned_trials() -> None:
    report = build_report(WIDE_INFO, [], ReportTables(*wide_tables(), leakage=leakage()))
    assert report["hardware"] == [{"engine": "single", "cpus": 2, "gpus": 0, "trials": 32}]
    assert report["study"]["planned"] == 32 and report["leakage"]["excluded"] == len(report["leakage"]["exclude"])
    page = render_html(report)
    assert all(command in page for command in report["commands"]) and "sweeper report wide" in report["commands"]


@pytest.mark.slow
def test_build_report_accepts_one_run_one_query_or_no_parameters() -> None:
    trials, outcomes, histories = wide_tables(queries=1, seeds=1, rates=(1e-3,))
    trials["parameters"] = None
    trials["metrics"] = [{}] * len(trials)
    report = build_report(WIDE_INFO, [], ReportTables(trials, outcomes, histories))
    assert all(arm["interval"][0] is None or math.isfinite(arm["interval"][0]) for arm in report["arms"])
    assert report["fits"] == [] and "Nothing to fit" in render_html(report)
    one = trials.iloc[:1]
    own = outcomes[outcomes["fingerprint"].isin(one["fingerprint"])]
    render_html(build_report(WIDE_INFO, [], ReportTables(one, own, histories)))

"""Several sweeps as one study: equal trials once, and a report of each sweep as if it had been run alone."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from small_studies import run_inline

from sweeper import report
from sweeper.api import Study
from sweeper.cli.tables_study import format_part_lines, render_plan_table, render_verdict_lines
from sweeper.config import load_sweep
from sweeper.planning.claim_power import build_power_table
from sweeper.planning.planner import plan_sweep
from sweeper.results.study_tables import collect_part_studies, collect_study, load_study_plan
from sweeper.storage import Store

ROOT = Path(__file__).resolve().parents[2]
PART = """
name: {name}
question: Does it hold?
recipe: {{extends: miniature, warmup_steps: 2}}
data:
  extends: toolworld
  toolworld: {{train_queries: 40, validation_queries: 6, test_queries_per_subset: 1}}
evaluation: toolworld
axes: {{model: [opt-tiny-32], num_train_epochs: {epochs}, seed: [0, 1]}}
claims: [single-epoch]
"""


@pytest.fixture
def combined(tmp_path: Path) -> Path:
    for name, epochs in (("short", [1, 2]), ("long", [1, 3])):
        (tmp_path / f"{name}.yaml").write_text(PART.format(name=name, epochs=epochs))
    path = tmp_path / "both.yaml"
    path.write_text("name: both\nquestion: Do they?\naccept_underpowered: true\nsweeps: [short, long]\n")
    return path


def test_combined_plan_lists_equal_trials_once(combined: Path) -> None:
    plan = plan_sweep(load_sweep(combined))
    alone = [plan_sweep(load_sweep(combined.with_name(f"{name}.yaml"))) for name in ("short", "long")]
    assert list(plan.parts) == alone, "a part is planned as the sweep that it is"
    assert (plan.requested, len(plan.trials)) == (8, 6)
    every = {trial.fingerprint for part in alone for trial in part.trials}
    assert {trial.fingerprint for trial in plan.trials} == every
    document = plan.to_document()
    assert [(row["sweep"], row["trials"], row["shared"]) for row in document["parts"]] == [
        ("short", 4, 2),
        ("long", 4, 2),
    ]
    assert document["asked"] == 8
    assert [claim["id"] for claim in document["claims"]] == [row.claim.id for row in build_power_table(plan)]
    text = io.StringIO()
    Console(file=text, width=200).print(render_plan_table(plan.to_document(), list(plan.sweep.axes)))
    assert "6 trials (8 requested by 2 sweeps)" in text.getvalue()
    assert "parts" not in alone[0].to_document()


@pytest.mark.slow
def test_combined_study_reports_each_sweep_as_if_run_alone(combined: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    plan = plan_sweep(load_sweep(combined), store)
    assert "6 trials, 0 finished before, 6 to run" in run_inline(plan, store)
    assert "4 finished before, 0 to run" in run_inline(plan_sweep(load_sweep(combined.with_name("long.yaml"))), store)
    tables = collect_study(load_study_plan("both", store), store)
    assert [row.status for row in tables.trials] == ["COMPLETE"] * 6
    statuses = Study(tables.plan, store).part_statuses
    assert [line.plain for line in format_part_lines(statuses)] == [
        "short: 4 COMPLETE of 4",
        "long: 4 COMPLETE of 4",
    ]
    document, parts = report.build_combined_report(tables, collect_part_studies(tables, store))
    assert [(claim["part"], claim["id"]) for claim in document["claims"]] == [
        ("short", "short/single-epoch"),
        ("long", "long/single-epoch"),
    ]
    for name, own in parts.items():
        alone = collect_study(plan_sweep(load_sweep(combined.with_name(f"{name}.yaml"))), store)
        by_itself = report.build_study_report(dataclasses.replace(alone, contamination=tables.contamination))
        claims = [*by_itself["claims"], *by_itself["later_claims"]]  # by itself it was registered later, or never
        for mine, its in zip(own["claims"], claims, strict=True):
            same = mine.keys() - {"registration"}
            assert {key: mine[key] for key in same} == {key: its[key] for key in same}, "decided by the part's trials"
        assert own["arms"] == by_itself["arms"]
    page = tmp_path / "report.html"
    report.write_combined_report(document, parts, html_path=page, json_path=page.with_suffix(".json"))
    assert json.loads(page.with_suffix(".json").read_text()) == document
    text = page.read_text()
    for part in document["parts"]:
        assert f'href="{part["page"]}#claim-single-epoch"' in text
        assert 'id="claim-single-epoch"' in (tmp_path / part["page"]).read_text()
    assert "no evidence about OPT" in text
    assert "6 trials (8 requested)" in text
    assert len(render_verdict_lines(document)) == 3, "two claims and the caveat"

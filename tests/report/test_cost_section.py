"""Predicted against actual: sums by arm over what ran, what is left out is counted, and nothing ran is no ratio."""

from __future__ import annotations

import math
from typing import Any

import pytest
from report_tables import CLAIMS, INFO, tables

from sweeper.report import ReportTables, build_report, render_html
from sweeper.report.cost_section import compare_predicted_costs


def trial(name: str, train: float | None, evaluation: float | None = 10.0, **other: Any) -> dict[str, Any]:
    done = {"status": "COMPLETE", "metrics": {"train_seconds": train, "eval_seconds": evaluation}}
    place = {"model": "m", "num_train_epochs": 1, "gpus": 0, "cpus": 1, "workers": 1}
    return {"fingerprint": name, **place, **done, **other}


def said(name: str, train: float = 100.0, evaluation: float = 10.0, reused: str = "") -> dict[str, Any]:
    seconds = {"predicted_train_seconds": train, "predicted_eval_seconds": evaluation}
    return {"fingerprint": name, "predicted_seconds": train + evaluation, "reused": reused, **seconds}


def test_predicted_costs_are_summed_over_trials_that_ran() -> None:
    rows = [trial("a", 200.0), trial("b", 90.0), trial("c", 300.0, num_train_epochs=3)]
    rows += [trial("d", None, status="PENDING"), trial("old", 1.0)]
    plan = {"trials": [*map(said, "abcd"), said("old", 0.0, 0.0, "whole")], "wall_hours": 0.1}
    found = compare_predicted_costs(rows, plan, ["num_train_epochs"], 0.2)
    assert found is not None
    one, three = found["arms"]
    assert (one["label"], one["ran"], one["planned"]) == ("m · 1 epoch", 2, 3)
    assert (one["predicted"], one["actual"], one["ratio"]) == (220, 310, pytest.approx(310 / 220))
    assert (three["label"], three["ratio"]) == ("m · 3 epochs", pytest.approx(310 / 110))
    assert (found["reused"], found["not_run"]) == (1, 1)
    assert found["all"]["actual"] == 620
    assert math.isnan(found["wall"]["actual"]), "it has not ended"
    (hours,) = found["device_hours"]
    assert (hours["name"], hours["actual"]) == ("core-hours", pytest.approx(620 / 3600))


def test_finished_study_has_wall_time_and_gpu_hours() -> None:
    rows = [trial("a", 3600.0, 1800.0, gpus=4, workers=4)]
    found = compare_predicted_costs(rows, {"trials": [said("a", 7200.0, 1800.0)], "wall_hours": 2}, [], 1.5)
    assert found is not None
    assert found["wall"] == {"predicted": 7200, "actual": 5400, "ratio": 0.75}
    (hours,) = found["device_hours"]
    assert (hours["name"], hours["predicted"], hours["actual"]) == ("GPU-hours", 8.5, 4.5)


def test_ratio_needs_trials_that_trained_and_were_evaluated() -> None:
    found = compare_predicted_costs([trial("a", 100.0, None)], {"trials": [said("a")]}, [])
    assert found is not None
    assert found["all"]["ran"] == 0
    assert all(math.isnan(found["all"][key]) for key in ("predicted", "actual", "ratio"))
    unasked = compare_predicted_costs([trial("a", 100.0, None)], {"trials": [said("a", evaluation=0.0)]}, [])
    assert unasked is not None
    assert unasked["all"]["ratio"] == 1


@pytest.mark.parametrize("plan", [None, {}, {"trials": []}, {"trials": [{"fingerprint": "a"}]}])
def test_study_without_predictions_has_no_cost_section(plan: dict[str, Any] | None) -> None:
    assert compare_predicted_costs([trial("a", 1.0)], plan, []) is None


@pytest.mark.slow
def test_page_ends_with_the_escaped_cost_section() -> None:
    trials, outcomes, histories = tables()
    names = list(trials["fingerprint"])
    plan = {"trials": [said(name) for name in names], "wall_hours": 1.0, "rests_on": ["<script>alert(1)</script>"]}
    document = build_report(INFO, CLAIMS, ReportTables(trials, outcomes, histories, predicted_plan=plan))
    page = render_html(document)
    assert document["predicted"]["all"]["planned"] == len(names)
    section = page[page.rindex("<section") :]
    assert "Predicted against actual" in section
    assert "<script>alert(1)</script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in section
    bare = render_html(build_report(INFO, CLAIMS, ReportTables(trials, outcomes, histories)))
    assert "This study has no prediction" in bare[bare.rindex("<section") :]

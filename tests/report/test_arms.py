from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from report_tables import CLAIMS, INFO, SUBSETS, tables
from wide_tables import INFO as WIDE_INFO
from wide_tables import wide_document, wide_tables

from sweeper.config import Claim
from sweeper.report import ReportTables, build_report, render_html
from sweeper.report.figures import build_figures
from sweeper.report.html_tables import build_html_tables


def test_build_arms_computes_rates_from_outcomes(report: dict[str, Any]) -> None:
    _, outcomes, _ = tables()
    for trial in report["trials"]:
        own = outcomes.loc[outcomes["fingerprint"] == trial["fingerprint"], "passed"]
        arm = next(
            a
            for a in report["arms"]
            if (a["model"], a["num_train_epochs"]) == (trial["model"], trial["num_train_epochs"])
        )
        seed = next(s for s in arm["seeds"] if s["seed"] == trial["seed"])
        assert seed["pass_rate"] == pytest.approx(own.mean()) == pytest.approx(trial["metrics"]["pass_rate"])
    for arm in report["arms"]:
        assert arm["pass_rate"] == pytest.approx(np.mean([s["pass_rate"] for s in arm["seeds"]]))
        assert arm["interval"][0] < arm["pass_rate"] < arm["interval"][1] and arm["n_queries"] == 120
        assert arm["run_interval"][0] < arm["pass_rate"] < arm["run_interval"][1]
    assert [a["parameters"] for a in report["arms"]] == sorted(a["parameters"] for a in report["arms"])
    assert len(report["subsets"]) == 6 * 6


def test_interval_over_seeds_is_that_of_a_claim() -> None:
    trials, outcomes, histories = tables()
    arm = build_report(INFO, [], ReportTables(trials, outcomes, histories))["arms"][0]
    where = {"num_train_epochs": arm["num_train_epochs"]}  # type: ignore[typeddict-item]
    fields = {"id": "c", "text": "t", "kind": "reaches", "axis": "model", "candidate": arm["model"], "where": where}
    claim = Claim.model_validate(fields | {"reference": 0.5, "direction": "about", "margin": 0.05})
    report = build_report(INFO, [claim], ReportTables(trials, outcomes, histories))
    assert [0.5 + end for end in report["claims"][0]["interval"]] == pytest.approx(arm["run_interval"])


def test_arm_with_one_seed_has_no_interval_over_seeds() -> None:
    trials, outcomes, histories = tables()
    one = trials[trials["seed"] == trials["seed"].min()]
    outcomes = outcomes[outcomes["fingerprint"].isin(one["fingerprint"])]
    report = build_report(INFO, [], ReportTables(one, outcomes, histories))
    assert all(arm["run_interval"] == [None, None] and arm["interval"][0] is not None for arm in report["arms"])
    line = build_figures(report)["size"].data[0]
    assert list(line.error_y.array) == [None] * len(line.x)
    assert all("no interval with one seed" in text for text in line.text)


def make_leakage(queries: list[int]) -> dict[str, Any]:
    """An audit that excludes these queries of `tables()`."""
    counts = {"queries": 20, "exact_duplicates": 1, "near_duplicates": 0, "tools": 3, "tools_in_training": 3}
    counts |= {"apis": 9, "apis_in_training": 9, "categories": 2, "categories_in_training": 2, "excluded": 1}
    row = counts | {"subset": SUBSETS[0], "promise": "unseen instructions", "verdict": "broken"}
    return {
        "method": {"threshold": 0.7, "shingle_words": 3},
        "test": {"name": "unpublished set", "queries": 120},
        "subsets": [row],
        "exclude": [{"subset": SUBSETS[i % 6], "query_id": str(i), "reasons": ["<b>exact</b>"]} for i in queries],
    }


@pytest.mark.slow
def test_build_arms_adds_rates_without_leaked_queries(report: dict[str, Any]) -> None:
    trials, outcomes, histories = tables()
    leaked = list(range(0, 120, 3))
    found = build_report(INFO, CLAIMS, ReportTables(trials, outcomes, histories, leakage=make_leakage(leaked)))
    clean = outcomes[~outcomes["query_id"].isin([str(i) for i in leaked])]
    expected = {a["label"]: a for a in build_report(INFO, CLAIMS, ReportTables(trials, clean, histories))["arms"]}
    for arm, plain in zip(found["arms"], report["arms"], strict=True):
        assert {key: arm[key] for key in plain if key != "without_leaked"} == {
            key: value for key, value in plain.items() if key != "without_leaked"
        }
        assert plain["without_leaked"] is None
        assert arm["without_leaked"]["n_queries"] == 80
        for key in ("pass_rate", "interval", "n_outcomes"):
            assert arm["without_leaked"][key] == expected[arm["label"]][key]
    assert report["leakage"] is None
    assert "without leaked" in render_html(found)
    assert "not compared" in render_html(report)


@pytest.mark.slow
def test_lr_clip_heatmap_averages_finished_runs_and_counts_divergences() -> None:
    trials, outcomes, histories = wide_tables()
    report = wide_document()
    cells = {(c["model"], c["learning_rate"], c["max_grad_norm"]): c for c in report["map"]["cells"]}
    assert len(cells) == 4 * 2 * 2 and report["map"]["metric"] == "pass_rate"
    passed = outcomes.groupby("fingerprint")["passed"].mean()
    for (model, rate, clip), cell in cells.items():
        own = trials[(trials["model"] == model) & (trials["learning_rate"] == rate)]
        own = own[own["max_grad_norm"].isna() if clip is None else own["max_grad_norm"] == clip]
        done = own[own["status"] != "FAILED"]
        expected = [
            0.0 if s == "DIVERGED" else passed[f] for f, s in zip(done["fingerprint"], done["status"], strict=True)
        ]
        assert cell["value"] == pytest.approx(np.mean(expected))
        assert (cell["runs_done"], cell["runs_diverged"]) == (len(done), int((done["status"] == "DIVERGED").sum()))
    drawn = build_figures(report)["map-1"].data[0]
    assert list(drawn.y) == ["0.3", "off"] and drawn.text[1][1] == "0%<br>✕ 2 of 2"
    without = build_report(WIDE_INFO | {"evaluated": False}, [], ReportTables(trials, pd.DataFrame(), histories))
    assert without["map"]["metric"] == "val_loss"
    lost = [cell for cell in without["map"]["cells"] if cell["runs_diverged"]]
    assert lost and all(cell["value"] is None for cell in lost), "a diverged run has no validation loss"
    assert "Validation loss of the runs that did not diverge" in render_html(without)


@pytest.mark.slow
def test_cost_is_per_solved_query_and_undefined_without_one() -> None:
    report = wide_document()
    rows = {row[0].text: row for row in build_html_tables(report)["cost-table"].rows}
    for arm in report["arms"]:
        rates = [seed["pass_rate"] for seed in arm["seeds"]]
        solved = sum(rates) * arm["n_queries"]
        cost = arm["cost"]
        if solved == 0:
            assert cost["seconds_per_solved"] is None and rows[arm["label"]][5].text == "–", (
                "none solved: no price, not 0"
            )
            continue
        assert cost["eval_seconds_per_solved"] == pytest.approx(40.0 * len(rates) / solved)
        assert cost["seconds_per_solved"] == pytest.approx((40.0 + arm["parameters"] / 1e6) * len(rates) / solved)

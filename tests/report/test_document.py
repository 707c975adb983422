from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from report_tables import CLAIMS, INFO, SUBSETS, document, tables

from sweeper.claims.comparison import Comparison
from sweeper.errors import DataError
from sweeper.report import ReportTables, build_report, serialize_report
from sweeper.report.curves import downsample_history
from sweeper.report.formatting import format_percentage_points
from sweeper.report.html import render_html
from sweeper.report.text import format_comparison
from sweeper.statistics import EffectEstimate, Exclusions


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return document()


@pytest.mark.slow
def test_every_planned_trial_has_a_row_whatever_became_of_it() -> None:
    trials, outcomes, histories = tables()
    trials["status"] = ["FAILED", "PENDING", "DIVERGED", *trials["status"][3:]]
    kept = outcomes[~outcomes["fingerprint"].isin(trials["fingerprint"][:2])]
    found = build_report(INFO, CLAIMS, ReportTables(trials, kept, histories))
    assert [t["fingerprint"] for t in found["trials"]] == list(trials["fingerprint"])
    assert found["study"]["statuses"] == {"COMPLETE": 15, "FAILED": 1, "PENDING": 1, "DIVERGED": 1}
    assert found["study"]["partial"]
    assert {c["verdict"] for c in found["claims"]} == {"inconclusive"}
    assert found["claims"][0]["excluded"]["trials"] == 2


def test_rates_are_those_of_the_outcomes(report: dict[str, Any]) -> None:
    _, outcomes, _ = tables()
    for trial in report["trials"]:
        own = outcomes.loc[outcomes["fingerprint"] == trial["fingerprint"], "passed"]
        arm = next(a for a in report["arms"] if (a["model"], a["num_train_epochs"]) == _place(trial))
        seed = next(s for s in arm["seeds"] if s["seed"] == trial["seed"])
        assert seed["pass_rate"] == pytest.approx(own.mean()) == pytest.approx(trial["metrics"]["pass_rate"])
    for arm in report["arms"]:
        assert arm["pass_rate"] == pytest.approx(np.mean([s["pass_rate"] for s in arm["seeds"]]))
        assert arm["interval"][0] < arm["pass_rate"] < arm["interval"][1] and arm["n_queries"] == 120
    assert [a["parameters"] for a in report["arms"]] == sorted(a["parameters"] for a in report["arms"])
    assert len(report["subsets"]) == 6 * 6


def leakage_of(queries: list[int]) -> dict[str, Any]:
    """An audit that excludes these queries of `tables()`."""
    counts = {"queries": 20, "exact_duplicates": 1, "near_duplicates": 0, "tools": 3, "tools_in_training": 3}
    counts |= {"apis": 9, "apis_in_training": 9, "categories": 2, "categories_in_training": 2, "excluded": 1}
    row = counts | {"subset": SUBSETS[0], "promise": "unseen instructions", "verdict": "broken"}
    return {
        "method": {"threshold": 0.7, "shingle_words": 3, "permutations": 128},
        "test": {"name": "unpublished set", "queries": 120},
        "subsets": [row],
        "exclude": [{"subset": SUBSETS[i % 6], "query_id": str(i), "reasons": ["<b>exact</b>"]} for i in queries],
    }


@pytest.mark.slow
def test_rates_without_leaked_queries_stand_beside_the_others(report: dict[str, Any]) -> None:
    trials, outcomes, histories = tables()
    leaked = list(range(0, 120, 3))
    found = build_report(INFO, CLAIMS, ReportTables(trials, outcomes, histories, leakage=leakage_of(leaked)))
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


def test_verdicts_and_their_sentences(report: dict[str, Any]) -> None:
    spot, once = report["claims"]
    assert (spot["verdict"], once["verdict"]) == ("supported", "refuted")
    for claim in report["claims"]:
        low, high = claim["interval"]
        assert low <= claim["estimate"] <= high
        for number in (
            format_percentage_points(low),
            format_percentage_points(high),
            f"{abs(100 * claim['estimate']):.1f}",
            f"n = {claim['n']:,}",
        ):
            assert number in claim["sentence"]
    assert once["n"] == 120 * 3 * 3


@pytest.mark.slow
def test_the_same_tables_give_the_same_report(report: dict[str, Any]) -> None:
    again = build_report(INFO, CLAIMS, ReportTables(*tables()))
    assert again == report


def test_json_is_strict_and_undefined_is_null() -> None:
    trials, outcomes, histories = tables()
    trials["val_loss"] = np.nan
    found = build_report(INFO, CLAIMS, ReportTables(trials, outcomes.assign(passed=np.nan), histories))
    read = json.loads(serialize_report(found), parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert read == found
    assert read["claims"][0]["estimate"] is None and read["claims"][0]["verdict"] == "inconclusive"
    assert read["arms"][0]["pass_rate"] is None and read["trials"][0]["metrics"]["val_loss"] is None


def test_a_study_that_has_not_run_is_a_report_too() -> None:
    trials, _, _ = tables()
    found = build_report(INFO, CLAIMS, ReportTables(trials.assign(status="PENDING"), pd.DataFrame(), {}))
    assert found["study"]["partial"] and not found["subsets"]
    assert all(c["verdict"] == "inconclusive" and c["estimate"] is None and c["n"] == 0 for c in found["claims"])
    assert all("18 of 18" in c["sentence"] for c in found["claims"])


def test_a_miniature_says_so_and_shows_no_published_rates() -> None:
    reference = {"name": "published", "source": "somewhere, 2025", "rates": {"G1_tool": 0.79}}
    small = build_report(INFO, [], ReportTables(*tables(), references=[reference]))
    assert "no evidence about OPT" in small["study"]["caveat"] and small["references"] == []
    large = build_report(INFO | {"miniature": False}, [], ReportTables(*tables(), references=[reference]))
    assert large["study"]["caveat"] == "" and large["references"] == [reference]


@pytest.mark.parametrize("missing", ["estimate", "low", "high", "n_queries"])
def test_no_sentence_without_estimate_interval_and_n(missing: str) -> None:
    numbers: dict[str, Any] = {"estimate": 0.1, "low": 0.0, "high": 0.2, "n_queries": 9}

    def component() -> Comparison:
        found = EffectEstimate(**numbers, alpha=0.05, n_seeds=2, n_runs=2, exclusions=Exclusions(), method="")
        return Comparison(
            test="superior",
            axis="model",
            first="large",
            second="small",
            margin=0.05,
            estimate=found,
            is_refuted=False,
        )

    assert "10.0 points above" in format_comparison(component())
    numbers[missing] = 0 if missing == "n_queries" else math.nan
    with pytest.raises(DataError, match="sentence"):
        format_comparison(component())


def test_curves_are_bounded_keep_every_validation_loss_and_the_largest_norm() -> None:
    steps = np.arange(1, 1001)
    history = pd.DataFrame({"step": steps, "loss": steps * 1.0, "grad_norm": 1.0, "val_loss": np.nan})
    history.loc[500, "grad_norm"] = 99.0
    ends = pd.DataFrame({"step": [500, 1000], "val_loss": [2.0, np.inf]})
    found = downsample_history(pd.concat([history, ends]), 10)
    assert found["step"] == list(range(100, 1001, 100))
    assert found["loss"] == [50.5 + 100 * i for i in range(10)]
    assert max(found["grad_norm"]) == 99.0
    assert (found["val_step"], found["val_loss"]) == ([500, 1000], [2.0, None])
    assert downsample_history(pd.DataFrame(columns=["step", "loss", "val_loss"]), 10)["step"] == []


def test_points_have_a_true_minus_and_no_signed_zero() -> None:
    assert [format_percentage_points(x) for x in (-0.0123, 0.0, -0.0001, 0.25)] == ["−1.2", "0.0", "0.0", "+25.0"]


def _place(trial: dict[str, Any]) -> tuple[str, float]:
    return trial["model"], trial["num_train_epochs"]

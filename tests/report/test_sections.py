"""The page's sections: what each claim rests on, sizes, the learning-rate map, cost, long tables, odd architectures."""

from __future__ import annotations

import json
import math
import re
from html import unescape
from typing import Any

import numpy as np
import pandas as pd
import pytest
from report_tables import document
from wide_tables import INFO, leakage, long_document, wide_document, wide_tables

from sweeper.report import ReportTables, build_report, render_html
from sweeper.report.confounds import find_confounds
from sweeper.report.curves import MAX_CURVES, compute_loss_bands
from sweeper.report.figure_parts import MAX_PLOT_LINES
from sweeper.report.figures import build_figures
from sweeper.report.html_tables import build_html_tables
from sweeper.report.scaling_section import fit_size_curves
from sweeper.report.search_section import MAX_PARALLEL_LINES

pytestmark = pytest.mark.slow


def part(page: str, start: str, end: str) -> str:
    return unescape(page.split(start)[1].split(end)[0])


def test_a_claim_shows_arms_sensitivity_and_what_would_change_it() -> None:
    report = wide_document()
    page = render_html(report)
    for claim in report["claims"]:
        detail = part(page, f'id="claim-{claim["id"]}"', "</article>")
        for row in claim["sensitivity"]:
            assert row["name"] in detail and row["reason"] in detail
        assert claim["needed"]["reason"] in part(detail, "What would change the verdict", "Excluded from")
        assert "opt-350m · learning rate 0.001 · clip 0.3" in detail
    reached = part(page, 'id="claim-reaches"', "</article>")
    assert "Compared arms: 1<" in reached, "the one arm it is about"


def test_needed_numbers_are_said() -> None:
    report = json.loads(json.dumps(wide_document()))
    report["claims"][0]["needed"] = {
        "seeds": 7,
        "more_seeds": 5,
        "queries": None,
        "more_queries": None,
        "reason": "So.",
    }
    said = part(render_html(report), '<p class="small change">', "</p>")
    assert said == "About 5 more seeds (7 in total) on the same queries would settle this. So."
    report["claims"][0] |= {"needed": None, "verdict": "supported"}
    report["claims"][0]["sensitivity"][2]["verdict"] = "refuted"
    said = part(render_html(report), '<p class="small change">', "</p>")
    assert "refuted (definition: tooleval)" in said and "would change if the interval reached that bound" in said


@pytest.mark.parametrize(
    ("name", "odd"),
    [
        *((name, True) for name in ("opt-350m", "facebook/opt-350m", "our-OPT-350M", "opt-350m-ft")),
        *((name, False) for name in ("opt-125m", "opt-1.3b", "pythia-410m", "opt-tiny-64", "opt-3500m")),
    ],
)
def test_opt_350m_is_named_as_another_architecture(name: str, odd: bool) -> None:
    found = find_confounds(["opt-tiny-32", name, name])
    assert [one["model"] for one in found] == ([name] if odd else [])
    if odd:
        assert "post-layer-norm" in found[0]["text"] and "512" in found[0]["text"]


def test_the_odd_architecture_is_named_wherever_it_is_compared() -> None:
    page = render_html(wide_document())
    for start, end in (
        ("<header>", "Evidence for each claim"),
        ('id="claim-spot"', "</article>"),
        ('id="claim-reaches"', "</article>"),
        ('id="size-fits"', "</section>"),
        ('id="map"', "</section>"),
        ('id="cost"', "</section>"),
    ):
        assert "post-layer-norm" in part(page, start, end), start
    assert "post-layer-norm" not in render_html(document())


def test_the_map_holds_every_finished_run_and_its_divergences() -> None:
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
    without = build_report(INFO | {"evaluated": False}, [], ReportTables(trials, pd.DataFrame(), histories))
    assert without["map"]["metric"] == "val_loss"
    lost = [cell for cell in without["map"]["cells"] if cell["runs_diverged"]]
    assert lost and all(cell["value"] is None for cell in lost), "a diverged run has no validation loss"
    assert "Validation loss of the runs that did not diverge" in render_html(without)


def test_fits_are_of_every_seed_and_say_what_they_cannot_carry() -> None:
    report = document()
    assert {(fit["metric"], fit["size"], fit["group"]) for fit in report["fits"]} == {
        (metric, "parameters", group) for metric in ("pass_rate", "val_loss") for group in ("1 epoch", "3 epochs")
    }
    table = part(render_html(report), 'class="dense fits"', "</table>")
    for fit in report["fits"]:
        assert (fit["n_runs"], fit["n_sizes"], fit["residual_df"]) == (9, 3, 0)
        assert "interpolation" in fit["caveat"] and fit["caveat"] in table
        assert f"{fit['r2']:.3f}" in table
    one_size = [arm for arm in report["arms"] if arm["model"] == "opt-tiny-32"]
    assert fit_size_curves(one_size, ["num_train_epochs"]) == []
    assert fit_size_curves(report["arms"], report["study"]["varied"]) == fit_size_curves(
        report["arms"], report["study"]["varied"]
    )


def test_cost_counts_what_was_solved() -> None:
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


def test_many_arms_are_one_median_and_every_seed() -> None:
    report = long_document()
    assert len(report["arms"]) > MAX_PLOT_LINES
    size = build_figures(report)["size"]
    seeds, _, median = size.data
    assert len(seeds.x) == sum(len(arm["seeds"]) for arm in report["arms"])
    for value, row in zip(median.y, sorted(report["margins"]["model"], key=lambda r: r["parameters"]), strict=True):
        own = [
            arm["pass_rate"] for arm in report["arms"] if arm["model"] == row["value"] and arm["pass_rate"] is not None
        ]
        assert value == row["pass_rate"]["median"] == pytest.approx(np.median(own))
        assert row["pass_rate"]["low"] <= value <= row["pass_rate"]["high"]
    assert len(report["trials"]) > MAX_CURVES and len(build_figures(report)["learning"].data) == 2 * 4


def test_bands_are_quantiles_of_the_trials_that_reach_a_step() -> None:
    curves = {
        str(k): {"step": [1, 5, 9] if k % 2 else [1, 5], "loss": [k, k, k] if k % 2 else [k, k]}
        for k in range(MAX_CURVES + 1)
    }
    (band,) = compute_loss_bands(curves, dict.fromkeys(curves, "m"))
    assert band["step"][0] == 1 and band["step"][-1] == 9 and band["trials"] == MAX_CURVES + 1
    assert (band["reached_by"][0], band["reached_by"][-1]) == (MAX_CURVES + 1, MAX_CURVES // 2)
    assert band["median"][0] == MAX_CURVES / 2
    assert band["low"][0] == pytest.approx(0.1 * MAX_CURVES) and band["high"][0] == pytest.approx(0.9 * MAX_CURVES)
    assert (
        compute_loss_bands({name: curves[name] for name in list(curves)[:MAX_CURVES]}, dict.fromkeys(curves, "m")) == []
    )


def test_a_long_table_is_one_block_of_json_and_escaped() -> None:
    attack = "</script><script>alert(1)</script>"
    report = json.loads(json.dumps(long_document()).replace("opt-1.3b", attack))
    page = render_html(report)
    assert "<script>alert(1)" not in page
    block = json.loads(re.search(r'id="grids">(.*?)</script>', page, re.S).group(1))  # type: ignore[union-attr]
    rows = block["trials"]["rows"]
    assert len(rows) == len(report["trials"]) and any(attack in row for row in rows)
    assert page.count("<tr>") < 600
    grid = build_html_tables(report)["trials"]
    assert len(grid.static_rows) < len(grid.rows)


def test_many_failures_that_say_the_same_are_one() -> None:
    trials, *_ = wide_tables()
    failure = {"kind": "bug", "message": "ValueError: no", "traceback": "x" * 50_000 + "the end"}
    trials["status"] = "FAILED"
    trials["failure"] = [failure] * len(trials)
    page = render_html(build_report(INFO, [], ReportTables(trials, pd.DataFrame(), {})))
    assert page.count('<details id="failure-') == 1 and page.count('href="#failure-1"') == len(trials)
    assert "the end" in page and "x" * 30_000 not in page


def test_hardware_commands_and_planned_are_in_the_document() -> None:
    report = build_report(INFO, [], ReportTables(*wide_tables(), leakage=leakage()))
    assert report["hardware"] == [{"engine": "single", "cpus": 2, "gpus": 0, "trials": 32}]
    assert report["study"]["planned"] == 32 and report["leakage"]["excluded"] == len(report["leakage"]["exclude"])
    page = render_html(report)
    assert all(command in page for command in report["commands"]) and "sweeper report wide" in report["commands"]


def test_a_study_of_one_run_one_query_or_no_parameters_is_a_page() -> None:
    trials, outcomes, histories = wide_tables(queries=1, seeds=1, rates=(1e-3,))
    trials["parameters"] = None
    trials["metrics"] = [{}] * len(trials)
    report = build_report(INFO, [], ReportTables(trials, outcomes, histories))
    assert all(arm["interval"][0] is None or math.isfinite(arm["interval"][0]) for arm in report["arms"])
    assert report["fits"] == [] and "Nothing to fit" in render_html(report)
    one = trials.iloc[:1]
    own = outcomes[outcomes["fingerprint"].isin(one["fingerprint"])]
    render_html(build_report(INFO, [], ReportTables(one, own, histories)))


def test_without_a_mouse_every_control_is_a_control() -> None:
    page: Any = render_html(wide_document())
    heads = re.findall(r'<table class="dense sortable".*?</thead>', page, re.S)
    assert heads and all(head.count("<th ") == head.count('<button type="button">') for head in heads)
    assert "onclick" not in page.split("<script")[0]


def test_what_mattered_is_of_studies_with_many_axes_only() -> None:
    assert document()["search"] is None and not {"importances", "parallel"} & set(build_figures(document()))
    found = wide_document()["search"]
    assert found["n_trials"] == 31 and len(found["lines"]) == 31, "the failed one has no value"
    assert next(iter(found["importances"])) == "learning_rate", "where the divergences are"
    assert sum(found["importances"].values()) == pytest.approx(1)
    assert len(long_document()["search"]["lines"]) == MAX_PARALLEL_LINES
    drawn = build_figures(wide_document())
    assert list(drawn["importances"].data[0].x) == sorted(found["importances"].values())
    assert sum(trace.mode == "lines" for trace in drawn["parallel"].data) == 31
    assert 'id="search"' in render_html(wide_document())

from __future__ import annotations

import json
import math
import re
from typing import Any

import numpy as np
import pytest
import scipy

from sweeper.report.prediction_section import predict_sizes

SIZES = [1e6, 2e6, 4e6, 8e6, 16e6]


def make_trials(sizes: list[float], epochs: tuple[int, ...] = (1,), seeds: int = 3, *, slope: float = 8.0) -> Any:
    rng, trials = np.random.default_rng(0), []
    for size in sizes:
        for count in epochs:
            for seed in range(seeds):
                loss = 0.4 + 0.6 * (size / 1e6) ** -0.5 + 0.3 * count**-0.6
                rate = 0.9 * scipy.special.expit(slope * (1.0 - loss))
                metrics = {
                    "val_loss": loss * math.exp(rng.normal(0, 0.003)),
                    "pass_rate": float(np.clip(rate + rng.normal(0, 0.01), 0, 1)),
                    "tokens": 1e6 * count + seed,
                    "train_flops": 6 * size * 1e6 * count,
                }
                axes = {"model": f"m{size:g}", "num_train_epochs": count, "seed": seed}
                trials.append(axes | {"status": "COMPLETE", "parameters": size, "metrics": metrics})
    return trials


def test_a_ladder_predicts_twice_its_largest_size() -> None:
    (entry,) = predict_sizes(make_trials(SIZES), ["model"])
    assert (entry["law"], entry["n_runs"], entry["n_sizes"], entry["residual_df"]) == ("size", 15, 5, 2)
    beyond = entry["beyond"]
    truth = 0.4 + 0.6 * 32**-0.5 + 0.3
    assert beyond["size"] == 32e6 and beyond["loss_interval"][0] < truth < beyond["loss_interval"][1]
    assert beyond["pass_rate"] == pytest.approx(0.9 * scipy.special.expit(8 * (1 - truth)), abs=0.05)
    assert len(entry["curve"]) == 25 and entry["curve"][-1]["size"] == pytest.approx(32e6)
    assert entry["backtest"]["size"] == 16e6
    assert entry["backtest"]["observed_pass_rate"] == pytest.approx(
        np.mean([trial["metrics"]["pass_rate"] for trial in make_trials(SIZES)[-3:]])
    )
    assert entry["best_sizes"] == []  # one amount of tokens
    assert any(sentence.startswith("Without the largest size (16 M)") for sentence in entry["sentences"])


def test_numbers_of_the_sentences_are_in_the_entry() -> None:
    (entry,) = predict_sizes(make_trials(SIZES), ["model"])
    beyond = entry["beyond"]
    sentence = entry["sentences"][0]
    ends = [*beyond["loss_interval"], *(100 * end for end in beyond["pass_rate_interval"])]
    for value, digits in zip(
        [beyond["loss"], *ends[:2], 100 * beyond["pass_rate"], *ends[2:]], (3, 3, 3, 1, 1, 1), strict=True
    ):
        assert f"{value:.{digits}f}" in sentence


def test_epochs_are_amounts_of_tokens_and_give_a_best_size() -> None:
    entries = predict_sizes(make_trials(SIZES[:4], (1, 2, 4), 2), ["model", "num_train_epochs"])
    assert [entry["law"] for entry in entries] == ["additive", "multiplicative"]
    best = entries[0]["best_sizes"]
    assert len(best) == 3 and best[0]["train_flops"] == pytest.approx(6e12) and entries[1]["best_sizes"] == []
    assert sum("Least loss at" in sentence for sentence in entries[0]["sentences"]) == 3


def test_two_epochs_are_two_groups() -> None:
    entries = predict_sizes(make_trials(SIZES[:4], (1, 3)), ["model", "num_train_epochs"])
    assert [entry["group"] for entry in entries] == ["1 epoch", "3 epochs"]


def test_three_sizes_are_not_extrapolated() -> None:
    (entry,) = predict_sizes(make_trials(SIZES[:3]), ["model"])
    assert entry["problem"] == "Not fitted: 3 sizes with a loss, and 4 are needed."
    assert entry["beyond"] is None and entry["sentences"] == []
    assert predict_sizes(make_trials(SIZES[:1]), []) == []


def test_below_the_transition_there_is_a_loss_and_no_pass_rate() -> None:
    (entry,) = predict_sizes(make_trials(SIZES, slope=-200.0)[:], ["model"])
    low = [trial | {"metrics": trial["metrics"] | {"pass_rate": 0.01}} for trial in make_trials(SIZES)]
    (entry,) = predict_sizes(low, ["model"])
    assert entry["link"] == {} and "below this transition" in entry["link_problem"]
    assert "No pass rate: no arm passes more than 10 %" in entry["sentences"][0]
    assert math.isnan(entry["beyond"]["pass_rate"])


def test_failed_and_diverged_runs_and_other_losses_are_left_out() -> None:
    trials = make_trials(SIZES)
    trials[0]["status"], trials[1]["metrics"]["val_loss"] = "DIVERGED", None
    (entry,) = predict_sizes(trials, ["model"])
    assert (entry["n_runs"], entry["dropped"]) == (13, 2)
    assert entry["sentences"][-1] == "Left out: 2 runs that diverged or have no loss."
    for trial in trials:
        trial["metrics"]["gold_nll"] = trial["metrics"]["val_loss"]
    assert [entry["loss"] for entry in predict_sizes(trials, ["model"])] == ["val_loss", "gold_nll"]


def test_the_same_trials_give_the_same_entry() -> None:
    drawn = {json.dumps(predict_sizes(make_trials(SIZES), ["model"])) for _ in range(2)}
    assert len(drawn) == 1 and not re.search(r"Infinity", drawn.pop())


def test_a_page_shows_sentences_and_the_figure() -> None:
    from report_pages import find_unknown_numbers
    from report_tables import document

    from sweeper.report import render_html
    from sweeper.report.figures import build_figures

    report = document()
    report["predictions"] = json.loads(json.dumps(predict_sizes(make_trials(SIZES), ["model"])))
    page = render_html(report)
    assert all(sentence in page for sentence in report["predictions"][0]["sentences"])
    assert find_unknown_numbers(report) == []
    figure = build_figures(report)["prediction-0"]
    assert [trace.name for trace in figure.data if trace.name in ("predicted", "backtest")] == ["predicted", "backtest"]

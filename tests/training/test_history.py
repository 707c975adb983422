"""The table of a trial's history, and the metrics computed from it."""

from __future__ import annotations

import math

import pytest

from sweeper.training.history import HISTORY_COLUMNS, compute_metrics, make_history

LOG: list[dict[str, float]] = [
    {"step": 1, "epoch": 0.5, "loss": 2.0, "learning_rate": 0.1, "grad_norm": 3.0},
    {"step": 2, "epoch": 1.0, "loss": 1.5, "learning_rate": 0.2, "grad_norm": 2.0},
    {"step": 2, "epoch": 1.0, "val_loss": 1.2},
    {"step": 4, "epoch": 2.0, "val_loss": 1.4},
    {"step": 4, "epoch": 2.0, "train_runtime": 12.0},
]


def test_make_history_has_one_row_per_logged_step_and_no_times() -> None:
    history = make_history(LOG)
    assert tuple(history.columns) == HISTORY_COLUMNS
    assert history["step"].tolist() == [1, 2, 2, 4], "the summary of the run is not a step"
    assert history["loss"].tolist()[:2] == [2.0, 1.5]
    assert history["loss"].isna().tolist() == [False, False, True, True]


def test_make_history_has_a_column_for_rungs_only_where_a_search_measured() -> None:
    history = make_history([*LOG, {"step": 3, "rung_loss": 1.3}])
    assert tuple(history.columns) == (*HISTORY_COLUMNS, "rung_loss")
    assert history["rung_loss"].dropna().tolist() == [1.3]


def test_compute_metrics_has_the_last_and_the_best_validation_loss() -> None:
    metrics = compute_metrics(make_history(LOG), tokens=1000, steps=4, flops_per_token=6.0, seconds=12.0)
    assert metrics == {
        "val_loss": 1.4,
        "best_val_loss": 1.2,
        "train_loss": 1.5,
        "steps": 4.0,
        "tokens": 1000.0,
        "train_flops": 6000.0,
        "train_seconds": 12.0,
    }


def test_compute_metrics_has_the_last_rung_loss() -> None:
    log = [*LOG, {"step": 3, "rung_loss": 1.3}, {"step": 6, "rung_loss": 1.1}]
    metrics = compute_metrics(make_history(log), tokens=1, steps=6, flops_per_token=1.0, seconds=1.0)
    assert metrics["rung_loss"] == 1.1


@pytest.mark.parametrize("name", ["val_loss", "best_val_loss", "train_loss", "train_flops"])
def test_compute_metrics_is_nan_for_what_was_not_measured(name: str) -> None:
    metrics = compute_metrics(make_history([]), tokens=5, steps=0, flops_per_token=math.nan, seconds=0.0)
    value = metrics[name]
    assert value is not None
    assert math.isnan(value)

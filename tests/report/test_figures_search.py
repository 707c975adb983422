from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sweeper.api import open_study
from sweeper.report.figures_search import plot_importances, plot_parallel_coordinates, plot_search_progress

STORE = Path(__file__).resolve().parents[1] / "pinned/store"
IMPORTANCES = {
    "metric": "val_loss",
    "method": "fANOVA",
    "axes": ["learning_rate", "max_grad_norm"],
    "importances": {"learning_rate": 0.75, "max_grad_norm": 0.25},
    "n_trials": 3,
    "lines": [{"learning_rate": 10.0**-k, "max_grad_norm": 0.1 * k, "value": float(k)} for k in range(1, 4)],
}


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    store = shutil.copytree(STORE, tmp_path_factory.mktemp("search") / "store")
    return open_study("looking", store).report().document["exploration"]  # type: ignore[typeddict-item, return-value]


def test_best_line_never_rises_when_a_loss_is_minimized(search: dict[str, object]) -> None:
    figure = plot_search_progress(search)  # type: ignore[arg-type]
    best = next(list(trace.y) for trace in figure.data if trace.mode == "lines")
    assert best == sorted(best, reverse=True)
    assert figure.layout.yaxis.title.text == "val loss"


def test_baseline_trial_is_a_star(search: dict[str, object]) -> None:
    stars = [trace for trace in plot_search_progress(search).data if trace.name == "baseline trial"]  # type: ignore[arg-type]
    assert [trace.marker.symbol for trace in stars] == ["star"]


def test_most_important_axis_is_the_top_bar() -> None:
    bar = plot_importances(IMPORTANCES).data[0]  # type: ignore[arg-type]
    assert list(bar.y) == ["clip", "learning rate"] and list(bar.x) == [0.25, 0.75]


def test_parallel_coordinates_name_axes_as_the_report_does() -> None:
    figure = plot_parallel_coordinates(IMPORTANCES)  # type: ignore[arg-type]
    assert {"learning rate", "clip"} <= set(figure.layout.xaxis.ticktext)
    assert len([trace for trace in figure.data if trace.mode == "lines"]) == 3

from __future__ import annotations

from copy import deepcopy

import pytest
from report_tables import document

from sweeper.report.figures import build_figures, plot_learning_curves


def test_every_figure_of_the_document_has_data() -> None:
    figures = build_figures(document())
    assert {"size", "epochs_pass_rate", "epochs_val_loss", "subsets", "learning", "claim-0", "claim-1"} <= set(figures)
    assert all(figure.data for figure in figures.values())
    assert not {"exploration", "importances", "parallel"} & set(figures), "not a search"


def test_study_without_evaluation_is_plotted_by_its_loss() -> None:
    report = deepcopy(document())
    report["study"]["evaluated"] = False
    figures = build_figures(report)
    assert "size_val_loss" in figures and "size" not in figures


def test_each_model_has_one_color_and_one_entry_in_the_legend() -> None:
    report = document()
    figure = plot_learning_curves(report)
    shown = [trace.name for trace in figure.data if trace.showlegend]
    models = list(dict.fromkeys(arm["model"] for arm in report["arms"]))
    assert sorted(shown) == sorted(models)
    for model in models:
        colors = {(trace.line.color or trace.marker.color) for trace in figure.data if trace.name == model}
        assert len(colors) == 1


@pytest.mark.parametrize("k", range(3))
def test_curves_are_those_of_the_document(k: int) -> None:
    report = document()
    trial = report["trials"][k]
    curve = report["histories"][trial["fingerprint"]]
    lines = [
        t for t in plot_learning_curves(report).data if t.mode == "lines" and f"seed {trial['seed']}" in t.hovertemplate
    ]
    assert any(list(line.y) == curve["loss"] for line in lines)

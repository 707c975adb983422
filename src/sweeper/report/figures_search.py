"""Figures of a search: progress, importances and parallel coordinates."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from sweeper.config.axes import get_axis_label
from sweeper.report.claim_document import Number
from sweeper.report.document import ImportanceEntry, SearchEntry, SearchStepEntry
from sweeper.report.figure_parts import COLORS, GRAY, METRIC_TITLES, make_layout, pick_color
from sweeper.report.search_section import DIRECTIONS, build_optuna_study


def plot_search_progress(search: SearchEntry) -> go.Figure:
    """Plot each proposal's score in order, and the best so far of each model as a line.

    Where a loss is minimized, pruned proposals are drawn at the loss of their last rung.
    """
    figure, metric = go.Figure(), search["metrics"][0]
    for i, model in enumerate(dict.fromkeys(row["model"] for row in search["best"])):
        rows = [row for row in search["best"] if row["model"] == model]
        _add_best_line(figure, rows, f"{model}: best so far", pick_color(i))
        baseline = [(row["trial"], row["value"]) for row in rows if row["anchor"]]
        proposals = [(row["trial"], row["value"]) for row in rows if not row["anchor"]]
        pruned = [(row["trial"], row["rung"]) for row in rows if DIRECTIONS[metric] == "minimize"]
        for name, symbol, points, opacity in (
            ("baseline trial", "star", baseline, 1.0),
            ("proposal", "circle", proposals, 1.0),
            ("pruned, at its last rung", "x-thin-open", pruned, 0.6),
        ):
            marker = {"symbol": symbol, "size": 9, "color": pick_color(i)}
            _add_points(figure, points, marker, name=name, opacity=opacity, is_in_legend=i == 0)
    figure.update_layout(make_layout(metric.replace("_", " ")))
    figure.update_xaxes(title="proposals, in order")
    return figure


def _add_best_line(figure: go.Figure, rows: Sequence[SearchStepEntry], name: str, color: str) -> None:
    known = [row for row in rows if row["best"] is not None]
    x, y = [row["trial"] for row in known], [row["best"] for row in known]
    figure.add_scatter(x=x, y=y, mode="lines", line={"shape": "hv", "color": color}, name=name)


def _add_points(
    figure: go.Figure,
    points: Sequence[tuple[int, Number]],
    marker: dict[str, object],
    *,
    name: str,
    opacity: float,
    is_in_legend: bool,
) -> None:
    known = [(trial, value) for trial, value in points if value is not None]
    if known:
        legend = {"name": name, "legendgroup": name, "showlegend": is_in_legend}
        x, y = [trial for trial, _ in known], [value for _, value in known]
        figure.add_scatter(x=x, y=y, mode="markers", marker=marker, opacity=opacity, **legend)


def plot_importances(importances: ImportanceEntry) -> go.Figure:
    """Plot the importance of each hyperparameter as bars."""
    shares = importances["importances"]
    figure = go.Figure(
        go.Bar(x=list(shares.values())[::-1], y=[get_axis_label(axis) for axis in shares][::-1], orientation="h")
    )
    figure.update_traces(marker_color=COLORS[0], texttemplate="%{x:.2f}", cliponaxis=False, hoverinfo="skip")
    figure.update_layout(make_layout(None)).update_xaxes(title="share of the importance")
    return figure


def plot_parallel_coordinates(importances: ImportanceEntry) -> go.Figure:
    """Plot the trials as Optuna's parallel coordinates, in colors that are legible on white and on black."""
    from optuna import visualization
    from plotly.colors import sample_colorscale

    metric = importances["metric"]
    study = build_optuna_study(importances["lines"], importances["axes"], metric)
    title = METRIC_TITLES.get(metric, metric.replace("_", " "))
    figure = visualization.plot_parallel_coordinate(study, target_name=title)
    values = [trial.value for trial in study.trials if trial.value is not None]
    low, high = min(values), max(values)
    scale = [[0, COLORS[3]], [1, COLORS[0]]]
    for trace in figure.data:
        if trace.mode == "lines":
            place = (float(trace.customdata[0][1]) - low) / (high - low)
            trace.line.color = sample_colorscale(scale, min(1.0, max(0.0, place)))[0]
        else:
            trace.marker.update(colorscale=scale, reversescale=False)
            trace.marker.colorbar.title.text = ""
    for note in figure.layout.annotations:
        note.font.color = GRAY
    figure.update_layout(make_layout(None), title=None, yaxis_title=None)
    figure.update_xaxes(ticktext=[get_axis_label(name) for name in figure.layout.xaxis.ticktext])
    return figure

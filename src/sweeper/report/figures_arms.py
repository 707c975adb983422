"""Figures of the arms: against size and epochs, fitted curves, learning rate x clipping, subsets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import plotly.graph_objects as go

from sweeper.config.axes import format_arm_name, format_axis_value
from sweeper.report.claim_document import AxisValue
from sweeper.report.document import (
    ArmEntry,
    FitEntry,
    HeatmapCell,
    HeatmapEntry,
    PredictionEntry,
    Report,
    get_axis,
    get_metric,
)
from sweeper.report.figure_parts import (
    COLORS,
    MAX_PLOT_LINES,
    METRIC_FORMATS,
    METRIC_TITLES,
    ArmLine,
    Band,
    add_band,
    add_median_band,
    add_metric_line,
    add_seed_points,
    group_arms,
    make_layout,
    pick_color,
    set_metric_axis,
    set_size_axis,
)
from sweeper.report.scaling_section import read_size

MAX_VISIBLE_RADAR_ARMS = 6
"""Arms drawn on the radar at first; the legend switches the others on."""
MAX_RADAR_ARMS = 12
"""Arms on the radar; with more, the `MAX_VISIBLE_RADAR_ARMS` with the highest pass rate."""
MAX_HEATMAPS = 6
"""Models with a heatmap of their own."""
MAX_LABELED_CELLS = 80
"""Cells of a heatmap that are labeled with their value; with more, only divergences are."""
DIVERGED_MARK = "✕"


def plot_size(document: Report, metric: str) -> go.Figure:
    """Plot a metric against parameters, with every seed: a line per combination of the other axes, or the median of the
    arms where there are more than `MAX_PLOT_LINES`."""
    figure = go.Figure()
    others = [axis for axis in document["study"]["varied"] if axis != "model"]
    arms = [arm for arm in document["arms"] if get_metric(arm, metric) is not None and arm["parameters"] is not None]
    groups = group_arms(arms, others)
    if len(groups) > MAX_PLOT_LINES:
        marginals = document["margins"].get("model", [])
        by_size = {row["parameters"]: row for row in marginals if row["parameters"] is not None}
        add_median_band(figure, arms, by_size, metric, lambda arm: arm["parameters"])
    else:
        for i, (name, own) in enumerate(groups.items()):
            sizes, labels = [arm["parameters"] for arm in own], [arm["model"] for arm in own]
            line = ArmLine(name or METRIC_TITLES[metric].partition(",")[0], sizes, own, pick_color(i), labels)
            add_metric_line(figure, line, metric)
    set_metric_axis(figure, metric)
    set_size_axis(figure, arms)
    return figure


def plot_epochs(document: Report, metric: str) -> go.Figure:
    """Plot a metric against epochs, with every seed: a line per model (and combination of further axes), or the median
    of the arms where there are more than `MAX_PLOT_LINES`."""
    figure, varied = go.Figure(), document["study"]["varied"]
    if "num_train_epochs" not in varied:
        return figure
    others = ["model", *(axis for axis in varied if axis not in ("model", "num_train_epochs"))]
    arms = [arm for arm in document["arms"] if get_metric(arm, metric) is not None]
    arms.sort(key=_read_epochs)
    order = {arm["label"]: i for i, arm in enumerate(document["arms"])}
    groups = sorted(group_arms(arms, others).items(), key=lambda item: min(order[arm["label"]] for arm in item[1]))
    if len(groups) > MAX_PLOT_LINES:
        by_epochs = {_to_number(row["value"]): row for row in document["margins"]["num_train_epochs"]}
        add_median_band(figure, arms, by_epochs, metric, _read_epochs)
    else:
        for i, (name, own) in enumerate(groups):
            add_metric_line(figure, ArmLine(name, [_read_epochs(arm) for arm in own], own, pick_color(i)), metric)
    set_metric_axis(figure, metric)
    figure.update_xaxes(title="epochs", tickvals=sorted({_read_epochs(arm) for arm in arms}))
    return figure


def _read_epochs(arm: ArmEntry) -> float:
    return _to_number(get_axis(arm, "num_train_epochs"))


def _to_number(value: AxisValue) -> float:
    return cast(float, value)


def plot_size_fits(document: Report, metric: str, size: str) -> go.Figure:
    """Plot every seed and the fitted curves: power laws solid, with their bands; quadratics dotted."""
    figure = go.Figure()
    fits = [
        fit
        for fit in document["fits"]
        if (fit["metric"], fit["size"]) == (metric, size) and any(v is not None for v in fit["curve"]["value"])
    ]
    for i, group in enumerate(dict.fromkeys(fit["group"] for fit in fits)):
        own, color = [fit for fit in fits if fit["group"] == group], pick_color(i)
        axes = own[0]["axes"]
        arms = [arm for arm in document["arms"] if all(get_axis(arm, axis) == value for axis, value in axes.items())]
        arms = [arm for arm in arms if read_size(arm, size) is not None]
        for j, fit in enumerate(own):
            _add_fit_curve(figure, fit, color, is_first=j == 0)
        sizes = [read_size(arm, size) for arm in arms]
        add_seed_points(figure, ArmLine(group, sizes, arms, color), metric, group=group or own[0]["name"])
    set_metric_axis(figure, metric)
    if size == "parameters":
        set_size_axis(figure, [arm for arm in document["arms"] if arm["parameters"] is not None])
    else:
        figure.update_xaxes(title="training FLOPs (log scale)", type="log", exponentformat="power", dtick=1)
    return figure


def plot_prediction(document: Report, prediction: PredictionEntry) -> go.Figure:
    """Plot what a law predicts up to twice the largest size: the pass rate, or the loss where it has none."""
    figure, has_rate = go.Figure(), bool(prediction["link"])
    key, metric = ("pass_rate", "pass_rate") if has_rate else ("loss", "val_loss")
    curve = prediction["curve"]
    if not curve:
        return figure
    xs, ends = [point["size"] for point in curve], [point[f"{key}_interval"] for point in curve]  # type: ignore[literal-required]
    add_band(figure, Band(xs, [low for low, _ in ends], [high for _, high in ends]), COLORS[0], "predicted")
    figure.add_scatter(
        x=xs,
        y=[point[key] for point in curve],  # type: ignore[literal-required]
        mode="lines",
        name="predicted",
        line={"color": COLORS[0], "width": 2},
        hovertemplate=f"%{{x:.3s}} parameters: %{{y:{METRIC_FORMATS[metric]}}}<extra>predicted</extra>",
    )
    backtest = prediction["backtest"]
    if backtest is not None and backtest[key] is not None:  # type: ignore[literal-required]
        figure.add_scatter(
            x=[backtest["size"]],
            y=[backtest[key]],  # type: ignore[literal-required]
            mode="markers",
            name="backtest",
            marker={"color": COLORS[1], "size": 11, "symbol": "x"},
            hovertemplate=f"predicted without it: %{{y:{METRIC_FORMATS[metric]}}}<extra>backtest</extra>",
        )
    if has_rate or prediction["loss"] == "val_loss":
        arms = [
            arm
            for arm in document["arms"]
            if arm["parameters"] is not None
            and all(get_axis(arm, axis) == value for axis, value in prediction["axes"].items())
        ]
        add_seed_points(figure, ArmLine("runs", [arm["parameters"] for arm in arms], arms, COLORS[0]), metric)
    set_metric_axis(figure, metric)
    figure.update_xaxes(title="parameters (log scale)", type="log", dtick=1)
    return figure


def _add_fit_curve(figure: go.Figure, fit: FitEntry, color: str, *, is_first: bool) -> None:
    curve, group = fit["curve"], fit["group"] or fit["name"]
    name = " · ".join(part for part in (fit["group"], fit["name"]) if part)
    if is_first and any(value is not None for value in curve["low"]):
        add_band(figure, Band(curve["size"], curve["low"], curve["high"]), color, group)
    figure.add_scatter(
        x=curve["size"],
        y=curve["value"],
        mode="lines",
        name=group,
        legendgroup=group,
        showlegend=is_first or not fit["group"],
        line={"color": color, "width": 2, "dash": "solid" if is_first else "dot"},
        hovertemplate=f"{name}: %{{y:{METRIC_FORMATS[fit['metric']]}}}<extra></extra>",
    )


def list_heatmap_models(document: Report) -> list[str]:
    """List the models with a heatmap of their own."""
    cells = document["map"]["cells"] if document["map"] else ()
    return list(dict.fromkeys(cell["model"] for cell in cells))[:MAX_HEATMAPS]


def plot_lr_clip_heatmap(heatmap: HeatmapEntry, model: str) -> go.Figure:
    """Plot learning rate x clipping of one model, with its diverged runs."""
    cells = {(c["learning_rate"], c["max_grad_norm"]): c for c in heatmap["cells"] if c["model"] == model}
    rates = sorted({rate for rate, _ in cells}, key=_sort_off_last)
    clips = sorted({clip for _, clip in cells}, key=_sort_off_last)
    show_values = len(cells) <= MAX_LABELED_CELLS
    values: list[list[float | None]] = []
    labels: list[list[str]] = []
    hovers: list[list[str]] = []
    for clip in clips:
        row = [cells.get((rate, clip)) for rate in rates]
        values.append([cell["value"] if cell else None for cell in row])
        labels.append(
            [_format_cell_label(cell, heatmap["metric"], show_value=show_values) if cell else "" for cell in row]
        )
        hovers.append([_format_cell_hover(cell, heatmap["metric"]) if cell else "" for cell in row])
    all_values = [cell["value"] for cell in heatmap["cells"] if cell["value"] is not None]
    is_rate = heatmap["metric"] == "pass_rate"
    figure = go.Figure()
    if all_values:
        figure.add_heatmap(
            z=values,
            x=[format_axis_value(rate) for rate in rates],
            y=[format_axis_value(clip) for clip in clips],
            text=labels,
            texttemplate="%{text}",
            hovertext=hovers,
            hovertemplate="%{hovertext}<extra></extra>",
            zmin=0 if is_rate else min(all_values),
            zmax=1 if is_rate else max(all_values),
            colorscale="Cividis",
            reversescale=not is_rate,
            colorbar={"thickness": 12, "tickformat": ".0%" if is_rate else ".3g", "outlinewidth": 0},
            xgap=1,
            ygap=1,
        )
    figure.update_layout(make_layout("clip (maximum gradient norm)"))
    figure.update_xaxes(title="learning rate", type="category")
    figure.update_yaxes(type="category")
    return figure


def _sort_off_last(value: AxisValue) -> tuple[bool, float]:
    return value is None, 0.0 if value is None else _to_number(value)


def _format_cell_label(cell: HeatmapCell, metric: str, *, show_value: bool) -> str:
    mark = ""
    if cell["runs_diverged"]:
        mark = f"{DIVERGED_MARK} {cell['runs_diverged']} of {cell['runs_done']}" if show_value else DIVERGED_MARK
    if not show_value or cell["value"] is None:
        return mark
    value = f"{cell['value']:.0%}" if metric == "pass_rate" else f"{cell['value']:.3g}"
    return f"{value}<br>{mark}" if mark else value


def _format_cell_hover(cell: HeatmapCell, metric: str) -> str:
    value = "–" if cell["value"] is None else format(cell["value"], METRIC_FORMATS[metric])
    place = ", ".join(
        (
            format_arm_name("learning_rate", cell["learning_rate"]),
            format_arm_name("max_grad_norm", cell["max_grad_norm"]),
        )
    )
    runs = f"{cell['runs_done']} runs, {cell['runs_diverged']} diverged"
    return f"{place}<br>{METRIC_TITLES[metric]}: {value}<br>{runs}"


def plot_subset_radar(document: Report) -> go.Figure:
    """Plot the pass rate on each subset, a polygon per arm; with more than `MAX_RADAR_ARMS` arms, the best ones."""
    figure = go.Figure()
    names = sorted({row["subset"] for row in document["subsets"]})
    rates: dict[str, dict[str, float]] = {}
    for row in document["subsets"]:
        if row["pass_rate"] is not None:
            rates.setdefault(row["arm"], {})[row["subset"]] = row["pass_rate"]
    arms = [arm for arm in document["arms"] if rates.get(arm["label"])]
    if len(arms) > MAX_RADAR_ARMS:
        arms = sorted(arms, key=lambda arm: -(arm["pass_rate"] or 0.0))[:MAX_VISIBLE_RADAR_ARMS]
    for i, arm in enumerate(arms if len(names) > 2 else ()):
        _add_radar_polygon(figure, arm["label"], rates[arm["label"]], names, i)
    legend = {"orientation": "h", "y": -0.12, "yanchor": "top", "x": 0}
    figure.update_layout(make_layout(None) | {"margin": {"l": 70, "r": 70, "t": 30, "b": 36}, "legend": legend})
    figure.update_layout(polar={"radialaxis": {"range": [0, 1], "tickformat": ".0%", "angle": 90, "tickangle": 90}})
    return figure


def _add_radar_polygon(
    figure: go.Figure, label: str, rates: dict[str, float], subsets: Sequence[str], number: int
) -> None:
    closed = [*subsets, subsets[0]]
    figure.add_scatterpolar(
        r=[rates.get(name) for name in closed],
        theta=[name.replace("_", "<br>", 1).replace("_", " ") for name in closed],
        name=label,
        mode="lines+markers",
        line={"color": pick_color(number), "width": 2},
        marker={"size": 5},
        visible=True if number < MAX_VISIBLE_RADAR_ARMS else "legendonly",
        hovertemplate=f"{label}<br>%{{theta}}: %{{r:.1%}}<extra></extra>",
    )

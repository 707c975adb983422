"""The report's document -> Plotly figures. Pure: no number is computed here."""

from __future__ import annotations

import textwrap
from typing import Any

import plotly.graph_objects as go

from sweeper.config.axes import format_arm_name
from sweeper.report.search_section import build_optuna_study

COLORS = ("#4477AA", "#CC6677", "#228833", "#C9A227", "#66AACC", "#AA3377", "#8A8A8A")
"""After Paul Tol's `bright` scheme: distinct for colour-blind readers, legible on white and on black."""
MAX_VISIBLE_RADAR_ARMS = 6
"""Arms drawn on the radar at first; the legend switches the others on."""
MAX_RADAR_ARMS = 12
"""Arms on the radar; of more, the RADAR_SHOWN with the highest pass rate."""
MAX_PLOT_LINES = 12
"""Lines on one plot; of more, the median and band over arms, and every seed as a point."""
MAX_HEATMAPS = 6
"""Models that get a map of their own."""
MAX_LABELED_CELLS = 80
"""Cells of a map that are labelled with their value; of more, only divergences are."""
LABEL_WIDTH = 26
"""Characters of a comparison's name on one line: a phone has no more room."""
GRAY = "#8A8A8A"
DIVERGED_MARK = "✕"


def build_figures(document: dict[str, Any]) -> dict[str, go.Figure]:
    """Every figure there is data for, by name: `size` (`size_val_loss` of a study without evaluation), `epochs_*`,
    `fit_METRIC_SIZE`, `map-N`, `claim-N`, `subsets`, `importances`, `parallel`, `learning`."""
    evaluated = document["study"]["evaluated"]
    size, metric = ("size", "pass_rate") if evaluated else ("size_val_loss", "val_loss")
    made = {
        size: plot_size(document, metric),
        "epochs_pass_rate": plot_epochs(document, "pass_rate"),
        "epochs_val_loss": plot_epochs(document, "val_loss"),
        "subsets": plot_subset_radar(document),
        "learning": plot_learning_curves(document),
    }
    for what in ("pass_rate", "val_loss"):
        for where in ("parameters", "train_flops"):
            made[f"fit_{what}_{where}"] = plot_size_fits(document, what, where)
    made |= {f"map-{k}": plot_lr_clip_heatmap(document, model) for k, model in enumerate(list_heatmap_models(document))}
    made |= {f"claim-{k}": plot_claim_intervals(claim) for k, claim in enumerate(document["claims"])}
    if document.get("exploration"):
        made["exploration"] = plot_search_progress(document["exploration"])
    if document["search"]:
        made |= plot_importances(document["search"])
    return {name: figure for name, figure in made.items() if figure.data}


def plot_search_progress(exploration: dict[str, Any]) -> go.Figure:
    """Each proposal's score in order, the best so far of each model as a line; of those stopped early, where a loss is
    looked for, the loss at their last rung."""
    figure = go.Figure()
    by_loss = exploration["metrics"][0].endswith("loss")
    for i, model in enumerate(dict.fromkeys(row["model"] for row in exploration["best"])):
        rows, colour = [row for row in exploration["best"] if row["model"] == model], COLORS[i % len(COLORS)]
        line = [row for row in rows if row["best"] is not None]
        x, y = [row["trial"] for row in line], [row["best"] for row in line]
        figure.add_scatter(x=x, y=y, mode="lines", line={"shape": "hv", "color": colour}, name=f"{model}: best so far")
        for name, symbol, shown, opacity in (
            ("the recipe", "star", [(r["trial"], r["value"]) for r in rows if r["anchor"]], 1.0),
            ("a proposal", "circle", [(r["trial"], r["value"]) for r in rows if not r["anchor"]], 1.0),
            ("stopped early, at its last rung", "x-thin-open", [(r["trial"], r["rung"]) for r in rows if by_loss], 0.6),
        ):
            there = [(trial, value) for trial, value in shown if value is not None]
            if there:
                marker = {"symbol": symbol, "size": 9, "color": colour}
                legend = {"name": name, "legendgroup": name, "showlegend": not i}
                x, y = [trial for trial, _ in there], [value for _, value in there]
                figure.add_scatter(x=x, y=y, mode="markers", marker=marker, opacity=opacity, **legend)
    figure.update_layout(_make_layout(exploration["metrics"][0].replace("_", " ")))
    figure.update_xaxes(title="proposals, in order")
    return figure


def plot_size(document: dict[str, Any], metric: str) -> go.Figure:
    """`pass_rate` (with interval) or `val_loss` against parameters, and every seed: a line per combination of other
    axes, or the median of the arms where there are more than LINES."""
    figure = go.Figure()
    others = [axis for axis in document["study"]["varied"] if axis != "model"]
    arms = [arm for arm in document["arms"] if arm[metric] is not None and arm["parameters"] is not None]
    groups = _group_arms(arms, others)
    if len(groups) > MAX_PLOT_LINES:
        rows = [row for row in document["margins"].get("model", ()) if row["parameters"] is not None]
        _add_median_band(
            figure, arms, [(row["parameters"], row) for row in rows], metric, lambda arm: arm["parameters"]
        )
    for i, (name, group) in enumerate(groups.items() if len(groups) <= MAX_PLOT_LINES else ()):
        sizes = [arm["parameters"] for arm in group]
        labels, colour = [arm["model"] for arm in group], COLORS[i % len(COLORS)]
        if metric == "pass_rate":
            _add_rate_line(figure, name or "pass rate", sizes, group, colour, labels)
        else:
            _add_loss_line(figure, name or "validation loss", sizes, group, colour, labels)
    figure.update_layout(_make_layout(METRIC_TITLES[metric]))
    _set_size_axis(figure, arms)
    if metric == "pass_rate":
        _set_percent_axis(figure)
    return figure


def plot_epochs(document: dict[str, Any], metric: str) -> go.Figure:
    """`pass_rate` or `val_loss` against epochs, and every seed: a line per model (and combination of further axes), or
    the median of the arms where there are more than LINES."""
    figure = go.Figure()
    if "num_train_epochs" not in document["study"]["varied"]:
        return figure
    others = ["model", *(a for a in document["study"]["varied"] if a not in ("model", "num_train_epochs"))]
    arms = [arm for arm in document["arms"] if arm[metric] is not None]
    arms.sort(key=lambda arm: arm["num_train_epochs"])
    order = {arm["label"]: i for i, arm in enumerate(document["arms"])}
    groups = sorted(_group_arms(arms, others).items(), key=lambda item: min(order[arm["label"]] for arm in item[1]))
    if len(groups) > MAX_PLOT_LINES:
        rows = sorted(document["margins"]["num_train_epochs"], key=lambda row: row["value"])
        _add_median_band(
            figure, arms, [(row["value"], row) for row in rows], metric, lambda arm: arm["num_train_epochs"]
        )
    for i, (name, group) in enumerate(groups if len(groups) <= MAX_PLOT_LINES else ()):
        epochs, colour = [arm["num_train_epochs"] for arm in group], COLORS[i % len(COLORS)]
        if metric == "pass_rate":
            _add_rate_line(figure, name, epochs, group, colour, None)
        else:
            _add_loss_line(figure, name, epochs, group, colour, None)
    figure.update_layout(_make_layout(METRIC_TITLES[metric]))
    shown = sorted({arm["num_train_epochs"] for arm in arms})
    figure.update_xaxes(title="epochs", tickvals=shown)
    if metric == "pass_rate":
        _set_percent_axis(figure)
    return figure


def plot_size_fits(document: dict[str, Any], metric: str, size: str) -> go.Figure:
    """Every seed, and the fitted curves: power laws solid, with their bands; quadratics dotted."""
    figure = go.Figure()
    fits = [
        fit
        for fit in document["fits"]
        if (fit["metric"], fit["size"]) == (metric, size) and any(v is not None for v in fit["curve"]["value"])
    ]
    groups = list(dict.fromkeys(fit["group"] for fit in fits))
    for i, group in enumerate(groups):
        own = [fit for fit in fits if fit["group"] == group]
        axes = own[0]["axes"]
        arms = [arm for arm in document["arms"] if all(arm[axis] == value for axis, value in axes.items())]
        points = [arm for arm in arms if _read_size(arm, size) is not None]
        places = [_read_size(arm, size) for arm in points]
        colour = COLORS[i % len(COLORS)]
        for j, fit in enumerate(own):
            _add_fit_curve(figure, fit, colour, group, metric, is_first=j == 0)
        _add_seed_points(figure, places, points, metric, colour, METRIC_FORMATS[metric], group=group or own[0]["name"])
    figure.update_layout(_make_layout(METRIC_TITLES[metric]))
    if size == "parameters":
        _set_size_axis(figure, [arm for arm in document["arms"] if arm["parameters"] is not None])
    else:
        figure.update_xaxes(title="training FLOPs (log scale)", type="log", exponentformat="power", dtick=1)
    if metric == "pass_rate":
        _set_percent_axis(figure)
    return figure


def plot_importances(search: dict[str, Any]) -> dict[str, go.Figure]:
    """Importances as bars, and Optuna's parallel coordinates in colours that show on white and on black."""
    from optuna import visualization
    from plotly.colors import sample_colorscale

    shares = search["importances"]
    bars = go.Figure(
        go.Bar(x=list(shares.values())[::-1], y=[_format_axis_name(axis) for axis in shares][::-1], orientation="h")
    )
    bars.update_traces(marker_color=COLORS[0], texttemplate="%{x:.2f}", cliponaxis=False, hoverinfo="skip")
    bars.update_layout(_make_layout(None)).update_xaxes(title="share of the importance")
    study = build_optuna_study(search["lines"], search["axes"], search["metric"])
    parallel = visualization.plot_parallel_coordinate(study, target_name=METRIC_TITLES[search["metric"]])
    values = [row["value"] for row in search["lines"]]
    low, high = min(values), max(values)
    scale = [[0, COLORS[3]], [1, COLORS[0]]]
    for trace in parallel.data:
        if trace.mode == "lines":
            place = (float(trace.customdata[0][1]) - low) / (high - low)
            trace.line.color = sample_colorscale(scale, min(1.0, max(0.0, place)))[0]
        else:
            trace.marker.update(colorscale=scale, reversescale=False)
            trace.marker.colorbar.title.text = ""
    for note in parallel.layout.annotations:
        note.font.color = GRAY
    parallel.update_layout(_make_layout(None), title=None, yaxis_title=None)
    names = [_format_axis_name(name) for name in parallel.layout.xaxis.ticktext]
    parallel.update_xaxes(ticktext=names)
    return {"importances": bars, "parallel": parallel}


def _format_axis_name(axis: str) -> str:
    return axis.replace("num_train_", "").replace("max_grad_norm", "clipping").replace("_", " ")


def list_heatmap_models(document: dict[str, Any]) -> list[str]:
    """Models that get a map."""
    cells = document["map"]["cells"] if document["map"] else ()
    return list(dict.fromkeys(cell["model"] for cell in cells))[:MAX_HEATMAPS]


def plot_lr_clip_heatmap(document: dict[str, Any], model: str) -> go.Figure:
    """Learning rate x clipping of one model, with its diverged runs."""
    found = document["map"]
    cells = {(c["learning_rate"], c["max_grad_norm"]): c for c in found["cells"] if c["model"] == model}
    rates = sorted({rate for rate, _ in cells}, key=lambda rate: (rate is None, rate))
    clips = sorted({clip for _, clip in cells}, key=lambda clip: (clip is None, clip))
    named = len(cells) <= MAX_LABELED_CELLS
    values, words, hovers = [], [], []
    for clip in clips:
        row = [cells.get((rate, clip)) for rate in rates]
        values.append([None if cell is None else cell["value"] for cell in row])
        words.append(
            ["" if cell is None else _format_cell_label(cell, found["metric"], show_value=named) for cell in row]
        )
        hovers.append(["" if cell is None else _format_cell_hover(cell, found["metric"]) for cell in row])
    every = [cell["value"] for cell in found["cells"] if cell["value"] is not None]
    rate_map = found["metric"] == "pass_rate"
    figure = go.Figure()
    if every:
        figure.add_heatmap(
            z=values,
            x=[f"{rate:g}" if isinstance(rate, int | float) else str(rate) for rate in rates],
            y=["off" if clip is None else f"{clip:g}" for clip in clips],
            text=words,
            texttemplate="%{text}",
            hovertext=hovers,
            hovertemplate="%{hovertext}<extra></extra>",
            zmin=0 if rate_map else min(every),
            zmax=1 if rate_map else max(every),
            colorscale="Cividis",
            reversescale=not rate_map,
            colorbar={"thickness": 12, "tickformat": ".0%" if rate_map else ".3g", "outlinewidth": 0},
            xgap=1,
            ygap=1,
        )
    figure.update_layout(_make_layout("clipping (largest gradient norm)"))
    figure.update_xaxes(title="learning rate", type="category")
    figure.update_yaxes(type="category")
    return figure


def plot_claim_intervals(claim: dict[str, Any]) -> go.Figure:
    """The claim's comparisons with their intervals, where they have to lie, and the deciding one read otherwise."""
    figure = go.Figure()
    unit = claim.get("unit") or "points"
    scale = 100 if unit == "points" else 1
    rows = [
        (" − ".join(part["names"]), part, COLORS[0])
        for part in claim["components"]
        if part["unit"] == unit and part["estimate"] is not None
    ]
    rows += [(row["name"], row, GRAY) for row in claim["sensitivity"] if row["estimate"] is not None]
    # Two rows of one name would be one place on the axis.
    rows = [("<br>".join(textwrap.wrap(name, LABEL_WIDTH)), part, colour) for name, part, colour in rows]
    names = [name + "\u200b" * [n for n, _, _ in rows[:k]].count(name) for k, (name, _, _) in enumerate(rows)]
    for colour, legend in ((COLORS[0], "comparison"), (GRAY, "read otherwise")):
        own = [(name, part) for name, (_, part, c) in zip(names, rows, strict=True) if c == colour]
        if own:
            values = [scale * part["estimate"] for _, part in own]
            ends = [[None if end is None else scale * end for end in part["interval"]] for _, part in own]
            figure.add_scatter(
                x=values,
                y=[name for name, _ in own],
                mode="markers",
                name=legend,
                marker={"color": colour, "size": 9},
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [0 if h is None else h - v for v, (_, h) in zip(values, ends, strict=True)],
                    "arrayminus": [0 if low is None else v - low for v, (low, _) in zip(values, ends, strict=True)],
                    "color": colour,
                    "thickness": 1.6,
                    "width": 5,
                },
                hovertemplate="%{y}: %{x:.3g}<extra></extra>",
            )
    bounds = [(name, scale * b) for name, (_, part, _) in zip(names, rows, strict=True) for b in _compute_bounds(part)]
    if bounds:
        figure.add_scatter(
            x=[bound for _, bound in bounds],
            y=[name for name, _ in bounds],
            mode="markers",
            name="bound",
            marker={"color": COLORS[1], "size": 18, "symbol": "line-ns-open", "line": {"width": 2}},
            hovertemplate="%{y}: has to be on one side of %{x:.3g}<extra></extra>",
        )
    figure.update_layout(_make_layout(None) | {"margin": {"l": 56, "r": 16, "t": 30, "b": 48}})
    figure.update_xaxes(title={"points": "percentage points"}.get(unit, unit), zeroline=True)
    figure.update_yaxes(type="category", autorange="reversed", categoryorder="array", categoryarray=names)
    return figure


def plot_subset_radar(document: dict[str, Any]) -> go.Figure:
    """Radar of the subsets, a polygon per arm; of more than RADAR_ARMS, the arms with the highest pass rate."""
    figure = go.Figure()
    names = sorted({row["subset"] for row in document["subsets"]})
    rates: dict[str, dict[str, Any]] = {}
    for row in document["subsets"]:
        if row["pass_rate"] is not None:
            rates.setdefault(row["arm"], {})[row["subset"]] = row["pass_rate"]
    arms = [arm for arm in document["arms"] if rates.get(arm["label"])]
    if len(arms) > MAX_RADAR_ARMS:
        arms = sorted(arms, key=lambda arm: -(arm["pass_rate"] or 0.0))[:MAX_VISIBLE_RADAR_ARMS]
    drawn = [(arm["label"], rates[arm["label"]]) for arm in arms]
    for i, (label, by_subset) in enumerate(drawn if len(names) > 2 else []):
        figure.add_scatterpolar(
            r=[by_subset.get(name) for name in [*names, names[0]]],
            theta=[name.replace("_", "<br>", 1).replace("_", " ") for name in [*names, names[0]]],
            name=label,
            mode="lines+markers",
            line={"color": COLORS[i % len(COLORS)], "width": 2},
            marker={"size": 5},
            visible=True if i < MAX_VISIBLE_RADAR_ARMS else "legendonly",
            hovertemplate=f"{label}<br>%{{theta}}: %{{r:.1%}}<extra></extra>",
        )
    below = {"orientation": "h", "y": -0.12, "yanchor": "top", "x": 0}
    figure.update_layout(_make_layout(None) | {"margin": {"l": 70, "r": 70, "t": 30, "b": 36}, "legend": below})
    figure.update_layout(polar={"radialaxis": {"range": [0, 1], "tickformat": ".0%", "angle": 90, "tickangle": 90}})
    return figure


def plot_learning_curves(document: dict[str, Any]) -> go.Figure:
    """Training loss (thin) and validation loss (marks) of every trial against steps, a colour per model; the models'
    bands where the document has those."""
    figure = go.Figure()
    models = list(dict.fromkeys(arm["model"] for arm in document["arms"]))
    for band in document["learning"]:
        colour = COLORS[models.index(band["model"]) % len(COLORS)]
        _add_band(figure, band["step"], band["low"], band["high"], colour, band["model"])
        figure.add_scatter(
            x=band["step"],
            y=band["median"],
            mode="lines",
            name=band["model"],
            legendgroup=band["model"],
            line={"color": colour, "width": 2},
            hovertemplate=f"{band['model']}<br>step %{{x}}: median %{{y:.3f}}<extra></extra>",
        )
    shown: set[str] = set()
    for trial in document["trials"] if not document["learning"] else ():
        curve = document["histories"].get(trial["fingerprint"])
        if not curve:
            continue
        model = trial["model"]
        colour = COLORS[models.index(model) % len(COLORS)]
        varied = [axis for axis in document["study"]["varied"] if axis != "model"]
        name = " · ".join([model, *(format_arm_name(a, trial[a]) for a in varied), f"seed {trial['seed']}"])
        common = {"name": model, "legendgroup": model}
        figure.add_scatter(
            x=curve["step"],
            y=curve["loss"],
            mode="lines",
            line={"color": colour, "width": 1},
            opacity=0.7,
            showlegend=model not in shown,
            hovertemplate=f"{name}<br>step %{{x}}: %{{y:.3f}}<extra>training</extra>",
            **common,
        )
        figure.add_scatter(
            x=curve["val_step"],
            y=curve["val_loss"],
            mode="markers",
            marker={"color": colour, "size": 7, "symbol": "diamond"},
            showlegend=False,
            hovertemplate=f"{name}<br>step %{{x}}: %{{y:.3f}}<extra>validation</extra>",
            **common,
        )
        shown.add(model)
    figure.update_layout(_make_layout("loss, nats per token (log scale)"))
    figure.update_xaxes(title="optimiser steps", rangemode="tozero")
    ticks = [digit * 10.0**power for power in range(-5, 3) for digit in (1, 2, 5)]
    figure.update_yaxes(type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])
    return figure


METRIC_TITLES = {"pass_rate": "pass rate", "val_loss": "validation loss, nats per token"}
METRIC_FORMATS = {"pass_rate": ".1%", "val_loss": ".3f"}
TEST_BOUNDS: dict[str, tuple[int, ...]] = {"superior": (0,), "reduces": (0,), "superior-by": (1,), "no-better": (1,)}
TEST_BOUNDS |= {"at-least": (-1,), "at-most": (1,), "about": (-1, 1), "exceeds": (1,), "stays-below": (1,)}
"""Test -> its bounds in margins."""


def _compute_bounds(part: dict[str, Any]) -> list[float]:
    """Where a comparison's interval must not reach; none for what is read otherwise."""
    factors = TEST_BOUNDS.get(part.get("test", ""), ())
    return [0.0 if factor == 0 else factor * (part["margin"] or 0.0) for factor in factors]


def _format_cell_label(cell: dict[str, Any], metric: str, *, show_value: bool) -> str:
    cross = ""
    if cell["runs_diverged"]:
        cross = f"{DIVERGED_MARK} {cell['runs_diverged']} of {cell['runs_done']}" if show_value else DIVERGED_MARK
    if not show_value or cell["value"] is None:
        return cross
    value = f"{cell['value']:.0%}" if metric == "pass_rate" else f"{cell['value']:.3g}"
    return f"{value}<br>{cross}" if cross else value


def _format_cell_hover(cell: dict[str, Any], metric: str) -> str:
    value = "–" if cell["value"] is None else format(cell["value"], METRIC_FORMATS[metric])
    clip = format_arm_name("max_grad_norm", cell["max_grad_norm"])
    return (
        f"{format_arm_name('learning_rate', cell['learning_rate'])}, {clip}<br>{METRIC_TITLES[metric]}: {value}<br>"
        f"{cell['runs_done']} runs, {cell['runs_diverged']} diverged"
    )


def _read_size(arm: dict[str, Any], size: str) -> float | None:
    found: float | None = arm["parameters"] if size == "parameters" else arm["cost"]["train_flops"]
    return found


def _set_size_axis(figure: go.Figure, arms: list[dict[str, Any]]) -> None:
    sizes = sorted({(arm["parameters"], arm["model"]) for arm in arms})
    figure.update_xaxes(
        title="parameters (log scale)",
        type="log",
        tickvals=[size for size, _ in sizes],
        ticktext=[f"{name}<br>{format_short_count(size)}" for size, name in sizes],
        tickangle=0,
    )


def _add_fit_curve(
    figure: go.Figure, fit: dict[str, Any], color: str, group: str, metric: str, *, is_first: bool
) -> None:
    curve, name = fit["curve"], " · ".join(part for part in (group, fit["name"]) if part)
    if is_first and any(value is not None for value in curve["low"]):
        _add_band(figure, curve["size"], curve["low"], curve["high"], color, group or fit["name"])
    figure.add_scatter(
        x=curve["size"],
        y=curve["value"],
        mode="lines",
        name=group or fit["name"],
        legendgroup=group or fit["name"],
        showlegend=is_first or not group,
        line={"color": color, "width": 2, "dash": "solid" if is_first else "dot"},
        hovertemplate=f"{name}: %{{y:{METRIC_FORMATS[metric]}}}<extra></extra>",
    )


def _add_band(figure: go.Figure, xs: list[Any], low: list[Any], high: list[Any], color: str, group: str) -> None:
    """A band between two lines, one outline."""
    there = [(x, a, b) for x, a, b in zip(xs, low, high, strict=True) if a is not None and b is not None]
    figure.add_scatter(
        x=[x for x, _, _ in there] + [x for x, _, _ in reversed(there)],
        y=[a for _, a, _ in there] + [b for _, _, b in reversed(there)],
        fill="toself",
        mode="lines",
        line={"width": 0, "color": color},
        opacity=0.25,
        hoverinfo="skip",
        showlegend=False,
        legendgroup=group,
    )


def _add_median_band(
    figure: go.Figure, arms: list[dict[str, Any]], rows: list[tuple[Any, dict[str, Any]]], metric: str, read_x: Any
) -> None:
    """Every seed of every arm, faint, and the arms' median with its band."""
    _add_seed_points(figure, [read_x(arm) for arm in arms], arms, metric, GRAY, METRIC_FORMATS[metric])
    figure.data[0].update(opacity=0.35, marker={"size": 4})
    there = [(x, row[metric]) for x, row in sorted(rows, key=lambda item: item[0]) if row[metric]["median"] is not None]
    xs = [x for x, _ in there]
    low, median, high = ([band[key] for _, band in there] for key in ("low", "median", "high"))
    _add_band(figure, xs, low, high, COLORS[0], "median")
    figure.add_scatter(
        x=xs,
        y=median,
        mode="lines+markers",
        name="median of the arms",
        legendgroup="median",
        line={"color": COLORS[0], "width": 2},
        marker={"size": 8},
        hovertemplate=f"median of the arms: %{{y:{METRIC_FORMATS[metric]}}}<extra></extra>",
    )


def _add_loss_line(
    figure: go.Figure, name: str, xs: list[float], arms: list[dict[str, Any]], color: str, labels: list[str] | None
) -> None:
    where = [f"{label}<br>" for label in labels] if labels else ["" for _ in arms]
    figure.add_scatter(
        x=xs,
        y=[arm["val_loss"] for arm in arms],
        name=name,
        mode="lines",
        line={"color": color, "width": 2},
        legendgroup=name,
        text=where,
        hovertemplate=f"{name}<br>%{{text}}mean %{{y:.3f}}<extra></extra>",
    )
    _add_seed_points(figure, xs, arms, "val_loss", color, METRIC_FORMATS["val_loss"], group=name)


def format_short_count(value: float | None) -> str:
    """1,300,000 as `1.3 M`."""
    if value is None:
        return "–"
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f}"


def _group_arms(arms: list[dict[str, Any]], axes: list[str]) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for arm in arms:
        words = [format_arm_name(axis, arm[axis]) for axis in axes]
        groups.setdefault(" · ".join(words), []).append(arm)
    return dict(sorted(groups.items(), key=lambda item: [str(item[1][0][a]) for a in axes if a != "model"]))


def _add_rate_line(
    figure: go.Figure, name: str, xs: list[float], arms: list[dict[str, Any]], color: str, labels: list[str] | None
) -> None:
    where = [f"{label}<br>" for label in labels] if labels else ["" for _ in arms]
    figure.add_scatter(
        x=xs,
        y=[arm["pass_rate"] for arm in arms],
        name=name,
        mode="lines+markers",
        line={"color": color, "width": 2},
        marker={"size": 8},
        legendgroup=name,
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [arm["interval"][1] - arm["pass_rate"] for arm in arms],
            "arrayminus": [arm["pass_rate"] - arm["interval"][0] for arm in arms],
            "color": color,
            "thickness": 1.2,
            "width": 5,
        },
        text=[
            f"{place}{arm['pass_rate']:.1%} ({arm['interval'][0]:.1%} to {arm['interval'][1]:.1%}), "
            f"{arm['n_queries']} queries, {len(arm['seeds'])} seeds"
            for place, arm in zip(where, arms, strict=True)
        ],
        hovertemplate=f"{name}<br>%{{text}}<extra></extra>",
    )
    _add_seed_points(figure, xs, arms, "pass_rate", color, ".1%", group=name)


def _add_seed_points(
    figure: go.Figure,
    xs: list[Any],
    arms: list[dict[str, Any]],
    metric: str,
    color: str,
    number_format: str,
    group: str | None = None,
) -> None:
    """Every seed as an open circle."""
    points = [
        (x, seed[metric], seed["seed"])
        for x, arm in zip(xs, arms, strict=True)
        for seed in arm["seeds"]
        if seed[metric] is not None
    ]
    figure.add_scatter(
        x=[x for x, _, _ in points],
        y=[y for _, y, _ in points],
        mode="markers",
        marker={"color": color, "size": 7, "symbol": "circle-open", "line": {"width": 1.3}},
        text=[f"seed {seed}" for _, _, seed in points],
        showlegend=False,
        legendgroup=group,
        hovertemplate=f"%{{text}}: %{{y:{number_format}}}<extra></extra>",
    )


def _make_layout(y_title: str | None) -> dict[str, Any]:
    return {
        "margin": {"l": 56, "r": 16, "t": 16, "b": 56},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "yaxis": {"title": y_title},
        "hovermode": "closest",
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
    }


def _set_percent_axis(figure: go.Figure) -> None:
    figure.update_yaxes(tickformat=".0%", range=[-0.02, 1.02], dtick=0.2)

"""The report's document -> Plotly figures. Pure: no number is computed here."""

from __future__ import annotations

import textwrap
from typing import Any

import plotly.graph_objects as go

from sweeper.report.search import optuna_study
from sweeper.statistics import arm_name

COLOURS = ("#4477AA", "#CC6677", "#228833", "#C9A227", "#66AACC", "#AA3377", "#8A8A8A")
"""After Paul Tol's `bright` scheme: distinct for colour-blind readers, legible on white and on black."""
RADAR_SHOWN = 6
"""Arms drawn on the radar at first; the legend switches the others on."""
RADAR_ARMS = 12
"""Arms on the radar; of more, the RADAR_SHOWN with the highest pass rate."""
LINES = 12
"""Lines on one plot; of more, the median and band over arms, and every seed as a point."""
MAPS = 6
"""Models that get a map of their own."""
MAP_WORDS = 80
"""Cells of a map that are labelled with their value; of more, only divergences are."""
LABEL = 26
"""Characters of a comparison's name on one line: a phone has no more room."""
GREY = "#8A8A8A"
DIVERGED = "✕"


def figures(document: dict[str, Any]) -> dict[str, go.Figure]:
    """Every figure there is data for, by name: `size` (`size_val_loss` of a study without evaluation), `epochs_*`,
    `fit_METRIC_SIZE`, `map-N`, `claim-N`, `subsets`, `importances`, `parallel`, `learning`."""
    evaluated = document["study"]["evaluated"]
    size, metric = ("size", "pass_rate") if evaluated else ("size_val_loss", "val_loss")
    made = {
        size: size_figure(document, metric),
        "epochs_pass_rate": epochs_figure(document, "pass_rate"),
        "epochs_val_loss": epochs_figure(document, "val_loss"),
        "subsets": subset_figure(document),
        "learning": learning_figure(document),
    }
    for what in ("pass_rate", "val_loss"):
        for where in ("parameters", "train_flops"):
            made[f"fit_{what}_{where}"] = fit_figure(document, what, where)
    made |= {f"map-{k}": map_figure(document, model) for k, model in enumerate(map_models(document))}
    made |= {f"claim-{k}": claim_figure(claim) for k, claim in enumerate(document["claims"])}
    if document.get("exploration"):
        made["exploration"] = exploration_figure(document["exploration"])
    if document["search"]:
        made |= search_figures(document["search"])
    return {name: figure for name, figure in made.items() if figure.data}


def exploration_figure(exploration: dict[str, Any]) -> go.Figure:
    """Each proposal's score in order, the best so far of each model as a line; of those stopped early, where a loss is
    looked for, the loss at their last rung."""
    figure = go.Figure()
    by_loss = exploration["metrics"][0].endswith("loss")
    for i, model in enumerate(dict.fromkeys(row["model"] for row in exploration["best"])):
        rows, colour = [row for row in exploration["best"] if row["model"] == model], COLOURS[i % len(COLOURS)]
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
    figure.update_layout(_layout(exploration["metrics"][0].replace("_", " ")))
    figure.update_xaxes(title="proposals, in order")
    return figure


def size_figure(document: dict[str, Any], metric: str) -> go.Figure:
    """`pass_rate` (with interval) or `val_loss` against parameters, and every seed: a line per combination of other
    axes, or the median of the arms where there are more than LINES."""
    figure = go.Figure()
    others = [axis for axis in document["study"]["varied"] if axis != "model"]
    arms = [arm for arm in document["arms"] if arm[metric] is not None and arm["parameters"] is not None]
    groups = _grouped(arms, others)
    if len(groups) > LINES:
        rows = [row for row in document["margins"].get("model", ()) if row["parameters"] is not None]
        _many(figure, arms, [(row["parameters"], row) for row in rows], metric, lambda arm: arm["parameters"])
    for i, (name, group) in enumerate(groups.items() if len(groups) <= LINES else ()):
        sizes = [arm["parameters"] for arm in group]
        labels, colour = [arm["model"] for arm in group], COLOURS[i % len(COLOURS)]
        if metric == "pass_rate":
            _rate_line(figure, name or "pass rate", sizes, group, colour, labels)
        else:
            _loss_line(figure, name or "validation loss", sizes, group, colour, labels)
    figure.update_layout(_layout(TITLES[metric]))
    _size_axis(figure, arms)
    if metric == "pass_rate":
        _percent(figure)
    return figure


def epochs_figure(document: dict[str, Any], metric: str) -> go.Figure:
    """`pass_rate` or `val_loss` against epochs, and every seed: a line per model (and combination of further axes), or
    the median of the arms where there are more than LINES."""
    figure = go.Figure()
    if "num_train_epochs" not in document["study"]["varied"]:
        return figure
    others = ["model", *(a for a in document["study"]["varied"] if a not in ("model", "num_train_epochs"))]
    arms = [arm for arm in document["arms"] if arm[metric] is not None]
    arms.sort(key=lambda arm: arm["num_train_epochs"])
    order = {arm["label"]: i for i, arm in enumerate(document["arms"])}
    groups = sorted(_grouped(arms, others).items(), key=lambda item: min(order[arm["label"]] for arm in item[1]))
    if len(groups) > LINES:
        rows = sorted(document["margins"]["num_train_epochs"], key=lambda row: row["value"])
        _many(figure, arms, [(row["value"], row) for row in rows], metric, lambda arm: arm["num_train_epochs"])
    for i, (name, group) in enumerate(groups if len(groups) <= LINES else ()):
        epochs, colour = [arm["num_train_epochs"] for arm in group], COLOURS[i % len(COLOURS)]
        if metric == "pass_rate":
            _rate_line(figure, name, epochs, group, colour, None)
        else:
            _loss_line(figure, name, epochs, group, colour, None)
    figure.update_layout(_layout(TITLES[metric]))
    shown = sorted({arm["num_train_epochs"] for arm in arms})
    figure.update_xaxes(title="epochs", tickvals=shown)
    if metric == "pass_rate":
        _percent(figure)
    return figure


def fit_figure(document: dict[str, Any], metric: str, size: str) -> go.Figure:
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
        points = [arm for arm in arms if _size_of(arm, size) is not None]
        places = [_size_of(arm, size) for arm in points]
        colour = COLOURS[i % len(COLOURS)]
        for j, fit in enumerate(own):
            _curve(figure, fit, colour, group, metric, first=j == 0)
        _seed_points(figure, places, points, metric, colour, FORMS[metric], group=group or own[0]["name"])
    figure.update_layout(_layout(TITLES[metric]))
    if size == "parameters":
        _size_axis(figure, [arm for arm in document["arms"] if arm["parameters"] is not None])
    else:
        figure.update_xaxes(title="training FLOPs (log scale)", type="log", exponentformat="power", dtick=1)
    if metric == "pass_rate":
        _percent(figure)
    return figure


def search_figures(search: dict[str, Any]) -> dict[str, go.Figure]:
    """Importances as bars, and Optuna's parallel coordinates in colours that show on white and on black."""
    from optuna import visualization
    from plotly.colors import sample_colorscale

    shares = search["importances"]
    bars = go.Figure(go.Bar(x=list(shares.values())[::-1], y=[_worded(axis) for axis in shares][::-1], orientation="h"))
    bars.update_traces(marker_color=COLOURS[0], texttemplate="%{x:.2f}", cliponaxis=False, hoverinfo="skip")
    bars.update_layout(_layout(None)).update_xaxes(title="share of the importance")
    study = optuna_study(search["lines"], search["axes"], search["metric"])
    parallel = visualization.plot_parallel_coordinate(study, target_name=TITLES[search["metric"]])
    values = [row["value"] for row in search["lines"]]
    low, high = min(values), max(values)
    scale = [[0, COLOURS[3]], [1, COLOURS[0]]]
    for trace in parallel.data:
        if trace.mode == "lines":
            place = (float(trace.customdata[0][1]) - low) / (high - low)
            trace.line.color = sample_colorscale(scale, min(1.0, max(0.0, place)))[0]
        else:
            trace.marker.update(colorscale=scale, reversescale=False)
            trace.marker.colorbar.title.text = ""
    for note in parallel.layout.annotations:
        note.font.color = GREY
    parallel.update_layout(_layout(None), title=None, yaxis_title=None)
    names = [_worded(name) for name in parallel.layout.xaxis.ticktext]
    parallel.update_xaxes(ticktext=names)
    return {"importances": bars, "parallel": parallel}


def _worded(axis: str) -> str:
    return axis.replace("num_train_", "").replace("max_grad_norm", "clipping").replace("_", " ")


def map_models(document: dict[str, Any]) -> list[str]:
    """Models that get a map."""
    cells = document["map"]["cells"] if document["map"] else ()
    return list(dict.fromkeys(cell["model"] for cell in cells))[:MAPS]


def map_figure(document: dict[str, Any], model: str) -> go.Figure:
    """Learning rate x clipping of one model, with its diverged runs."""
    found = document["map"]
    cells = {(c["learning_rate"], c["max_grad_norm"]): c for c in found["cells"] if c["model"] == model}
    rates = sorted({rate for rate, _ in cells}, key=lambda rate: (rate is None, rate))
    clips = sorted({clip for _, clip in cells}, key=lambda clip: (clip is None, clip))
    named = len(cells) <= MAP_WORDS
    values, words, hovers = [], [], []
    for clip in clips:
        row = [cells.get((rate, clip)) for rate in rates]
        values.append([None if cell is None else cell["value"] for cell in row])
        words.append(["" if cell is None else _map_word(cell, found["metric"], named=named) for cell in row])
        hovers.append(["" if cell is None else _map_hover(cell, found["metric"]) for cell in row])
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
    figure.update_layout(_layout("clipping (largest gradient norm)"))
    figure.update_xaxes(title="learning rate", type="category")
    figure.update_yaxes(type="category")
    return figure


def claim_figure(claim: dict[str, Any]) -> go.Figure:
    """The claim's comparisons with their intervals, where they have to lie, and the deciding one read otherwise."""
    figure = go.Figure()
    unit = claim.get("unit") or "points"
    scale = 100 if unit == "points" else 1
    rows = [
        (" − ".join(part["names"]), part, COLOURS[0])
        for part in claim["components"]
        if part["unit"] == unit and part["estimate"] is not None
    ]
    rows += [(row["name"], row, GREY) for row in claim["sensitivity"] if row["estimate"] is not None]
    # Two rows of one name would be one place on the axis.
    rows = [("<br>".join(textwrap.wrap(name, LABEL)), part, colour) for name, part, colour in rows]
    names = [name + "\u200b" * [n for n, _, _ in rows[:k]].count(name) for k, (name, _, _) in enumerate(rows)]
    for colour, legend in ((COLOURS[0], "comparison"), (GREY, "read otherwise")):
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
    bounds = [(name, scale * b) for name, (_, part, _) in zip(names, rows, strict=True) for b in _bounds(part)]
    if bounds:
        figure.add_scatter(
            x=[bound for _, bound in bounds],
            y=[name for name, _ in bounds],
            mode="markers",
            name="bound",
            marker={"color": COLOURS[1], "size": 18, "symbol": "line-ns-open", "line": {"width": 2}},
            hovertemplate="%{y}: has to be on one side of %{x:.3g}<extra></extra>",
        )
    figure.update_layout(_layout(None) | {"margin": {"l": 56, "r": 16, "t": 30, "b": 48}})
    figure.update_xaxes(title={"points": "percentage points"}.get(unit, unit), zeroline=True)
    figure.update_yaxes(type="category", autorange="reversed", categoryorder="array", categoryarray=names)
    return figure


def subset_figure(document: dict[str, Any]) -> go.Figure:
    """Radar of the subsets, a polygon per arm; of more than RADAR_ARMS, the arms with the highest pass rate."""
    figure = go.Figure()
    names = sorted({row["subset"] for row in document["subsets"]})
    rates: dict[str, dict[str, Any]] = {}
    for row in document["subsets"]:
        if row["pass_rate"] is not None:
            rates.setdefault(row["arm"], {})[row["subset"]] = row["pass_rate"]
    arms = [arm for arm in document["arms"] if rates.get(arm["label"])]
    if len(arms) > RADAR_ARMS:
        arms = sorted(arms, key=lambda arm: -(arm["pass_rate"] or 0.0))[:RADAR_SHOWN]
    drawn = [(arm["label"], rates[arm["label"]]) for arm in arms]
    for i, (label, by_subset) in enumerate(drawn if len(names) > 2 else []):
        figure.add_scatterpolar(
            r=[by_subset.get(name) for name in [*names, names[0]]],
            theta=[name.replace("_", "<br>", 1).replace("_", " ") for name in [*names, names[0]]],
            name=label,
            mode="lines+markers",
            line={"color": COLOURS[i % len(COLOURS)], "width": 2},
            marker={"size": 5},
            visible=True if i < RADAR_SHOWN else "legendonly",
            hovertemplate=f"{label}<br>%{{theta}}: %{{r:.1%}}<extra></extra>",
        )
    below = {"orientation": "h", "y": -0.12, "yanchor": "top", "x": 0}
    figure.update_layout(_layout(None) | {"margin": {"l": 70, "r": 70, "t": 30, "b": 36}, "legend": below})
    figure.update_layout(polar={"radialaxis": {"range": [0, 1], "tickformat": ".0%", "angle": 90, "tickangle": 90}})
    return figure


def learning_figure(document: dict[str, Any]) -> go.Figure:
    """Training loss (thin) and validation loss (marks) of every trial against steps, a colour per model; the models'
    bands where the document has those."""
    figure = go.Figure()
    models = list(dict.fromkeys(arm["model"] for arm in document["arms"]))
    for band in document["learning"]:
        colour = COLOURS[models.index(band["model"]) % len(COLOURS)]
        _filled(figure, band["step"], band["low"], band["high"], colour, band["model"])
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
        colour = COLOURS[models.index(model) % len(COLOURS)]
        varied = [axis for axis in document["study"]["varied"] if axis != "model"]
        name = " · ".join([model, *(arm_name(a, trial[a]) for a in varied), f"seed {trial['seed']}"])
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
    figure.update_layout(_layout("loss, nats per token (log scale)"))
    figure.update_xaxes(title="optimiser steps", rangemode="tozero")
    ticks = [digit * 10.0**power for power in range(-5, 3) for digit in (1, 2, 5)]
    figure.update_yaxes(type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])
    return figure


TITLES = {"pass_rate": "pass rate", "val_loss": "validation loss, nats per token"}
FORMS = {"pass_rate": ".1%", "val_loss": ".3f"}
BOUNDS: dict[str, tuple[int, ...]] = {"superior": (0,), "reduces": (0,), "superior-by": (1,), "no-better": (1,)}
BOUNDS |= {"at-least": (-1,), "at-most": (1,), "about": (-1, 1), "exceeds": (1,), "stays-below": (1,)}
"""Test -> its bounds in margins."""


def _bounds(part: dict[str, Any]) -> list[float]:
    """Where a comparison's interval must not reach; none for what is read otherwise."""
    factors = BOUNDS.get(part.get("test", ""), ())
    return [0.0 if factor == 0 else factor * (part["margin"] or 0.0) for factor in factors]


def _map_word(cell: dict[str, Any], metric: str, *, named: bool) -> str:
    cross = ""
    if cell["runs_diverged"]:
        cross = f"{DIVERGED} {cell['runs_diverged']} of {cell['runs_done']}" if named else DIVERGED
    if not named or cell["value"] is None:
        return cross
    value = f"{cell['value']:.0%}" if metric == "pass_rate" else f"{cell['value']:.3g}"
    return f"{value}<br>{cross}" if cross else value


def _map_hover(cell: dict[str, Any], metric: str) -> str:
    value = "–" if cell["value"] is None else format(cell["value"], FORMS[metric])
    clip = arm_name("max_grad_norm", cell["max_grad_norm"])
    return (
        f"{arm_name('learning_rate', cell['learning_rate'])}, {clip}<br>{TITLES[metric]}: {value}<br>"
        f"{cell['runs_done']} runs, {cell['runs_diverged']} diverged"
    )


def _size_of(arm: dict[str, Any], size: str) -> float | None:
    found: float | None = arm["parameters"] if size == "parameters" else arm["cost"]["train_flops"]
    return found


def _size_axis(figure: go.Figure, arms: list[dict[str, Any]]) -> None:
    sizes = sorted({(arm["parameters"], arm["model"]) for arm in arms})
    figure.update_xaxes(
        title="parameters (log scale)",
        type="log",
        tickvals=[size for size, _ in sizes],
        ticktext=[f"{name}<br>{short_count(size)}" for size, name in sizes],
        tickangle=0,
    )


def _curve(figure: go.Figure, fit: dict[str, Any], colour: str, group: str, metric: str, *, first: bool) -> None:
    curve, name = fit["curve"], " · ".join(part for part in (group, fit["name"]) if part)
    if first and any(value is not None for value in curve["low"]):
        _filled(figure, curve["size"], curve["low"], curve["high"], colour, group or fit["name"])
    figure.add_scatter(
        x=curve["size"],
        y=curve["value"],
        mode="lines",
        name=group or fit["name"],
        legendgroup=group or fit["name"],
        showlegend=first or not group,
        line={"color": colour, "width": 2, "dash": "solid" if first else "dot"},
        hovertemplate=f"{name}: %{{y:{FORMS[metric]}}}<extra></extra>",
    )


def _filled(figure: go.Figure, xs: list[Any], low: list[Any], high: list[Any], colour: str, group: str) -> None:
    """A band between two lines, one outline."""
    there = [(x, a, b) for x, a, b in zip(xs, low, high, strict=True) if a is not None and b is not None]
    figure.add_scatter(
        x=[x for x, _, _ in there] + [x for x, _, _ in reversed(there)],
        y=[a for _, a, _ in there] + [b for _, _, b in reversed(there)],
        fill="toself",
        mode="lines",
        line={"width": 0, "color": colour},
        opacity=0.25,
        hoverinfo="skip",
        showlegend=False,
        legendgroup=group,
    )


def _many(
    figure: go.Figure, arms: list[dict[str, Any]], rows: list[tuple[Any, dict[str, Any]]], metric: str, place: Any
) -> None:
    """Every seed of every arm, faint, and the arms' median with its band."""
    _seed_points(figure, [place(arm) for arm in arms], arms, metric, GREY, FORMS[metric])
    figure.data[0].update(opacity=0.35, marker={"size": 4})
    there = [(x, row[metric]) for x, row in sorted(rows, key=lambda item: item[0]) if row[metric]["median"] is not None]
    xs = [x for x, _ in there]
    low, median, high = ([band[key] for _, band in there] for key in ("low", "median", "high"))
    _filled(figure, xs, low, high, COLOURS[0], "median")
    figure.add_scatter(
        x=xs,
        y=median,
        mode="lines+markers",
        name="median of the arms",
        legendgroup="median",
        line={"color": COLOURS[0], "width": 2},
        marker={"size": 8},
        hovertemplate=f"median of the arms: %{{y:{FORMS[metric]}}}<extra></extra>",
    )


def _loss_line(
    figure: go.Figure, name: str, xs: list[float], arms: list[dict[str, Any]], colour: str, labels: list[str] | None
) -> None:
    where = [f"{label}<br>" for label in labels] if labels else ["" for _ in arms]
    figure.add_scatter(
        x=xs,
        y=[arm["val_loss"] for arm in arms],
        name=name,
        mode="lines",
        line={"color": colour, "width": 2},
        legendgroup=name,
        text=where,
        hovertemplate=f"{name}<br>%{{text}}mean %{{y:.3f}}<extra></extra>",
    )
    _seed_points(figure, xs, arms, "val_loss", colour, FORMS["val_loss"], group=name)


def short_count(value: float | None) -> str:
    """1,300,000 as `1.3 M`."""
    if value is None:
        return "–"
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f}"


def _grouped(arms: list[dict[str, Any]], axes: list[str]) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for arm in arms:
        words = [arm_name(axis, arm[axis]) for axis in axes]
        groups.setdefault(" · ".join(words), []).append(arm)
    return dict(sorted(groups.items(), key=lambda item: [str(item[1][0][a]) for a in axes if a != "model"]))


def _rate_line(
    figure: go.Figure, name: str, xs: list[float], arms: list[dict[str, Any]], colour: str, labels: list[str] | None
) -> None:
    where = [f"{label}<br>" for label in labels] if labels else ["" for _ in arms]
    figure.add_scatter(
        x=xs,
        y=[arm["pass_rate"] for arm in arms],
        name=name,
        mode="lines+markers",
        line={"color": colour, "width": 2},
        marker={"size": 8},
        legendgroup=name,
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [arm["interval"][1] - arm["pass_rate"] for arm in arms],
            "arrayminus": [arm["pass_rate"] - arm["interval"][0] for arm in arms],
            "color": colour,
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
    _seed_points(figure, xs, arms, "pass_rate", colour, ".1%", group=name)


def _seed_points(
    figure: go.Figure,
    xs: list[Any],
    arms: list[dict[str, Any]],
    metric: str,
    colour: str,
    form: str,
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
        marker={"color": colour, "size": 7, "symbol": "circle-open", "line": {"width": 1.3}},
        text=[f"seed {seed}" for _, _, seed in points],
        showlegend=False,
        legendgroup=group,
        hovertemplate=f"%{{text}}: %{{y:{form}}}<extra></extra>",
    )


def _layout(y_title: str | None) -> dict[str, Any]:
    return {
        "margin": {"l": 56, "r": 16, "t": 16, "b": 56},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "yaxis": {"title": y_title},
        "hovermode": "closest",
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
    }


def _percent(figure: go.Figure) -> None:
    figure.update_yaxes(tickformat=".0%", range=[-0.02, 1.02], dtick=0.2)

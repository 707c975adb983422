"""The report's document -> Plotly figures. Pure: no number is computed here."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from sweeper.statistics import arm_name

COLOURS = ("#4477AA", "#CC6677", "#228833", "#C9A227", "#66AACC", "#AA3377", "#8A8A8A")
"""After Paul Tol's `bright` scheme: distinct for colour-blind readers, legible on white and on black."""
RADAR_SHOWN = 6
"""Arms drawn on the radar at first; the legend switches the others on."""


def figures(document: dict[str, Any]) -> dict[str, go.Figure]:
    """Every figure there is data for, by name: size (size_val_loss of a study without evaluation), epochs_pass_rate,
    epochs_val_loss, subsets, learning."""
    evaluated = document["study"]["evaluated"]
    size, metric = ("size", "pass_rate") if evaluated else ("size_val_loss", "val_loss")
    made = {
        size: size_figure(document, metric),
        "epochs_pass_rate": epochs_figure(document, "pass_rate"),
        "epochs_val_loss": epochs_figure(document, "val_loss"),
        "subsets": subset_figure(document),
        "learning": learning_figure(document),
    }
    return {name: figure for name, figure in made.items() if figure.data}


def size_figure(document: dict[str, Any], metric: str) -> go.Figure:
    """`pass_rate` (with interval and seeds) or `val_loss` against parameters: a line per combination of other axes."""
    figure = go.Figure()
    others = [axis for axis in document["study"]["varied"] if axis != "model"]
    arms = [arm for arm in document["arms"] if arm[metric] is not None and arm["parameters"] is not None]
    for i, (name, group) in enumerate(_grouped(arms, others).items()):
        sizes = [arm["parameters"] for arm in group]
        labels = [arm["model"] for arm in group]
        if metric == "pass_rate":
            _rate_line(figure, name or "pass rate", sizes, group, COLOURS[i % len(COLOURS)], labels)
        else:
            losses = [arm["val_loss"] for arm in group]
            figure.add_scatter(
                x=sizes,
                y=losses,
                name=name or "validation loss",
                mode="lines+markers",
                line={"color": COLOURS[i % len(COLOURS)]},
                text=labels,
                hovertemplate="%{text}<br>%{y:.3f}<extra></extra>",
            )
    sizes = sorted({(arm["parameters"], arm["model"]) for arm in arms})
    figure.update_layout(_layout("pass rate" if metric == "pass_rate" else "validation loss"))
    figure.update_xaxes(
        title="parameters (log scale)",
        type="log",
        tickvals=[size for size, _ in sizes],
        ticktext=[f"{name}<br>{short_count(size)}" for size, name in sizes],
        tickangle=0,
    )
    if metric == "pass_rate":
        _percent(figure)
    return figure


def epochs_figure(document: dict[str, Any], metric: str) -> go.Figure:
    """`pass_rate` or `val_loss` against epochs, a line per model (and combination of further axes)."""
    figure = go.Figure()
    if "num_train_epochs" not in document["study"]["varied"]:
        return figure
    others = ["model", *(a for a in document["study"]["varied"] if a not in ("model", "num_train_epochs"))]
    arms = [arm for arm in document["arms"] if arm[metric] is not None]
    arms.sort(key=lambda arm: arm["num_train_epochs"])
    order = {arm["label"]: i for i, arm in enumerate(document["arms"])}
    groups = sorted(_grouped(arms, others).items(), key=lambda item: min(order[arm["label"]] for arm in item[1]))
    for i, (name, group) in enumerate(groups):
        epochs, colour = [arm["num_train_epochs"] for arm in group], COLOURS[i % len(COLOURS)]
        if metric == "pass_rate":
            _rate_line(figure, name, epochs, group, colour, None)
            continue
        figure.add_scatter(
            x=epochs,
            y=[arm["val_loss"] for arm in group],
            name=name,
            mode="lines",
            line={"color": colour, "width": 2},
            hovertemplate=f"{name}<br>%{{x}} epochs: mean %{{y:.3f}}<extra></extra>",
        )
        _seed_points(figure, epochs, group, "val_loss", colour, ".3f")
    title = "pass rate" if metric == "pass_rate" else "validation loss, nats per token"
    figure.update_layout(_layout(title))
    shown = sorted({arm["num_train_epochs"] for arm in arms})
    figure.update_xaxes(title="epochs", tickvals=shown)
    if metric == "pass_rate":
        _percent(figure)
    return figure


def subset_figure(document: dict[str, Any]) -> go.Figure:
    """Radar of the subsets, a polygon per arm."""
    figure = go.Figure()
    names = sorted({row["subset"] for row in document["subsets"]})
    rates = {(row["arm"], row["subset"]): row["pass_rate"] for row in document["subsets"]}
    drawn = [(arm["label"], {n: rates.get((arm["label"], n)) for n in names}) for arm in document["arms"]]
    drawn = [item for item in drawn if any(rate is not None for rate in item[1].values())]
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
    figure.update_layout(_layout(None) | {"margin": {"l": 70, "r": 70, "t": 30, "b": 36}})
    figure.update_layout(polar={"radialaxis": {"range": [0, 1], "tickformat": ".0%", "angle": 90, "tickangle": 90}})
    return figure


def learning_figure(document: dict[str, Any]) -> go.Figure:
    """Training loss (thin) and validation loss (marks) against steps, a colour per model."""
    figure = go.Figure()
    models = list(dict.fromkeys(arm["model"] for arm in document["arms"]))
    shown: set[str] = set()
    for trial in document["trials"]:
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
    xs: list[float],
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

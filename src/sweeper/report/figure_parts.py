"""Parts that the report's figures share: colors, axes, bands, and the points of single runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from sweeper.config.axes import format_arm_name
from sweeper.report.claim_document import Number
from sweeper.report.document import ArmEntry, MarginalEntry, get_axis, get_metric
from sweeper.report.formatting import format_short_count

COLORS = ("#4477AA", "#CC6677", "#228833", "#C9A227", "#66AACC", "#AA3377", "#8A8A8A")
"""After Paul Tol's `bright` scheme: distinct for color-blind readers, legible on white and on black."""
GRAY = "#8A8A8A"
MAX_PLOT_LINES = 12
"""Lines on one plot; with more, the median and band over arms, and every seed as a point."""
METRIC_TITLES = {"pass_rate": "pass rate", "val_loss": "validation loss, nats per token"}
METRIC_FORMATS = {"pass_rate": ".1%", "val_loss": ".3f"}


@dataclass(frozen=True)
class ArmLine:
    """Arms along one axis of a plot.

    Args:
        name: the line's name in the legend.
        xs: place of each arm.
        arms: the arms.
        color: of the line and its points.
        labels: name of each arm when hovering; none where the place says it.
    """

    name: str
    xs: Sequence[Number]
    arms: Sequence[ArmEntry]
    color: str
    labels: Sequence[str] = ()

    @property
    def hover_prefixes(self) -> list[str]:
        """The first line of each arm's hover text."""
        return [f"{label}<br>" for label in self.labels] if self.labels else ["" for _ in self.arms]


def pick_color(i: int) -> str:
    """Return the i-th color; after the last, start over."""
    return COLORS[i % len(COLORS)]


def make_layout(y_title: str | None) -> dict[str, object]:
    """Make the layout of a figure; its page adds fonts and colors."""
    return {
        "margin": {"l": 56, "r": 16, "t": 16, "b": 56},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "yaxis": {"title": y_title},
        "hovermode": "closest",
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
    }


def set_metric_axis(figure: go.Figure, metric: str) -> None:
    """Title the y axis with the metric; a pass rate goes from 0 % to 100 %."""
    figure.update_layout(make_layout(METRIC_TITLES[metric]))
    if metric == "pass_rate":
        figure.update_yaxes(tickformat=".0%", range=[-0.02, 1.02], dtick=0.2)


def set_size_axis(figure: go.Figure, arms: Sequence[ArmEntry]) -> None:
    """Mark the models' sizes on a logarithmic x axis."""
    sizes = sorted({(arm["parameters"] or 0.0, arm["model"]) for arm in arms})
    figure.update_xaxes(
        title="parameters (log scale)",
        type="log",
        tickvals=[size for size, _ in sizes],
        ticktext=[f"{name}<br>{format_short_count(size)}" for size, name in sizes],
        tickangle=0,
    )


def group_arms(arms: Sequence[ArmEntry], axes: Sequence[str]) -> dict[str, list[ArmEntry]]:
    """Group arms by their values of some axes, under the name of each combination."""
    groups: dict[str, list[ArmEntry]] = {}
    for arm in arms:
        names = [format_arm_name(axis, get_axis(arm, axis)) for axis in axes]
        groups.setdefault(" · ".join(names), []).append(arm)
    hyperparameters = [axis for axis in axes if axis != "model"]
    return dict(sorted(groups.items(), key=lambda item: [str(get_axis(item[1][0], axis)) for axis in hyperparameters]))


def exceeds_line_limit(arms: Sequence[ArmEntry], varying_axes: Sequence[str]) -> bool:
    """Whether plots against size show the arms' median instead of a line each."""
    others = [axis for axis in varying_axes if axis != "model"]
    return len({tuple(get_axis(arm, axis) for axis in others) for arm in arms}) > MAX_PLOT_LINES


def add_metric_line(figure: go.Figure, line: ArmLine, metric: str) -> None:
    """Add the arms' pass rate with its intervals, or their mean validation loss, and every seed."""
    if metric == "pass_rate":
        _add_rate_line(figure, line)
    else:
        _add_loss_line(figure, line)
    add_seed_points(figure, line, metric, group=line.name)


def _add_rate_line(figure: go.Figure, line: ArmLine) -> None:
    rates = [arm["pass_rate"] or 0.0 for arm in line.arms]
    intervals = [arm["run_interval"] for arm in line.arms]
    figure.add_scatter(
        x=line.xs,
        y=rates,
        name=line.name,
        mode="lines+markers",
        line={"color": line.color, "width": 2},
        marker={"size": 8},
        legendgroup=line.name,
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [None if high is None else high - rate for rate, (_, high) in zip(rates, intervals, strict=True)],
            "arrayminus": [
                None if low is None else rate - low for rate, (low, _) in zip(rates, intervals, strict=True)
            ],
            "color": line.color,
            "thickness": 1.2,
            "width": 5,
        },
        text=[
            f"{prefix}{rate:.1%} ({_format_run_interval(arm)}), {arm['n_queries']} queries, {len(arm['seeds'])} seeds"
            for prefix, rate, arm in zip(line.hover_prefixes, rates, line.arms, strict=True)
        ],
        hovertemplate=f"{line.name}<br>%{{text}}<extra></extra>",
    )


def _format_run_interval(arm: ArmEntry) -> str:
    low, high = arm["run_interval"]
    return "no interval with one seed" if low is None or high is None else f"{low:.1%} to {high:.1%}"


def _add_loss_line(figure: go.Figure, line: ArmLine) -> None:
    figure.add_scatter(
        x=line.xs,
        y=[arm["val_loss"] for arm in line.arms],
        name=line.name,
        mode="lines",
        line={"color": line.color, "width": 2},
        legendgroup=line.name,
        text=line.hover_prefixes,
        hovertemplate=f"{line.name}<br>%{{text}}mean %{{y:.3f}}<extra></extra>",
    )


def add_seed_points(figure: go.Figure, line: ArmLine, metric: str, *, group: str | None = None) -> None:
    """Add every seed as an open circle.

    Args:
        line: the arms whose seeds are drawn.
        metric: `pass_rate` or `val_loss`.
        group: the line that the legend shows or hides them with.
    """
    points = [
        (x, value, seed["seed"])
        for x, arm in zip(line.xs, line.arms, strict=True)
        for seed in arm["seeds"]
        if (value := get_metric(seed, metric)) is not None
    ]
    figure.add_scatter(
        x=[x for x, _, _ in points],
        y=[y for _, y, _ in points],
        mode="markers",
        marker={"color": line.color, "size": 7, "symbol": "circle-open", "line": {"width": 1.3}},
        text=[f"seed {seed}" for _, _, seed in points],
        showlegend=False,
        legendgroup=group,
        hovertemplate=f"%{{text}}: %{{y:{METRIC_FORMATS[metric]}}}<extra></extra>",
    )


@dataclass(frozen=True)
class Band:
    """A band between two lines over the same places."""

    xs: Sequence[Number]
    low: Sequence[Number]
    high: Sequence[Number]


def add_band(figure: go.Figure, band: Band, color: str, group: str) -> None:
    """Add a band as one outline."""
    ends = zip(band.xs, band.low, band.high, strict=True)
    defined = [(x, low, high) for x, low, high in ends if low is not None and high is not None]
    figure.add_scatter(
        x=[x for x, _, _ in defined] + [x for x, _, _ in reversed(defined)],
        y=[low for _, low, _ in defined] + [high for _, _, high in reversed(defined)],
        fill="toself",
        mode="lines",
        line={"width": 0, "color": color},
        opacity=0.25,
        hoverinfo="skip",
        showlegend=False,
        legendgroup=group,
    )


def add_median_band(
    figure: go.Figure,
    arms: Sequence[ArmEntry],
    marginals: Mapping[float, MarginalEntry],
    metric: str,
    read_x: Callable[[ArmEntry], Number],
) -> None:
    """Add every seed of every arm, faint, and the median of the arms with its band.

    Args:
        arms: the arms whose seeds are drawn.
        marginals: place on the x axis -> summary of the arms there.
        metric: `pass_rate` or `val_loss`.
        read_x: returns the place of an arm.
    """
    add_seed_points(figure, ArmLine("", [read_x(arm) for arm in arms], arms, GRAY), metric)
    figure.data[0].update(opacity=0.35, marker={"size": 4})
    places = sorted(marginals)
    bands = [marginals[x]["pass_rate" if metric == "pass_rate" else "val_loss"] for x in places]
    rows = [(x, band) for x, band in zip(places, bands, strict=True) if band["median"] is not None]
    xs = [x for x, _ in rows]
    add_band(
        figure, Band(xs, [band["low"] for _, band in rows], [band["high"] for _, band in rows]), COLORS[0], "median"
    )
    figure.add_scatter(
        x=xs,
        y=[band["median"] for _, band in rows],
        mode="lines+markers",
        name="median of the arms",
        legendgroup="median",
        line={"color": COLORS[0], "width": 2},
        marker={"size": 8},
        hovertemplate=f"median of the arms: %{{y:{METRIC_FORMATS[metric]}}}<extra></extra>",
    )

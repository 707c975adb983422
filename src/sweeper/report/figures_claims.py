"""Figures of the claims: comparisons with their intervals and bounds."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

import plotly.graph_objects as go

from sweeper.report.claim_document import ClaimEntry, ComparisonEntry, Number, Range
from sweeper.report.figure_parts import COLORS, GRAY, make_layout

LABEL_WIDTH = 26
"""Characters of a comparison's name on one line: a phone has no more room."""
TEST_BOUNDS: dict[str, tuple[int, ...]] = {
    "superior": (0,),
    "reduces": (0,),
    "superior-by": (1,),
    "no-better": (1,),
    "at-least": (-1,),
    "at-most": (1,),
    "about": (-1, 1),
    "exceeds": (1,),
    "stays-below": (1,),
    "lower": (0,),
    "lower-by": (-1,),
    "not-lower": (-1,),
}
"""Test -> its bounds, in margins."""
_UNIT_TITLES = {"points": "percentage points"}


@dataclass(frozen=True)
class _Row:
    """One line of the figure. The numbers are in the figure's unit."""

    name: str
    estimate: float
    interval: Range
    bounds: tuple[float, ...] = ()
    is_comparison: bool = True


def plot_claim_intervals(claim: ClaimEntry) -> go.Figure:
    """Plot a claim's comparisons with their intervals and bounds, and its sensitivity analysis."""
    unit = claim.get("unit") or "points"
    rows = _list_rows(claim, unit)
    figure = go.Figure()
    for is_comparison, legend, color in ((True, "comparison", COLORS[0]), (False, "sensitivity analysis", GRAY)):
        own = [row for row in rows if row.is_comparison == is_comparison]
        if own:
            _add_intervals(figure, own, legend, color)
    bounds = [(row.name, bound) for row in rows for bound in row.bounds]
    if bounds:
        figure.add_scatter(
            x=[bound for _, bound in bounds],
            y=[name for name, _ in bounds],
            mode="markers",
            name="bound",
            marker={"color": COLORS[1], "size": 18, "symbol": "line-ns-open", "line": {"width": 2}},
            hovertemplate="%{y}: bound %{x:.3g}<extra></extra>",
        )
    figure.update_layout(make_layout(None) | {"margin": {"l": 56, "r": 16, "t": 30, "b": 48}})
    figure.update_xaxes(title=_UNIT_TITLES.get(unit, unit), zeroline=True)
    names = [row.name for row in rows]
    figure.update_yaxes(type="category", autorange="reversed", categoryorder="array", categoryarray=names)
    return figure


def _list_rows(claim: ClaimEntry, unit: str) -> list[_Row]:
    """List the comparisons in the claim's unit and the sensitivity analysis, under distinct names."""
    scale = 100.0 if unit == "points" else 1.0
    used: list[str] = []

    def make_name(text: str) -> str:
        name = "<br>".join(textwrap.wrap(text, LABEL_WIDTH))
        used.append(name)
        # Two rows of one name would be one place on the axis.
        return name + "\u200b" * (used.count(name) - 1)

    rows = []
    for part in claim["components"]:
        if part["unit"] == unit and part["estimate"] is not None:
            bounds = tuple(scale * bound for bound in _compute_bounds(part))
            name = make_name(" − ".join(part["names"]))
            rows.append(_Row(name, scale * part["estimate"], _scale_range(part["interval"], scale), bounds))
    for check in claim["sensitivity"]:
        if check["estimate"] is not None:
            interval = _scale_range(check["interval"], scale)
            rows.append(_Row(make_name(check["name"]), scale * check["estimate"], interval, is_comparison=False))
    return rows


def _scale_range(interval: Range, scale: float) -> Range:
    return [None if end is None else scale * end for end in interval]


def _add_intervals(figure: go.Figure, rows: list[_Row], legend: str, color: str) -> None:
    figure.add_scatter(
        x=[row.estimate for row in rows],
        y=[row.name for row in rows],
        mode="markers",
        name=legend,
        marker={"color": color, "size": 9},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [_measure_distance(row.estimate, row.interval[1]) for row in rows],
            "arrayminus": [_measure_distance(row.interval[0], row.estimate) for row in rows],
            "color": color,
            "thickness": 1.6,
            "width": 5,
        },
        hovertemplate="%{y}: %{x:.3g}<extra></extra>",
    )


def _measure_distance(low: Number, high: Number) -> float:
    """Measure an error bar; 0 where the interval has no end on this side."""
    return 0.0 if low is None or high is None else high - low


def _compute_bounds(comparison: ComparisonEntry) -> list[float]:
    """Compute the bounds that a comparison's interval must not reach."""
    factors = TEST_BOUNDS[comparison["test"]]
    return [0.0 if factor == 0 else factor * (comparison["margin"] or 0.0) for factor in factors]

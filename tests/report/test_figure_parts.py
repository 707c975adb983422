from __future__ import annotations

from copy import deepcopy

import plotly.graph_objects as go
import pytest
from report_tables import document

from sweeper.report.figure_parts import (
    COLORS,
    ArmLine,
    Band,
    add_band,
    add_metric_line,
    exceeds_line_limit,
    group_arms,
    pick_color,
    set_metric_axis,
    set_size_axis,
)

ARMS = document()["arms"]


def test_colors_start_over() -> None:
    assert pick_color(len(COLORS)) == pick_color(0)


def test_arms_are_grouped_by_the_names_of_their_values() -> None:
    groups = group_arms(ARMS, ["num_train_epochs"])
    assert list(groups) == ["1 epoch", "3 epochs"]
    assert sum(map(len, groups.values())) == len(ARMS)


def test_rate_line_has_the_intervals_and_every_seed() -> None:
    figure = go.Figure()
    add_metric_line(figure, ArmLine("arms", list(range(len(ARMS))), ARMS, "black"), "pass_rate")
    line, seeds = figure.data
    assert list(line.y) == [arm["pass_rate"] for arm in ARMS]
    assert [y + e for y, e in zip(line.y, line.error_y.array, strict=True)] == pytest.approx(
        [arm["run_interval"][1] for arm in ARMS]
    )
    assert len(seeds.x) == sum(len(arm["seeds"]) for arm in ARMS)


def test_undefined_seeds_and_band_ends_are_left_out() -> None:
    arms = deepcopy(ARMS)
    arms[0]["seeds"][0]["val_loss"] = None
    figure = go.Figure()
    add_metric_line(figure, ArmLine("arms", list(range(len(arms))), arms, "black"), "val_loss")
    assert len(figure.data[1].x) == sum(len(arm["seeds"]) for arm in arms) - 1
    add_band(figure, Band([1, 2, 3], [0, None, 2], [1, 1, 3]), "black", "band")
    assert list(figure.data[2].x) == [1, 3, 3, 1]


def test_axes_name_sizes_and_rates() -> None:
    figure = go.Figure()
    set_metric_axis(figure, "pass_rate")
    set_size_axis(figure, ARMS)
    assert figure.layout.yaxis.tickformat == ".0%"
    assert len(figure.layout.xaxis.tickvals) == len({arm["model"] for arm in ARMS})
    assert figure.layout.xaxis.type == "log"


def test_many_arms_exceed_the_number_of_lines() -> None:
    assert not exceeds_line_limit(ARMS, ["model", "num_train_epochs"])
    many = [{**ARMS[0], "learning_rate": k} for k in range(20)]
    assert exceeds_line_limit(many, ["model", "learning_rate"])  # type: ignore[arg-type]

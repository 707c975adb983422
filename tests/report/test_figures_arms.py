from __future__ import annotations

import numpy as np
import pytest
from wide_tables import long_document

from sweeper.report.curves import MAX_CURVES
from sweeper.report.figure_parts import MAX_PLOT_LINES
from sweeper.report.figures import build_figures


@pytest.mark.slow
def test_plot_size_draws_many_arms_as_median_and_seeds() -> None:
    report = long_document()
    assert len(report["arms"]) > MAX_PLOT_LINES
    size = build_figures(report)["size"]
    seeds, _, median = size.data
    assert len(seeds.x) == sum(len(arm["seeds"]) for arm in report["arms"])
    for value, row in zip(median.y, sorted(report["margins"]["model"], key=lambda r: r["parameters"]), strict=True):
        own = [
            arm["pass_rate"] for arm in report["arms"] if arm["model"] == row["value"] and arm["pass_rate"] is not None
        ]
        assert value == row["pass_rate"]["median"] == pytest.approx(np.median(own))
        assert row["pass_rate"]["low"] <= value <= row["pass_rate"]["high"]
    assert len(report["trials"]) > MAX_CURVES and len(build_figures(report)["learning"].data) == 2 * 4

from __future__ import annotations

import json

import pytest
from report_pages import find_section
from report_tables import document

from sweeper.report import render_html
from sweeper.report.scaling_section import fit_size_curves


@pytest.mark.slow
def test_fit_size_curves_uses_every_seed_and_states_its_limits() -> None:
    report = document()
    assert {(fit["metric"], fit["size"], fit["group"]) for fit in report["fits"]} == {
        (metric, "parameters", group) for metric in ("pass_rate", "val_loss") for group in ("1 epoch", "3 epochs")
    }
    table = find_section(render_html(report), 'class="dense fits"', "</table>")
    for fit in report["fits"]:
        assert (fit["n_runs"], fit["n_sizes"], fit["residual_df"]) == (9, 3, 0)
        assert fit["caveat"].startswith("Not fitted: 3 sizes") and fit["caveat"] in table
    one_size = [arm for arm in report["arms"] if arm["model"] == "opt-tiny-32"]
    assert fit_size_curves(one_size, ["num_train_epochs"]) == []
    drawn = [json.dumps(fit_size_curves(report["arms"], report["study"]["varied"])) for _ in range(2)]
    assert drawn[0] == drawn[1]

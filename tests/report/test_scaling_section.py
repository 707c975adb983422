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


def test_every_curve_has_a_backtest() -> None:
    """Five sizes on a line in log size; the ceiling of the power law keeps it a little below."""
    arms = [
        {"model": f"m{k}", "parameters": 1e6 * 2**k, "cost": {"train_flops": None}}
        | {"seeds": [{"seed": s, "status": "COMPLETE", "pass_rate": 0.1 * k + 0.1, "val_loss": None} for s in (0, 1)]}
        for k in range(5)
    ]
    fits = fit_size_curves(arms, ["model"])  # type: ignore[arg-type]
    assert [fit["name"] for fit in fits] == ["power law", "quadratic in log10 size"]
    for fit in fits:
        backtest = fit["backtest"]
        assert backtest["size"] == 16e6 and backtest["observed"] == pytest.approx(0.5)
        assert backtest["predicted"] == pytest.approx(0.5, abs=0.04)
    few = fit_size_curves(arms[:4], ["model"])  # type: ignore[arg-type]
    assert all(fit["backtest"]["predicted"] != fit["backtest"]["predicted"] for fit in few), (
        "three sizes are not fitted"
    )

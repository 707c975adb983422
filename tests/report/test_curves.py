from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sweeper.report.curves import MAX_CURVES, compute_loss_bands, downsample_history


def test_downsample_history_keeps_validation_losses_and_the_largest_norm() -> None:
    steps = np.arange(1, 1001)
    history = pd.DataFrame({"step": steps, "loss": steps * 1.0, "grad_norm": 1.0, "val_loss": np.nan})
    history.loc[500, "grad_norm"] = 99.0
    ends = pd.DataFrame({"step": [500, 1000], "val_loss": [2.0, np.inf]})
    found = downsample_history(pd.concat([history, ends]), 10)
    assert found["step"] == list(range(100, 1001, 100))
    assert found["loss"] == [50.5 + 100 * i for i in range(10)]
    assert max(found["grad_norm"]) == 99.0
    assert (found["val_step"], found["val_loss"]) == ([500, 1000], [2.0, None])
    assert downsample_history(pd.DataFrame(columns=["step", "loss", "val_loss"]), 10)["step"] == []


@pytest.mark.slow
def test_compute_loss_bands_takes_quantiles_of_trials_that_reach_a_step() -> None:
    curves = {
        str(k): {"step": [1, 5, 9] if k % 2 else [1, 5], "loss": [k, k, k] if k % 2 else [k, k]}
        for k in range(MAX_CURVES + 1)
    }
    (band,) = compute_loss_bands(curves, dict.fromkeys(curves, "m"))
    assert band["step"][0] == 1 and band["step"][-1] == 9 and band["trials"] == MAX_CURVES + 1
    assert (band["reached_by"][0], band["reached_by"][-1]) == (MAX_CURVES + 1, MAX_CURVES // 2)
    assert band["median"][0] == MAX_CURVES / 2
    assert band["low"][0] == pytest.approx(0.1 * MAX_CURVES) and band["high"][0] == pytest.approx(0.9 * MAX_CURVES)
    assert (
        compute_loss_bands({name: curves[name] for name in list(curves)[:MAX_CURVES]}, dict.fromkeys(curves, "m")) == []
    )

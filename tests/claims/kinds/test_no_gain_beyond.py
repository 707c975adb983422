"""`no-gain-beyond` with overfitting."""

from __future__ import annotations

import pytest
from claim_cases import ONCE, decide_runs
from claim_tables import seeds


def test_overfitting_is_reported_and_does_not_decide() -> None:
    once, thrice = seeds(3, 0.6, val_loss=1.0), seeds(3, 0.6, num_train_epochs=3.0)
    for k, each in enumerate(thrice):
        each["val_loss"] = 1.2 + 0.01 * k
    found = decide_runs(ONCE, once + thrice)
    loss = next(c for c in found.comparisons if c.metric.name == "val_loss")
    assert found.label == "supported" and not loss.is_deciding and loss.is_established
    assert loss.estimate.estimate == pytest.approx(0.21) and loss.unit == "nats" and loss.estimate.n == 3
    falls = [each | {"val_loss": 2 - each["val_loss"]} for each in thrice]
    again = decide_runs(ONCE, once + falls)
    assert again.label == "supported"
    assert not next(c for c in again.comparisons if c.metric.name == "val_loss").is_established

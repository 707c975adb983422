"""What the trainer's callbacks report, decide and change."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_trial import CHANGED, RECIPE, make_changing_spec, read_history, train_spec

from sweeper import data
from sweeper.storage import Store
from sweeper.training import TrainingProgress, callbacks


@pytest.mark.slow
def test_hyperparameter_changes_are_applied_within_the_schedule(prepared: data.PreparedData, tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = train_spec(prepared, store, "changed", make_changing_spec([*CHANGED, {"step": 13, "max_grad_norm": None}]))
    assert record.status == "COMPLETE", record.failure
    assert record.asked.items() <= record.applied.items()
    changed_settings = {
        key: value for key, value in record.asked.items() if "from step" in key or key in ("learning_rate",)
    }
    assert changed_settings == {
        "learning_rate": 0.01,
        "learning_rate from step 4": 0.02,
        "max_grad_norm from step 4": 0.05,
        "weight_decay from step 4": RECIPE.weight_decay,
        "learning_rate from step 10": 0.02,
        "max_grad_norm from step 10": 0.05,
        "weight_decay from step 10": 0.1,
        "learning_rate from step 13": 0.02,
        "max_grad_norm from step 13": None,
        "weight_decay from step 13": 0.1,
    }
    rates = read_history(store, "changed").dropna(subset="loss")["learning_rate"].tolist()
    shares = [0, 1 / 3, 2 / 3, *[1 - i / 13 for i in range(13)]]  # linear after a warm-up of three steps
    assert rates == pytest.approx([share * (0.01 if i < 4 else 0.02) for i, share in enumerate(shares)])
    train_spec(prepared, store, "plain", make_changing_spec([]))
    changed, plain = (read_history(store, name).dropna(subset="loss")["loss"].tolist() for name in ("changed", "plain"))
    assert changed[:5] == plain[:5]
    assert changed[5] != plain[5], "the loss after the first changed step"


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([2.0] * 30, False),
        ([2.0] + [4.1] * 10, True),
        ([2.0] + [3.9] * 10, False),
        ([2.0] * 10 + [4.1] * 9, False),
        ([2.0, float("nan")], True),
        ([float("inf")], True),
        ([1.0] + [9.0] * 9, False),
        ([], False),
    ],
)
def test_has_diverged_compares_the_mean_of_the_last_ten_losses_with_the_first(
    losses: list[float], expected: bool
) -> None:
    assert callbacks.has_diverged(losses, 2.0) is expected


def test_progress_callback_leaves_validation_time_out_of_tokens_per_second(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    reports: list[TrainingProgress] = []
    callback: Any = callbacks.ProgressCallback(reports.append)
    state = SimpleNamespace(global_step=0, max_steps=9)
    state.num_input_tokens_seen = 5000  # trained before an interruption
    callback.on_train_begin(None, state, None)
    for seconds, tokens, logs in (
        (2, 400, {"loss": 1.0}),
        (5, 0, {"val_loss": 1.0}),
        (1, 300, {"loss": 1.0}),
        (0, 0, {"loss": 1.0}),
    ):
        clock[0] += seconds
        state.num_input_tokens_seen += tokens
        callback.on_log(None, state, None, logs=logs)
    assert [report.tokens_per_second for report in reports] == [200, None, 300, None]


def test_progress_callback_reports_gpu_memory_only_with_cuda() -> None:
    reports: list[TrainingProgress] = []
    state = SimpleNamespace(global_step=0, max_steps=9, num_input_tokens_seen=0)
    callback: Any = callbacks.ProgressCallback(reports.append)
    callback.on_train_begin(None, state, None)
    callback.on_log(None, state, None, logs={"loss": 1.0})
    assert (reports[0].gpu_memory_bytes is not None) == torch.cuda.is_available()

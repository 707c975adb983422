"""Requested settings are compared with those that were applied."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny_trial import CHANGED, make_changing_spec, train_spec
from transformers import TrainerControl, TrainerState

from sweeper import data
from sweeper.errors import AppliedMismatchError
from sweeper.storage import Store
from sweeper.training.applied_settings import check_applied_settings, list_mismatches, read_deepspeed_settings
from sweeper.training.callbacks import AppliedSettingsCallback


@pytest.mark.slow
def test_change_that_was_not_applied_fails_the_trial(
    prepared: data.PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweeper.training.callbacks import HyperparameterChangeCallback

    monkeypatch.setattr(HyperparameterChangeCallback, "on_step_begin", lambda *_, **__: None)
    record = train_spec(prepared, Store(tmp_path), "f", make_changing_spec(CHANGED))
    assert record.failure is not None
    assert "learning_rate from step 4: requested 0.02, applied 0.01" in record.failure.message
    assert "max_grad_norm from step 4: requested 0.05" in record.failure.message
    assert "weight_decay from step 10: requested 0.1, applied 0.01" in record.failure.message


def test_read_deepspeed_settings_reveals_another_clipping_norm() -> None:
    part = SimpleNamespace(dtype=torch.float32)
    engine = SimpleNamespace(
        optimizer=SimpleNamespace(single_partition_of_fp32_groups=[part]),
        zero_optimization_stage=lambda: 2,
        fp16_enabled=lambda: False,
        bfloat16_enabled=lambda: False,
        gradient_clipping=lambda: 1.0,  # DeepSpeed's default, where its JSON has no value
        train_batch_size=lambda: 16,
    )
    applied = read_deepspeed_settings(SimpleNamespace(deepspeed=engine))
    assert list_mismatches({"max_grad_norm": 0.3, "effective_batch_size": 16}, applied) == [
        "max_grad_norm: requested 0.3, applied 1.0"
    ]
    engine.gradient_clipping = lambda: 0.0
    assert read_deepspeed_settings(SimpleNamespace(deepspeed=engine))["max_grad_norm"] is None


def test_updates_skipped_by_fp16_are_counted_and_reported() -> None:
    spec = SimpleNamespace(recipe=SimpleNamespace(segments=((0, {}), (10, {}))), engine=None)
    callback = AppliedSettingsCallback(spec)  # type: ignore[arg-type]
    for step, skipped in enumerate([True, True, False, True] + [False] * 8 + [True]):
        optimizer = SimpleNamespace(step_was_skipped=skipped)
        callback.on_optimizer_step(None, TrainerState(global_step=step), TrainerControl(), optimizer=optimizer)  # type: ignore[arg-type]
    assert [settings.updates_skipped for settings in callback.segment_settings] == [3, 1]
    with pytest.raises(AppliedMismatchError, match="4 updates skipped by fp16") as caught:
        check_applied_settings({"learning_rate": 1.0}, {"learning_rate": 0.5, "updates_skipped": 4})
    assert "longer run" in caught.value.hint


def test_list_mismatches_names_every_difference() -> None:
    assert list_mismatches({"a": 1.0, "b": None, "c": "x"}, {"a": 1.0 + 1e-9, "b": None, "c": "x"}) == []
    assert len(list_mismatches({"a": 1.0, "b": None, "c": "x"}, {"a": 1.1, "b": 0.3, "c": "y"})) == 3

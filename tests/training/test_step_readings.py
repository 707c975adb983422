"""What the optimizer's steps used, read while they are taken."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from accelerate import Accelerator
from tiny_trial import make_changing_spec, make_test_schedule, train_tiny
from transformers import TrainerControl, TrainerState, TrainingArguments

from sweeper import data
from sweeper.training.step_readings import MOST_VALUES, AppliedSettings, AppliedSettingsCallback


class OverflowingScaler(torch.amp.GradScaler):
    """PyTorch's scaler, with gradients that overflow in two steps."""

    def __init__(self) -> None:
        super().__init__("cpu")
        self.calls = 0

    def scale(self, outputs: Any) -> Any:
        self.calls += 1
        return super().scale(outputs) * (math.inf if self.calls in (1, 5) else 1.0)


@pytest.fixture
def _loss_scaling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scale the loss on a CPU as fp16 does on a GPU."""
    real = transformers.Trainer._prepare_for_training

    def prepare(self: Any, *rest: Any) -> Any:
        from accelerate.optimizer import patch_optimizer_step

        prepared = real(self, *rest)
        wrapper, scaler = self.optimizer, OverflowingScaler()
        self.accelerator.scaler = wrapper.scaler = scaler
        self.accelerator.native_amp = True
        wrapper._accelerate_step_called = False
        wrapper._optimizer_original_step_method = wrapper.optimizer.step
        wrapper._optimizer_patched_step_method = patch_optimizer_step(wrapper, wrapper.optimizer.step)
        monkeypatch.setattr(Accelerator, "mixed_precision", "fp16")
        return prepared

    monkeypatch.setattr(transformers.Trainer, "_prepare_for_training", prepare)


@pytest.mark.slow
@pytest.mark.usefixtures("_loss_scaling")
@pytest.mark.parametrize("optim", ["adamw_torch", "adamw_torch_fused"])
def test_steps_that_loss_scaling_skips_are_not_counted_as_taken(
    optim: str, prepared: data.PreparedData, tmp_path: Path
) -> None:
    """The fused kernel skips by itself: Accelerate takes its step for taken, and the schedule goes on."""
    record = train_tiny(prepared, tmp_path, optim=optim)
    assert record.status == "COMPLETE", record.failure
    assert (record.asked["optimizer_steps"], record.applied["optimizer_steps"]) == (16, 14)
    assert (record.applied["updates_skipped"], record.metrics["steps"]) == (2, 14)
    assert record.applied["warmup_steps"] == 3
    assert record.applied["max_grad_norm"] == 0.3, "of gradients that are scaled back"


def test_rates_show_the_warm_up_and_exclude_other_shapes(tmp_path: Path) -> None:
    spec = make_changing_spec([], warmup_steps=2)
    callback = AppliedSettingsCallback(spec, make_test_schedule(spec.recipe))
    weight, bias = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([{"params": [weight], "weight_decay": 0.5}, {"params": [bias], "weight_decay": 0.0}])
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    callback.segments = [(0, {"max_grad_norm": None})]  # type: ignore[typeddict-item]
    control = TrainerControl()
    for step, share in enumerate([0, 0.5, 1, 0.875, 0.75]):
        state = TrainerState(global_step=step)
        if not step:
            callback.on_train_begin(args, state, control, optimizer=optimizer)
        callback.on_step_begin(args, state, control)
        callback._reads_norm = False
        for group in optimizer.param_groups:
            group["initial_lr"], group["lr"] = 0.4, 0.4 * share
        weight.grad, bias.grad = torch.ones(2, 2), torch.ones(2)
        optimizer.step()
        callback.on_optimizer_step(args, state, control, optimizer=optimizer)
    [settings] = callback.segment_settings
    assert (settings.steps_taken, settings.updates_skipped, settings.schedule_pauses) == (5, 0, 0)
    assert (settings.shapes, settings.peak_steps, settings.peak_learning_rate) == (["linear"], [2, 2], 0.4)
    assert settings.values["weight_decay"] == [0.5]
    assert settings.values["weight_decay of biases and norms"] == [0.0]
    assert settings.values["master_dtype"] == ["float32"]


def test_applied_settings_keep_the_first_different_values() -> None:
    settings = AppliedSettings()
    for value in (0.1, 0.1, None, 0.2, 0.3, 0.4):
        settings.add("max_grad_norm", value)
    assert settings.values == {"max_grad_norm": [0.1, None, 0.2]}
    assert len(settings.values["max_grad_norm"]) == MOST_VALUES

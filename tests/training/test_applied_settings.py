"""Requested settings are compared with those that the optimizer's steps used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from accelerate import Accelerator
from tiny_trial import CHANGED, make_changing_spec, train_spec, train_tiny

from sweeper import data
from sweeper.errors import AppliedMismatchError
from sweeper.storage import Store
from sweeper.training.applied_settings import check_applied_settings, list_mismatches
from sweeper.training.sft_trainer import LeanSFTTrainer

Patch = pytest.MonkeyPatch
IGNORED: dict[str, tuple[dict[str, Any], Callable[[Patch], None], str]] = {}
"""What a library ignores -> the recipe's fields, how it ignores them, and the mismatch."""


def ignored(message: str, **recipe: Any) -> Callable[[Callable[[Patch], None]], None]:
    """Add a way of ignoring a setting."""

    def add(sabotage: Callable[[Patch], None]) -> None:
        IGNORED[sabotage.__name__.replace("_", " ")] = recipe, sabotage, message

    return add


def patch_scheduler(patch: Patch, **changed: Any) -> None:
    real = transformers.trainer.get_scheduler

    def get_scheduler(name: Any, **keywords: Any) -> Any:
        return real(changed.pop("name", name), **(keywords | changed))

    patch.setattr(transformers.trainer, "get_scheduler", get_scheduler)


def patch_optimizer(patch: Patch, **changed: Any) -> None:
    """Change keywords of the optimizer's class, after the trainer's arguments were read."""
    real = transformers.Trainer.get_optimizer_cls_and_kwargs

    def build(args: Any, model: Any = None) -> Any:
        built, keywords = real(args, model)
        return built, keywords | changed

    patch.setattr(transformers.Trainer, "get_optimizer_cls_and_kwargs", staticmethod(build))


def patch_groups(patch: Patch, number: int, **changed: Any) -> None:
    real = transformers.Trainer.create_optimizer

    def create(self: Any, *rest: Any) -> Any:
        optimizer = real(self, *rest)
        optimizer.param_groups[number].update(changed)
        return optimizer

    patch.setattr(transformers.Trainer, "create_optimizer", create)


@ignored("warmup_steps: requested 3, applied 0")
def warm_up(patch: Patch) -> None:
    patch_scheduler(patch, num_warmup_steps=0)


@ignored("warmup_steps: requested 3, applied 0", lr_scheduler_type="constant_with_warmup")
def warm_up_of_a_constant_rate(patch: Patch) -> None:
    """Transformers' `constant` takes the steps of a warm-up, and has none."""
    patch_scheduler(patch, name="constant")


@ignored("lr_scheduler_type: requested 'linear', applied 'cosine'")
def shape_of_the_schedule(patch: Patch) -> None:
    patch_scheduler(patch, name="cosine")


@ignored("lr_scheduler_type: requested 'cosine', applied 'another shape'", lr_scheduler_type="cosine")
def length_of_the_schedule(patch: Patch) -> None:
    patch_scheduler(patch, num_training_steps=50)


WSD = {"lr_scheduler_type": "warmup_stable_decay", "decay_fraction": 0.5}


@ignored("decay: requested 'linear over 4 of 8 steps', applied 'not linear over 4 of 8 steps'", **WSD)
def shape_of_the_decay(patch: Patch) -> None:
    patch_scheduler(patch, scheduler_specific_kwargs={"num_decay_steps": 4, "decay_type": "cosine"})


@ignored("decay: requested 'linear over 4 of 8 steps', applied 'not linear over 2 of 8 steps'", **WSD)
def length_of_the_decay(patch: Patch) -> None:
    patch_scheduler(patch, scheduler_specific_kwargs={"num_decay_steps": 2, "decay_type": "linear"})


@ignored("learning_rate: requested 0.01, applied 0.001")
def learning_rate(patch: Patch) -> None:
    patch_optimizer(patch, lr=0.001)


@ignored("adam_beta2: requested 0.95, applied 0.999", adam_beta2=0.95)
def beta(patch: Patch) -> None:
    patch_optimizer(patch, betas=(0.9, 0.999))


@ignored("adam_epsilon: requested 1e-06, applied 1e-08", adam_epsilon=1e-6)
def epsilon(patch: Patch) -> None:
    patch_optimizer(patch, eps=1e-8)


@ignored("optim: requested 'adamw_torch_fused', applied 'another AdamW'", optim="adamw_torch_fused")
def fused_kernel(patch: Patch) -> None:
    patch_optimizer(patch, fused=False)


@ignored("weight_decay: requested 0.01, applied 0.0")
def weight_decay(patch: Patch) -> None:
    patch_groups(patch, 0, weight_decay=0.0)


@ignored("weight_decay: requested 0.01, applied '0.01, and 0.01 of biases and norms'")
def exception_of_biases_from_weight_decay(patch: Patch) -> None:
    patch_groups(patch, 1, weight_decay=0.01)


@ignored("max_grad_norm: requested 0.3, applied 'a norm of ")
def clipping(patch: Patch) -> None:
    real = Accelerator.clip_grad_norm_
    patch.setattr(Accelerator, "clip_grad_norm_", lambda self, parameters, norm: real(self, parameters, float("inf")))


@ignored("max_grad_norm: requested 0.3, applied 1.0")
def clipping_norm(patch: Patch) -> None:
    patch.setattr(
        transformers.Trainer,
        "_clip_grad_norm",
        lambda self, model: self.accelerator.clip_grad_norm_(model.parameters(), 1.0),
    )


@ignored("max_grad_norm: requested None, applied 'a norm of 0.3", max_grad_norm=None)
def clipping_that_is_off(patch: Patch) -> None:
    real = Accelerator.clip_grad_norm_

    def clip(self: Any, parameters: Any, norm: float) -> Any:
        return real(self, list(parameters), 0.3)

    patch.setattr(Accelerator, "clip_grad_norm_", clip)


@ignored("effective_batch_size: requested 8, applied 4")
def batch(patch: Patch) -> None:
    real = LeanSFTTrainer.compute_loss

    def compute_loss(self: Any, model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
        return real(self, model, {name: rows[:4] for name, rows in inputs.items()}, *rest, **named)

    patch.setattr(LeanSFTTrainer, "compute_loss", compute_loss)


@ignored("optimizer_steps: requested 8, applied 6")
def some_steps(patch: Patch) -> None:
    from accelerate.optimizer import AcceleratedOptimizer

    real, calls = AcceleratedOptimizer.step, list[int]()

    def step(self: Any, closure: Any = None) -> None:
        calls.append(1)
        if len(calls) not in (4, 5):
            real(self, closure)

    patch.setattr(AcceleratedOptimizer, "step", step)


@ignored("examples_seen: requested 60, applied 24", warmup_steps=1)
def the_last_steps(patch: Patch) -> None:
    real = transformers.trainer_callback.DefaultFlowCallback.on_step_end

    def on_step_end(self: Any, args: Any, state: Any, control: Any, **keywords: Any) -> Any:
        control = real(self, args, state, control, **keywords)
        control.should_training_stop = control.should_training_stop or state.global_step == 3
        return control

    patch.setattr(transformers.trainer_callback.DefaultFlowCallback, "on_step_end", on_step_end)


@ignored("precision: requested 'bf16', applied 'fp32'", precision="bf16")
def half_precision(patch: Patch) -> None:
    off = torch.autocast("cpu", enabled=False)
    patch.setattr("accelerate.accelerator.get_mixed_precision_context_manager", lambda *_: off)


@ignored("master_dtype: requested 'float32', applied 'bfloat16'", precision="bf16")
def float32_masters(patch: Patch) -> None:
    from sweeper import models

    real = models.build_model
    patch.setattr(models, "build_model", lambda *arguments: real(*arguments).bfloat16())


@ignored(
    "train_sampling_strategy: requested 'group_by_length', applied 'LengthGroupedSampler'",
    train_sampling_strategy="group_by_length",
)
def grouping_by_seed(patch: Patch) -> None:
    """Transformers' own sampler draws its groups from the global generator."""
    patch.setattr(LeanSFTTrainer, "_make_length_sampler", lambda self: LeanSFTTrainer._make_random_sampler(self, None))


@pytest.mark.slow
@pytest.mark.parametrize("setting", IGNORED)
def test_setting_that_a_library_ignores_fails_the_trial(
    setting: str, prepared: data.PreparedData, tmp_path: Path, monkeypatch: Patch
) -> None:
    recipe, sabotage, message = IGNORED[setting]
    sabotage(monkeypatch)
    record = train_tiny(prepared, tmp_path, **({"num_train_epochs": 1.0} | recipe))
    assert record.failure is not None, record.applied
    assert "AppliedMismatchError" in record.failure.message
    assert message in record.failure.message


@pytest.mark.slow
def test_change_that_was_not_applied_fails_the_trial(
    prepared: data.PreparedData, tmp_path: Path, monkeypatch: Patch
) -> None:
    from sweeper.training.callbacks import HyperparameterChangeCallback

    monkeypatch.setattr(HyperparameterChangeCallback, "on_step_begin", lambda *_, **__: None)
    record = train_spec(prepared, Store(tmp_path), "f", make_changing_spec(CHANGED))
    assert record.failure is not None
    assert "learning_rate from step 4: requested 0.02, applied 0.01" in record.failure.message
    assert "max_grad_norm from step 4: requested 0.05" in record.failure.message
    assert "weight_decay from step 10: requested 0.1, applied 0.01" in record.failure.message


def test_steps_that_loss_scaling_skipped_are_counted_apart() -> None:
    requested = {"optimizer_steps": 100, "learning_rate": 1.0}
    applied = {"optimizer_steps": 96, "updates_skipped": 4, "learning_rate": 1.0}
    assert list_mismatches(requested, applied) == []
    assert list_mismatches(requested, applied | {"updates_skipped": 3}) == [
        "optimizer_steps: requested 100, applied 96 and 3 skipped"
    ]
    with pytest.raises(AppliedMismatchError, match="4 updates skipped by fp16") as caught:
        check_applied_settings(requested, applied | {"learning_rate": 0.5})
    assert "longer run" in caught.value.hint


def test_list_mismatches_names_every_difference() -> None:
    assert list_mismatches({"a": 1.0, "b": None, "c": "x"}, {"a": 1.0 + 1e-9, "b": None, "c": "x"}) == []
    assert len(list_mismatches({"a": 1.0, "b": None, "c": "x"}, {"a": 1.1, "b": 0.3, "c": "y"})) == 3

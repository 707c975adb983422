"""TrialSpec + prepared data -> trained model and record, under a lock, going on from a checkpoint if there is one."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from sweeper.errors import UsageError
from sweeper.spec import TrialSpec
from sweeper.store import Store, write_bytes, write_json
from sweeper.trial.record import COMPLETE, DIVERGED, FAILED, TrialRecord, failure_of, read_record

if TYPE_CHECKING:
    import pandas as pd
    from trl import SFTTrainer

    from sweeper.data import Prepared
    from sweeper.trial.watch import AppliedWatch, DivergenceWatch

Progress = Callable[[dict[str, float]], None]
"""Called with `step`, `steps` and what was just measured (`loss`, `val_loss`, …)."""


def train_trial(
    spec: TrialSpec, fingerprint: str, prepare: Callable[[], Prepared], store: Store, tell: Progress
) -> TrialRecord:
    """Train one model, unless a finished record exists. Never raises for a failed trial: the record says so.

    Two processes asked for the same trial take turns on a lock; the second finds the first's record. A FAILED record
    is tried again. KeyboardInterrupt passes through, and leaves the checkpoints.
    """
    path = store.record(fingerprint)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.parent / ".lock"):
        record = read_record(path)
        if record is not None and record.status != FAILED:
            return record
        write_json(path.parent / "spec.json", spec.model_dump(mode="json"))
        try:
            record = _train(spec, fingerprint, prepare(), path.parent, tell)
        except Exception as error:  # a trial that raises is a row, not the end of the study
            record = TrialRecord(
                fingerprint=fingerprint, status=FAILED, model=spec.model.name, failure=failure_of(error)
            )
        record.write(path)
        return record


def _train(spec: TrialSpec, fingerprint: str, prepared: Prepared, directory: Path, tell: Progress) -> TrialRecord:
    import torch
    from transformers import set_seed

    from sweeper.quiet import quiet_libraries
    from sweeper.trial import arguments
    from sweeper.trial.applied import applied_by, asked_of, check_applied
    from sweeper.trial.watch import newest_whole_checkpoint, restore

    quiet_libraries()
    torch.set_num_threads(max(1, int(spec.runtime.cpus)))
    set_seed(spec.seed)
    rows, validation, tokenizer = prepared.load("train"), prepared.load("validation"), prepared.tokenizer()
    model, positions = _model(spec, tokenizer)
    flops = arguments.row_flops(spec.model, prepared.manifest)
    steps = arguments.optimizer_steps(spec.recipe, len(rows), flops.per_row)
    _warms_up_within(spec, steps, len(rows))
    checkpoints = directory / "checkpoints"
    config = arguments.sft_config(spec.recipe, spec.seed, steps, checkpoints, cuda=torch.cuda.is_available())
    trainer, applied_watch, divergence = _trainer(spec, model, tokenizer, config, rows, validation, tell)
    checkpoint = newest_whole_checkpoint(checkpoints)
    if checkpoint and _ends_within_an_epoch(checkpoint, spec, steps, len(rows)):
        # The Trainer would take one step more from there: it looks whether it is done after a step, not before.
        shutil.rmtree(checkpoint)
        checkpoint = newest_whole_checkpoint(checkpoints)
    if checkpoint:
        restore(applied_watch, checkpoint)
    started = time.monotonic()
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = time.monotonic() - started

    history = history_of(trainer.state.log_history)
    asked = asked_of(spec.recipe, steps=steps, examples=len(rows), positions=positions)
    applied = applied_by(trainer, applied_watch, spec.recipe, examples=len(rows))
    if not divergence.diverged:
        check_applied(asked, applied)
    _save(trainer, tokenizer, history, directory)
    return TrialRecord(
        fingerprint=fingerprint,
        status=DIVERGED if divergence.diverged else COMPLETE,
        model=spec.model.name,
        parameters=sum(p.numel() for p in model.parameters()),
        metrics=_metrics(history, trainer.state, flops.per_token, seconds),
        asked=asked,
        applied=applied,
        data=prepared.manifest,
        resumed_from_step=_step_of(checkpoint) if checkpoint else None,
        environment=_environment(trainer),
    )


def _ends_within_an_epoch(checkpoint: Path, spec: TrialSpec, steps: int, examples: int) -> bool:
    """Whether a checkpoint is that of a run's last step, and epochs do not end there."""
    from sweeper.trial.arguments import steps_per_epoch

    return _step_of(checkpoint) >= steps and steps % steps_per_epoch(spec.recipe, examples) != 0


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rsplit("-", 1)[1])


def _warms_up_within(spec: TrialSpec, steps: int, examples: int) -> None:
    """A warm-up that ends with the run never reaches the learning rate asked for: known before it starts."""
    if spec.recipe.warmup_steps >= steps:
        raise UsageError(
            f"trial of {spec.model.name}",
            asked=f"recipe.warmup_steps {spec.recipe.warmup_steps}",
            found=f"a run of {steps} optimiser steps ({examples} examples, effective batch "
            f"{spec.recipe.effective_batch_size})",
            do="fewer warmup_steps, a smaller batch, or more data",
        )


def _model(spec: TrialSpec, tokenizer: Any) -> tuple[Any, int | None]:
    """The model before training, and the positions asked for: its own, unless the data ask for more."""
    from sweeper.models import build, load, stretch_positions, stretched_to

    built = spec.model.config is not None
    model = build(spec.model, tokenizer, spec.seed) if built else load(str(spec.model.source))
    more = stretched_to(spec.model, spec.data)
    asked = more or getattr(model.config, "max_position_embeddings", None)
    return (stretch_positions(model, more) if more else model), asked


def _trainer(
    spec: TrialSpec, model: Any, tokenizer: Any, config: Any, rows: Any, validation: Any, tell: Progress
) -> tuple[SFTTrainer, AppliedWatch, DivergenceWatch]:
    from transformers import PrinterCallback

    from sweeper.trial import watch
    from sweeper.trial.trainer import LeanSFTTrainer
    from sweeper.trial.validation import validation_loss

    applied, divergence = watch.AppliedWatch(spec.recipe), watch.DivergenceWatch(spec.recipe.divergence_ratio)
    trainer = LeanSFTTrainer(
        model=model,
        args=config,
        train_dataset=rows.select_columns(["input_ids", "labels", "length"]),
        processing_class=tokenizer,
        callbacks=[applied, divergence, watch.CheckpointMark(applied), watch.LiveReport(tell)],
    )
    trainer.remove_callback(PrinterCallback)
    held_out = validation.select_columns(["input_ids", "labels"])

    def measure() -> float:
        size = config.per_device_eval_batch_size
        return float(validation_loss(trainer.model, held_out, trainer.data_collator, size))

    trainer.add_callback(watch.ValidationAtEpochEnd(measure, trainer.log))
    return trainer, applied, divergence


HISTORY_COLUMNS = ("step", "epoch", "loss", "learning_rate", "grad_norm", "val_loss")


def history_of(log_history: list[dict[str, Any]]) -> pd.DataFrame:
    """One row per logged step: step, epoch, loss (nats per target token), learning_rate, grad_norm (before clipping),
    val_loss. NaN where a row does not have it. The same trial gives the same table: no times in here."""
    import pandas as pd

    rows = [row for row in log_history if "loss" in row or "val_loss" in row]
    return pd.DataFrame(
        [{key: row.get(key, float("nan")) for key in HISTORY_COLUMNS} for row in rows], columns=list(HISTORY_COLUMNS)
    )


def _metrics(history: pd.DataFrame, state: Any, flops_per_token: float, seconds: float) -> dict[str, float | None]:
    """`tokens`: really trained on, padding not counted; `train_flops`: theirs (NaN for an unknown architecture)."""
    validation, losses = history["val_loss"].dropna(), history["loss"].dropna()
    tokens = float(state.num_input_tokens_seen)
    return {
        "val_loss": float(validation.iloc[-1]) if len(validation) else float("nan"),
        "best_val_loss": float(validation.min()) if len(validation) else float("nan"),
        "train_loss": float(losses.iloc[-1]) if len(losses) else float("nan"),
        "steps": float(state.global_step),
        "tokens": tokens,
        "train_flops": tokens * flops_per_token,
        "train_seconds": seconds,
    }


def _save(trainer: SFTTrainer, tokenizer: Any, history: pd.DataFrame, directory: Path) -> None:
    """Model (safetensors) and history; the checkpoints have served once these are on disk."""
    temporary = directory / ".model"
    shutil.rmtree(temporary, ignore_errors=True)
    trainer.save_model(str(temporary))
    tokenizer.save_pretrained(str(temporary))
    shutil.rmtree(directory / "model", ignore_errors=True)
    temporary.rename(directory / "model")
    write_bytes(directory / "history.parquet", history.to_parquet())
    shutil.rmtree(directory / "checkpoints", ignore_errors=True)


def _environment(trainer: SFTTrainer) -> dict[str, Any]:
    import platform

    import torch
    import transformers
    import trl

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "trl": trl.__version__,
        "device": str(trainer.args.device),
        "threads": torch.get_num_threads(),
    }

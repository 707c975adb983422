"""One worker's part of training one model; alone, all of it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.config import TrialSpec
from sweeper.errors import UsageError
from sweeper.storage import CheckpointUploader, Store, write_bytes
from sweeper.storage.availability import wait_for_store
from sweeper.training.arguments import check_hyperparameter_changes, compute_branch_start, compute_decay_start
from sweeper.training.engine import BatchSplit, disable_deepspeed_jit, split_for_trial
from sweeper.training.progress import ProgressListener
from sweeper.training.record import COMPLETE, DIVERGED, PRUNED, TrialRecord

if TYPE_CHECKING:
    import pandas as pd
    from trl import SFTTrainer

    from sweeper.data import PreparedData
    from sweeper.training.callbacks import AppliedSettingsCallback, DivergenceCallback, PruningCallback
    from sweeper.training.pruning import Pruner


def train_worker(
    spec: TrialSpec,
    fingerprint: str,
    prepared: PreparedData,
    store: Store,
    on_progress: ProgressListener,
    max_micro_batch: int | None = None,
    check_lease: Callable[[], None] = lambda: None,
    pruner: Pruner | None = None,
) -> None:
    """Train together with the other workers of this process group, going on from the newest whole checkpoint.

    The first worker writes model, history and, last, the record. `at_most` bounds the micro-batch; `may` is asked
    before anything is published, `pruner` whether to go on. Raises what goes wrong; PreemptedError after a SIGTERM,
    once a checkpoint is on disk.
    """
    import torch
    from transformers import set_seed

    from sweeper.models.quiet_libraries import quiet_libraries
    from sweeper.training import arguments
    from sweeper.training.applied_settings import applied_settings, check_applied_settings, requested_settings
    from sweeper.training.branching import compute_branch_steps, copy_trunk_checkpoint
    from sweeper.training.checkpoints import Checkpoints, parse_checkpoint_step, restore_callbacks
    from sweeper.training.engine import count_sharded_parameters
    from sweeper.training.preemption import allow_preemption

    quiet_libraries()
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # DeepSpeed's own word for it, read when it is imported
        os.environ.pop("ACCELERATE_TORCH_DEVICE", None)  # Ray believes in GPUs that are only said to be there
        if spec.engine and spec.engine.zero_stage:
            disable_deepspeed_jit()
    torch.set_num_threads(max(1, int(spec.runtime.cpus)))
    if torch.cuda.is_available():  # several trials on a GPU: none may take another's part
        torch.cuda.set_per_process_memory_fraction(min(1.0, spec.runtime.gpus or 1.0))
    set_seed(spec.seed)
    rank = int(os.environ["RANK"]) if spec.engine and spec.engine.distributed else 0
    with allow_preemption(), CheckpointUploader(store, check_lease) as uploads:
        directory = store.trial_folder(fingerprint)
        rows, validation, tokenizer = (
            prepared.load_split("train"),
            prepared.load_split("validation"),
            prepared.load_tokenizer(),
        )
        model, positions = _load_model(spec, tokenizer)
        flops = arguments.compute_row_flops(spec.model, prepared.manifest)
        steps = arguments.count_optimizer_steps(spec.recipe, len(rows), flops.per_row)
        _check_warmup_fits(spec, steps, len(rows))
        share = split_for_trial(spec, max_micro_batch)
        check_hyperparameter_changes(spec, steps)
        begin = compute_branch_start(spec, steps)
        rungs = _make_pruning_callback(pruner, spec, steps, len(rows), flops.mean_length)
        # Whoever is worse at a rung may go on from there.
        kept = frozenset(rungs.rung_resources) if pruner and pruner.scheduler == "pbt" else frozenset[int]()
        kept |= compute_branch_steps(spec, len(rows))
        checkpoints = Checkpoints(directory / "checkpoints", fingerprint, spec, store, uploads, rank, kept)
        config = arguments.make_sft_config(
            spec.recipe,
            spec.seed,
            steps,
            checkpoints.directory,
            cuda=torch.cuda.is_available(),
            batch_split=share,
            engine=spec.engine,
            start_step=begin,
        )
        trainer, applied_watch, divergence = _make_trainer(
            spec, model, tokenizer, config, rows, validation, on_progress, checkpoints, share, rungs
        )
        whole_epochs = steps % arguments.count_steps_per_epoch(spec.recipe, len(rows)) == 0
        # A run that ends within an epoch: from the checkpoint of its last step the Trainer would take one step more.
        own = checkpoints.find_newest(before=None if whole_epochs else steps)
        checkpoint = own or copy_trunk_checkpoint(spec, begin, config.save_steps, checkpoints)
        if checkpoint:
            restore_callbacks(trainer, applied_watch, checkpoint)
        applied_watch.start_time = time.monotonic()
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        seconds = applied_watch.train_seconds

        history = history_frame(trainer.state.log_history)
        asked = requested_settings(spec, steps=steps, examples=len(rows), positions=positions)
        applied = applied_settings(trainer, applied_watch, examples=len(rows))
        if not divergence.is_diverged and not rungs.is_pruned:
            check_applied_settings(asked, applied)
        parameters = count_sharded_parameters(trainer.model)
        wait_for_store(store)
        if not rungs.is_pruned:
            _save_model(trainer, tokenizer, directory, is_first_worker=rank == 0)
        if rank:
            return
        write_bytes(directory / "history.parquet", history.to_parquet())
        tokens = trainer.state.num_input_tokens_seen - trainer.padding_rows_seen
        record = TrialRecord(
            fingerprint=fingerprint,
            status=PRUNED if rungs.is_pruned else DIVERGED if divergence.is_diverged else COMPLETE,
            model=spec.model.name,
            parameters=parameters,
            metrics=_compute_metrics(history, tokens, trainer.state.global_step, flops.per_token, seconds)
            | (_compute_branch_metrics(applied_watch, seconds) if spec.branch else {}),
            asked=asked,
            applied=applied,
            data=prepared.manifest,
            resumed_from_step=parse_checkpoint_step(own) if own else None,
            environment=_describe_environment(trainer, share),
        )
        uploads.discard_pending()
        store.push(directory, patterns=["model/*", "*.parquet", "spec.json"])
        check_lease()
        store.publish(store.record_path(fingerprint), record.model_dump(mode="json"))
        checkpoints.delete_surplus(trainer.state.log_history, is_finished=True)  # only now have they served
        if any(checkpoints.directory.glob("checkpoint-*")):
            store.push(checkpoints.directory)  # what the policy keeps
        else:
            store.delete(checkpoints.directory)


def _check_warmup_fits(spec: TrialSpec, steps: int, examples: int) -> None:
    """A warm-up that ends with the run never reaches the learning rate asked for: known before it starts."""
    if spec.recipe.warmup_steps >= steps:
        raise UsageError(
            f"trial of {spec.model.name}",
            requested=f"recipe.warmup_steps {spec.recipe.warmup_steps}",
            found=f"a run of {steps} optimiser steps ({examples} examples, effective batch "
            f"{spec.recipe.effective_batch_size})",
            hint="fewer warmup_steps, a smaller batch, or more data",
        )
    if spec.recipe.decay_fraction is not None:
        compute_decay_start(spec.recipe, steps)


def _load_model(spec: TrialSpec, tokenizer: Any) -> tuple[Any, int | None]:
    """The model before training, and the positions asked for: its own, unless the data ask for more."""
    from sweeper.models import build_model, interpolate_positions, load_pretrained, resolve_extended_positions

    built = spec.model.config is not None
    model = build_model(spec.model, tokenizer, spec.seed) if built else load_pretrained(str(spec.model.source))
    more = resolve_extended_positions(spec.model, spec.data)
    asked = more or getattr(model.config, "max_position_embeddings", None)
    return (interpolate_positions(model, more) if more else model), asked


def _make_trainer(
    spec: TrialSpec,
    model: Any,
    tokenizer: Any,
    config: Any,
    rows: Any,
    validation: Any,
    on_progress: ProgressListener,
    checkpoints: Any,
    batch_split: BatchSplit,
    pruning_callback: PruningCallback,
) -> tuple[SFTTrainer, AppliedSettingsCallback, DivergenceCallback]:
    from transformers import PrinterCallback

    from sweeper.training import callbacks as watch
    from sweeper.training.changes import HyperparameterChangeCallback
    from sweeper.training.sft_trainer import LeanSFTTrainer
    from sweeper.training.validation import compute_validation_loss

    applied, divergence = watch.AppliedSettingsCallback(spec), watch.DivergenceCallback(spec.recipe.divergence_ratio)
    trainer = LeanSFTTrainer(
        model=model,
        args=config,
        train_dataset=rows.select_columns(["input_ids", "labels", "length"]),
        processing_class=tokenizer,
        batch_split=batch_split,
        callbacks=[HyperparameterChangeCallback(spec.recipe), applied, divergence, watch.ProgressCallback(on_progress)],
    )
    for callback in checkpoints.make_callbacks(trainer, applied):
        trainer.add_callback(callback)
    trainer.remove_callback(PrinterCallback)
    held_out = validation.select_columns(["input_ids", "labels"])

    def measure() -> float:
        tokens = batch_split.micro_batch * spec.data.max_length
        return float(compute_validation_loss(trainer.model, held_out, trainer.data_collator, tokens))

    trainer.add_callback(watch.EpochValidationCallback(measure, trainer.log, pruning_callback))
    pruning_callback.measure, pruning_callback.log = measure, trainer.log
    trainer.add_callback(pruning_callback)
    return trainer, applied, divergence


def _make_pruning_callback(
    pruner: Pruner | None, spec: TrialSpec, steps: int, examples: int, mean_length: float
) -> PruningCallback:
    from sweeper.training import arguments
    from sweeper.training.callbacks import PruningCallback
    from sweeper.training.pruning import compute_rung_steps

    if pruner is None:
        return PruningCallback({}, lambda resource, loss: False)
    tokens = arguments.count_examples_seen(spec.recipe, examples, steps) * mean_length
    per_epoch = arguments.count_steps_per_epoch(spec.recipe, examples)
    at = compute_rung_steps(pruner.rungs, pruner.scheduler, steps, tokens=tokens, steps_per_epoch=per_epoch)
    return PruningCallback(at, pruner.should_prune)


HISTORY_COLUMNS = ("step", "epoch", "loss", "learning_rate", "grad_norm", "val_loss")


def history_frame(log_history: list[dict[str, Any]]) -> pd.DataFrame:
    """One row per logged step: step, epoch, loss (nats per target token), learning_rate, grad_norm (before clipping),
    val_loss, and rung_loss where a search looked. NaN where a row does not have it. The same trial gives the same
    table: no times in here."""
    import pandas as pd

    rows = [row for row in log_history if {"loss", "val_loss", "rung_loss"} & set(row)]
    columns = [*HISTORY_COLUMNS, *(["rung_loss"] if any("rung_loss" in row for row in rows) else [])]
    return pd.DataFrame([{key: row.get(key, float("nan")) for key in columns} for row in rows], columns=columns)


def _compute_metrics(
    history: pd.DataFrame, tokens: int, steps: int, flops_per_token: float, seconds: float
) -> dict[str, Any]:
    """`tokens`: really trained on, padding not counted; `train_flops`: theirs (NaN for an unknown architecture)."""
    validation, losses = history["val_loss"].dropna(), history["loss"].dropna()
    rungs = {"rung_loss": float(history["rung_loss"].dropna().iloc[-1])} if "rung_loss" in history else {}
    return rungs | {
        "val_loss": float(validation.iloc[-1]) if len(validation) else float("nan"),
        "best_val_loss": float(validation.min()) if len(validation) else float("nan"),
        "train_loss": float(losses.iloc[-1]) if len(losses) else float("nan"),
        "steps": float(steps),
        "tokens": float(tokens),
        "train_flops": tokens * flops_per_token,
        "train_seconds": seconds,
    }


def _compute_branch_metrics(settings_callback: AppliedSettingsCallback, seconds: float) -> dict[str, float]:
    """What of the whole schedule's `seconds` was this trial's own; all, from step 0, where the trunk had diverged or
    left nothing to go on from."""
    own = seconds - settings_callback.shared_train_seconds
    return {"branched_from_step": float(settings_callback.shared_steps), "own_train_seconds": own}


def _save_model(trainer: SFTTrainer, tokenizer: Any, directory: Path, *, is_first_worker: bool) -> None:
    """The model (safetensors, gathered from all workers), by the first worker."""
    temporary = directory / ".model"
    if is_first_worker:
        shutil.rmtree(temporary, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    trainer.save_model(str(temporary))  # every worker gives its share
    if not is_first_worker:
        return
    tokenizer.save_pretrained(str(temporary))
    (temporary / "training_args.bin").unlink(missing_ok=True)  # a pickle; all it says is in spec.json
    shutil.rmtree(directory / "model", ignore_errors=True)
    temporary.rename(directory / "model")


def _describe_environment(trainer: SFTTrainer, batch_split: BatchSplit) -> dict[str, Any]:
    import platform

    import torch
    import transformers
    import trl

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "trl": trl.__version__,
        "host": platform.node(),
        "device": str(trainer.args.device),
        "device_name": torch.cuda.get_device_name(trainer.args.device) if trainer.args.device.type == "cuda" else None,
        "threads": torch.get_num_threads(),
        "logits_of": trainer.logits_scope,
        "workers": batch_split.workers,
        "micro_batch": batch_split.micro_batch,
        "gradient_accumulation_steps": batch_split.accumulation_steps,
    }

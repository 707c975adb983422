"""One worker's part of training one model; alone, all of it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.errors import UsageError
from sweeper.spec import TrialSpec
from sweeper.store import Store, Uploads, write_bytes
from sweeper.store.away import require_store
from sweeper.trial.arguments import branch_start, check_changes, decay_start
from sweeper.trial.engine import BatchShare, compile_nothing, share_of
from sweeper.trial.record import COMPLETE, DIVERGED, PRUNED, TrialRecord

if TYPE_CHECKING:
    import pandas as pd
    from trl import SFTTrainer

    from sweeper.data import Prepared
    from sweeper.trial.rungs import Pruner
    from sweeper.trial.watch import AppliedWatch, DivergenceWatch, RungWatch

Progress = Callable[[dict[str, float]], None]
"""Called with `step`, `steps` and what was just measured (`loss`, `val_loss`, …)."""


def train_worker(
    spec: TrialSpec,
    fingerprint: str,
    prepared: Prepared,
    store: Store,
    tell: Progress,
    at_most: int | None = None,
    may: Callable[[], None] = lambda: None,
    pruner: Pruner | None = None,
) -> None:
    """Train together with the other workers of this process group, going on from the newest whole checkpoint.

    The first worker writes model, history and, last, the record. `at_most` bounds the micro-batch; `may` is asked
    before anything is published, `pruner` whether to go on. Raises what goes wrong; PreemptedError after a SIGTERM,
    once a checkpoint is on disk.
    """
    import torch
    from transformers import set_seed

    from sweeper.quiet import quiet_libraries
    from sweeper.trial import arguments
    from sweeper.trial.applied import applied_by, asked_of, check_applied
    from sweeper.trial.branches import branch_off, branch_steps
    from sweeper.trial.checkpoints import Checkpoints, restore, step_of
    from sweeper.trial.engine import parameter_count
    from sweeper.trial.preemption import preemptible

    quiet_libraries()
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # DeepSpeed's own word for it, read when it is imported
        os.environ.pop("ACCELERATE_TORCH_DEVICE", None)  # Ray believes in GPUs that are only said to be there
        if spec.engine and spec.engine.zero_stage:
            compile_nothing()
    torch.set_num_threads(max(1, int(spec.runtime.cpus)))
    if torch.cuda.is_available():  # several trials on a GPU: none may take another's part
        torch.cuda.set_per_process_memory_fraction(min(1.0, spec.runtime.gpus or 1.0))
    set_seed(spec.seed)
    rank = int(os.environ["RANK"]) if spec.engine and spec.engine.distributed else 0
    with preemptible(), Uploads(store, may) as uploads:
        directory = store.trial(fingerprint)
        rows, validation, tokenizer = prepared.load("train"), prepared.load("validation"), prepared.tokenizer()
        model, positions = _model(spec, tokenizer)
        flops = arguments.row_flops(spec.model, prepared.manifest)
        steps = arguments.optimizer_steps(spec.recipe, len(rows), flops.per_row)
        _warms_up_within(spec, steps, len(rows))
        share = share_of(spec, at_most)
        check_changes(spec, steps)
        begin = branch_start(spec, steps)
        rungs = _rungs(pruner, spec, steps, len(rows), flops.mean_length)
        # Whoever is worse at a rung may go on from there.
        kept = frozenset(rungs.steps) if pruner and pruner.scheduler == "pbt" else frozenset[int]()
        kept |= branch_steps(spec, len(rows))
        checkpoints = Checkpoints(directory / "checkpoints", fingerprint, spec, store, uploads, rank, kept)
        config = arguments.sft_config(
            spec.recipe,
            spec.seed,
            steps,
            checkpoints.directory,
            cuda=torch.cuda.is_available(),
            share=share,
            engine=spec.engine,
            begin=begin,
        )
        trainer, applied_watch, divergence = _trainer(
            spec, model, tokenizer, config, rows, validation, tell, checkpoints, share, rungs
        )
        whole_epochs = steps % arguments.steps_per_epoch(spec.recipe, len(rows)) == 0
        # A run that ends within an epoch: from the checkpoint of its last step the Trainer would take one step more.
        own = checkpoints.newest(before=None if whole_epochs else steps)
        checkpoint = own or branch_off(spec, begin, config.save_steps, checkpoints)
        if checkpoint:
            restore(trainer, applied_watch, checkpoint)
        applied_watch.started = time.monotonic()
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        seconds = applied_watch.train_seconds

        history = history_of(trainer.state.log_history)
        asked = asked_of(spec, steps=steps, examples=len(rows), positions=positions)
        applied = applied_by(trainer, applied_watch, examples=len(rows))
        if not divergence.diverged and not rungs.pruned:
            check_applied(asked, applied)
        parameters = parameter_count(trainer.model)
        require_store(store)
        if not rungs.pruned:
            _save(trainer, tokenizer, directory, first=rank == 0)
        if rank:
            return
        write_bytes(directory / "history.parquet", history.to_parquet())
        tokens = trainer.state.num_input_tokens_seen - trainer.stand_ins_seen
        record = TrialRecord(
            fingerprint=fingerprint,
            status=PRUNED if rungs.pruned else DIVERGED if divergence.diverged else COMPLETE,
            model=spec.model.name,
            parameters=parameters,
            metrics=_metrics(history, tokens, trainer.state.global_step, flops.per_token, seconds)
            | (_branched(applied_watch, seconds) if spec.branch else {}),
            asked=asked,
            applied=applied,
            data=prepared.manifest,
            resumed_from_step=step_of(own) if own else None,
            environment=_environment(trainer, share),
        )
        uploads.discard()
        store.push(directory, only=["model/*", "*.parquet", "spec.json"])
        may()
        store.publish(store.record(fingerprint), record.model_dump(mode="json"))
        checkpoints.prune(trainer.state.log_history, finished=True)  # only now have they served
        if any(checkpoints.directory.glob("checkpoint-*")):
            store.push(checkpoints.directory)  # what the policy keeps
        else:
            store.remove(checkpoints.directory)


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
    if spec.recipe.decay_fraction is not None:
        decay_start(spec.recipe, steps)


def _model(spec: TrialSpec, tokenizer: Any) -> tuple[Any, int | None]:
    """The model before training, and the positions asked for: its own, unless the data ask for more."""
    from sweeper.models import build, load, stretch_positions, stretched_to

    built = spec.model.config is not None
    model = build(spec.model, tokenizer, spec.seed) if built else load(str(spec.model.source))
    more = stretched_to(spec.model, spec.data)
    asked = more or getattr(model.config, "max_position_embeddings", None)
    return (stretch_positions(model, more) if more else model), asked


def _trainer(
    spec: TrialSpec,
    model: Any,
    tokenizer: Any,
    config: Any,
    rows: Any,
    validation: Any,
    tell: Progress,
    checkpoints: Any,
    share: BatchShare,
    rungs: RungWatch,
) -> tuple[SFTTrainer, AppliedWatch, DivergenceWatch]:
    from transformers import PrinterCallback

    from sweeper.trial import watch
    from sweeper.trial.changes import Changes
    from sweeper.trial.trainer import LeanSFTTrainer
    from sweeper.trial.validation import validation_loss

    applied, divergence = watch.AppliedWatch(spec), watch.DivergenceWatch(spec.recipe.divergence_ratio)
    trainer = LeanSFTTrainer(
        model=model,
        args=config,
        train_dataset=rows.select_columns(["input_ids", "labels", "length"]),
        processing_class=tokenizer,
        share=share,
        callbacks=[Changes(spec.recipe), applied, divergence, watch.LiveReport(tell)],
    )
    for callback in checkpoints.callbacks(trainer, applied):
        trainer.add_callback(callback)
    trainer.remove_callback(PrinterCallback)
    held_out = validation.select_columns(["input_ids", "labels"])

    def measure() -> float:
        tokens = share.micro_batch * spec.data.max_length
        return float(validation_loss(trainer.model, held_out, trainer.data_collator, tokens))

    trainer.add_callback(watch.ValidationAtEpochEnd(measure, trainer.log, rungs))
    rungs.measure, rungs.log = measure, trainer.log
    trainer.add_callback(rungs)
    return trainer, applied, divergence


def _rungs(pruner: Pruner | None, spec: TrialSpec, steps: int, examples: int, mean_length: float) -> RungWatch:
    from sweeper.trial import arguments
    from sweeper.trial.rungs import rung_steps
    from sweeper.trial.watch import RungWatch

    if pruner is None:
        return RungWatch({}, lambda resource, loss: False)
    tokens = arguments.examples_seen(spec.recipe, examples, steps) * mean_length
    per_epoch = arguments.steps_per_epoch(spec.recipe, examples)
    at = rung_steps(pruner.rungs, pruner.scheduler, steps, tokens=tokens, steps_per_epoch=per_epoch)
    return RungWatch(at, pruner.decide)


HISTORY_COLUMNS = ("step", "epoch", "loss", "learning_rate", "grad_norm", "val_loss")


def history_of(log_history: list[dict[str, Any]]) -> pd.DataFrame:
    """One row per logged step: step, epoch, loss (nats per target token), learning_rate, grad_norm (before clipping),
    val_loss, and rung_loss where a search looked. NaN where a row does not have it. The same trial gives the same
    table: no times in here."""
    import pandas as pd

    rows = [row for row in log_history if {"loss", "val_loss", "rung_loss"} & set(row)]
    columns = [*HISTORY_COLUMNS, *(["rung_loss"] if any("rung_loss" in row for row in rows) else [])]
    return pd.DataFrame([{key: row.get(key, float("nan")) for key in columns} for row in rows], columns=columns)


def _metrics(history: pd.DataFrame, tokens: int, steps: int, flops_per_token: float, seconds: float) -> dict[str, Any]:
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


def _branched(applied: AppliedWatch, seconds: float) -> dict[str, float]:
    """What of the whole schedule's `seconds` was this trial's own; all, from step 0, where the trunk had diverged or
    left nothing to go on from."""
    own = seconds - applied.shared_train_seconds
    return {"branched_from_step": float(applied.shared_steps), "own_train_seconds": own}


def _save(trainer: SFTTrainer, tokenizer: Any, directory: Path, *, first: bool) -> None:
    """The model (safetensors, gathered from all workers), by the first worker."""
    temporary = directory / ".model"
    if first:
        shutil.rmtree(temporary, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    trainer.save_model(str(temporary))  # every worker gives its share
    if not first:
        return
    tokenizer.save_pretrained(str(temporary))
    (temporary / "training_args.bin").unlink(missing_ok=True)  # a pickle; all it says is in spec.json
    shutil.rmtree(directory / "model", ignore_errors=True)
    temporary.rename(directory / "model")


def _environment(trainer: SFTTrainer, share: BatchShare) -> dict[str, Any]:
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
        "logits_of": trainer.logits_of,
        "workers": share.workers,
        "micro_batch": share.micro_batch,
        "gradient_accumulation_steps": share.accumulation,
    }

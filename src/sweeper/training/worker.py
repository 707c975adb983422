"""One worker's part of training one model; a worker alone does all of it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.config import TrialSpec
from sweeper.data import PreparedData
from sweeper.errors import ModelError
from sweeper.storage import CheckpointUploader, JsonObject, Store, digest_files, write_bytes
from sweeper.storage.availability import wait_for_store
from sweeper.training.batching import BatchSplit, split_for_trial
from sweeper.training.history import compute_metrics, make_history
from sweeper.training.job import TrialJob
from sweeper.training.progress import ProgressListener
from sweeper.training.pruning import Pruner
from sweeper.training.record import COMPLETE, DIVERGED, PRUNED, TrialRecord
from sweeper.training.schedule import TrainingSchedule, check_schedule, make_schedule

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from sweeper.training.applied_settings import Settings
    from sweeper.training.callbacks import DivergenceCallback, PruningCallback
    from sweeper.training.checkpoints import Checkpoints
    from sweeper.training.sft_trainer import LeanSFTTrainer
    from sweeper.training.step_readings import AppliedSettingsCallback


def _keep_lease() -> None:
    """Check nothing: no lease is held."""


def train_worker(
    job: TrialJob,
    prepared: PreparedData,
    store: Store,
    on_progress: ProgressListener,
    *,
    max_micro_batch: int | None = None,
    check_lease: Callable[[], None] = _keep_lease,
    pruner: Pruner | None = None,
) -> None:
    """Train together with the other workers of this process group, resuming from the newest complete checkpoint.

    The first worker writes model, history and, last, the record.

    Args:
        store: where it is written.
        on_progress: receives the run's numbers.
        max_micro_batch: bounds the micro-batch, after running out of memory.
        check_lease: called before anything is published; raises where another process has taken the trial over.
        pruner: the search that may stop the trial early.

    Raises:
        PreemptedError: after a SIGTERM, once a checkpoint is on disk.
        Exception: any other failure of the run.
    """
    from sweeper.training.checkpoints import Checkpoints
    from sweeper.training.preemption import allow_preemption

    spec = job.spec
    _configure_process(spec)
    rank = int(os.environ["RANK"]) if spec.engine and spec.engine.distributed else 0
    with allow_preemption(), CheckpointUploader(store, check_lease) as uploads:
        schedule = make_schedule(spec, prepared.manifest.size, pruner)
        check_schedule(spec, schedule)
        directory = store.trial_folder(job.fingerprint)
        checkpoints = Checkpoints(
            directory / "checkpoints", job.fingerprint, spec, store, uploads, rank, schedule.branch_steps
        )
        run = _prepare_run(
            job, prepared, schedule, checkpoints, split_for_trial(spec, max_micro_batch), on_progress, pruner
        )
        resumed_from = _train(run)
        result = _collect_result(run, resumed_from)
        wait_for_store(store)
        if not run.pruning.is_pruned:
            _save_model(run, directory)
        if rank:
            return
        write_bytes(directory / "history.parquet", result.history.to_parquet())
        uploads.discard_pending()
        store.push(directory, patterns=["model/*", "*.parquet", "spec.json"])
        check_lease()
        files = digest_files(directory, ["history.parquet", *([] if run.pruning.is_pruned else ["model/**/*"])])
        record = result.record.model_copy(update={"files": files})
        store.publish(store.record_path(job.fingerprint), record.model_dump(mode="json"))
        checkpoints.delete_surplus(run.trainer.state.log_history, is_finished=True)  # only now: the record needs none
        if any(checkpoints.directory.glob("checkpoint-*")):
            store.push(checkpoints.directory)  # those that the retention policy keeps
        else:
            store.delete(checkpoints.directory)


@dataclass(frozen=True)
class _Run:
    """Everything that one worker trains with."""

    job: TrialJob
    prepared: PreparedData
    schedule: TrainingSchedule
    checkpoints: Checkpoints
    batch_split: BatchSplit
    tokenizer: PreTrainedTokenizerBase
    trainer: LeanSFTTrainer
    requested: Settings
    settings: AppliedSettingsCallback
    divergence: DivergenceCallback
    pruning: PruningCallback


@dataclass(frozen=True)
class _Result:
    """The result of one worker's training."""

    record: TrialRecord
    history: pd.DataFrame


def _configure_process(spec: TrialSpec) -> None:
    """Set the threads, the share of the GPU, the seed and the environment of the libraries."""
    import torch
    from transformers import set_seed

    from sweeper.models.quiet_libraries import quiet_libraries
    from sweeper.training.sft_config import disable_deepspeed_jit

    quiet_libraries()
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # read when DeepSpeed is imported
        os.environ.pop("ACCELERATE_TORCH_DEVICE", None)  # Ray sets it for GPUs that a node only advertises
        if spec.engine and spec.engine.zero_stage:
            disable_deepspeed_jit()
    torch.set_num_threads(max(1, int(spec.runtime.cpus)))
    if torch.cuda.is_available():  # trials that share a GPU may each use only their own part
        torch.cuda.set_per_process_memory_fraction(min(1.0, spec.runtime.gpus or 1.0))
    set_seed(spec.seed)


def _prepare_run(
    job: TrialJob,
    prepared: PreparedData,
    schedule: TrainingSchedule,
    checkpoints: Checkpoints,
    batch_split: BatchSplit,
    on_progress: ProgressListener,
    pruner: Pruner | None,
) -> _Run:
    """Build the model, the trainer and its callbacks."""
    import torch
    from transformers import PrinterCallback

    from sweeper.training import callbacks
    from sweeper.training.applied_settings import list_requested_settings
    from sweeper.training.sft_config import make_sft_config
    from sweeper.training.sft_trainer import LeanSFTTrainer
    from sweeper.training.step_readings import AppliedSettingsCallback

    spec, tokenizer = job.spec, prepared.load_tokenizer()
    model, positions = _load_model(spec, tokenizer)
    settings = AppliedSettingsCallback(spec, schedule)
    divergence = callbacks.DivergenceCallback(spec.recipe.divergence_ratio)
    pruning = callbacks.PruningCallback(schedule.rung_resources, pruner.should_prune if pruner else _never_prune)
    trainer = LeanSFTTrainer(
        model=model,
        args=make_sft_config(
            spec.recipe,
            spec.seed,
            schedule,
            batch_split,
            checkpoints.directory,
            cuda=torch.cuda.is_available(),
            engine=spec.engine,
        ),
        train_dataset=prepared.load_split("train").select_columns(["input_ids", "labels", "length"]),
        processing_class=tokenizer,
        batch_split=batch_split,
        callbacks=[
            callbacks.HyperparameterChangeCallback(spec.recipe),
            settings,
            divergence,
            callbacks.ProgressCallback(on_progress),
        ],
    )
    settings.watch(trainer)
    for callback in checkpoints.make_callbacks(trainer, settings):
        trainer.add_callback(callback)
    trainer.remove_callback(PrinterCallback)
    measure = _make_validation(trainer, prepared, max_tokens=batch_split.micro_batch * spec.data.max_length)
    trainer.add_callback(callbacks.EpochValidationCallback(measure, trainer.log, pruning))
    pruning.measure, pruning.log = measure, trainer.log
    trainer.add_callback(pruning)
    requested = list_requested_settings(spec, schedule, positions=positions)
    return _Run(
        job,
        prepared,
        schedule,
        checkpoints,
        batch_split,
        tokenizer,
        trainer,
        requested,
        settings,
        divergence,
        pruning,
    )


def _never_prune(resource: int, loss: float) -> bool:
    return False


def _load_model(spec: TrialSpec, tokenizer: PreTrainedTokenizerBase) -> tuple[PreTrainedModel, int | None]:
    """Return the untrained model, and the positions it should have: its own, unless the data extend them."""
    from sweeper.models import (
        build_model,
        interpolate_positions,
        list_nonfinite_weights,
        load_pretrained,
        resolve_extended_positions,
    )

    is_built = spec.model.config is not None
    model = build_model(spec.model, tokenizer, spec.seed) if is_built else load_pretrained(str(spec.model.source))
    if not is_built and (broken := list_nonfinite_weights(model)):  # training would end as if it had diverged
        raise ModelError(
            f"model {spec.model.source}",
            found=f"NaN or infinite weights in {len(broken)} tensors, the first of them {broken[0]}",
            hint="its file is damaged, or its training diverged",
        )
    extended = resolve_extended_positions(spec.model, spec.data)
    positions = extended or getattr(model.config, "max_position_embeddings", None)
    return (interpolate_positions(model, extended) if extended else model), positions


def _make_validation(trainer: LeanSFTTrainer, prepared: PreparedData, *, max_tokens: int) -> Callable[[], float]:
    """Return a function that measures the validation loss of the trainer's model."""
    from sweeper.training.validation import compute_validation_loss

    rows = prepared.load_split("validation").select_columns(["input_ids", "labels"])

    def measure() -> float:
        return float(compute_validation_loss(trainer.model, rows, trainer.data_collator, max_tokens))

    return measure


def _train(run: _Run) -> int | None:
    """Train from the newest checkpoint, the trunk's, or scratch. Return the step of the trial's own checkpoint."""
    from sweeper.training.branching import copy_trunk_checkpoint
    from sweeper.training.checkpoint_manifest import parse_checkpoint_step
    from sweeper.training.checkpoints import restore_callbacks

    schedule = run.schedule
    # From the checkpoint of the last step, a run that ends within an epoch would take one step more.
    own = run.checkpoints.find_newest(before=None if schedule.ends_with_epoch else schedule.total_steps)
    checkpoint = own or copy_trunk_checkpoint(run.job.spec, schedule, run.checkpoints)
    if checkpoint:
        restore_callbacks(run.trainer, run.settings, checkpoint)
    run.settings.start_time = time.monotonic()
    run.trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return parse_checkpoint_step(own) if own else None


def _collect_result(run: _Run, resumed_from_step: int | None) -> _Result:
    """Make record and history of a trained model. Every worker takes part.

    Raises:
        AppliedMismatchError: a setting of a completed run was not applied as requested.
    """
    from sweeper.training.applied_settings import (
        check_applied_settings,
        count_trained_parameters,
        read_applied_settings,
    )

    seconds, trainer, schedule = run.settings.train_seconds, run.trainer, run.schedule
    history = make_history(trainer.state.log_history)
    applied = read_applied_settings(trainer, run.settings, scheduler=run.job.spec.recipe.lr_scheduler_type)
    if not run.divergence.is_diverged and not run.pruning.is_pruned:
        check_applied_settings(run.requested, applied)
    metrics = compute_metrics(
        history,
        tokens=trainer.state.num_input_tokens_seen - trainer.padding_rows_seen,
        steps=run.settings.steps_taken,
        flops_per_token=schedule.flops.per_token,
        seconds=seconds,
    )
    if run.job.spec.branch:
        # Step 0: the trunk had diverged, or left no checkpoint to continue from.
        metrics["branched_from_step"] = float(run.settings.shared_steps)
        metrics["own_train_seconds"] = seconds - run.settings.shared_train_seconds
    record = TrialRecord(
        fingerprint=run.job.fingerprint,
        status=PRUNED if run.pruning.is_pruned else DIVERGED if run.divergence.is_diverged else COMPLETE,
        model=run.job.spec.model.name,
        parameters=count_trained_parameters(trainer.model),
        metrics=metrics,
        asked=run.requested,
        applied=applied,
        data=run.prepared.manifest.to_document(),
        resumed_from_step=resumed_from_step,
        environment=_describe_environment(trainer, run.batch_split),
    )
    return _Result(record, history)


def _save_model(run: _Run, directory: Path) -> None:
    """Save the model (safetensors, gathered from all workers), on the first worker."""
    temporary, is_first_worker = directory / ".model", run.checkpoints.rank == 0
    if is_first_worker:
        shutil.rmtree(temporary, ignore_errors=True)
    run.trainer.accelerator.wait_for_everyone()
    run.trainer.save_model(str(temporary))  # every worker contributes its part
    if not is_first_worker:
        return
    run.tokenizer.save_pretrained(str(temporary))
    (temporary / "training_args.bin").unlink(missing_ok=True)  # a pickle; spec.json has the same content
    shutil.rmtree(directory / "model", ignore_errors=True)
    temporary.rename(directory / "model")


def _describe_environment(trainer: LeanSFTTrainer, batch_split: BatchSplit) -> JsonObject:
    import platform

    import torch
    import transformers
    import trl

    device: Any = trainer.args.device
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "trl": trl.__version__,
        "host": platform.node(),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "threads": torch.get_num_threads(),
        "logits_of": trainer.logits_scope,
        "workers": batch_split.workers,
        "micro_batch": batch_split.micro_batch,
        "gradient_accumulation_steps": batch_split.accumulation_steps,
    }

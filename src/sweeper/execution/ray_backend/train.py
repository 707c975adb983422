"""A multi-worker trial as a run of Ray Train, on the nodes where the queue placed it."""

from __future__ import annotations

import contextlib
import logging
import queue as queues
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from sweeper import data
from sweeper.config import Runtime
from sweeper.errors import LostWorkerError
from sweeper.execution.trial_stages import run_trial
from sweeper.planning.plan import PlannedTrial
from sweeper.storage import Store
from sweeper.tracking import Tracker
from sweeper.training import (
    ProgressListener,
    Pruner,
    TrainingProgress,
    TrialJob,
    TrialProgress,
    TrialRow,
    WorkerFailedError,
    WorkerLauncher,
    classify_failure,
    make_error,
    train_worker,
)

if TYPE_CHECKING:
    from ray.train.torch import TorchConfig
    from ray.train.v2._internal.execution.worker_group import WorkerGroup
    from ray.util.queue import Queue

HEAD_NODE_RESOURCE = "node:__internal_head__"
"""Ray's resource of the head node, which runs the drivers of multi-worker trials."""
TRAIN_RETRIES = 0
"""By default Ray Train retries forever, on nodes that may be gone. Here the queue places the trial again."""


def make_ray_launcher(
    planned: PlannedTrial,
    store: Store,
    on_progress: ProgressListener,
    nodes: tuple[str, ...],
    pruner: Pruner | None = None,
) -> WorkerLauncher:
    """Make a launcher that runs the workers of a trial with Ray Train and waits for them.

    Args:
        planned: the trial.
        store: the store.
        on_progress: receives the progress of worker 0, in the thread that calls the launcher.
        nodes: the node of each worker.
        pruner: may stop the training early.
    """
    runtime, fingerprint = planned.spec.runtime, planned.fingerprint

    def launch(max_micro_batch: int | None, generation: int | None) -> None:
        import ray
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer
        from ray.train.v2.api.exceptions import TrainingFailedError
        from ray.util.queue import Queue
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        logging.getLogger("ray.train").setLevel(logging.ERROR)
        # On the driver's node the queue survives the loss of a worker's node.
        driver_node = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        progress_queue = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": driver_node})
        with tempfile.TemporaryDirectory(prefix="sweeper-train-") as scratch:
            trainer = TorchTrainer(
                _make_worker(planned, store, progress_queue, max_micro_batch, generation, pruner),
                torch_config=_make_torch_config(),
                scaling_config=ScalingConfig(
                    num_workers=runtime.workers,
                    use_gpu=runtime.gpus > 0,
                    resources_per_worker=make_bundle(runtime),
                    label_selector=[{"ray.io/node-id": node} for node in nodes],
                ),
                run_config=RunConfig(
                    # Unique: a second run with the name of the first would load its last checkpoint.
                    name=f"train-{fingerprint}-{time.time_ns()}",
                    storage_path=scratch,  # checkpoints go to our store
                    failure_config=FailureConfig(
                        max_failures=TRAIN_RETRIES,
                        controller_failure_limit=TRAIN_RETRIES,
                        max_preemption_failures=TRAIN_RETRIES,
                    ),
                ),
            )
            try:
                _relay_progress(progress_queue, on_progress, trainer.fit)
            except TrainingFailedError as error:
                errors = [_unwrap_error(failure) for failure in getattr(error, "worker_failures", {}).values()]
                failures = [error.failure for error in errors if isinstance(error, WorkerFailedError)]
                raise make_error(failures, fingerprint, str(error)[:1000]) from error
            finally:
                progress_queue.shutdown(force=True)

    return launch


def evaluate_on_ray(planned: PlannedTrial, tracker: Tracker, node: str) -> TrialRow:
    """Evaluate a trained trial with one worker on a node, and return its row.

    Args:
        planned: the trial.
        tracker: logs its metrics.
        node: Ray's id of the node.

    Raises:
        LostWorkerError: the worker or the node died.
    """
    import ray
    from ray.exceptions import NodeDiedError, OutOfMemoryError, TaskUnschedulableError, WorkerCrashedError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    runtime = planned.spec.runtime
    task = ray.remote(run_trial).options(
        num_cpus=runtime.cpus,
        num_gpus=runtime.gpus,
        max_retries=0,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
    )
    try:
        row: TrialRow = ray.get(task.remote(planned, tracker, _ignore))
        return row
    except (NodeDiedError, OutOfMemoryError, TaskUnschedulableError, WorkerCrashedError) as error:
        raise LostWorkerError(
            f"trial {planned.fingerprint}", found=f"the worker of its evaluation died: {error}"
        ) from error


def make_bundle(runtime: Runtime) -> dict[str, float]:
    """Return the Ray resources of one worker."""
    return {"CPU": runtime.cpus, "GPU": runtime.gpus} if runtime.gpus else {"CPU": runtime.cpus}


def _ignore(progress: TrialProgress) -> None:
    pass


def _make_worker(
    planned: PlannedTrial,
    store: Store,
    progress_queue: Queue,
    max_micro_batch: int | None,
    generation: int | None,
    pruner: Pruner | None,
) -> Callable[[], None]:
    """Make the function that every worker runs."""

    def train() -> None:
        import ray.train

        def send_progress(progress: TrainingProgress) -> None:
            if ray.train.get_context().get_world_rank() == 0:
                with contextlib.suppress(Exception):  # a lost queue must not end the training
                    progress_queue.put_nowait(progress.to_document())

        try:
            prepared = data.open_prepared_data(store, planned.data_fingerprint)
            train_worker(
                TrialJob(planned.spec, planned.fingerprint, planned.data_fingerprint),
                prepared,
                store,
                send_progress,
                max_micro_batch=max_micro_batch,
                check_lease=partial(store.check_folder_lease, store.trial_folder(planned.fingerprint), generation),
                pruner=pruner,
            )
        except Exception as error:  # classified here: the driver may not be able to unpickle it
            raise WorkerFailedError(classify_failure(error)) from None

    return train


def _make_torch_config() -> TorchConfig:
    """Make a config of Torch's process group whose workers save a checkpoint on SIGTERM."""
    import ray.train.torch.config as torch_config

    class Backend(torch_config._TorchBackend):  # type: ignore[misc]
        def on_start(self, worker_group: WorkerGroup, backend_config: TorchConfig) -> None:
            from sweeper.training.preemption import install_signal_handler

            worker_group.execute(install_signal_handler)  # in the main thread; training runs in another
            # A fake GPU count, as in a smoke test, leaves workers without NCCL.
            backend_config.backend = "nccl" if all(worker_group.execute(_has_gpu)) else "gloo"
            super().on_start(worker_group, backend_config)

    class Config(torch_config.TorchConfig):  # type: ignore[misc]
        @property
        def backend_cls(self) -> type[Backend]:
            return Backend

    return Config()


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _relay_progress(progress_queue: Queue, on_progress: ProgressListener, work: Callable[[], object]) -> None:
    """Run `work` in another thread and relay progress in this one: Tune accepts reports from this thread only."""
    from ray.exceptions import RayActorError

    raised: list[BaseException] = []

    def run_work() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run_work, daemon=True)
    thread.start()
    while thread.is_alive() or not progress_queue.empty():
        try:
            on_progress(TrainingProgress.from_document(progress_queue.get(timeout=0.5)))
        except queues.Empty:
            continue
        except RayActorError:
            break
    thread.join()
    if raised:
        raise raised[0]


def _unwrap_error(error: BaseException) -> BaseException:
    """Return the worker's own exception if Ray has wrapped it in one of its own."""
    return getattr(error, "cause", None) or error

"""A several-worker trial as a Ray Train job, on the nodes it was given."""

from __future__ import annotations

import contextlib
import logging
import queue as queues
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

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

HEAD_NODE_RESOURCE = "node:__internal_head__"
"""Resource of the head node: there runs what drives several-worker trials, which needs nothing but a place."""
TRAIN_RETRIES = 0
"""Ray Train would try for ever by default, on nodes that may be gone. A trial that lost a worker is placed anew."""


def make_ray_launcher(
    planned: PlannedTrial,
    store: Store,
    on_progress: ProgressListener,
    nodes: tuple[str, ...],
    pruner: Pruner | None = None,
) -> WorkerLauncher:
    """Runs the trial's workers on these nodes (one name each) as a Ray Train run, and waits for it."""
    runtime, fingerprint = planned.spec.runtime, planned.fingerprint

    def launch(at_most: int | None, generation: int | None) -> None:
        import ray
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer
        from ray.train.v2.api.exceptions import TrainingFailedError
        from ray.util.queue import Queue
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        logging.getLogger("ray.train").setLevel(logging.ERROR)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        told = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})  # where no worker's death reaches it
        with tempfile.TemporaryDirectory(prefix="sweeper-train-") as scratch:
            trainer = TorchTrainer(
                _make_worker(planned, store, told, at_most, generation, pruner),
                torch_config=_make_torch_config(),
                scaling_config=ScalingConfig(
                    num_workers=runtime.workers,
                    use_gpu=runtime.gpus > 0,
                    resources_per_worker=make_bundle(runtime),
                    label_selector=[{"ray.io/node-id": node} for node in nodes],
                ),
                run_config=RunConfig(
                    # A name of its own for every run: a second one of the same name would load the first one's end.
                    name=f"train-{fingerprint}-{time.time_ns()}",
                    storage_path=scratch,  # our checkpoints go to our store, each marked with its trial's fingerprint
                    failure_config=FailureConfig(
                        max_failures=TRAIN_RETRIES,
                        controller_failure_limit=TRAIN_RETRIES,
                        max_preemption_failures=TRAIN_RETRIES,
                    ),
                ),
            )
            try:
                _relay_progress(told, on_progress, trainer.fit)
            except TrainingFailedError as error:
                said = [_unwrap_error(failure) for failure in getattr(error, "worker_failures", {}).values()]
                failures = [failure.failure for failure in said if isinstance(failure, WorkerFailedError)]
                raise make_error(failures, fingerprint, str(error)[:1000]) from error
            finally:
                told.shutdown(force=True)

    return launch


def evaluate_on_ray(planned: PlannedTrial, tracker: Tracker, node: str) -> TrialRow:
    """The row of a trained trial, evaluated by one worker on that node. Raises LostWorkerError with the node."""
    import ray
    from ray.exceptions import NodeDiedError, OutOfMemoryError, TaskUnschedulableError, WorkerCrashedError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    runtime = planned.spec.runtime
    here = NodeAffinitySchedulingStrategy(node, soft=False)
    task = ray.remote(run_trial).options(
        num_cpus=runtime.cpus, num_gpus=runtime.gpus, max_retries=0, scheduling_strategy=here
    )
    try:
        row: TrialRow = ray.get(task.remote(planned, tracker, _ignore))
        return row
    except (NodeDiedError, OutOfMemoryError, TaskUnschedulableError, WorkerCrashedError) as error:
        raise LostWorkerError(f"trial {planned.fingerprint}", found=f"its evaluation's worker died: {error}") from error


def make_bundle(runtime: Runtime) -> dict[str, float]:
    """What Ray is asked for one worker."""
    return {"CPU": runtime.cpus, "GPU": runtime.gpus} if runtime.gpus else {"CPU": runtime.cpus}


def _ignore(progress: TrialProgress) -> None:
    pass


def _make_worker(
    planned: PlannedTrial,
    store: Store,
    progress_queue: Any,
    max_micro_batch: int | None,
    generation: int | None,
    pruner: Pruner | None,
) -> Callable[[], None]:
    """What every worker runs."""

    def train() -> None:
        import ray.train

        def tell(progress: TrainingProgress) -> None:
            if ray.train.get_context().get_world_rank() == 0:
                with contextlib.suppress(Exception):  # who watches is no part of the training
                    progress_queue.put_nowait(progress.to_document())

        try:
            prepared = data.open_prepared_data(store, planned.data_fingerprint)
            train_worker(
                TrialJob(planned.spec, planned.fingerprint, planned.data_fingerprint),
                prepared,
                store,
                tell,
                max_micro_batch=max_micro_batch,
                check_lease=partial(store.check_folder_lease, store.trial_folder(planned.fingerprint), generation),
                pruner=pruner,
            )
        except Exception as error:  # as words: what raised it may not be known to the other side
            raise WorkerFailedError(classify_failure(error)) from None

    return train


def _make_torch_config() -> Any:
    """Torch's process group, and in each worker SIGTERM waits for a checkpoint."""
    import ray.train.torch.config as torch_config

    class Backend(torch_config._TorchBackend):  # type: ignore[misc]
        def on_start(self, worker_group: Any, backend_config: Any) -> None:
            from sweeper.training.preemption import install_signal_handler

            worker_group.execute(install_signal_handler)  # in the main thread; the training is in another one
            # GPUs that are only said to be there, as in a rehearsal, cannot speak NCCL.
            backend_config.backend = "nccl" if all(worker_group.execute(_has_gpu)) else "gloo"
            super().on_start(worker_group, backend_config)

    class Config(torch_config.TorchConfig):  # type: ignore[misc]
        @property
        def backend_cls(self) -> Any:
            return Backend

    return Config()


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _relay_progress(progress_queue: Any, on_progress: ProgressListener, work: Callable[[], Any]) -> None:
    """Do the work in another thread, and tell here, in the thread that Tune knows, what its workers tell."""
    from ray.exceptions import RayActorError

    raised: list[BaseException] = []

    def worked() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=worked, daemon=True)
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


def _unwrap_error(error: Any) -> Any:
    """The worker's own exception, where Ray put it into one of its own."""
    return getattr(error, "cause", None) or error

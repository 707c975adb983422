"""Metrics of a running study for Prometheus, exported by Ray. Without Ray nothing is published.

Series are labeled with study, trial, model and seed, or with the study alone. Everything else that distinguishes trials
(epochs, learning rate, host) is in `sweeper status` under the trial's fingerprint: as labels they would rename every
series when a sweep gets another axis, and unbounded texts, such as error messages, would each start a new series.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sweeper.tracking.sinks.base import MetricSink

if TYPE_CHECKING:
    from sweeper.planning.plan import PlannedTrial
    from sweeper.training import TrainingProgress, TrialProgress, TrialRecord, TrialRow

PUBLISH_INTERVAL_SECONDS = 4.0
"""Interval of publication. Ray exports a value once (every 10 s by default) and drops it two exports later."""

TRIAL_STATUSES = ("WAITING", "TRAINING", "EVALUATING", "COMPLETE", "PRUNED", "DIVERGED", "FAILED")
"""States of a trial. The index is the value of the gauge `trial_status`."""
FAILURE_KINDS = ("out-of-memory", "lost-worker", "bad-input", "damaged", "diverged", "bug", "unknown")
"""Kinds of failure. `unknown`: none is recorded."""

_STUDY_LABELS = ("study",)
_TRIAL_LABELS = ("study", "trial", "model", "seed")


@dataclass(frozen=True)
class Metric:
    """Definition of one metric."""

    name: str
    labels: tuple[str, ...]
    description: str
    kind: Literal["gauge", "counter"] = "gauge"

    @property
    def prometheus_name(self) -> str:
        """Its name in Prometheus."""
        return f"ray_sweeper_{self.name}" + ("_total" if self.kind == "counter" else "")


METRICS = {
    metric.name: metric
    for metric in (
        # Published where a trial runs, while it runs.
        Metric("loss", _TRIAL_LABELS, "Training loss of the last logged step, nats per target token."),
        Metric("val_loss", _TRIAL_LABELS, "Last validation loss, nats per target token."),
        Metric("step", _TRIAL_LABELS, "Optimizer steps done."),
        Metric("steps", _TRIAL_LABELS, "Optimizer steps in total."),
        Metric(
            "tokens_per_second", _TRIAL_LABELS, "Tokens trained on per second since the last logged step, all workers."
        ),
        Metric("grad_norm", _TRIAL_LABELS, "Gradient norm before clipping."),
        Metric(
            "gpu_memory_bytes",
            _TRIAL_LABELS,
            "Peak of PyTorch's memory on the first worker's GPU; absent without CUDA.",
        ),
        Metric("gpu_seconds", _TRIAL_LABELS, "GPUs held times seconds, from placement to end.", "counter"),
        # Published by the driver while the study runs.
        Metric(
            "trial_status",
            _TRIAL_LABELS,
            ", ".join(f"{code} {status}" for code, status in enumerate(TRIAL_STATUSES)) + ".",
        ),
        Metric("pass_rate", _TRIAL_LABELS, "Pass rate of a trial evaluated in this run."),
        Metric("study_trials", (*_STUDY_LABELS, "status"), "Planned trials of the study by status."),
        Metric("study_failures", (*_STUDY_LABELS, "kind"), "Trials that failed in this run, by kind of failure."),
        Metric("study_failure_streak", _STUDY_LABELS, "Consecutive failed trials, up to now."),
        Metric("store_free_bytes", _STUDY_LABELS, "Free space on the store's disk."),
        Metric("store_size_bytes", _STUDY_LABELS, "Free and used space on the store's disk."),
    )
}
"""All metrics, by name without prefix."""
PROGRESS_METRICS = ("loss", "val_loss", "step", "steps", "tokens_per_second", "grad_norm", "gpu_memory_bytes")
"""The metrics of a trial's progress."""


class GaugePublisher:
    """Publishes gauge values to Ray at intervals (PUBLISH_INTERVAL_SECONDS). Values that are not finite are left out.

    Args:
        refresh: called before each publication, to set values.
    """

    def __init__(self, refresh: Callable[[], None] = lambda: None) -> None:
        self._values: dict[tuple[str, tuple[str, ...]], float] = {}
        self._lock, self._stop_event, self._refresh = threading.Lock(), threading.Event(), refresh
        self._thread: threading.Thread | None = None

    def set(self, name: str, labels: tuple[str, ...], value: float | None) -> None:
        """Set the value to publish from now on; None removes it."""
        with self._lock:
            if value is None or not math.isfinite(value):
                self._values.pop((name, labels), None)
            else:
                self._values[name, labels] = float(value)

    def start(self) -> None:
        """Publish now and then at intervals, in a thread. Do nothing without Ray."""
        if _is_ray_initialized():
            self._stop_event.clear()
            self._publish()
            self._thread = threading.Thread(target=self._publish_repeatedly, name="sweeper-metrics", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Publish for the last time. Ray drops these gauges within half a minute."""
        has_failed = self._stop_event.is_set()
        self._stop_event.set()
        if self._thread is not None:
            self._thread.join(timeout=PUBLISH_INTERVAL_SECONDS)
            if not has_failed:
                self._publish()

    def _publish_repeatedly(self) -> None:
        while not self._stop_event.wait(PUBLISH_INTERVAL_SECONDS):
            self._publish()

    def _publish(self) -> None:
        try:
            self._refresh()
            with self._lock:
                values = dict(self._values)
            for (name, labels), value in values.items():
                _get_ray_metric(name).set(value, dict(zip(METRICS[name].labels, labels, strict=True)))
        except Exception as error:  # metrics must not fail a training run
            print(f"Prometheus: not published: {error}", file=sys.stderr)
            self._stop_event.set()


class TrialMetrics(MetricSink):
    """Metrics of one trial, published where it runs.

    Args:
        study: name of the study.
        trial: the trial.
        gpus: number of GPUs that it holds.
    """

    def __init__(self, study: str, trial: PlannedTrial, gpus: float) -> None:
        self._labels = make_trial_labels(study, trial)
        self._gpus, self._last_count_time = gpus, time.monotonic()
        self._publisher = GaugePublisher(self._count_gpu_seconds)
        self._publisher.start()

    def log(self, progress: TrainingProgress) -> None:
        """Publish the numbers of one logged step. Numbers that were not measured keep their last value."""
        numbers = progress.to_document()
        for name in PROGRESS_METRICS:
            if name in numbers:
                self._publisher.set(name, self._labels, numbers[name])

    def finish(self, row: TrialRow, record: TrialRecord) -> None:
        """Do nothing: the driver, which outlives the trial, publishes how it ended."""

    def close(self) -> None:
        """Stop publishing."""
        self._publisher.stop()

    def _count_gpu_seconds(self) -> None:
        now = time.monotonic()
        seconds, self._last_count_time = (now - self._last_count_time) * self._gpus, now
        if seconds > 0:
            _get_ray_metric("gpu_seconds").inc(seconds, dict(zip(_TRIAL_LABELS, self._labels, strict=True)))


class StudyMetrics:
    """Metrics of a study and the status of each trial, published by the driver. Updated also while not publishing."""

    def __init__(self) -> None:
        self._study, self._root = "", Path()
        self._labels: dict[str, tuple[str, ...]] = {}
        self._status: dict[str, str] = {}
        self._failures: Counter[str] = Counter()
        self._streak = 0
        self._publisher = GaugePublisher(self._refresh_gauges)

    def start(
        self, study: str, trials: Mapping[str, PlannedTrial], ended_statuses: Mapping[str, str], root: Path
    ) -> None:
        """Begin a study.

        Args:
            study: its name.
            trials: fingerprint -> planned trial.
            ended_statuses: fingerprint -> status, of the trials that ended in an earlier run.
            root: folder of the store.
        """
        self._study, self._root = study, root
        self._labels = {fingerprint: make_trial_labels(study, planned) for fingerprint, planned in trials.items()}
        self._status = dict.fromkeys(trials, "WAITING") | dict(ended_statuses)

    def add_trial(self, trial: PlannedTrial, status: str | None) -> None:
        """Add a trial that a search proposed, with its status if it ended in an earlier run."""
        self._labels[trial.fingerprint] = make_trial_labels(self._study, trial)
        self._status.setdefault(trial.fingerprint, status or "WAITING")

    def on_progress(self, fingerprint: str, progress: TrialProgress) -> None:
        """Update the status of a running trial from the stage of its progress."""
        if (stage := progress.stage.upper()) in TRIAL_STATUSES:
            self._status[fingerprint] = stage

    def on_trial_end(self, row: TrialRow) -> None:
        """Update the status, the failures and the pass rate from the row of a trial that ended."""
        fingerprint, status = row.fingerprint, row.status
        self._status[fingerprint] = status
        if status == "FAILED":
            self._failures[row.failure.kind if row.failure else "unknown"] += 1
        self._streak = self._streak + 1 if status == "FAILED" else 0
        if fingerprint in self._labels:
            self._publisher.set("pass_rate", self._labels[fingerprint], row.metrics.get("pass_rate"))

    @contextlib.contextmanager
    def publishing(self) -> Iterator[None]:
        """Publish while the context is open."""
        self._publisher.start()
        try:
            yield
        finally:
            self._publisher.stop()

    def _refresh_gauges(self) -> None:
        if not self._study:
            return
        status = dict(self._status)
        for fingerprint, now in status.items():
            if fingerprint in self._labels and now in TRIAL_STATUSES:
                self._publisher.set("trial_status", self._labels[fingerprint], TRIAL_STATUSES.index(now))
        count = Counter(status.values())
        for name in TRIAL_STATUSES:
            self._publisher.set("study_trials", (self._study, name), count[name])
        for kind in FAILURE_KINDS:
            self._publisher.set("study_failures", (self._study, kind), self._failures[kind])
        self._publisher.set("study_failure_streak", (self._study,), self._streak)
        with contextlib.suppress(OSError):  # the store is unavailable, which is reported elsewhere
            disk = shutil.disk_usage(self._root)
            self._publisher.set("store_free_bytes", (self._study,), disk.free)
            self._publisher.set(
                "store_size_bytes", (self._study,), disk.used + disk.free
            )  # as `df` counts, without the part reserved for root


def make_trial_labels(study: str, trial: PlannedTrial) -> tuple[str, ...]:
    """Return the label values of a trial: study, fingerprint, model, seed."""
    return (study, trial.fingerprint, trial.spec.model.name, str(trial.spec.seed))


def _is_ray_initialized() -> bool:
    """Return whether this process belongs to a Ray cluster. Does not import Ray."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(getattr(ray, "is_initialized", bool)())


def _get_ray_metric(name: str) -> Any:  # Gauge or Counter, which Ray leaves untyped
    """Return Ray's object of a metric, made once per process."""
    return _make_ray_metric(name, os.getpid())


@functools.cache
def _make_ray_metric(name: str, process: int) -> Any:
    from ray.util import metrics

    metric = METRICS[name]
    metric_type = {"gauge": metrics.Gauge, "counter": metrics.Counter}[metric.kind]
    return metric_type(f"sweeper_{metric.name}", metric.description, metric.labels)

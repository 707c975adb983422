"""Prometheus as a mirror of a running study, through Ray's own metrics. Without Ray there is nobody to tell: nothing.

Each series is named by study, trial, model and seed, or by study alone. All else that tells trials apart (epochs,
learning rate, host) is in `sweeper status` under the trial's fingerprint: labels for it would rename every series when
a sweep varies one axis more, and words without bound, such as error messages, would be a series each.
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

if TYPE_CHECKING:
    from sweeper.training import TrialRecord, TrialRow

PUBLISH_INTERVAL_SECONDS = 4.0
"""Gauges are set again this often: Ray exports one once (every 10 s, by default) and forgets it two exports later."""

TRIAL_STATUSES = ("WAITING", "TRAINING", "EVALUATING", "COMPLETE", "PRUNED", "DIVERGED", "FAILED")
"""What a trial can be; its place here is the value of the gauge `trial_status`."""
FAILURE_KINDS = ("out-of-memory", "lost-worker", "bad-input", "bug", "unknown")
"""Kinds of failure. `unknown`: the row names none."""

_STUDY_LABELS = ("study",)
_TRIAL_LABELS = ("study", "trial", "model", "seed")


@dataclass(frozen=True)
class Metric:
    """What Ray is told of one metric."""

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
        # Told where a trial runs, while it runs.
        Metric("loss", _TRIAL_LABELS, "Training loss of the last logged step, nats per target token."),
        Metric("val_loss", _TRIAL_LABELS, "Last validation loss, nats per target token."),
        Metric("step", _TRIAL_LABELS, "Optimiser steps done."),
        Metric("steps", _TRIAL_LABELS, "Optimiser steps to do."),
        Metric(
            "tokens_per_second", _TRIAL_LABELS, "Tokens trained on per second since the last logged step, all workers."
        ),
        Metric("grad_norm", _TRIAL_LABELS, "Gradient norm before clipping."),
        Metric(
            "gpu_memory_bytes", _TRIAL_LABELS, "Peak of PyTorch's memory on the first worker's GPU; none without CUDA."
        ),
        Metric("gpu_seconds", _TRIAL_LABELS, "GPUs held times seconds, from placement to end.", "counter"),
        # Told by the driver, for as long as the study runs.
        Metric(
            "trial_status",
            _TRIAL_LABELS,
            ", ".join(f"{code} {status}" for code, status in enumerate(TRIAL_STATUSES)) + ".",
        ),
        Metric("pass_rate", _TRIAL_LABELS, "Pass rate of a trial that was evaluated in this run."),
        Metric("study_trials", (*_STUDY_LABELS, "status"), "Trials of the study by status; together, all planned."),
        Metric("study_failures", (*_STUDY_LABELS, "kind"), "Trials that failed in this run, by kind of failure."),
        Metric("study_failure_streak", _STUDY_LABELS, "Trials that failed one after the other, up to now."),
        Metric("store_free_bytes", _STUDY_LABELS, "Room left where the store lies."),
        Metric("store_size_bytes", _STUDY_LABELS, "Room left and used where the store lies."),
    )
}
"""Every metric, by its name without prefix."""
PROGRESS_METRICS = ("loss", "val_loss", "step", "steps", "tokens_per_second", "grad_norm", "gpu_memory_bytes")
"""What a trial's progress carries."""


class GaugePublisher:
    """Values told to Ray over and over while `telling`: see BEAT_SECONDS. A value that is not finite is not told."""

    def __init__(self, refresh: Callable[[], None] = lambda: None) -> None:
        self._values: dict[tuple[str, tuple[str, ...]], float] = {}
        self._lock, self._stop_event, self._refresh = threading.Lock(), threading.Event(), refresh
        self._thread: threading.Thread | None = None

    def set(self, name: str, labels: tuple[str, ...], value: float | None) -> None:
        """From now on, this."""
        with self._lock:
            if value is None or not math.isfinite(value):
                self._values.pop((name, labels), None)
            else:
                self._values[name, labels] = float(value)

    def start(self) -> None:
        """Tell, now and then again, in a thread of its own; without Ray, nothing."""
        if _is_ray_initialized():
            self._stop_event.clear()
            self._publish()
            self._thread = threading.Thread(target=self._publish_repeatedly, name="sweeper-metrics", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Tell for the last time: Ray forgets these gauges within half a minute."""
        in_vain = self._stop_event.is_set()
        self._stop_event.set()
        if self._thread is not None:
            self._thread.join(timeout=PUBLISH_INTERVAL_SECONDS)
            if not in_vain:
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
        except Exception as error:  # a mirror must not cost a training run
            print(f"Prometheus: not told: {error}", file=sys.stderr)
            self._stop_event.set()


class TrialMetrics:
    """One trial's metrics, told from where it runs. `gpus`: how many it holds."""

    def __init__(self, study: str, trial: Any, gpus: float) -> None:
        self._labels = make_trial_labels(study, trial)
        self._gpus, self._last_count_time = gpus, time.monotonic()
        self._publisher = GaugePublisher(self._count_gpu_seconds)
        self._publisher.start()

    def log(self, progress: dict[str, Any]) -> None:
        """Metrics of one logged step; what it does not name stays."""
        for name in PROGRESS_METRICS:
            if name in progress:
                self._publisher.set(name, self._labels, progress[name])

    def finish(self, row: TrialRow, record: TrialRecord) -> None:
        """Nothing: the driver tells how it ended, and remains to tell it."""

    def close(self) -> None:
        """The trial is not here any more."""
        self._publisher.stop()

    def _count_gpu_seconds(self) -> None:
        now = time.monotonic()
        seconds, self._last_count_time = (now - self._last_count_time) * self._gpus, now
        if seconds > 0:
            _get_ray_metric("gpu_seconds").inc(seconds, dict(zip(_TRIAL_LABELS, self._labels, strict=True)))


class StudyMetrics:
    """A study's metrics and how each of its trials stands, told by the driver. Kept up also while nobody is told."""

    def __init__(self) -> None:
        self._study, self._root = "", Path()
        self._labels: dict[str, tuple[str, ...]] = {}
        self._status: dict[str, str] = {}
        self._failures: Counter[str] = Counter()
        self._streak = 0
        self._publisher = GaugePublisher(self._refresh_gauges)

    def start(self, study: str, trials: Mapping[str, Any], ended_statuses: Mapping[str, str], root: Path) -> None:
        """The planned trials by fingerprint, how those stand that ended in an earlier run, and where the store is."""
        self._study, self._root = study, root
        self._labels = {fingerprint: make_trial_labels(study, planned) for fingerprint, planned in trials.items()}
        self._status = dict.fromkeys(trials, "WAITING") | dict(ended_statuses)

    def add_trial(self, trial: Any, status: str | None) -> None:
        """A trial that a search has just thought of; with its status where it has ended before."""
        self._labels[trial.fingerprint] = make_trial_labels(self._study, trial)
        self._status.setdefault(trial.fingerprint, status or "WAITING")

    def on_progress(self, fingerprint: str, progress: Mapping[str, Any]) -> None:
        """What a trial that runs is doing."""
        if (stage := str(progress.get("stage")).upper()) in TRIAL_STATUSES:
            self._status[fingerprint] = stage

    def on_trial_end(self, row: TrialRow) -> None:
        """A trial that ended, with its row."""
        fingerprint, status = row.fingerprint, row.status
        self._status[fingerprint] = status
        if status == "FAILED":
            self._failures[row.failure.kind if row.failure else "unknown"] += 1
        self._streak = self._streak + 1 if status == "FAILED" else 0
        if fingerprint in self._labels:
            self._publisher.set("pass_rate", self._labels[fingerprint], row.metrics.get("pass_rate"))

    @contextlib.contextmanager
    def publishing(self) -> Iterator[None]:
        """Tell Ray, as long as this is open."""
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
        with contextlib.suppress(OSError):  # the store is away, and what waits for it says so
            disk = shutil.disk_usage(self._root)
            self._publisher.set("store_free_bytes", (self._study,), disk.free)
            self._publisher.set(
                "store_size_bytes", (self._study,), disk.used + disk.free
            )  # as `df` counts: none for root


def make_trial_labels(study: str, trial: Any) -> tuple[str, ...]:
    """Values of a trial's labels."""
    return (study, trial.fingerprint, trial.spec.model.name, str(trial.spec.seed))


def _is_ray_initialized() -> bool:
    """Whether this process belongs to a Ray cluster. Ray is not loaded to find out."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(getattr(ray, "is_initialized", bool)())


def _get_ray_metric(name: str) -> Any:
    """Ray's object of a metric, made once in each process."""
    return _make_ray_metric(name, os.getpid())


@functools.cache
def _make_ray_metric(name: str, process: int) -> Any:
    from ray.util import metrics

    metric = METRICS[name]
    made = metrics.Gauge if metric.kind == "gauge" else metrics.Counter
    return made(f"sweeper_{metric.name}", metric.description, metric.labels)

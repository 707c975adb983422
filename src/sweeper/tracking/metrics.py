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
    from sweeper.trial import TrialRecord

BEAT_SECONDS = 4.0
"""Gauges are set again this often: Ray exports one once (every 10 s, by default) and forgets it two exports later."""

STATUSES = ("WAITING", "TRAINING", "EVALUATING", "COMPLETE", "PRUNED", "DIVERGED", "FAILED")
"""What a trial can be; its place here is the value of the gauge `trial_status`."""
FAILURES = ("out-of-memory", "lost-worker", "bad-input", "bug", "unknown")
"""Kinds of failure. `unknown`: the row names none."""

_STUDY = ("study",)
_TRIAL = ("study", "trial", "model", "seed")


@dataclass(frozen=True)
class Metric:
    """What Ray is told of one metric."""

    name: str
    labels: tuple[str, ...]
    meaning: str
    kind: Literal["gauge", "counter"] = "gauge"

    @property
    def exported(self) -> str:
        """Its name in Prometheus."""
        return f"ray_sweeper_{self.name}" + ("_total" if self.kind == "counter" else "")


METRICS = {
    metric.name: metric
    for metric in (
        # Told where a trial runs, while it runs.
        Metric("loss", _TRIAL, "Training loss of the last logged step, nats per target token."),
        Metric("val_loss", _TRIAL, "Last validation loss, nats per target token."),
        Metric("step", _TRIAL, "Optimiser steps done."),
        Metric("steps", _TRIAL, "Optimiser steps to do."),
        Metric("tokens_per_second", _TRIAL, "Tokens trained on per second since the last logged step, all workers."),
        Metric("grad_norm", _TRIAL, "Gradient norm before clipping."),
        Metric("gpu_memory_bytes", _TRIAL, "Peak of PyTorch's memory on the first worker's GPU; none without CUDA."),
        Metric("gpu_seconds", _TRIAL, "GPUs held times seconds, from placement to end.", "counter"),
        # Told by the driver, for as long as the study runs.
        Metric("trial_status", _TRIAL, ", ".join(f"{code} {status}" for code, status in enumerate(STATUSES)) + "."),
        Metric("pass_rate", _TRIAL, "Pass rate of a trial that was evaluated in this run."),
        Metric("study_trials", (*_STUDY, "status"), "Trials of the study by status; together, all planned."),
        Metric("study_failures", (*_STUDY, "kind"), "Trials that failed in this run, by kind of failure."),
        Metric("study_failure_streak", _STUDY, "Trials that failed one after the other, up to now."),
        Metric("store_free_bytes", _STUDY, "Room left where the store lies."),
        Metric("store_size_bytes", _STUDY, "Room left and used where the store lies."),
    )
}
"""Every metric, by its name without prefix."""
LIVE = ("loss", "val_loss", "step", "steps", "tokens_per_second", "grad_norm", "gpu_memory_bytes")
"""What a trial's progress carries."""


class _Told:
    """Values told to Ray over and over while `telling`: see BEAT_SECONDS. A value that is not finite is not told."""

    def __init__(self, read: Callable[[], None] = lambda: None) -> None:
        self._values: dict[tuple[str, tuple[str, ...]], float] = {}
        self._lock, self._end, self._read = threading.Lock(), threading.Event(), read
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
        if _connected():
            self._end.clear()
            self._beat()
            self._thread = threading.Thread(target=self._beats, name="sweeper-metrics", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Tell for the last time: Ray forgets these gauges within half a minute."""
        in_vain = self._end.is_set()
        self._end.set()
        if self._thread is not None:
            self._thread.join(timeout=BEAT_SECONDS)
            if not in_vain:
                self._beat()

    def _beats(self) -> None:
        while not self._end.wait(BEAT_SECONDS):
            self._beat()

    def _beat(self) -> None:
        try:
            self._read()
            with self._lock:
                values = dict(self._values)
            for (name, labels), value in values.items():
                _ray(name).set(value, dict(zip(METRICS[name].labels, labels, strict=True)))
        except Exception as error:  # a mirror must not cost a training run
            print(f"Prometheus: not told: {error}", file=sys.stderr)
            self._end.set()


class TrialMetrics:
    """One trial's metrics, told from where it runs. `gpus`: how many it holds."""

    def __init__(self, study: str, planned: Any, gpus: float) -> None:
        self._labels = trial_labels(study, planned)
        self._gpus, self._counted = gpus, time.monotonic()
        self._told = _Told(self._count)
        self._told.start()

    def log(self, progress: dict[str, Any]) -> None:
        """Metrics of one logged step; what it does not name stays."""
        for name in LIVE:
            if name in progress:
                self._told.set(name, self._labels, progress[name])

    def finish(self, row: dict[str, Any], record: TrialRecord) -> None:
        """Nothing: the driver tells how it ended, and remains to tell it."""

    def close(self) -> None:
        """The trial is not here any more."""
        self._told.stop()

    def _count(self) -> None:
        now = time.monotonic()
        seconds, self._counted = (now - self._counted) * self._gpus, now
        if seconds > 0:
            _ray("gpu_seconds").inc(seconds, dict(zip(_TRIAL, self._labels, strict=True)))


class StudyMetrics:
    """A study's metrics and how each of its trials stands, told by the driver. Kept up also while nobody is told."""

    def __init__(self) -> None:
        self._study, self._root = "", Path()
        self._labels: dict[str, tuple[str, ...]] = {}
        self._status: dict[str, str] = {}
        self._failures: Counter[str] = Counter()
        self._streak = 0
        self._told = _Told(self._read)

    def start(self, study: str, trials: Mapping[str, Any], ended: Mapping[str, str], root: Path) -> None:
        """The planned trials by fingerprint, how those stand that ended in an earlier run, and where the store is."""
        self._study, self._root = study, root
        self._labels = {fingerprint: trial_labels(study, planned) for fingerprint, planned in trials.items()}
        self._status = dict.fromkeys(trials, "WAITING") | dict(ended)

    def proposed(self, planned: Any, status: str | None) -> None:
        """A trial that a search has just thought of; with its status where it has ended before."""
        self._labels[planned.fingerprint] = trial_labels(self._study, planned)
        self._status.setdefault(planned.fingerprint, status or "WAITING")

    def told(self, fingerprint: str, progress: Mapping[str, Any]) -> None:
        """What a trial that runs is doing."""
        if (stage := str(progress.get("stage")).upper()) in STATUSES:
            self._status[fingerprint] = stage

    def ended(self, row: Mapping[str, Any]) -> None:
        """A trial that ended, with its row."""
        fingerprint, status = row["fingerprint"], row["status"]
        self._status[fingerprint] = status
        if status == "FAILED":
            kind = row.get("failure_kind")
            self._failures[kind if kind in FAILURES else "unknown"] += 1
        self._streak = self._streak + 1 if status == "FAILED" else 0
        if fingerprint in self._labels:
            self._told.set("pass_rate", self._labels[fingerprint], row.get("metrics", {}).get("pass_rate"))

    @contextlib.contextmanager
    def telling(self) -> Iterator[None]:
        """Tell Ray, as long as this is open."""
        self._told.start()
        try:
            yield
        finally:
            self._told.stop()

    def _read(self) -> None:
        if not self._study:
            return
        status = dict(self._status)
        for fingerprint, now in status.items():
            if fingerprint in self._labels and now in STATUSES:
                self._told.set("trial_status", self._labels[fingerprint], STATUSES.index(now))
        count = Counter(status.values())
        for name in STATUSES:
            self._told.set("study_trials", (self._study, name), count[name])
        for kind in FAILURES:
            self._told.set("study_failures", (self._study, kind), self._failures[kind])
        self._told.set("study_failure_streak", (self._study,), self._streak)
        with contextlib.suppress(OSError):  # the store is away, and what waits for it says so
            disk = shutil.disk_usage(self._root)
            self._told.set("store_free_bytes", (self._study,), disk.free)
            self._told.set("store_size_bytes", (self._study,), disk.used + disk.free)  # as `df` counts: none for root


def trial_labels(study: str, planned: Any) -> tuple[str, ...]:
    """Values of a trial's labels."""
    return (study, planned.fingerprint, planned.spec.model.name, str(planned.spec.seed))


def _connected() -> bool:
    """Whether this process belongs to a Ray cluster. Ray is not loaded to find out."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(getattr(ray, "is_initialized", bool)())


def _ray(name: str) -> Any:
    """Ray's object of a metric, made once in each process."""
    return _made(name, os.getpid())


@functools.cache
def _made(name: str, process: int) -> Any:
    from ray.util import metrics

    metric = METRICS[name]
    made = metrics.Gauge if metric.kind == "gauge" else metrics.Counter
    return made(f"sweeper_{metric.name}", metric.meaning, metric.labels)

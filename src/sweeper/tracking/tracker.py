"""One tracker, several mirrors: what a trial tells goes to each of them, and none of them can cost the trial."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from sweeper.storage import Store
from sweeper.tracking.prometheus import TrialMetrics
from sweeper.tracking.wandb import WandbRun

if TYPE_CHECKING:
    from sweeper.training import TrialRecord, TrialRow

TrackerName = Literal["wandb", "none"]


class MetricSink(Protocol):
    """One place where a trial's numbers go."""

    def log(self, progress: dict[str, Any]) -> None:
        """Metrics of one logged step."""

    def finish(self, row: TrialRow, record: TrialRecord) -> None:
        """The trial's end."""

    def close(self) -> None:
        """Nothing more will come, however the trial ended."""


class TrialLogger:
    """Where one trial's numbers go; without mirrors, nowhere."""

    def __init__(self, sinks: Sequence[MetricSink] = ()) -> None:
        self._sinks = list(sinks)

    def log(self, progress: dict[str, Any]) -> None:
        """Metrics of one logged step."""
        self._send_to_each(lambda mirror: mirror.log(progress))

    def finish(self, row: TrialRow, record: TrialRecord) -> None:
        """The trial's end: status, final metrics, asked and applied."""
        self._send_to_each(lambda mirror: mirror.finish(row, record))

    def _send_to_each(self, send: Callable[[MetricSink], None]) -> None:
        """A mirror that fails is named on stderr, and told nothing more: it must not cost a training run."""
        for mirror in list(self._sinks):
            try:
                send(mirror)
            except Exception as error:
                print(f"{type(mirror).__name__}: told nothing more: {error}", file=sys.stderr)
                self._sinks.remove(mirror)


@dataclass(frozen=True)
class Tracker:
    """Opens a trial's mirrors: Prometheus where there is Ray, W&B where it is asked for. Picklable, for workers."""

    kind: TrackerName
    study: str
    store: Store
    is_evaluation_only: bool = False
    """Whether what is tracked is an evaluation alone, by one worker of whatever many trained."""

    def make_evaluation_tracker(self) -> Tracker:
        """The same for one worker that evaluates what several have trained."""
        return replace(self, is_evaluation_only=True)

    @contextlib.contextmanager
    def open_trial(self, trial: Any) -> Iterator[TrialLogger]:
        """Mirrors of one trial. One that cannot start is named on stderr, and never fails the trial."""
        mirrors: list[MetricSink] = []
        with contextlib.ExitStack() as opened:
            for name, start in self._list_sinks(trial):
                try:
                    mirrors.append(start())
                except Exception as error:  # a mirror must not cost a training run
                    print(f"{name}: trial {trial.fingerprint} is not tracked: {error}", file=sys.stderr)
                else:
                    opened.enter_context(_close_on_exit(mirrors[-1]))
            yield TrialLogger(mirrors)

    def _list_sinks(self, trial: Any) -> list[tuple[str, Callable[[], MetricSink]]]:
        gpus = trial.spec.runtime.gpus * (1 if self.is_evaluation_only else trial.spec.runtime.workers)
        found: list[tuple[str, Callable[[], MetricSink]]] = [
            ("Prometheus", lambda: TrialMetrics(self.study, trial, gpus))
        ]
        if self.kind == "wandb":
            found.append(("W&B", lambda: WandbRun(self.study, self.store, trial)))
        return found


@contextlib.contextmanager
def _close_on_exit(sink: MetricSink) -> Iterator[None]:
    try:
        yield
    finally:
        try:
            sink.close()
        except Exception as error:
            print(f"{type(sink).__name__}: {error}", file=sys.stderr)

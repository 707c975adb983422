"""Tracking of one trial in several sinks. No failing sink can fail the trial."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sweeper.storage import Store
from sweeper.tracking.prometheus import TrialMetrics
from sweeper.tracking.sinks import TRACKERS, MetricSink

if TYPE_CHECKING:
    from sweeper.planning.plan import PlannedTrial
    from sweeper.training import TrainingProgress, TrialRecord, TrialRow

TrackerName = str
"""A name in `TRACKERS`."""


class TrialLogger:
    """Sends the numbers of one trial to its sinks."""

    def __init__(self, sinks: Sequence[MetricSink] = ()) -> None:
        self._sinks = list(sinks)

    def log(self, progress: TrainingProgress) -> None:
        """Record the numbers of one logged step."""
        self._send_to_each(lambda sink: sink.log(progress))

    def finish(self, row: TrialRow, record: TrialRecord) -> None:
        """Record how the trial ended: status, final metrics, requested and applied settings."""
        self._send_to_each(lambda sink: sink.finish(row, record))

    def _send_to_each(self, send: Callable[[MetricSink], None]) -> None:
        """Call `send` with each sink. A sink that raises is reported on stderr and no longer used."""
        for sink in list(self._sinks):
            try:
                send(sink)
            except Exception as error:
                print(f"{type(sink).__name__}: disabled after an error: {error}", file=sys.stderr)
                self._sinks.remove(sink)


@dataclass(frozen=True)
class Tracker:
    """Opens the sinks of a trial: Prometheus if Ray is running, and the tracker that the user selected.

    Picklable, since workers open sinks.
    """

    name: TrackerName
    study: str
    store: Store
    is_evaluation_only: bool = False
    """Whether only an evaluation is tracked, which uses one worker however many train the trial."""
    outage: str = ""
    """Why the tracker's server cannot be reached; empty where it can, or has not been asked."""

    def __post_init__(self) -> None:
        TRACKERS.check(self.name, where="--tracking")

    def check_server(self) -> Tracker:
        """Ask the tracker's server, once for a whole run: every trial then knows its `outage`."""
        return replace(self, outage=TRACKERS.load(self.name).find_outage())

    def make_evaluation_tracker(self) -> Tracker:
        """Make a tracker for the one worker that evaluates a trial trained by several."""
        return replace(self, is_evaluation_only=True)

    @contextlib.contextmanager
    def open_trial(self, trial: PlannedTrial) -> Iterator[TrialLogger]:
        """Open the sinks of a trial, and close them at the end. A sink that fails is reported on stderr."""
        sinks: list[MetricSink] = []
        with contextlib.ExitStack() as stack:
            for name, open_sink in self._list_sinks(trial):
                try:
                    sink = open_sink()
                except Exception as error:  # a sink must not fail a training run
                    print(f"{name}: trial {trial.fingerprint} is not tracked: {error}", file=sys.stderr)
                    continue
                if sink is not None:
                    sinks.append(sink)
                    stack.enter_context(_close_on_exit(sink))
            yield TrialLogger(sinks)

    def _list_sinks(self, trial: PlannedTrial) -> list[tuple[str, Callable[[], MetricSink | None]]]:
        gpus = trial.spec.runtime.gpus * (1 if self.is_evaluation_only else trial.spec.runtime.workers)
        return [
            ("prometheus", lambda: TrialMetrics(self.study, trial, gpus)),
            (self.name, lambda: TRACKERS.load(self.name).open(self.study, self.store, trial, bool(self.outage))),
        ]


@contextlib.contextmanager
def _close_on_exit(sink: MetricSink) -> Iterator[None]:
    try:
        yield
    finally:
        try:
            sink.close()
        except Exception as error:
            print(f"{type(sink).__name__}: {error}", file=sys.stderr)

"""Background jobs of a run: data are prepared while workers start, and audited while the first trials train."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event

from sweeper import data
from sweeper.data import FractionReporter
from sweeper.errors import SweeperError
from sweeper.evaluation import compute_suite_fingerprint, load_evaluation_suite
from sweeper.execution.failures import record_failure
from sweeper.execution.run_context import RunContext
from sweeper.planning.plan import PlannedTrial
from sweeper.results.study_tables import CONTAMINATION_FILE
from sweeper.storage import read_json


@dataclass(frozen=True)
class BackgroundData:
    """The two background jobs of a run."""

    prepared: Future[list[PlannedTrial]]
    audited: Future[None]

    def wait_for_trials(self) -> list[PlannedTrial]:
        """Wait for the data, and return the trials that have them."""
        return self.prepared.result()

    def wait_for_audit(self) -> None:
        """Wait for the end of the audit; a failure is raised later, by `raise_audit_failure`."""
        self.audited.exception()

    def raise_audit_failure(self) -> None:
        """Raise what the audit raised."""
        self.audited.result()


@contextmanager
def prepare_in_background(run: RunContext, trials: Sequence[PlannedTrial]) -> Iterator[BackgroundData]:
    """Prepare and audit the data of trials in a thread.

    Leaving the context by an exception cancels both jobs at their next progress report: Ctrl-C does not wait for data
    that no trial will use.
    """
    leaving = Event()

    def make_cancellable(on_progress: FractionReporter) -> FractionReporter:
        def report(fraction: float) -> None:
            if leaving.is_set():
                raise _CancelledError
            on_progress(fraction)

        return report

    def audit(prepared: Future[list[PlannedTrial]]) -> None:
        if ready := prepared.result():
            audit_contamination(run, run.plan.trials or ready, make_cancellable(run.display.on_audit_progress))

    with ThreadPoolExecutor(1) as pool:
        try:
            on_progress = make_cancellable(run.display.on_preparation_progress)
            prepared = pool.submit(_prepare_data, run, trials, on_progress)
            yield BackgroundData(prepared, pool.submit(audit, prepared))
        except BaseException:
            leaving.set()
            raise


class _CancelledError(Exception):
    """The run is ending, so the job is no longer needed."""


def _prepare_data(run: RunContext, trials: Sequence[PlannedTrial], on_progress: FractionReporter) -> list[PlannedTrial]:
    """Prepare every data set once, and return the trials that have data. The others become FAILED rows."""
    ready: list[PlannedTrial] = []
    for fingerprint in dict.fromkeys(trial.data_fingerprint for trial in trials):
        users = [trial for trial in trials if trial.data_fingerprint == fingerprint]
        try:
            prepared = data.prepare_data(users[0].spec.data, users[0].spec.model, run.store, on_progress)
        except SweeperError as error:
            planned = [trial for trial in users if trial in run.plan.trials]
            for trial in planned:
                run.display.on_trial_end(record_failure(trial, run.store, error))
            if not planned:  # data of trials that a search may propose: each such trial fails by itself
                run.display.print_line(str(error))
            continue
        run.display.print_line(data.describe_prepared_data(prepared))
        ready += users
    return ready


def audit_contamination(run: RunContext, trials: Sequence[PlannedTrial], on_progress: Callable[[float], None]) -> None:
    """Find the test queries that leak into the training data, once per data and suite; the report uses the result."""
    evaluation, sweep = run.plan.sweep.evaluation, run.plan.sweep
    if evaluation is None or not trials:
        return
    path = run.store.study_folder(sweep.name) / CONTAMINATION_FILE
    inputs = {"data": trials[0].data_fingerprint, "suite": compute_suite_fingerprint(evaluation, sweep.data)}
    if path.exists() and read_json(path).get("of") == inputs:
        return
    audit = data.audit_contamination(sweep.data, load_evaluation_suite(evaluation, sweep.data), on_progress=on_progress)
    run.store.publish(path, audit.to_document() | {"of": inputs})
    total = sum(audit.suite.query_counts.values())
    run.display.print_line(
        f"train/test contamination: {len(audit.exclude)} of {total} test queries leak into the "
        "training data, or are less unseen than their subset promises; the report shows rates with and without them"
    )

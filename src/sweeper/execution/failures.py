"""The one place where an error becomes a FAILED trial: its record in the store, and its row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.training import TrialRow, classify_failure, publish_failure

if TYPE_CHECKING:
    from sweeper.planning.plan import PlannedTrial
    from sweeper.storage import Store


def record_failure(trial: PlannedTrial, store: Store, error: BaseException) -> TrialRow:
    """Publish a FAILED record of a trial, unless it has already ended.

    Args:
        trial: the trial that cannot go on.
        store: receives its record.
        error: the exception.

    Returns:
        The row of the failed trial.
    """
    failure = classify_failure(error)
    publish_failure(store, trial.fingerprint, trial.spec.model.name, failure)
    return TrialRow.failed(trial.fingerprint, failure)

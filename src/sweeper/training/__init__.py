"""Train one model from a TrialSpec and write its record. Imports no Ray.

job = TrialJob(spec, fingerprint, data_fingerprint)
record = train_trial(job, lambda: open_prepared_data(store, data_fingerprint), store, print)
"""

from sweeper.training.failures import Failure, WorkerFailedError, classify_failure, make_error
from sweeper.training.job import TrialJob
from sweeper.training.preemption import drain
from sweeper.training.progress import ProgressListener, TrainingProgress, TrialProgress, TrialProgressListener
from sweeper.training.pruning import Pruner
from sweeper.training.record import (
    COMPLETE,
    DIVERGED,
    FAILED,
    PRUNED,
    TrialRecord,
    TrialStatus,
    check_trial_files,
    publish_failure,
    read_record,
    read_status,
)
from sweeper.training.trial import WorkerLauncher, train_trial
from sweeper.training.trial_row import RowStatus, TrialRow
from sweeper.training.worker import train_worker

__all__ = [
    "COMPLETE",
    "DIVERGED",
    "FAILED",
    "PRUNED",
    "Failure",
    "ProgressListener",
    "Pruner",
    "RowStatus",
    "TrainingProgress",
    "TrialJob",
    "TrialProgress",
    "TrialProgressListener",
    "TrialRecord",
    "TrialRow",
    "TrialStatus",
    "WorkerFailedError",
    "WorkerLauncher",
    "check_trial_files",
    "classify_failure",
    "drain",
    "make_error",
    "publish_failure",
    "read_record",
    "read_status",
    "train_trial",
    "train_worker",
]

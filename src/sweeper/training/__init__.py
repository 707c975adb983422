"""Train one model from one TrialSpec, and leave its record. Knows no Ray."""

from sweeper.training.preemption import drain
from sweeper.training.progress import ProgressListener, TrainingProgress, TrialProgress, TrialProgressListener
from sweeper.training.pruning import Pruner
from sweeper.training.record import (
    COMPLETE,
    DIVERGED,
    FAILED,
    PRUNED,
    Failure,
    TrialRecord,
    WorkerFailedError,
    classify_failure,
    error_from_failures,
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
    "TrialProgress",
    "TrialProgressListener",
    "TrialRecord",
    "TrialRow",
    "WorkerFailedError",
    "WorkerLauncher",
    "classify_failure",
    "drain",
    "error_from_failures",
    "publish_failure",
    "read_record",
    "read_status",
    "train_trial",
    "train_worker",
]

"""Train one model from one TrialSpec, and leave its record. Knows no Ray."""

from sweeper.trial.record import (
    COMPLETE,
    DIVERGED,
    FAILED,
    TrialRecord,
    WorkerFailedError,
    failure_of,
    publish_failure,
    raised_by,
    read_record,
)
from sweeper.trial.run import Launch, train_trial
from sweeper.trial.train import Progress, train_worker

__all__ = [
    "COMPLETE",
    "DIVERGED",
    "FAILED",
    "Launch",
    "Progress",
    "TrialRecord",
    "WorkerFailedError",
    "failure_of",
    "publish_failure",
    "raised_by",
    "read_record",
    "train_trial",
    "train_worker",
]

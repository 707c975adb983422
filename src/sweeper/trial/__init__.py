"""Train one model from one TrialSpec, and leave its record. Knows no Ray."""

from sweeper.trial.preemption import leave
from sweeper.trial.record import (
    COMPLETE,
    DIVERGED,
    FAILED,
    PRUNED,
    TrialRecord,
    WorkerFailedError,
    failure_of,
    publish_failure,
    raised_by,
    read_record,
    read_status,
)
from sweeper.trial.run import Launch, train_trial
from sweeper.trial.rungs import Pruner
from sweeper.trial.train import Progress, train_worker

__all__ = [
    "COMPLETE",
    "DIVERGED",
    "FAILED",
    "PRUNED",
    "Launch",
    "Progress",
    "Pruner",
    "TrialRecord",
    "WorkerFailedError",
    "failure_of",
    "leave",
    "publish_failure",
    "raised_by",
    "read_record",
    "read_status",
    "train_trial",
    "train_worker",
]

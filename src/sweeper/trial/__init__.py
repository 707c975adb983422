"""Train one model from one TrialSpec, and leave its record. Knows no Ray."""

from sweeper.trial.record import COMPLETE, DIVERGED, FAILED, TrialRecord, failure_of, read_record
from sweeper.trial.run import Progress, train_trial

__all__ = [
    "COMPLETE",
    "DIVERGED",
    "FAILED",
    "Progress",
    "TrialRecord",
    "failure_of",
    "read_record",
    "train_trial",
]

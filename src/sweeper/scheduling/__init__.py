"""Which trial starts next, and on which nodes. Pure: no Ray, no clock, no files."""

from sweeper.scheduling.resources import Node, ResourceLedger, ResourceRequest
from sweeper.scheduling.simulate import Schedule, ScheduledTrial, simulate_schedule
from sweeper.scheduling.trial_queue import QueuedTrial, TrialQueue, count_max_concurrent

__all__ = [
    "Node",
    "QueuedTrial",
    "ResourceLedger",
    "ResourceRequest",
    "Schedule",
    "ScheduledTrial",
    "TrialQueue",
    "count_max_concurrent",
    "simulate_schedule",
]

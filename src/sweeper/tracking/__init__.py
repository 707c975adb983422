"""Live views of a running study: W&B, and Prometheus through Ray. They are written to and never read back."""

from sweeper.tracking.prometheus import METRICS, TRIAL_STATUSES, StudyMetrics
from sweeper.tracking.sinks import TRACKERS, MetricSink
from sweeper.tracking.tracker import Tracker, TrackerName, TrialLogger

__all__ = [
    "METRICS",
    "TRACKERS",
    "TRIAL_STATUSES",
    "MetricSink",
    "StudyMetrics",
    "Tracker",
    "TrackerName",
    "TrialLogger",
]

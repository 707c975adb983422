"""Mirrors of a running study: W&B, and Prometheus through Ray. Written to, never read back."""

from sweeper.tracking.prometheus import METRICS, TRIAL_STATUSES, StudyMetrics
from sweeper.tracking.tracker import Tracker, TrackerName

__all__ = ["METRICS", "TRIAL_STATUSES", "StudyMetrics", "Tracker", "TrackerName"]

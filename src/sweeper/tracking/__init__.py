"""Mirrors of a running study: W&B, and Prometheus through Ray. Written to, never read back."""

from sweeper.tracking.metrics import METRICS, STATUSES, StudyMetrics
from sweeper.tracking.tracker import Tracker, Tracking

__all__ = ["METRICS", "STATUSES", "StudyMetrics", "Tracker", "Tracking"]

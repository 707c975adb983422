"""Trackers that a user selects with `--tracking`. Each is one file that defines `SINK`."""

from __future__ import annotations

from sweeper.registry import Registry
from sweeper.tracking.sinks.base import MetricSink, SinkType

__all__ = ["TRACKERS", "MetricSink"]

TRACKERS: Registry[SinkType] = Registry("tracker", "tracking/sinks", "SINK")

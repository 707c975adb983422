"""Trackers that a user selects with `--tracking`. Each is one file that defines `open_sink`."""

from __future__ import annotations

from sweeper.registry import Registry
from sweeper.tracking.sinks.base import MetricSink, SinkFactory

__all__ = ["TRACKERS", "MetricSink"]

TRACKERS: Registry[SinkFactory] = Registry("tracker", "tracking/sinks", "open_sink")

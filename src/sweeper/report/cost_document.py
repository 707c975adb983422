"""The part of the report's document about predicted and actual cost."""

from __future__ import annotations

from typing import TypeAlias, TypedDict

Number: TypeAlias = float | None


class TimingEntry(TypedDict):
    """Predicted and actual seconds, or device-hours, and their ratio."""

    predicted: Number
    actual: Number
    ratio: Number


class ArmTimingEntry(TimingEntry):
    """Timing of an arm's trials."""

    label: str
    planned: int
    ran: int


class DeviceHoursEntry(TimingEntry):
    """GPU-hours or core-hours."""

    name: str


class PredictedCostEntry(TypedDict):
    """Predicted against actual cost."""

    arms: list[ArmTimingEntry]
    all: ArmTimingEntry
    device_hours: list[DeviceHoursEntry]
    wall: TimingEntry
    wall_range: list[Number]
    reused: int
    not_run: int
    rests_on: list[str]

"""The tracker `none`: records nothing beyond the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.storage import Store
from sweeper.tracking.sinks.base import SinkType

if TYPE_CHECKING:
    from sweeper.planning.plan import PlannedTrial


def _open_sink(study: str, store: Store, trial: PlannedTrial, is_offline: bool) -> None:
    """Open no sink."""


SINK = SinkType(_open_sink)

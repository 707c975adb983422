"""The tracker `none`: records nothing beyond the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.storage import Store

if TYPE_CHECKING:
    from sweeper.planning.plan import PlannedTrial


def open_sink(study: str, store: Store, trial: PlannedTrial) -> None:
    """Open no sink."""

"""The trial that a worker trains."""

from __future__ import annotations

from dataclasses import dataclass

from sweeper.config import TrialSpec


@dataclass(frozen=True)
class TrialJob:
    """One trial to train: what it is, its identity, and the identity of its data."""

    spec: TrialSpec
    """The fully resolved trial."""
    fingerprint: str
    """Identity of the trial; names its folder in the store."""
    data_fingerprint: str
    """Identity of the prepared data that it trains on."""

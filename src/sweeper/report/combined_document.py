"""The report over all sweeps of a union, as one JSON document."""

from __future__ import annotations

from typing import TypedDict

from sweeper.report.claim_document import ClaimEntry


class PartEntry(TypedDict, total=False):
    """One sweep of a union, as the combined report lists it."""

    sweep: str
    question: str
    trials: int
    shared: int
    statuses: dict[str, int]
    partial: bool
    page: str


class CombinedStudyEntry(TypedDict):
    """The union that a combined report is about."""

    name: str
    question: str
    miniature: bool
    caveat: str
    asked: int
    planned: int
    statuses: dict[str, int]
    partial: bool


class PartClaimEntry(ClaimEntry):
    """A claim with the sweep that registers it."""

    part: str


class CombinedReport(TypedDict):
    """The report over all sweeps of a union."""

    study: CombinedStudyEntry
    parts: list[PartEntry]
    claims: list[PartClaimEntry]
    later_claims: list[PartClaimEntry]
    withdrawn_claims: list[str]
    manifest: dict[str, object]
    runs: list[dict[str, object]]
    commands: list[str]

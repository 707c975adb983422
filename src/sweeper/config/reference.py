"""A published table of results, one file of `configs/references/`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, FiniteFloat

from sweeper.config.base import FrozenConfig


class ReferenceRow(FrozenConfig):
    """One published model."""

    model: str = Field(min_length=1)
    """Its name, as published."""
    rates: dict[str, FiniteFloat]
    """Subset -> pass rate, percent."""
    overall: FiniteFloat = Field(ge=0, le=100)
    """Published overall or average pass rate, percent."""


class Reference(FrozenConfig):
    """A published table. Reports show it beside our results, never in the same columns."""

    name: str = Field(min_length=1)
    """Name of its file."""
    title: str = Field(min_length=1)
    """Name shown in reports."""
    source: str = Field(min_length=1)
    """Publication."""
    date: str = Field(min_length=4)
    """Date of publication, YYYY-MM."""
    judge: str = Field(min_length=1)
    """Judge, and number of votes."""
    query_set: str = Field(min_length=1)
    """Queries evaluated."""
    definition: Literal["strict", "stabletoolbench", "tooleval"]
    """Definition of a pass."""
    rows: list[ReferenceRow]
    """Its models."""

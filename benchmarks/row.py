"""One row of the benchmarks' table, and the last line that each of them prints: what `benchmarks/run.py` collects."""

from __future__ import annotations

import json
import operator
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

_HOLDS = {"<=": operator.le, ">=": operator.ge}


@dataclass(frozen=True)
class Row:
    """What was measured, several times, beside what a user would do otherwise, measured in turn with it."""

    what: str
    unit: str
    """Of `ours`, `theirs` and `limit`: s, examples/s, MB, …"""
    ours: Sequence[float]
    versus: str = ""
    theirs: Sequence[float] = field(default=())
    """As many as `ours`: measured in pairs, for the machine changes its pace. Empty where nothing is compared."""
    aim: str = ""
    """Such as `<= 1.2`: of ours / theirs; of ours itself where there is no other."""
    limit: float | None = None
    """The least (or most) that is possible at all, whoever does it."""
    limit_is: str = ""

    @property
    def figures(self) -> list[float]:
        """What the aim is of, pair by pair."""
        if not self.theirs:
            return list(self.ours)
        return [a / b for a, b in zip(self.ours, self.theirs, strict=True)]

    @property
    def middle(self) -> float:
        """Their median."""
        return statistics.median(self.figures)

    @property
    def reached(self) -> bool | None:
        """Whether the aim was; None for none."""
        if not self.aim:
            return None
        sign, wanted = self.aim.split()
        return bool(_HOLDS[sign](self.middle, float(wanted)))

    def document(self) -> dict[str, Any]:
        """For the results' file."""
        return {
            "what": self.what,
            "unit": self.unit,
            "ours": list(self.ours),
            "versus": self.versus,
            "theirs": list(self.theirs),
            "figure": self.middle,
            "low": min(self.figures),
            "high": max(self.figures),
            "aim": self.aim,
            "reached": self.reached,
            "limit": self.limit,
            "limit_is": self.limit_is,
        }

    def line(self) -> str:
        """For people."""
        text = f"{self.what}: {number(statistics.median(self.ours))} {self.unit}"
        if self.theirs:
            spread = f" ({min(self.figures):.2f} to {max(self.figures):.2f})" if len(self.ours) > 1 else ""
            text += f"; {self.versus} {number(statistics.median(self.theirs))}; ratio {self.middle:.2f}{spread}"
        if self.limit is not None:
            text += f"; limit {number(self.limit)} ({self.limit_is})"
        return text + (f"; aim {self.aim} {'reached' if self.reached else 'MISSED'}" if self.aim else "")


def number(value: float) -> str:
    """Three digits, no exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def finish(rows: Sequence[Row], **more: Any) -> int:
    """Print the rows for people, then they and `more` as one line of JSON. Returns 1 for a missed aim, else 0."""
    for row in rows:
        print(row.line(), flush=True)
    print(json.dumps({"rows": [row.document() for row in rows], **more}, default=str), flush=True)
    return int(any(row.reached is False for row in rows))

"""A curve fitted to runs of several sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from sweeper.statistics.aliases import Array
from sweeper.statistics.intervals import UNDEFINED_INTERVAL, Interval


@dataclass(frozen=True)
class Curve:
    """A fitted curve at given sizes, with the ends of its interval; NaN where undefined."""

    size: Array
    value: Array
    low: Array
    high: Array

    def to_json(self) -> dict[str, object]:
        """Return the columns as lists."""
        return {name: getattr(self, name).tolist() for name in ("size", "value", "low", "high")}


@dataclass(frozen=True)
class Optimum:
    """The highest or lowest point of a curve; NaN for a curve without one."""

    size: float = math.nan
    value: float = math.nan
    share: float = math.nan
    """Share of the draws that have an optimum."""
    interval: Interval = UNDEFINED_INTERVAL
    """Of the size; NaN where an end is unbounded."""
    is_inside: bool = False
    """Whether it lies among the observed sizes."""

    def to_json(self) -> dict[str, object]:
        """Return the fields, with `interval` as [low, high]."""
        return {
            "size": self.size,
            "value": self.value,
            "share": self.share,
            "interval": [self.interval.low, self.interval.high],
            "inside": self.is_inside,
        }


@dataclass(frozen=True)
class CurveFit:
    """A curve fitted to runs."""

    name: str
    parameters: Mapping[str, float]
    r2: float
    """Of the runs; NaN where all values are alike."""
    aicc: float
    """Corrected Akaike criterion (Hurvich and Tsai 1989) of the runs, with the variance of the noise counted as a
    parameter. NaN with too few runs, or without any residual."""
    n_runs: int
    n_sizes: int
    n_dropped: int
    """Runs that are NaN."""
    residual_df: int
    """Sizes minus parameters."""
    curve: Curve
    caveat: str
    """What the fit cannot support; '' for nothing."""
    optimum: Optimum | None = None
    """None for a curve that has none by its form; NaN for one that is not tested, or contradicted by its runs."""
    lack_of_fit_p: float = math.nan
    """Of an F test against free means by size; NaN where it cannot be tested."""

    def to_json(self) -> dict[str, object]:
        """Return the fields as the report has them."""
        document = {
            "name": self.name,
            "parameters": dict(self.parameters),
            "r2": self.r2,
            "aicc": self.aicc,
            "n_runs": self.n_runs,
            "n_sizes": self.n_sizes,
            "dropped": self.n_dropped,
            "residual_df": self.residual_df,
            "curve": self.curve.to_json(),
            "caveat": self.caveat,
            "lack_of_fit_p": self.lack_of_fit_p,
        }
        return document if self.optimum is None else document | {"optimum": self.optimum.to_json()}

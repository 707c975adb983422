"""Outcome tables simulated under assumed true pass rates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sweeper.errors import UsageError
from sweeper.statistics.aliases import ArmValue
from sweeper.statistics.paired import equals_value

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class SimulatedArm:
    """The true pass rate of some trials; later arms override earlier ones."""

    rate: float
    where: Mapping[str, ArmValue] = field(default_factory=dict)
    """Axis -> value of those trials."""


@dataclass(frozen=True)
class GroundTruth:
    """Assumed true pass rates, and how outcomes spread about them.

    Outcomes follow a probit model with crossed random effects of queries and runs.

    Raises:
        UsageError: a value out of range.
    """

    arms: tuple[SimulatedArm, ...]
    """Rates are marginal: averaged over queries and seeds, before the judge's errors."""
    subsets: Mapping[str, int]
    """Subset -> queries."""
    query_sd: float = 1.0
    """Standard deviation of a query's effect, in units of the noise of a single outcome."""
    seed_sd: float = 0.1
    """Standard deviation of a training run's effect, in the same units."""
    wrongly_passed: float = 0.0
    """Share of failures that the judge passes."""
    wrongly_failed: float = 0.0
    """Share of passes that the judge fails."""
    votes: int = 1
    """Votes of one judge, independent given the outcome."""

    def __post_init__(self) -> None:
        shares = {"wrongly_passed": self.wrongly_passed, "wrongly_failed": self.wrongly_failed}
        shares |= {f"arms[{k}].rate": arm.rate for k, arm in enumerate(self.arms)}
        wrong = {name: value for name, value in shares.items() if not 0 <= value <= 1}
        wrong |= {n: v for n, v in (("query_sd", self.query_sd), ("seed_sd", self.seed_sd)) if v < 0}
        wrong |= {f"subsets.{name}": n for name, n in self.subsets.items() if n < 0}
        if wrong or self.votes < 1 or not self.subsets:
            raise UsageError(
                "truth",
                found=str(wrong or f"votes: {self.votes}, subsets: {dict(self.subsets)}"),
                hint="shares lie between 0 and 1, standard deviations and counts are not negative",
            )


def assign_true_rates(trials: pd.DataFrame, truth: GroundTruth) -> pd.Series[float]:
    """Return each trial's true rate, by fingerprint.

    Raises:
        UsageError: a trial to which no arm applies, or an unknown axis.
    """
    import pandas as pd

    rates = pd.Series(np.nan, index=trials.index)
    for arm in truth.arms:
        mask = pd.Series(True, index=trials.index)
        for axis, value in arm.where.items():
            if axis not in trials.columns:
                raise UsageError("truth", requested=f"where: {axis}", found="not an axis of this sweep")
            mask &= equals_value(trials[axis], value)
        rates[mask] = arm.rate
    if rates.isna().any():
        row = trials.loc[rates.isna()].iloc[0]
        raise UsageError("truth", found=f"no rate for {row['model']} seed {row['seed']}", hint="an arm without `where`")
    return pd.Series(rates.to_numpy(float), index=trials["fingerprint"])


def draw_outcomes(trials: pd.DataFrame, truth: GroundTruth, rng: np.random.Generator) -> pd.DataFrame:
    """Simulate the outcomes of one study: a row per (trial, query, vote), as `build_pass_matrix` takes them.

    A query's effect is the same in every run, and a run's effect on every query. Run effects are drawn independently
    for each trial, since runs of one seed share only their data order between arms.
    """
    import pandas as pd
    from scipy.stats import norm

    rates = assign_true_rates(trials, truth)
    queries = [(subset, f"{subset}-{k}") for subset, count in truth.subsets.items() for k in range(count)]
    spread = np.sqrt(1 + truth.query_sd**2 + truth.seed_sd**2)
    hardness = rng.normal(0, truth.query_sd, len(queries))
    runs = rng.normal(0, truth.seed_sd, len(rates))
    noise = rng.normal(0, 1, (len(queries), len(rates)))
    level = norm.ppf(np.clip(rates.to_numpy(), 1e-12, 1 - 1e-12)) * spread
    passed = level[None, :] + hardness[:, None] + runs[None, :] + noise > 0
    frames = []
    for vote in range(truth.votes):
        flips = rng.random(passed.shape)
        judged = np.where(passed, flips >= truth.wrongly_failed, flips < truth.wrongly_passed)
        for column, fingerprint in enumerate(rates.index):
            frames.append(
                pd.DataFrame(queries, columns=["subset", "query_id"]).assign(
                    fingerprint=fingerprint, judge="simulated", vote=vote, passed=judged[:, column].astype(float)
                )
            )
    return pd.concat(frames, ignore_index=True)

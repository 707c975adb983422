"""Outcome tables drawn from a stated truth: what a design would see, were the truth so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeper.errors import UsageError
from sweeper.statistics.paired import equals_value

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class SimulatedArm:
    """A pass rate for the trials that agree with `where` (axis -> value); later arms go before earlier ones."""

    rate: float
    where: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class GroundTruth:
    """What is taken to be so. `rates` are marginal: over queries, seeds and the judge's noise put aside.

    `query_sd` and `seed_sd`: standard deviations of a query's and of a training run's effect, in units of the noise of
    a single outcome (a probit model with crossed random effects). `wrongly_passed`, `wrongly_failed`: how often the
    judge says so of an outcome that is not. `votes` of one judge are drawn independently around the same outcome.
    """

    arms: tuple[SimulatedArm, ...]
    subsets: Mapping[str, int]
    query_sd: float = 1.0
    seed_sd: float = 0.1
    wrongly_passed: float = 0.0
    wrongly_failed: float = 0.0
    votes: int = 1

    def __post_init__(self) -> None:
        shares = {"wrongly_passed": self.wrongly_passed, "wrongly_failed": self.wrongly_failed}
        shares |= {f"arms[{k}].rate": arm.rate for k, arm in enumerate(self.arms)}
        wrong = {name: value for name, value in shares.items() if not 0 <= value <= 1}
        wrong |= {n: v for n, v in (("query_sd", self.query_sd), ("seed_sd", self.seed_sd)) if v < 0}
        wrong |= {f"subsets.{name}": n for name, n in self.subsets.items() if n < 0}
        if wrong or self.votes < 1 or not self.subsets:
            raise UsageError("truth", requested=str(wrong or "votes and subsets"), found="not possible")


def assign_true_rates(trials: pd.DataFrame, truth: GroundTruth) -> pd.Series[float]:
    """The rate that the truth gives each trial, by fingerprint. Raises UsageError for a trial without one."""
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
    """One study: an outcome row per (trial, query, vote), as `pass_matrix` takes them.

    A query is as hard for every run, and a run as good at every query; `seed` effects are drawn anew for each trial,
    since a seed has nothing in common between arms but its data order.
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
        said = np.where(passed, flips >= truth.wrongly_failed, flips < truth.wrongly_passed)
        for column, fingerprint in enumerate(rates.index):
            frames.append(
                pd.DataFrame(queries, columns=["subset", "query_id"]).assign(
                    fingerprint=fingerprint, judge="simulated", vote=vote, passed=said[:, column].astype(float)
                )
            )
    return pd.concat(frames, ignore_index=True)


def compute_label_shares(labels: Sequence[str]) -> dict[str, float]:
    """Share of each verdict."""
    return {word: labels.count(word) / len(labels) for word in ("supported", "refuted", "inconclusive")}

"""Outcome tables simulated under assumed true pass rates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import scipy

from sweeper.errors import UsageError
from sweeper.statistics.aliases import ArmValue, Array, QueryKey
from sweeper.statistics.paired import equals_value

if TYPE_CHECKING:
    import pandas as pd


_QUANTILES = 2000


@dataclass(frozen=True)
class SimulatedArm:
    """The true pass rate of some trials; later arms override earlier ones."""

    rate: float
    where: Mapping[str, ArmValue] = field(default_factory=dict)
    """Axis -> value of those trials."""
    seed_sd: float | None = None
    """Standard deviation of its training runs' effects; None: that of the truth."""
    collapse: float = 0.0
    """Share of its training runs that collapse, and pass nothing."""


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
    arm_query_sd: float = 0.0
    """Standard deviation of what a query is to all runs of one arm, in the same units."""
    tool_sd: float = 0.0
    """Standard deviation of what the queries of one tool share, in the same units."""
    queries_per_tool: int = 15
    tail: float = math.inf
    """Degrees of freedom of Student's t, from which the effects of training runs are drawn: 3 has heavy tails."""
    wrongly_passed: float = 0.0
    """Share of failures that the judge passes."""
    wrongly_failed: float = 0.0
    """Share of passes that the judge fails."""
    votes: int = 1
    """Votes of one judge, independent given the outcome."""

    def __post_init__(self) -> None:
        shares = {"wrongly_passed": self.wrongly_passed, "wrongly_failed": self.wrongly_failed}
        shares |= {f"arms[{k}].rate": arm.rate for k, arm in enumerate(self.arms)}
        shares |= {f"arms[{k}].collapse": arm.collapse for k, arm in enumerate(self.arms)}
        wrong = {name: value for name, value in shares.items() if not 0 <= value <= 1}
        spreads = {name: getattr(self, name) for name in ("query_sd", "seed_sd", "arm_query_sd", "tool_sd")}
        spreads |= {f"arms[{k}].seed_sd": arm.seed_sd for k, arm in enumerate(self.arms) if arm.seed_sd is not None}
        wrong |= {name: value for name, value in spreads.items() if value < 0}
        wrong |= {f"subsets.{name}": n for name, n in self.subsets.items() if n < 0}
        wrong |= {"queries_per_tool": self.queries_per_tool} if self.queries_per_tool < 1 else {}
        wrong |= {"tail": self.tail} if not self.tail > 2 else {}  # without a variance there is no seed_sd
        if wrong or self.votes < 1 or not self.subsets:
            raise UsageError(
                "truth",
                found=str(wrong or f"votes: {self.votes}, subsets: {dict(self.subsets)}"),
                hint="shares lie between 0 and 1, standard deviations and counts are not negative",
            )


def assign_arms(trials: pd.DataFrame, truth: GroundTruth) -> dict[str, SimulatedArm]:
    """Return each trial's arm, by fingerprint.

    Raises:
        UsageError: a trial to which no arm applies, or an unknown axis.
    """
    places = np.full(len(trials), -1)
    for k, arm in enumerate(truth.arms):
        mask = np.ones(len(trials), dtype=bool)
        for axis, value in arm.where.items():
            if axis not in trials.columns:
                raise UsageError("truth", requested=f"where: {axis}", found="not an axis of this sweep")
            mask &= equals_value(trials[axis], value).to_numpy(dtype=bool)
        places[mask] = k
    if (places < 0).any():
        row = trials.iloc[int(np.argmin(places))]
        raise UsageError("truth", found=f"no rate for {row['model']} seed {row['seed']}", hint="an arm without `where`")
    return {str(name): truth.arms[k] for name, k in zip(trials["fingerprint"], places, strict=True)}


def assign_true_rates(trials: pd.DataFrame, truth: GroundTruth) -> pd.Series[float]:
    """Return the true rate of each trial's runs that do not collapse, by fingerprint.

    Raises:
        UsageError: a trial to which no arm applies, or an unknown axis.
    """
    import pandas as pd

    return pd.Series({name: arm.rate for name, arm in assign_arms(trials, truth).items()}, dtype=float)


@dataclass(frozen=True)
class DrawnStudy:
    """One simulated study."""

    trials: pd.DataFrame
    """The planned trials; those that collapsed are DIVERGED."""
    outcomes: pd.DataFrame
    """A row per (trial, query, vote), as `build_pass_matrix` takes them."""


def draw_study(trials: pd.DataFrame, truth: GroundTruth, rng: np.random.Generator) -> DrawnStudy:
    """Simulate one study. Runs collapse independently of each other, and a collapsed run has diverged.

    Args:
        trials: the planned trials.
        truth: the assumed rates.
        rng: source of the random draws.
    """
    shares = np.array([arm.collapse for arm in assign_arms(trials, truth).values()])
    is_collapsed = rng.random(len(trials)) < shares if shares.any() else np.zeros(len(trials), dtype=bool)
    drawn = trials.assign(status=np.where(is_collapsed, "DIVERGED", trials["status"]))
    return DrawnStudy(drawn, draw_outcomes(trials, truth, rng))


def name_query_clusters(truth: GroundTruth) -> dict[str, dict[QueryKey, str]] | None:
    """Return which simulated queries are about one tool; None where tools make no difference."""
    if not truth.tool_sd:
        return None
    size = truth.queries_per_tool
    tools = {
        (subset, f"{subset}-{k}"): f"{subset}, tool {k // size}"
        for subset, count in truth.subsets.items()
        for k in range(count)
    }
    return {"tool": tools}


def draw_outcomes(trials: pd.DataFrame, truth: GroundTruth, rng: np.random.Generator) -> pd.DataFrame:
    """Simulate the outcomes of one study: a row per (trial, query, vote), as `build_pass_matrix` takes them.

    A query's effect is the same in every run, and a run's effect on every query. Run effects are drawn independently
    for each trial, since runs of one seed share only their data order between arms. What a query is to one arm is the
    same in all of its runs, and what a tool is, in all of its queries.
    """
    import pandas as pd

    arms = assign_arms(trials, truth)
    queries = [(subset, f"{subset}-{k}") for subset, count in truth.subsets.items() for k in range(count)]
    hardness = rng.normal(0, truth.query_sd, len(queries))
    if truth.tool_sd:
        tools = [(subset, k // truth.queries_per_tool) for subset, n in truth.subsets.items() for k in range(n)]
        effects = {tool: rng.normal(0, truth.tool_sd) for tool in dict.fromkeys(tools)}
        hardness = hardness + np.array([effects[tool] for tool in tools])
    sds = np.array([truth.seed_sd if arm.seed_sd is None else arm.seed_sd for arm in arms.values()])
    runs = sds * _draw_standard_effects(truth.tail, len(arms), rng)
    noise = rng.normal(0, 1, (len(queries), len(arms)))
    if truth.arm_query_sd:
        places = [truth.arms.index(arm) for arm in arms.values()]
        noise = noise + rng.normal(0, truth.arm_query_sd, (len(queries), len(truth.arms)))[:, places]
    others = math.sqrt(1 + truth.query_sd**2 + truth.arm_query_sd**2 + truth.tool_sd**2)
    rates = [arm.rate for arm in arms.values()]
    level = np.array([_find_level(rate, float(sd), others, truth.tail) for rate, sd in zip(rates, sds, strict=True)])
    passed = level[None, :] + hardness[:, None] + runs[None, :] + noise > 0
    frames = []
    for vote in range(truth.votes):
        flips = rng.random(passed.shape)
        judged = np.where(passed, flips >= truth.wrongly_failed, flips < truth.wrongly_passed)
        for column, fingerprint in enumerate(arms):
            frames.append(
                pd.DataFrame(queries, columns=["subset", "query_id"]).assign(
                    fingerprint=fingerprint, judge="simulated", vote=vote, passed=judged[:, column].astype(float)
                )
            )
    return pd.concat(frames, ignore_index=True)


def _draw_standard_effects(tail: float, count: int, rng: np.random.Generator) -> Array:
    """Draw effects of variance 1."""
    if math.isinf(tail):
        return rng.normal(0, 1, count)
    return np.asarray(rng.standard_t(tail, count) / math.sqrt(tail / (tail - 2)))


@lru_cache(maxsize=1024)
def _find_level(rate: float, seed_sd: float, others: float, tail: float) -> float:
    """Return the level of the latent variable at which the marginal rate is `rate`.

    Args:
        rate: the rate.
        seed_sd: standard deviation of the run effects.
        others: standard deviation of all else, which is normal.
        tail: degrees of freedom of the run effects.
    """
    rate = min(max(rate, 1e-12), 1 - 1e-12)
    normal = float(scipy.special.ndtri(rate)) * math.hypot(others, seed_sd)
    if math.isinf(tail) or seed_sd == 0:
        return normal
    # Quantiles of the run effects stand for their distribution.
    quantiles = scipy.special.stdtrit(tail, (np.arange(_QUANTILES) + 0.5) / _QUANTILES)
    effects = seed_sd * quantiles / math.sqrt(tail / (tail - 2))

    def compute_excess(level: float) -> float:
        return float(scipy.special.ndtr((level + effects) / others).mean()) - rate

    return float(scipy.optimize.brentq(compute_excess, normal - 20 * others, normal + 20 * others))

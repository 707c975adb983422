"""What a ladder of sizes predicts beyond itself: the loss first, then the pass rate from the loss.

A curve of the pass rate against size, extrapolated in one step, misses by several points with a band that does not
cover. Here a law gives the loss (`loss_law`), and a sigmoid the pass rate at that loss (`loss_link`). Every fit has a
backtest: what it would have predicted for the largest size without it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from sweeper.statistics.aliases import Array
from sweeper.statistics.intervals import UNDEFINED_INTERVAL, Interval
from sweeper.statistics.loss_law import (
    MIN_SIZES,
    N_DRAWS,
    LawForm,
    LossLaw,
    RunCells,
    choose_forms,
    count_parameters,
    fit_loss_law,
    group_runs,
)
from sweeper.statistics.loss_link import LossLink, find_link_problem, fit_loss_link
from sweeper.statistics.scaling_fits import LACK_OF_FIT_LEVEL

OCTAVE = 2.0
"""How far beyond the largest size a ladder is extrapolated; simulations check the coverage there."""


@dataclass(frozen=True)
class LadderRuns:
    """Finished runs of several sizes, each (runs,). NaN where not known."""

    sizes: Array
    """Parameters."""
    tokens: Array
    """Training tokens, repeated epochs included."""
    flops: Array
    """Training FLOPs."""
    losses: Array
    """Nats per target token."""
    pass_rates: Array

    def select(self, is_kept: NDArray[np.bool_]) -> LadderRuns:
        """Return some of the runs."""
        return LadderRuns(*(getattr(self, name)[is_kept] for name in self.__dataclass_fields__))

    @property
    def known_sizes(self) -> Array:
        """Sizes with a loss, ascending."""
        return np.unique(self.sizes[~(np.isnan(self.losses) | np.isnan(self.tokens) | np.isnan(self.sizes))])


@dataclass(frozen=True)
class Prediction:
    """A predicted number. The interval is over runs; that the law may be another one, the backtest shows."""

    value: float
    draws: Array
    """Bootstrap draws; empty where no run repeats."""
    df: float
    """Degrees of freedom of the spread that was drawn from, for which the percentiles are widened."""

    def compute_interval(self, alpha: float = 0.05) -> Interval:
        """Compute the interval at 1 - alpha; NaN without draws."""
        draws = self.draws[np.isfinite(self.draws)]
        if not len(draws) or math.isnan(self.value):
            return UNDEFINED_INTERVAL
        low, high = np.quantile(draws, [alpha / 2, 1 - alpha / 2])
        # Bounds bias the draws to one side, and percentiles miss on the other.
        normal = float(scipy.special.ndtri(1 - alpha / 2)) * float(draws.std())
        half = _compute_widening(self.df, alpha) * max(self.value - float(low), float(high) - self.value, normal)
        return Interval(self.value - half, self.value + half)


UNDEFINED_PREDICTION = Prediction(math.nan, np.empty(0), math.nan)


@dataclass(frozen=True)
class Ladder:
    """The laws fitted to a ladder."""

    law: LossLaw
    link: LossLink | None
    """None where the pass rates allow none."""
    link_problem: str
    """Why not; '' where there is one."""
    n_runs: int
    n_sizes: int
    residual_df: int
    """Cells minus parameters of the law."""
    lack_of_fit_p: float
    """Of an F test of the law against free means, in log loss; NaN where it cannot be tested."""

    def predict_loss(self, size: float, tokens: float) -> Prediction:
        """Predict the loss (nats per target token) of a size trained on an amount of tokens."""
        losses = self.law.predict(size, tokens)
        return Prediction(float(losses[0]), losses[1:], self.law.df)

    def predict_pass_rate(self, size: float, tokens: float) -> Prediction:
        """Predict the pass rate of a size trained on an amount of tokens; undefined without a link."""
        if self.link is None:
            return UNDEFINED_PREDICTION
        rates = self.link.predict(self.law.predict(size, tokens))
        return Prediction(float(rates[0]), rates[1:], self.law.df)


@dataclass(frozen=True)
class Backtest:
    """What the ladder without its largest size predicted for that size."""

    size: float
    tokens: float
    loss: Prediction
    observed_loss: float
    """Mean over runs."""
    pass_rate: Prediction
    observed_pass_rate: float


@dataclass(frozen=True)
class BestSize:
    """The size of least loss at a compute budget."""

    train_flops: float
    size: float
    """0 where size gains nothing, infinite where tokens gain nothing."""
    interval: Interval
    """An end of 0, or an infinite one, is no end."""
    is_inside: bool
    """Whether it lies among the observed sizes."""


def choose_ladder_forms(runs: LadderRuns) -> tuple[LawForm, ...]:
    """Choose the forms of the law that the runs can tell apart from each other."""
    return choose_forms(group_runs(runs.sizes, runs.tokens, np.log(runs.losses)))


def find_ladder_problem(runs: LadderRuns, form: LawForm, *, min_sizes: int = MIN_SIZES + 1) -> str:
    """Return why no law can be fitted; '' where one can.

    Args:
        runs: the runs.
        form: the law's form.
        min_sizes: sizes that are needed. With three, three parameters pass through all of them.

    Example:
        >>> nothing = np.empty(0)
        >>> find_ladder_problem(LadderRuns(nothing, nothing, nothing, nothing, nothing), "size")
        '0 sizes with a loss, and 4 are needed'
    """
    n_sizes = len(runs.known_sizes)
    if n_sizes < min_sizes:
        return f"{n_sizes} size{'s' * (n_sizes != 1)} with a loss, and {min_sizes} are needed"
    if (runs.losses <= 0).any():
        return "a loss of 0, which has no logarithm"
    n_cells = len(group_runs(runs.sizes, runs.tokens, runs.losses).means)
    # A backtest is checked by an observation; any other fit needs something that could contradict it.
    n_needed = count_parameters(form) + (min_sizes > MIN_SIZES)
    if n_cells < n_needed:
        return f"{n_cells} combinations of size and tokens, and {n_needed} are needed"
    return ""


def fit_ladder(runs: LadderRuns, form: LawForm, *, rng: np.random.Generator, draws: int = N_DRAWS) -> Ladder:
    """Fit the law of the loss and, where pass rates allow it, the sigmoid from loss to pass rate.

    Args:
        runs: the runs, for which `find_ladder_problem` finds nothing.
        form: the law's form.
        rng: source of the random draws.
        draws: bootstrap draws.

    Returns:
        The fits with their draws.

    Example:
        >>> sizes = np.repeat([1e6, 2e6, 4e6, 8e6], 2)
        >>> loss = 0.5 + (sizes / 1e6) ** -0.5 + np.tile([-0.001, 0.001], 4)
        >>> rates = 0.9 / (1 + np.exp(8 * (loss - 1.1)))
        >>> runs = LadderRuns(sizes, sizes * 0 + 1e6, sizes, loss, rates)
        >>> ladder = fit_ladder(runs, "size", rng=np.random.default_rng(0))
        >>> round(ladder.predict_pass_rate(16e6, 1e6).value, 2)
        0.85
    """
    cells = group_runs(runs.sizes, runs.tokens, np.log(runs.losses))
    law_rng, link_rng, rate_rng = rng.spawn(3)
    law = fit_loss_law(cells, form, rng=law_rng, draws=draws)
    rates = group_runs(runs.sizes, runs.tokens, np.where(np.isnan(runs.losses), math.nan, runs.pass_rates))
    link, problem = None, "no pass rates"
    if len(rates.means):
        own = _match_cells(cells, rates)
        problem = find_link_problem(np.exp(own.means), rates.means)
        if not problem:
            losses = np.exp(np.vstack([own.means, own.draw_means(link_rng, draws)]))
            passed = np.vstack([rates.means, np.clip(rates.draw_means(rate_rng, draws), 0, 1)])
            n = min(len(losses), len(passed))
            link = fit_loss_link(losses[:n], passed[:n], rates.counts)
    residual_df = len(cells.means) - count_parameters(form)
    return Ladder(
        law,
        link,
        problem,
        n_runs=int(cells.counts.sum()),
        n_sizes=cells.n_sizes,
        residual_df=residual_df,
        lack_of_fit_p=_test_lack_of_fit(cells, law, residual_df),
    )


def _match_cells(cells: RunCells, others: RunCells) -> RunCells:
    """Return the cells of `cells` that `others` have, in their order, which is the same."""
    known = set(zip(others.sizes, others.tokens, strict=True))
    return cells.select(np.array([key in known for key in zip(cells.sizes, cells.tokens, strict=True)]))


def _test_lack_of_fit(cells: RunCells, law: LossLaw, residual_df: int) -> float:
    if residual_df < 1 or math.isnan(cells.pooled_df):
        return math.nan
    fitted = np.array([float(law.predict(n, d)[0]) for n, d in zip(cells.sizes, cells.tokens, strict=True)])
    pooled = float(cells.variances.min())  # each is at least the pooled one, which some cell has
    if pooled <= 0 or (fitted <= 0).any():
        return math.nan
    lack = float((cells.counts * (cells.means - np.log(fitted)) ** 2).sum()) / residual_df
    return float(scipy.special.fdtrc(residual_df, cells.pooled_df, lack / pooled))


def backtest_ladder(
    runs: LadderRuns, form: LawForm, *, rng: np.random.Generator, draws: int = N_DRAWS
) -> Backtest | None:
    """Predict the largest size from the others; None where fewer than three sizes are left.

    Args:
        runs: the runs.
        form: the law's form.
        rng: source of the random draws.
        draws: bootstrap draws.

    Returns:
        Prediction and observation, at the largest amount of tokens of that size.
    """
    largest = float(runs.known_sizes[-1])
    earlier = runs.select(runs.sizes < largest)
    if find_ladder_problem(earlier, form, min_sizes=MIN_SIZES):
        return None
    ladder = fit_ladder(earlier, form, rng=rng, draws=draws)
    own = runs.select((runs.sizes == largest) & ~np.isnan(runs.losses))
    tokens = float(own.tokens.max())
    own = own.select(own.tokens == tokens)
    scored = own.pass_rates[~np.isnan(own.pass_rates)]
    return Backtest(
        size=largest,
        tokens=tokens,
        loss=ladder.predict_loss(largest, tokens),
        observed_loss=float(own.losses.mean()),
        pass_rate=ladder.predict_pass_rate(largest, tokens),
        observed_pass_rate=float(scored.mean()) if len(scored) else math.nan,
    )


def find_best_sizes(runs: LadderRuns, ladder: Ladder) -> list[BestSize]:
    """Find the size of least loss at the smallest, the middle (in log) and the largest training compute of the runs.

    A budget buys tokens in inverse proportion to size: their product per FLOP is that of the runs, on average.

    Args:
        runs: the runs that the ladder was fitted to.
        ladder: the fit.

    Returns:
        Empty where the form has no optimum, or where the runs contradict the law.
    """
    flops = runs.flops[np.isfinite(runs.flops) & (runs.flops > 0)]
    if ladder.law.form != "additive" or not len(flops) or ladder.lack_of_fit_p < LACK_OF_FIT_LEVEL:
        return []
    per_flop = float(np.nanmean(runs.sizes * runs.tokens / runs.flops))
    sizes = runs.known_sizes
    found = []
    for budget in np.geomspace(flops.min(), flops.max(), 3):
        best = ladder.law.find_best_size(float(budget) * per_flop)
        interval = _widen_log_interval(best, _compute_widening(ladder.law.df, 0.05))
        is_inside = bool(sizes[0] <= best[0] <= sizes[-1])
        found.append(BestSize(float(budget), float(best[0]), interval, is_inside))
    return found


def _compute_widening(df: float, alpha: float) -> float:
    """Compute Student's t over the normal quantile: draws take the spread of runs as known."""
    return float(scipy.special.stdtrit(df, 1 - alpha / 2) / scipy.special.ndtri(1 - alpha / 2))


def _widen_log_interval(values: Array, widening: float) -> Interval:
    """Return the 95 % interval of a positive number from the fit and its draws, by percentiles of the logarithm."""
    draws = values[1:]
    if not len(draws) or not 0 < values[0] < math.inf:
        return UNDEFINED_INTERVAL
    # A draw where neither size nor tokens gain anything says nothing: half of these count for either end.
    logs = np.log(np.nan_to_num(draws, nan=0.0, posinf=math.inf), out=np.full(len(draws), -math.inf), where=draws > 0)
    center = math.log(values[0])
    low, high = np.quantile(logs, [0.025, 0.975], method="inverted_cdf")
    return Interval(
        math.exp(center - widening * (center - low)) if low < center else float(values[0]),
        math.exp(min(700.0, center + widening * (high - center))) if high > center else float(values[0]),
    )

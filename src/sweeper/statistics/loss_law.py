"""The loss as a function of model size and training tokens: L(N, D) = E + A / N^alpha + B / D^beta.

The law of Hoffmann et al. (2022, arXiv 2203.15556), with two more forms: without D where one amount of data was used,
and the multiplicative one of fine-tuning, E + A / (N^alpha D^beta) (Zhang et al. 2024, arXiv 2402.17193).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal, assert_never

import numpy as np
from numpy.typing import NDArray

from sweeper.statistics.aliases import Array
from sweeper.statistics.profile_search import search_two_parameters

LawForm = Literal["size", "additive", "multiplicative"]
N_DRAWS = 400
"""Bootstrap draws; each end of a 95 % interval then rests on 10 of them, and is widened."""
MIN_SIZES = 3
"""Sizes through which a law can be drawn; one more is needed for anything to contradict it."""
MIN_AMOUNTS = 3
"""Amounts of training tokens from which B and beta can be told from E."""
EXPONENT_BOUNDS = (0.02, 3.0)
HUBER_SCALE = 1.345
"""Residuals beyond this many standard deviations count linearly: 95 % efficiency for normal errors (Huber 1964)."""
MIN_HUBER_DELTA = 1e-3
"""In log loss, where runs do not repeat: that of Hoffmann et al."""
_GRID_POINTS = 14


@dataclass(frozen=True)
class RunCells:
    """Runs by size and amount of training tokens."""

    sizes: Array
    """Parameters of each cell, (cells,)."""
    tokens: Array
    """Training tokens of each cell, (cells,)."""
    means: Array
    """Mean log loss, (cells,)."""
    counts: Array
    """Runs, (cells,)."""
    variances: Array
    """Of a run's log loss: the cell's own, at least the one pooled over cells, (cells,). NaN where no cell has two
    runs."""
    pooled_df: float
    """Degrees of freedom of the pooled variance."""

    @property
    def n_sizes(self) -> int:
        """Different sizes."""
        return len(np.unique(self.sizes))

    def select(self, is_kept: NDArray[np.bool_]) -> RunCells:
        """Return some of the cells."""
        names = ("sizes", "tokens", "means", "counts", "variances")
        return replace(self, **{name: getattr(self, name)[is_kept] for name in names})

    def draw_means(self, rng: np.random.Generator, draws: int) -> Array:
        """Draw means of log losses, (draws, cells): normal, around the observed ones; without draws where no run
        repeats."""
        if math.isnan(self.pooled_df):
            return np.empty((0, len(self.means)))
        return self.means + rng.normal(0, 1, (draws, len(self.means))) * np.sqrt(self.variances / self.counts)


def group_runs(sizes: Array, tokens: Array, values: Array) -> RunCells:
    """Group runs by size and training tokens.

    Args:
        sizes: (runs,) parameters.
        tokens: (runs,) training tokens.
        values: (runs,) what is averaged: log losses, or pass rates.

    Returns:
        The cells in ascending order; runs with a NaN are left out.
    """
    kept = ~(np.isnan(sizes) | np.isnan(tokens) | np.isnan(values))
    cells, places = np.unique(np.stack([sizes[kept], tokens[kept]], axis=1), axis=0, return_inverse=True)
    runs = [values[kept][places.ravel() == k] for k in range(len(cells))]
    counts = np.array([len(own) for own in runs], dtype=np.float64)
    df = float((counts - 1).sum())
    squares = np.array([((own - own.mean()) ** 2).sum() for own in runs])
    pooled = float(squares.sum()) / df if df else math.nan
    own = np.divide(squares, counts - 1, out=np.zeros_like(squares), where=counts > 1)
    means = np.array([own.mean() for own in runs])
    return RunCells(cells[:, 0], cells[:, 1], means, counts, np.maximum(own, pooled), df if df else math.nan)


def choose_forms(cells: RunCells) -> tuple[LawForm, ...]:
    """Choose the forms that the cells can tell: those with D need three sizes, each with three amounts of tokens."""
    amounts = [len(np.unique(cells.tokens[cells.sizes == size])) for size in np.unique(cells.sizes)]
    return ("additive", "multiplicative") if min(amounts, default=0) >= MIN_AMOUNTS else ("size",)


@dataclass(frozen=True)
class LossLaw:
    """A fitted law and its bootstrap draws. Arrays have the fit itself at place 0, and the draws after it."""

    form: LawForm
    coefficients: Array
    """(1 + draws, 2 or 3): E and what multiplies each power."""
    exponents: Array
    """(1 + draws, 2): alpha and beta; beta is unused without D."""
    scale: tuple[float, float]
    """Sizes and tokens are divided by these."""
    df: float
    """Degrees of freedom of the spread that was drawn from; NaN without draws."""

    @property
    def parameters(self) -> dict[str, float]:
        """E, A, alpha and, with D, B and beta, for sizes in parameters and D in tokens."""
        alpha, beta = (float(value) for value in self.exponents[0])
        e, a, *rest = (float(value) for value in self.coefficients[0])
        size, tokens = self.scale
        match self.form:
            case "size":
                return {"E": e, "A": a * size**alpha, "alpha": alpha}
            case "additive":
                return {"E": e, "A": a * size**alpha, "alpha": alpha, "B": rest[0] * tokens**beta, "beta": beta}
            case "multiplicative":
                return {"E": e, "A": a * size**alpha * tokens**beta, "alpha": alpha, "beta": beta}
            case _:
                assert_never(self.form)

    def predict(self, size: float, tokens: float) -> Array:
        """Predict the loss of a model: the fit's value and every draw's, (1 + draws,)."""
        n, d = np.array([size / self.scale[0]]), np.array([tokens / self.scale[1]])
        columns = _build_columns(self.form, self.exponents[:, 0], self.exponents[:, 1], n, d)
        predicted: Array = (columns[..., 0, :] * self.coefficients).sum(axis=-1)
        return predicted

    def find_best_size(self, product: float) -> Array:
        """Find the size of least loss for a product of size and tokens: of the fit and every draw, (1 + draws,).

        Hoffmann et al., equation 4. 0 where size gains nothing, infinite where tokens gain nothing, NaN for both.

        Args:
            product: parameters times training tokens.

        Raises:
            ValueError: a form whose optimum lies at an end.
        """
        if self.form != "additive":
            raise ValueError(f"the {self.form} form has no best size")
        alpha, beta = self.exponents.T
        a, b = self.coefficients[:, 1] * alpha, self.coefficients[:, 2] * beta
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = a / b * (product / (self.scale[0] * self.scale[1])) ** beta
            return np.asarray(self.scale[0] * ratio ** (1 / (alpha + beta)))


def count_parameters(form: LawForm) -> int:
    """Return the number of parameters of a form."""
    return {"size": 3, "additive": 5, "multiplicative": 4}[form]


def fit_loss_law(cells: RunCells, form: LawForm, *, rng: np.random.Generator, draws: int = N_DRAWS) -> LossLaw:
    """Fit a law by Huber's loss of the logarithms, which a few runs that ended badly do not move, with a bootstrap.

    Given the exponents, the rest is linear and not negative, so only exponents are searched (variable projection, Golub
    and Pereyra 1973): over a grid that is then refined, for all draws at once. Draws are normal around the mean of each
    cell, with at least the pooled variance of runs: resampling two or three seeds would give too few values.

    Args:
        cells: mean log losses by size and tokens.
        form: the law's form.
        rng: source of the random draws.
        draws: bootstrap draws.

    Returns:
        The fit, with its draws.

    Example:
        >>> n, d = (axis.ravel() for axis in np.meshgrid([1e6, 4e6, 1.6e7, 6.4e7], [1e8, 2e8, 4e8]))
        >>> cells = group_runs(n, d, np.log(0.5 + 200 / n**0.4 + 900 / d**0.35))
        >>> law = fit_loss_law(cells, "additive", rng=np.random.default_rng(0))
        >>> truth = 0.5 + 200 / 2.56e8**0.4 + 900 / 8e8**0.35
        >>> abs(float(law.predict(2.56e8, 8e8)[0]) - truth) < 0.001
        True
    """
    scale = tuple(float(np.exp(np.log(values).mean())) for values in (cells.sizes, cells.tokens))
    n, d = cells.sizes / scale[0], cells.tokens / scale[1]
    delta = MIN_HUBER_DELTA
    if not math.isnan(cells.pooled_df):
        # Of a cell's mean: the typical error that a law which is right leaves.
        delta = max(delta, HUBER_SCALE * float(np.sqrt((cells.variances / cells.counts).mean())))
    values = np.exp(np.vstack([cells.means, cells.draw_means(rng, draws)]))
    problem = _Problem(form, n, d, values, cells.counts, delta)
    low, high = (np.full(2, math.log(bound)) for bound in EXPONENT_BOUNDS)
    n_points = (_GRID_POINTS, 1 if form == "size" else _GRID_POINTS)
    best = search_two_parameters(lambda points: problem.evaluate(points)[1], len(values), low, high, n_points)
    coefficients, _ = problem.evaluate(best[:, None, :])
    return LossLaw(form, coefficients[:, 0], np.exp(best), (scale[0], scale[1]), cells.pooled_df)


@dataclass(frozen=True)
class _Problem:
    """The fit of many samples at once, for given exponents."""

    form: LawForm
    n: Array
    d: Array
    values: Array
    """Losses, (samples, cells)."""
    counts: Array
    delta: float

    def evaluate(self, log_exponents: Array) -> tuple[Array, Array]:
        """Return the coefficients (samples, points, k) and Huber's loss (samples, points) at points (..., 2).

        Squares of relative errors stand for those of logarithms; one step of reweighting makes them Huber's.
        """
        exponents = np.exp(log_exponents)
        columns = _build_columns(self.form, exponents[..., 0], exponents[..., 1], self.n, self.d)
        values = self.values[:, None, :]
        weights = np.broadcast_to(self.counts / values**2, columns.shape[:-1])
        for _ in range(2):
            coefficients = _solve_nonnegative(columns, values, weights)
            predicted = (columns * coefficients[..., None, :]).sum(axis=-1)
            residuals = np.abs(np.log(values / np.maximum(predicted, 1e-300)))
            weights = self.counts / values**2 * np.minimum(1, self.delta / np.maximum(residuals, 1e-300))
        huber = np.where(residuals <= self.delta, residuals**2 / 2, self.delta * (residuals - self.delta / 2))
        return coefficients, huber @ self.counts


def _build_columns(form: LawForm, alpha: Array, beta: Array, n: Array, d: Array) -> Array:
    """Return what E, A and B multiply, (..., cells, k), for exponents (...); sizes and tokens are normalized."""
    by_size, by_tokens = n ** -alpha[..., None], d ** -beta[..., None]
    match form:
        case "size":
            parts: Sequence[Array] = [by_size]
        case "additive":
            parts = [by_size, by_tokens]
        case "multiplicative":
            parts = [by_size * by_tokens]
        case _:
            assert_never(form)
    return np.stack([np.ones_like(by_size), *parts], axis=-1)


def _solve_nonnegative(columns: Array, values: Array, weights: Array) -> Array:
    """Solve weighted least squares with coefficients of 0 or more, by trying every set of those above 0.

    `scipy.optimize.nnls` solves one problem at a time; here there are hundreds of thousands of two or three columns.
    """
    k = columns.shape[-1]
    weighted = columns * weights[..., None]
    gram = np.swapaxes(weighted, -1, -2) @ columns
    target = (weighted * values[..., None]).sum(axis=-2)
    best, gain = np.zeros(target.shape), np.zeros(target.shape[:-1])
    for size in range(1, k + 1):
        for kept in map(list, combinations(range(k), size)):
            own = gram[..., kept, :][..., kept]
            ridge = 1e-12 * np.trace(own, axis1=-2, axis2=-1)[..., None, None] * np.eye(size)
            solved = np.linalg.solve(own + ridge, target[..., kept, None])[..., 0]
            reached = (solved * target[..., kept]).sum(axis=-1)
            is_better = (solved >= 0).all(axis=-1) & (reached > gain)
            gain = np.where(is_better, reached, gain)
            full = np.zeros(target.shape)
            full[..., kept] = solved
            best = np.where(is_better[..., None], full, best)
    return best

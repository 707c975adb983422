"""Curves of a pass rate or a loss against size: parameters, FLOPs, anything above 0.

The shape of a curve is learned from sizes, not from runs: with ten seeds at each of three sizes, any three-parameter
curve can still pass through all three means. Residual degrees of freedom therefore count sizes, and every fit has in
`caveat` what it cannot support.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, assert_never

import numpy as np
import scipy
from numpy.typing import ArrayLike

from sweeper.errors import DataError
from sweeper.statistics.aliases import Array
from sweeper.statistics.fitted_curve import Curve, CurveFit, Optimum
from sweeper.statistics.intervals import Interval

N_DRAWS = 2000
"""Draws of the means by size; each end of a 95 % interval then rests on 50 of them."""
EXPONENT_BOUNDS = (0.01, 5.0)
"""Bounds of the power law's exponent; at the lower one it is a straight line in log size."""
LACK_OF_FIT_LEVEL = 0.05
"""A curve whose lack of fit has a smaller p-value is contradicted by its runs, and has no optimum."""
N_PARAMETERS = 3
"""Parameters of either curve."""
N_CURVE_POINTS = 50
"""Sizes at which a curve is given by default, evenly spaced in log size over those observed."""
_EXPONENT_GRID = np.geomspace(*EXPONENT_BOUNDS, 120)
ZOOMS, ZOOM_POINTS = 9, 11
"""Each zoom divides the grid's step by 5; after nine an exponent is known to 3e-8."""


Best = Literal["max", "min"]


@dataclass(frozen=True)
class _RunsBySize:
    """Finite runs by size, ascending."""

    sizes: Array
    runs: tuple[Array, ...]
    n_dropped: int

    @property
    def counts(self) -> Array:
        return np.array([len(runs) for runs in self.runs], dtype=np.float64)

    @property
    def means(self) -> Array:
        return np.array([runs.mean() for runs in self.runs])

    @property
    def is_constant(self) -> bool:
        return len({float(value) for runs in self.runs for value in runs}) == 1


@dataclass(frozen=True)
class _Resampling:
    """Bootstrap draws of the means by size, and the level of the intervals."""

    means: Array | None
    """(draws, sizes); None where no size has two runs."""
    widening: float
    """Factor by which percentiles are widened."""
    alpha: float


def fit_power_law(
    sizes: ArrayLike,
    values: ArrayLike,
    *,
    rng: np.random.Generator,
    asymptote: tuple[float, float] = (0.0, 1.0),
    curve_sizes: ArrayLike | None = None,
    alpha: float = 0.05,
    draws: int = N_DRAWS,
) -> CurveFit:
    """Fit y = c + a * size^-b by least squares, with b within EXPONENT_BOUNDS.

    a is free: below 0 for a rate that rises. Given b the rest is linear, so only b is searched (Golub and Pereyra
    1973), over a grid that is then refined, for all draws at once: no local minimum is missed. Parameters: c, a and b
    (b NaN where all values are alike). An exponent or asymptote at its bound is named in `caveat`. Intervals are those
    of `fit_quadratic`.

    Args:
        sizes: (runs,) size of each run, above 0; NaN runs are left out.
        values: (runs,) value of each run.
        rng: source of the random draws.
        asymptote: bounds of c; of a loss (0, inf). The other arguments are those of `fit_quadratic`.
        curve_sizes: sizes at which the curve is given; evenly spaced in log size by default.
        alpha: the interval is at 1 - alpha.
        draws: draws of the means by size.

    Returns:
        The parameters with their intervals, the curve with its band, and R².

    Raises:
        DataError: vectors of different lengths, infinite values, sizes of 0 or less, or an empty `asymptote`.

    Example:
        >>> import numpy as np
        >>> sizes = np.repeat([1e6, 1e7, 1e8, 1e9], 2)
        >>> fit = fit_power_law(sizes, 2.0 + 30 * sizes**-0.3, rng=np.random.default_rng(0), asymptote=(0, 9), draws=20)
        >>> round(fit.parameters["b"], 2)
        0.3
    """
    if not asymptote[0] < asymptote[1]:
        raise DataError("power law", requested="bounds of the asymptote, low and high", found=f"{asymptote}")
    points = _group_by_size(sizes, values)
    grid = _make_size_grid(points, curve_sizes)
    empty = _make_empty_fit(points, grid, "power law", dict.fromkeys("cab", math.nan))
    if empty.residual_df < 1:
        return empty
    if points.is_constant:
        level = float(np.clip(points.means[0], *asymptote))
        fit = _describe_fit(empty, points, {"c": level, "a": 0.0, "b": math.nan}, np.full(len(points.sizes), level))
        unknown = np.full(len(grid), math.nan)
        return replace(fit, curve=Curve(grid, np.full(len(grid), level), unknown, unknown))
    center = float(np.log(points.sizes).mean())
    x, at_x = np.log(points.sizes) - center, np.log(grid) - center
    c, a, b = (float(one[0]) for one in _fit_power_laws(x, points.means[None], points.counts, asymptote))
    fit = _describe_fit(empty, points, {"c": c, "a": a * math.exp(b * center), "b": b}, c + a * np.exp(-b * x))
    caveat = fit.caveat
    if min(abs(b / end - 1) for end in EXPONENT_BOUNDS) < 1e-3:
        caveat = _join_sentences(caveat, f"The exponent is at its bound, {b:.3g}.")
    if min(abs(c - end) for end in asymptote) < 1e-9:
        caveat = _join_sentences(caveat, f"The asymptote is at its bound, {c:.3g}.")
    resampling = _resample_means(points, rng, alpha, draws)
    curves = None
    if resampling.means is not None:
        # Few runs per size give few distinct draws.
        distinct, places = np.unique(resampling.means, axis=0, return_inverse=True)
        cs, as_, bs = (one[:, None] for one in _fit_power_laws(x, distinct, points.counts, asymptote))
        curves = (cs + as_ * np.exp(-bs * at_x))[places.ravel()]
    return replace(fit, caveat=caveat, curve=_make_curve(grid, c + a * np.exp(-b * at_x), curves, resampling))


def fit_quadratic(
    sizes: ArrayLike,
    values: ArrayLike,
    *,
    rng: np.random.Generator,
    best: Best = "max",
    curve_sizes: ArrayLike | None = None,
    alpha: float = 0.05,
    draws: int = N_DRAWS,
) -> CurveFit:
    """Fit y = c0 + c1 * x + c2 * x^2 with x = log10(size) by least squares, and find its optimum.

    Intervals draw the means by size from normal distributions, and are widened by t / z on the degrees of freedom of
    the runs within sizes. They cover the spread between runs only, not that the curve may be wrong, and they cover less
    than they state where the smallest size spreads far more than the others. NaN where no size has two runs. Nothing is
    fitted without residual degrees of freedom, and no optimum is given where the lack of fit cannot be tested or is
    significant.

    Args:
        sizes: (runs,) size of each run, above 0; NaN runs are left out.
        values: (runs,) value of each run.
        rng: source of the random draws.
        best: `max` for the highest point, of a rate; `min` for the lowest, of a loss.
        curve_sizes: sizes at which the curve is given; evenly spaced in log size by default.
        alpha: intervals are at 1 - alpha.
        draws: draws of the means by size.

    Returns:
        The parameters and the optimum with their intervals, the curve with its band, and R².

    Raises:
        DataError: vectors of different lengths, infinite values, or sizes of 0 or less.

    Example:
        >>> import numpy as np
        >>> sizes = np.repeat([1e6, 1e7, 1e8, 1e9], 2)
        >>> values = 1 - (np.log10(sizes) - 7) ** 2 + np.tile([-0.01, 0.01], 4)
        >>> fit = fit_quadratic(sizes, values, rng=np.random.default_rng(0), draws=20)
        >>> round(fit.parameters["c2"], 2)
        -1.0
    """
    points = _group_by_size(sizes, values)
    grid = _make_size_grid(points, curve_sizes)
    empty = _make_empty_fit(points, grid, "quadratic in log10 size", {"c0": math.nan, "c1": math.nan, "c2": math.nan})
    if empty.residual_df < 1:
        return replace(empty, optimum=Optimum())
    x = np.log10(points.sizes)
    center = float(x.mean())
    weights = np.sqrt(points.counts)[:, None]
    solve = np.linalg.pinv(weights * _build_quadratic_terms(x - center)) * weights.T
    fitted = solve @ points.means
    if points.is_constant:
        fitted = np.array([points.means[0], 0.0, 0.0])
    c0, c1, c2 = (float(value) for value in fitted)
    parameters = {"c0": c0 - c1 * center + c2 * center**2, "c1": c1 - 2 * c2 * center, "c2": c2}
    fit = _describe_fit(empty, points, parameters, _build_quadratic_terms(x - center) @ fitted)
    resampling = _resample_means(points, rng, alpha, draws)
    fits = None if resampling.means is None or points.is_constant else resampling.means @ solve.T
    at_x = _build_quadratic_terms(np.log10(grid) - center)
    curve = _make_curve(grid, at_x @ fitted, None if fits is None else fits @ at_x.T, resampling)
    optimum, caveat = Optimum(), fit.caveat
    if fit.lack_of_fit_p >= LACK_OF_FIT_LEVEL:
        optimum = _estimate_optimum(fitted, fits, x, best, resampling)
    else:
        caveat = _join_sentences(caveat, "No optimum is given: the curve's form is not tested, or contradicted.")
    if not math.isnan(optimum.size) and not optimum.is_inside:
        caveat = _join_sentences(caveat, "The optimum lies beyond the observed sizes: an extrapolation.")
    return replace(fit, curve=curve, optimum=optimum, caveat=caveat)


def _group_by_size(sizes: ArrayLike, values: ArrayLike) -> _RunsBySize:
    x, y = np.asarray(sizes, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise DataError("size fit", requested="one size and one value per run", found=f"shapes {x.shape} and {y.shape}")
    if (x <= 0).any() or np.isinf(x).any() or np.isinf(y).any():
        raise DataError("size fit", requested="sizes above 0 and finite values, or NaN", found="others")
    kept = ~np.isnan(x) & ~np.isnan(y)
    distinct = np.unique(x[kept])
    runs = tuple(y[kept & (x == size)] for size in distinct)
    return _RunsBySize(distinct, runs, int((~kept).sum()))


def _make_size_grid(points: _RunsBySize, curve_sizes: ArrayLike | None) -> Array:
    if curve_sizes is not None:
        grid = np.atleast_1d(np.asarray(curve_sizes, dtype=np.float64))
        if not (grid > 0).all():
            raise DataError("size fit", requested="sizes above 0 to draw the curve at", found="others")
        return grid
    if not len(points.sizes):
        return np.zeros(0)
    return np.geomspace(points.sizes[0], points.sizes[-1], N_CURVE_POINTS)


def _make_empty_fit(points: _RunsBySize, grid: Array, name: str, parameters: dict[str, float]) -> CurveFit:
    """Return the result before anything is fitted, with what the number of sizes and runs rules out."""
    n_sizes = len(points.sizes)
    residual_df = n_sizes - N_PARAMETERS
    n_single = int((points.counts == 1).sum())
    caveat = ""
    if residual_df < 1:
        caveat = (
            f"Not fitted: {n_sizes} {_pluralize('size', n_sizes)} for {N_PARAMETERS} parameters leave no residual "
            "degrees of freedom, so nothing could contradict the curve."
        )
    elif n_single:
        caveat = _join_sentences(
            caveat, f"{n_single} of {n_sizes} sizes have one run, so the intervals do not include their spread."
        )
    unknown = np.full(len(grid), math.nan)
    return CurveFit(
        name=name,
        parameters=parameters,
        r2=math.nan,
        aicc=math.nan,
        n_runs=int(points.counts.sum()),
        n_sizes=n_sizes,
        n_dropped=points.n_dropped,
        residual_df=residual_df,
        curve=Curve(grid, unknown, unknown, unknown),
        caveat=caveat,
    )


def _describe_fit(fit: CurveFit, points: _RunsBySize, parameters: dict[str, float], fitted: Array) -> CurveFit:
    """Return the fit with its parameters, and how well they describe the runs."""
    values = np.concatenate(points.runs)
    residual = float(((values - np.repeat(fitted, points.counts.astype(int))) ** 2).sum())
    total = float(((values - values.mean()) ** 2).sum())
    n, k = len(values), N_PARAMETERS + 1
    # A residual of rounding errors has no logarithm worth comparing.
    is_exact = residual <= 1e-20 * max(1.0, float((values**2).sum()))
    aicc = math.nan
    if n - k - 1 > 0 and not is_exact:
        aicc = n * math.log(residual / n) + 2 * k + 2 * k * (k + 1) / (n - k - 1)
    r2 = math.nan if points.is_constant else 1 - residual / total
    lack_of_fit_p = _test_lack_of_fit(points, fitted, fit.residual_df)
    caveat = fit.caveat
    if lack_of_fit_p < LACK_OF_FIT_LEVEL:
        caveat = _join_sentences(caveat, f"The runs contradict this curve (lack of fit, p = {lack_of_fit_p:.2g}).")
    return replace(fit, parameters=parameters, r2=r2, aicc=aicc, lack_of_fit_p=lack_of_fit_p, caveat=caveat)


def _resample_means(points: _RunsBySize, rng: np.random.Generator, alpha: float, draws: int) -> _Resampling:
    """Draw the means by size from normal distributions.

    A size of two runs has three distinct bootstrap means, and its variance is often near 0 by chance: each mean has
    at least the variance pooled over sizes.
    """
    repeated = [runs for runs in points.runs if len(runs) > 1]
    if not repeated:
        return _Resampling(None, math.nan, alpha)
    df = float(sum(len(runs) - 1 for runs in repeated))
    pooled = sum(float(((runs - runs.mean()) ** 2).sum()) for runs in repeated) / df
    columns = []
    for runs in points.runs:
        variance = max(float(runs.var(ddof=1)) if len(runs) > 1 else 0.0, pooled) / len(runs)
        columns.append(runs.mean() + rng.normal(0, math.sqrt(variance), draws))
    widening = float(scipy.special.stdtrit(df, 1 - alpha / 2) / scipy.special.ndtri(1 - alpha / 2))
    return _Resampling(np.stack(columns, axis=1), widening, alpha)


def _make_curve(grid: Array, value: Array, drawn_curves: Array | None, resampling: _Resampling) -> Curve:
    low = high = np.full(len(grid), math.nan)
    if drawn_curves is not None and len(grid):
        ends = np.quantile(drawn_curves, [resampling.alpha / 2, 1 - resampling.alpha / 2], axis=0)
        # Bounds bias the draws of a bounded curve to one side, and its percentiles miss on the other.
        normal = float(scipy.special.ndtri(1 - resampling.alpha / 2)) * drawn_curves.std(axis=0)
        half = resampling.widening * np.maximum(np.maximum(value - ends[0], ends[1] - value), normal)
        low, high = value - half, value + half
    return Curve(grid, value, low, high)


def _test_lack_of_fit(points: _RunsBySize, fitted: Array, residual_df: int) -> float:
    """Return the p-value of the F test of a curve against free means, with the runs of a size for pure error.

    NaN without residual degrees of freedom, or where no size has two runs.
    """
    error_df = int(points.counts.sum()) - len(points.sizes)
    if residual_df < 1 or error_df < 1:
        return math.nan
    lack = float((points.counts * (points.means - fitted) ** 2).sum()) / residual_df
    error = sum(float(((runs - runs.mean()) ** 2).sum()) for runs in points.runs) / error_df
    if error == 0:
        return math.nan
    return float(scipy.special.fdtrc(residual_df, error_df, lack / error))


def _build_quadratic_terms(x: Array) -> Array:
    return np.stack([np.ones_like(x), x, x**2], axis=1)


def _estimate_optimum(
    coefficients: Array, resampled_coefficients: Array | None, x: Array, best: Best, resampling: _Resampling
) -> Optimum:
    """Find the optimum, its interval and the share of draws that have one; `x`: log10 of the sizes."""
    center, widening = float(x.mean()), resampling.widening
    place = float(_compute_vertex(coefficients[None], best, x)[0])
    optimum = Optimum()
    if resampled_coefficients is not None:
        places = _compute_vertex(resampled_coefficients, best, x)
        has_optimum = np.isfinite(places)
        optimum = replace(optimum, share=float(has_optimum.mean()))
        if math.isfinite(place):
            # A draw without an optimum bounds it on neither side.
            low = float(np.quantile(np.where(has_optimum, places, -np.inf), resampling.alpha / 2, method="lower"))
            high = float(np.quantile(np.where(has_optimum, places, np.inf), 1 - resampling.alpha / 2, method="higher"))
            interval = Interval(
                _convert_log10_size(place + widening * min(0.0, low - place)),
                _convert_log10_size(place + widening * max(0.0, high - place)),
            )
            optimum = replace(optimum, interval=interval)
    if not math.isfinite(place) or math.isnan(_convert_log10_size(place)):
        return optimum
    value = float((_build_quadratic_terms(np.array([place - center])) @ coefficients)[0])
    is_inside = bool(x.min() <= place <= x.max())
    return replace(optimum, size=_convert_log10_size(place), value=value, is_inside=is_inside)


def _compute_vertex(coefficients: Array, best: Best, x: Array) -> Array:
    """Return log10 of each curve's optimum, NaN for a curve without one of this kind."""
    curvature = coefficients[:, 2] * float(np.ptp(x)) ** 2
    scale = 1e-12 * np.maximum(1.0, np.abs(coefficients[:, 0]))
    match best:
        case "max":
            has_optimum = curvature < -scale
        case "min":
            has_optimum = curvature > scale
        case _:
            assert_never(best)
    slope = coefficients[:, 1] / (2 * np.where(has_optimum, coefficients[:, 2], 1.0))
    return np.where(has_optimum, float(x.mean()) - slope, np.nan)


def _convert_log10_size(place: float) -> float:
    """Return 10^place, NaN where that is not finite."""
    return 10**place if -300 < place < 300 else math.nan


def _fit_power_laws(x: Array, y: Array, weights: Array, asymptote: tuple[float, float]) -> tuple[Array, Array, Array]:
    """Fit y = c + a exp(-b x) by weighted least squares, y (draws, sizes); return c, a and b, each (draws,).

    b is searched over the whole grid, then over finer grids between the neighbors of the best exponent, which stays in
    the grid.
    """
    rows = np.arange(len(y))
    exponents = np.broadcast_to(_EXPONENT_GRID, (len(y), len(_EXPONENT_GRID)))
    for zoom in range(ZOOMS + 1):
        c, a, squares = _fit_given_exponent(exponents, x, y, weights, asymptote)
        place = squares.argmin(axis=1)
        if zoom == ZOOMS:
            break
        last = exponents.shape[1] - 1
        ends = exponents[rows, np.maximum(0, place - 1)], exponents[rows, np.minimum(last, place + 1)]
        exponents = np.geomspace(*ends, ZOOM_POINTS, axis=1)
    return c[rows, place], a[rows, place], exponents[rows, place]


def _fit_given_exponent(
    exponents: Array, x: Array, y: Array, weights: Array, asymptote: tuple[float, float]
) -> tuple[Array, Array, Array]:
    """Return c, a and the sum of squares of every draw and exponent (draws, exponents).

    Given b the curve is a line in exp(-b x); where c leaves its bounds, the line through the bound.
    """
    curve, y = np.exp(-exponents[:, :, None] * x), y[:, None, :]
    shares = weights / weights.sum()
    middle, level = curve @ shares, y @ shares
    centered = curve - middle[:, :, None]
    a = (centered * (y - level[:, :, None])) @ weights / (centered**2 @ weights)
    free = level - a * middle
    c = np.clip(free, *asymptote)
    a = np.where(c == free, a, (curve * (y - c[:, :, None])) @ weights / (curve**2 @ weights))
    return c, a, (y - c[:, :, None] - a[:, :, None] * curve) ** 2 @ weights


def _join_sentences(*sentences: str) -> str:
    return " ".join(sentence for sentence in sentences if sentence)


def _pluralize(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"

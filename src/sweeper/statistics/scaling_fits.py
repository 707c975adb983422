"""Curves of a pass rate or a loss against size: parameters or FLOPs, anything above 0.

A curve's shape is learnt from sizes, not from runs: ten seeds at each of three sizes still leave any three-parameter
curve free to pass through all three means. Residual degrees of freedom therefore count sizes, and every fit says in
`caveat` what it cannot carry.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy
from numpy.typing import ArrayLike

from sweeper.errors import DataError
from sweeper.statistics.aliases import Array

BOOTSTRAP_DRAWS = 2000
"""Bootstrap draws; the ends of a 95 % interval then stand on 50 draws each."""
EXPONENT_BOUNDS = (0.01, 5.0)
"""Bounds of the power law's exponent; at the lower one it is a straight line in log size."""
N_PARAMETERS = 3
"""Parameters of either curve."""
N_CURVE_POINTS = 50
"""Sizes at which a curve is given unless told, even in log size over those observed."""
_EXPONENT_GRID = np.geomspace(*EXPONENT_BOUNDS, 120)
ZOOMS, ZOOM_POINTS = 9, 11
"""Each zoom divides the grid's step by 5: nine leave 3e-8 of an exponent."""


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


def fit_power_law(
    sizes: ArrayLike,
    values: ArrayLike,
    *,
    rng: np.random.Generator,
    asymptote: tuple[float, float] = (0.0, 1.0),
    curve_sizes: ArrayLike | None = None,
    alpha: float = 0.05,
    draws: int = BOOTSTRAP_DRAWS,
) -> dict[str, Any]:
    """Least squares of y = c + a * size^-b, c within `asymptote` (a loss: (0, inf)) and b within EXPONENTS.

    `sizes`, `values`: (runs,), one entry per run; NaN runs are left out. a is free: below 0 for a rate that rises.
    Given b the rest is linear, so b alone is searched (Golub and Pereyra 1973), over a grid that is then refined, for
    all draws at once: no local minimum is missed. `parameters`: c, a, b (b NaN where all values are alike). The rest as
    `fit_quadratic` returns it, without `optimum`; an exponent or asymptote at its bound is named in `caveat`. Raises
    DataError as it does, and for an empty `asymptote`.
    """
    if not asymptote[0] < asymptote[1]:
        raise DataError("power law", requested="bounds of the asymptote, low and high", found=f"{asymptote}")
    points = _group_by_size(sizes, values)
    grid = _make_size_grid(points, curve_sizes)
    found = _make_empty_fit(points, grid, "power law", dict.fromkeys("cab", math.nan))
    if found["residual_df"] < 0:
        return found
    if points.is_constant:
        level = float(np.clip(points.means[0], *asymptote))
        return _describe_fit(
            found, points, {"c": level, "a": 0.0, "b": math.nan}, np.full(len(points.sizes), level)
        ) | {"curve": _make_curve(grid, np.full(len(grid), level), None, math.nan, alpha)}
    centre = float(np.log(points.sizes).mean())
    x, at_x = np.log(points.sizes) - centre, np.log(grid) - centre
    c, a, b = (float(one[0]) for one in _fit_power_laws(x, points.means[None], points.counts, asymptote))
    found = _describe_fit(found, points, {"c": c, "a": a * math.exp(b * centre), "b": b}, c + a * np.exp(-b * x))
    if min(abs(b / end - 1) for end in EXPONENT_BOUNDS) < 1e-3:
        found["caveat"] = _join_sentences(found["caveat"], f"The exponent is at its bound, {b:.3g}.")
    if min(abs(c - end) for end in asymptote) < 1e-9:
        found["caveat"] = _join_sentences(found["caveat"], f"The asymptote is at its bound, {c:.3g}.")
    drawn, widen = _resample_means(points, rng, alpha, draws)
    curves = None
    if drawn is not None:
        # Few runs a size make few different draws.
        distinct, places = np.unique(drawn, axis=0, return_inverse=True)
        cs, as_, bs = (one[:, None] for one in _fit_power_laws(x, distinct, points.counts, asymptote))
        curves = (cs + as_ * np.exp(-bs * at_x))[places.ravel()]
    return found | {"curve": _make_curve(grid, c + a * np.exp(-b * at_x), curves, widen, alpha)}


def fit_quadratic(
    sizes: ArrayLike,
    values: ArrayLike,
    *,
    rng: np.random.Generator,
    best: Literal["max", "min"] = "max",
    curve_sizes: ArrayLike | None = None,
    alpha: float = 0.05,
    draws: int = BOOTSTRAP_DRAWS,
) -> dict[str, Any]:
    """Least squares of y = c0 + c1 * x + c2 * x^2 with x = log10(size), and its optimum: the highest point of a rate
    (`best` "max") or the lowest of a loss ("min").

    `sizes`, `values`: (runs,), one entry per run; NaN runs are left out. Returns `name`, `parameters` (c0, c1, c2),
    `r2` (of the runs; NaN where all values are alike), `aicc` (Hurvich and Tsai 1989, of the runs, the noise's variance
    counted as a parameter; NaN with too few runs or no residual at all), `n_runs`, `n_sizes`, `dropped`, `residual_df`
    (sizes minus parameters), `curve` (lists `size`, `value`, `low`, `high`), `optimum` and `caveat` ("" for none).
    `optimum`: `size` and `value`, NaN for a curve without one; `interval` [low, high] of the size, NaN where an end is
    unbounded; `share` of the draws that have one; `inside`, whether it lies among the sizes observed.

    Intervals at 1 - alpha draw runs within each size, one fewer than there are, so that a mean's variance is unbiased
    (Rao and Wu 1988), and widen the percentiles by t / z on Satterthwaite's degrees of freedom of the sizes' means.
    They carry the spread between runs only, not that the curve may be wrong. NaN where no size has two runs. With fewer
    sizes than parameters nothing is fitted. Raises DataError for vectors of different lengths, infinite values and
    sizes that are not above 0.
    """
    points = _group_by_size(sizes, values)
    grid = _make_size_grid(points, curve_sizes)
    found = _make_empty_fit(points, grid, "quadratic in log10 size", {"c0": math.nan, "c1": math.nan, "c2": math.nan})
    nothing: dict[str, Any] = dict.fromkeys(("size", "value", "share"), math.nan)
    nothing |= {"interval": [math.nan] * 2, "inside": False}
    if found["residual_df"] < 0:
        return found | {"optimum": nothing}
    x = np.log10(points.sizes)
    centre = float(x.mean())
    weights = np.sqrt(points.counts)[:, None]
    solve = np.linalg.pinv(weights * _build_quadratic_terms(x - centre)) * weights.T
    fitted = solve @ points.means
    if points.is_constant:
        fitted = np.array([points.means[0], 0.0, 0.0])
    c0, c1, c2 = (float(value) for value in fitted)
    parameters = {"c0": c0 - c1 * centre + c2 * centre**2, "c1": c1 - 2 * c2 * centre, "c2": c2}
    found = _describe_fit(found, points, parameters, _build_quadratic_terms(x - centre) @ fitted)
    drawn, widen = _resample_means(points, rng, alpha, draws)
    fits = None if drawn is None or points.is_constant else drawn @ solve.T
    at_x = _build_quadratic_terms(np.log10(grid) - centre)
    curve = _make_curve(grid, at_x @ fitted, None if fits is None else fits @ at_x.T, widen, alpha)
    optimum = nothing | _estimate_optimum(fitted, fits, centre, x, best, widen, alpha)
    if not math.isnan(optimum["size"]) and not optimum["inside"]:
        found["caveat"] = _join_sentences(
            found["caveat"], "The optimum lies beyond the sizes observed: an extrapolation."
        )
    return found | {"curve": curve, "optimum": optimum}


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


def _make_empty_fit(points: _RunsBySize, grid: Array, name: str, parameters: dict[str, float]) -> dict[str, Any]:
    """The result before anything is fitted, with what the number of sizes and runs forbids."""
    n_sizes, n_runs = len(points.sizes), int(points.counts.sum())
    spare = n_sizes - N_PARAMETERS
    caveat = ""
    if spare < 0:
        caveat = f"Not fitted: {n_sizes} {_pluralize('size', n_sizes)} for {N_PARAMETERS} parameters."
    elif spare == 0:
        caveat = (
            f"{n_sizes} sizes and {N_PARAMETERS} parameters leave no residual degrees of freedom: "
            "an interpolation of these points, not a fit that they could contradict."
        )
    if spare >= 0:
        single = int((points.counts == 1).sum())
        if single:
            caveat = _join_sentences(
                caveat, f"{single} of {n_sizes} sizes have one run, whose spread the intervals leave out."
            )
    return {
        "name": name,
        "parameters": parameters,
        "r2": math.nan,
        "aicc": math.nan,
        "n_runs": n_runs,
        "n_sizes": n_sizes,
        "dropped": points.n_dropped,
        "residual_df": spare,
        "curve": _make_curve(grid, np.full(len(grid), math.nan), None, math.nan, 0.05),
        "caveat": caveat,
    }


def _describe_fit(
    result: dict[str, Any], points: _RunsBySize, parameters: dict[str, float], fitted: Array
) -> dict[str, Any]:
    """The result with parameters and how well they describe the runs."""
    values = np.concatenate(points.runs)
    residual = float(((values - np.repeat(fitted, points.counts.astype(int))) ** 2).sum())
    total = float(((values - values.mean()) ** 2).sum())
    n, k = len(values), N_PARAMETERS + 1
    # A residual that is rounding alone has no logarithm worth comparing.
    exact = residual <= 1e-20 * max(1.0, float((values**2).sum()))
    aicc = math.nan
    if n - k - 1 > 0 and not exact:
        aicc = n * math.log(residual / n) + 2 * k + 2 * k * (k + 1) / (n - k - 1)
    r2 = math.nan if points.is_constant else 1 - residual / total
    return result | {"parameters": parameters, "r2": r2, "aicc": aicc}


def _resample_means(
    points: _RunsBySize, rng: np.random.Generator, alpha: float, draws: int
) -> tuple[Array | None, float]:
    """Means by size of each draw (draws, sizes), and by how much to widen percentiles; None where no size has two."""
    several = [runs for runs in points.runs if len(runs) > 1]
    if not several:
        return None, math.nan
    spreads = np.array([float(runs.var(ddof=1)) / len(runs) for runs in several])
    freedoms = np.array([len(runs) - 1.0 for runs in several])
    known = float((spreads**2 / freedoms).sum())
    freedom = float(spreads.sum()) ** 2 / known if known > 0 else float(freedoms.sum())
    columns = []
    for runs in points.runs:
        n = len(runs)
        picked = rng.integers(n, size=(draws, max(1, n - 1)))
        columns.append(runs[picked].mean(axis=1))
    widen = float(scipy.special.stdtrit(freedom, 1 - alpha / 2) / scipy.special.ndtri(1 - alpha / 2))
    return np.stack(columns, axis=1), widen


def _make_curve(
    grid: Array, value: Array, resampled_curves: Array | None, widen: float, alpha: float
) -> dict[str, list[float]]:
    low = high = np.full(len(grid), math.nan)
    if resampled_curves is not None and len(grid):
        ends = np.quantile(resampled_curves, [alpha / 2, 1 - alpha / 2], axis=0)
        # Bounds bias draws of a bounded curve to one side; the interval still holds its estimate.
        low = value + widen * np.minimum(0.0, ends[0] - value)
        high = value + widen * np.maximum(0.0, ends[1] - value)
    return {"size": grid.tolist(), "value": value.tolist(), "low": low.tolist(), "high": high.tolist()}


def _build_quadratic_terms(x: Array) -> Array:
    return np.stack([np.ones_like(x), x, x**2], axis=1)


def _estimate_optimum(
    coefficients: Array,
    resampled_coefficients: Array | None,
    centre: float,
    x: Array,
    best: str,
    widen: float,
    alpha: float,
) -> dict[str, Any]:
    """Place of the optimum, its interval and the share of draws that have one."""
    place = float(_compute_vertex(coefficients[None], centre, best, x)[0])
    found: dict[str, Any] = {}
    if resampled_coefficients is not None:
        places = _compute_vertex(resampled_coefficients, centre, best, x)
        there = np.isfinite(places)
        found["share"] = float(there.mean())
        if math.isfinite(place):
            # A draw without an optimum bounds it on neither side.
            low = float(np.quantile(np.where(there, places, -np.inf), alpha / 2, method="lower"))
            high = float(np.quantile(np.where(there, places, np.inf), 1 - alpha / 2, method="higher"))
            found["interval"] = [
                _convert_log10_size(place + widen * min(0.0, low - place)),
                _convert_log10_size(place + widen * max(0.0, high - place)),
            ]
    if math.isfinite(place) and not math.isnan(_convert_log10_size(place)):
        found["size"] = _convert_log10_size(place)
        found["value"] = float((_build_quadratic_terms(np.array([place - centre])) @ coefficients)[0])
        found["inside"] = bool(x.min() <= place <= x.max())
    return found


def _compute_vertex(coefficients: Array, centre: float, best: str, x: Array) -> Array:
    """log10 of each curve's optimum, NaN for a curve that has none of the kind asked for."""
    bend = coefficients[:, 2] * float(np.ptp(x)) ** 2
    scale = 1e-12 * np.maximum(1.0, np.abs(coefficients[:, 0]))
    bent = bend < -scale if best == "max" else bend > scale
    return np.where(bent, centre - coefficients[:, 1] / (2 * np.where(bent, coefficients[:, 2], 1.0)), np.nan)


def _convert_log10_size(place: float) -> float:
    """10^place, NaN where that is no number."""
    return 10**place if -300 < place < 300 else math.nan


def _fit_power_laws(x: Array, y: Array, weights: Array, asymptote: tuple[float, float]) -> tuple[Array, Array, Array]:
    """c, a and b, each (draws,), of y = c + a exp(-b x) with the smallest weighted sum of squares; y: (draws, sizes).

    b from the whole grid, then from ever finer ones between the best one's neighbours, of which it is a part.
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
    """c, a and the sum of squares of every draw and exponent (draws, exponents): a line in exp(-b x), through its bound
    where c leaves it."""
    curve, y = np.exp(-exponents[:, :, None] * x), y[:, None, :]
    shares = weights / weights.sum()
    middle, level = curve @ shares, y @ shares
    centred = curve - middle[:, :, None]
    a = (centred * (y - level[:, :, None])) @ weights / (centred**2 @ weights)
    free = level - a * middle
    c = np.clip(free, *asymptote)
    a = np.where(c == free, a, (curve * (y - c[:, :, None])) @ weights / (curve**2 @ weights))
    return c, a, (y - c[:, :, None] - a[:, :, None] * curve) ** 2 @ weights


def _join_sentences(*sentences: str) -> str:
    return " ".join(sentence for sentence in sentences if sentence)


def _pluralize(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"

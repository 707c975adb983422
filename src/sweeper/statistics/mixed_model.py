"""A mixed logistic model of two arms: a cross-check of the paired difference on another scale."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike

from sweeper.errors import DataError
from sweeper.statistics.aliases import Codes

FIXED_EFFECT_PRIOR_SD = 2.0
"""Prior standard deviation of intercept and arm, in log-odds."""
LOG_SD_PRIOR_SD = 1.0
"""Prior standard deviation of the logarithm of each random effect's standard deviation."""
MAX_ITERATIONS = 3000
"""Optimiser's iterations before the fit counts as not converged."""


def fit_mixed_logistic(first: ArrayLike, second: ArrayLike) -> dict[str, Any]:
    """logit P(passed) = intercept + arm + (1 | query) + (1 | seed), by variational Bayes (statsmodels'
    BinomialBayesMixedGLM; Blei, Kucukelbir and McAuliffe 2017).

    `first`, `second`: (queries, seeds) passes of two arms, 0, 1 or NaN = not scored, rows and columns aligned; an
    outcome without its counterpart still informs. Returns `log_odds` (first minus second), `sd` (posterior), `sign`
    (1, 0 or -1), `probability` (posterior, that the first arm's odds are higher), `query_sd` and `seed_sd` (posterior
    medians, log-odds; seed_sd NaN with one seed), `n` (outcomes), `dropped` (NaN among them), `converged` and
    `reason` (why nothing was fitted, else ""). All numbers are NaN where nothing can be fitted: all outcomes alike, an
    arm without a score, fewer than two queries, or no convergence. Raises DataError for other shapes and values.

    Limits. Log-odds given the query are not points of pass rate: they are larger the more queries differ, so compare
    the sign, not the size. Mean-field posteriors ignore correlations between parameters and are too narrow, above all
    for the seed: both arms share its effect, so it takes nothing off the arm's certainty, while real runs of one seed
    differ by arm. The sd is that of these runs, not of the recipes. Where one arm passes everything or nothing, the
    prior (normal, sd PRIOR) alone keeps the estimate finite. With few queries the prior pulls towards 0.
    About ten seconds for 1,000 queries and three seeds.
    """
    from statsmodels.genmod.bayes_mixed_glm import BinomialBayesMixedGLM

    arms = [np.asarray(arm, dtype=np.float64) for arm in (first, second)]
    if arms[0].shape != arms[1].shape or arms[0].ndim != 2:
        shapes = f"{arms[0].shape} and {arms[1].shape}"
        raise DataError("mixed model", requested="two tables (queries, seeds) of one shape", found=f"shapes {shapes}")
    passed = np.stack(arms)
    scored = ~np.isnan(passed)
    if not np.isin(passed[scored], (0.0, 1.0)).all():
        raise DataError("mixed model", requested="passes that are 0, 1 or NaN", found="other values")
    arm, query, seed = np.nonzero(scored)
    outcomes = passed[scored]
    counts = {"n": len(outcomes), "dropped": int((~scored).sum())}
    n_queries, n_seeds = len(set(query.tolist())), len(set(seed.tolist()))
    if len(set(arm.tolist())) < 2:
        return _make_unfitted_result("an arm has no scored outcome") | counts
    if outcomes.min() == outcomes.max():
        return _make_unfitted_result("all outcomes are alike") | counts
    if n_queries < 2:
        return _make_unfitted_result("fewer than two queries") | counts
    groups = [query, seed] if n_seeds > 1 else [query]
    design, owner = _build_design_matrix(groups)
    # Plus and minus one half: nearly independent of the intercept, which mean field takes them to be.
    fixed = np.column_stack([np.ones(len(outcomes)), 0.5 - arm])
    model = BinomialBayesMixedGLM(outcomes, fixed, design, owner, vcp_p=LOG_SD_PRIOR_SD, fe_p=FIXED_EFFECT_PRIOR_SD)
    size = fixed.shape[1] + len(groups) + design.shape[1]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # convergence is read from the result
        found = model.fit_vb(
            mean=np.zeros(size),
            sd=np.full(size, 0.5),
            fit_method="L-BFGS-B",
            minim_opts={"maxiter": MAX_ITERATIONS, "maxfun": 4 * MAX_ITERATIONS},
        )
    value, sd = float(found.fe_mean[1]), float(found.fe_sd[1])
    if not found.optim_retvals["success"] or not math.isfinite(value) or not sd > 0:
        return _make_unfitted_result("no convergence") | counts
    spreads = np.exp(found.vcp_mean)
    return {
        "log_odds": value,
        "sd": sd,
        "sign": float(np.sign(value)),
        "probability": float(scipy.special.ndtr(value / sd)),
        "query_sd": float(spreads[0]),
        "seed_sd": float(spreads[1]) if n_seeds > 1 else math.nan,
        "converged": True,
        "reason": "",
    } | counts


def _build_design_matrix(groups: list[Codes]) -> tuple[Any, Codes]:
    """Indicators of every group's members, sparse (outcomes, members), and which grouping each column belongs to."""
    from scipy import sparse

    blocks, owner = [], []
    for place, group in enumerate(groups):
        members, codes = np.unique(group, return_inverse=True)
        ones = np.ones(len(codes))
        blocks.append(sparse.coo_matrix((ones, (np.arange(len(codes)), codes)), shape=(len(codes), len(members))))
        owner += [place] * len(members)
    return sparse.csr_matrix(sparse.hstack(blocks)), np.array(owner, dtype=np.int64)


def _make_unfitted_result(reason: str) -> dict[str, Any]:
    names = ("log_odds", "sd", "sign", "probability", "query_sd", "seed_sd")
    return dict.fromkeys(names, math.nan) | {"converged": False, "reason": reason}

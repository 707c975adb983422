"""A mixed logistic model of two arms: a cross-check of the paired difference on another scale."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy
from numpy.typing import ArrayLike

from sweeper.errors import DataError
from sweeper.statistics.aliases import Codes

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

FIXED_EFFECT_PRIOR_SD = 2.0
"""Prior standard deviation of intercept and arm, in log-odds."""
LOG_SD_PRIOR_SD = 1.0
"""Prior standard deviation of the logarithm of each random effect's standard deviation."""
MAX_ITERATIONS = 3000
"""Iterations of the optimizer after which the fit counts as not converged."""


@dataclass(frozen=True)
class MixedLogisticFit:
    """A fitted mixed logistic model. All numbers are NaN where nothing could be fitted."""

    n: int
    """Outcomes."""
    n_dropped: int
    """Outcomes that are NaN."""
    reason: str = ""
    """Why nothing was fitted; '' where it was."""
    log_odds: float = math.nan
    """First arm minus second."""
    sd: float = math.nan
    """Posterior standard deviation of `log_odds`."""
    sign: float = math.nan
    """1, 0 or -1."""
    probability: float = math.nan
    """Posterior probability that the first arm's odds are higher."""
    query_sd: float = math.nan
    """Posterior median, in log-odds."""
    seed_sd: float = math.nan
    """Posterior median, in log-odds; NaN with one seed."""

    @property
    def has_converged(self) -> bool:
        """Whether the model was fitted."""
        return not self.reason


def fit_mixed_logistic(first: ArrayLike, second: ArrayLike) -> MixedLogisticFit:
    """Fit logit P(passed) = intercept + arm + (1 | query) + (1 | seed) by variational Bayes.

    By statsmodels' BinomialBayesMixedGLM (Blei, Kucukelbir and McAuliffe 2017). Nothing is fitted where all outcomes
    are alike, an arm has no score, there are fewer than two queries, or the optimizer does not converge. About ten
    seconds for 1,000 queries and three seeds.

    Limits. Log-odds given the query are not points of pass rate: they grow with the spread between queries, so compare
    the sign, not the size. Mean-field posteriors ignore correlations between parameters and are too narrow, above all
    for the seed: both arms share its effect, so it does not reduce the arm's certainty, while real runs of one seed
    differ by arm. The sd is that of these runs, not of the recipes. Where one arm passes everything or nothing, only
    the prior (normal, FIXED_EFFECT_PRIOR_SD) keeps the estimate finite. With few queries the prior pulls towards 0.

    Args:
        first: (queries, seeds) passes of the first arm: 0, 1, or NaN = not scored. An outcome without its counterpart
            still informs.
        second: those of the second arm, rows and columns aligned.

    Returns:
        Log-odds of the first arm over the second with their posterior sd, and the spreads of queries and seeds; NaN and
        a `reason` where nothing was fitted.

    Raises:
        DataError: other shapes or values.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> first, second = rng.random((40, 2)) < 0.9, rng.random((40, 2)) < 0.3
        >>> fit_mixed_logistic(first, second).log_odds > 0
        True
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
    n, n_dropped = len(outcomes), int((~scored).sum())
    n_queries, n_seeds = len(set(query.tolist())), len(set(seed.tolist()))
    if len(set(arm.tolist())) < 2:
        return MixedLogisticFit(n, n_dropped, "an arm has no scored outcome")
    if outcomes.min() == outcomes.max():
        return MixedLogisticFit(n, n_dropped, "all outcomes are alike")
    if n_queries < 2:
        return MixedLogisticFit(n, n_dropped, "fewer than two queries")
    groups = [query, seed] if n_seeds > 1 else [query]
    design, owner = _build_design_matrix(groups)
    # Plus and minus one half are nearly independent of the intercept, as mean field assumes.
    fixed = np.column_stack([np.ones(len(outcomes)), 0.5 - arm])
    model = BinomialBayesMixedGLM(outcomes, fixed, design, owner, vcp_p=LOG_SD_PRIOR_SD, fe_p=FIXED_EFFECT_PRIOR_SD)
    size = fixed.shape[1] + len(groups) + design.shape[1]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # convergence is read from the result
        fit = model.fit_vb(
            mean=np.zeros(size),
            sd=np.full(size, 0.5),
            fit_method="L-BFGS-B",
            minim_opts={"maxiter": MAX_ITERATIONS, "maxfun": 4 * MAX_ITERATIONS},
        )
    value, sd = float(fit.fe_mean[1]), float(fit.fe_sd[1])
    if not fit.optim_retvals["success"] or not math.isfinite(value) or not sd > 0:
        return MixedLogisticFit(n, n_dropped, "no convergence")
    spreads = np.exp(fit.vcp_mean)
    return MixedLogisticFit(
        n,
        n_dropped,
        log_odds=value,
        sd=sd,
        sign=float(np.sign(value)),
        probability=float(scipy.special.ndtr(value / sd)),
        query_sd=float(spreads[0]),
        seed_sd=float(spreads[1]) if n_seeds > 1 else math.nan,
    )


def _build_design_matrix(groups: list[Codes]) -> tuple[csr_matrix, Codes]:
    """Return sparse indicators of the members of every group (outcomes, members), and the group of each column."""
    from scipy import sparse

    blocks, owner = [], []
    for place, group in enumerate(groups):
        members, codes = np.unique(group, return_inverse=True)
        ones = np.ones(len(codes))
        blocks.append(sparse.coo_matrix((ones, (np.arange(len(codes)), codes)), shape=(len(codes), len(members))))
        owner += [place] * len(members)
    return sparse.csr_matrix(sparse.hstack(blocks)), np.array(owner, dtype=np.int64)

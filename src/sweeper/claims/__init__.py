"""Registered claims and their verdicts."""

from sweeper.claims.comparison import Comparison
from sweeper.claims.minimum_detectable import compute_detectable_divergence, estimate_detectable_margin
from sweeper.claims.sample_size import RequiredSampleSize
from sweeper.claims.verdict import (
    Interpretation,
    RobustnessCheck,
    Verdict,
    adjust_verdicts,
    decide_claim,
    decide_claims,
    holm_adjusted,
    select_judge_outcomes,
)

__all__ = [
    "Comparison",
    "Interpretation",
    "RequiredSampleSize",
    "RobustnessCheck",
    "Verdict",
    "adjust_verdicts",
    "compute_detectable_divergence",
    "decide_claim",
    "decide_claims",
    "estimate_detectable_margin",
    "holm_adjusted",
    "select_judge_outcomes",
]

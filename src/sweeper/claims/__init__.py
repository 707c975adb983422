"""Registered claims and their verdicts.

A claim kind is one file of `kinds/`. `decide_claims` turns claims and the tables of a study into verdicts;
`build_power_rows` estimates before the run what a design can establish.
"""

from sweeper.claims.comparison import Comparison, Metric
from sweeper.claims.decide import decide_claim, select_judge_outcomes
from sweeper.claims.family import adjust_verdicts, judge_family
from sweeper.claims.kinds.base import CLAIM_KINDS, ClaimKind
from sweeper.claims.probability import compute_probabilities
from sweeper.claims.sample_size import RequiredSampleSize
from sweeper.claims.study_verdicts import decide_claims, list_needed_runs
from sweeper.claims.tables import StudyEvidence
from sweeper.claims.verdict import Interpretation, RobustnessCheck, Verdict

__all__ = [
    "CLAIM_KINDS",
    "ClaimKind",
    "Comparison",
    "Interpretation",
    "Metric",
    "RequiredSampleSize",
    "RobustnessCheck",
    "StudyEvidence",
    "Verdict",
    "adjust_verdicts",
    "compute_probabilities",
    "decide_claim",
    "decide_claims",
    "judge_family",
    "list_needed_runs",
    "select_judge_outcomes",
]

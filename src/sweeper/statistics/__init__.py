"""Pure functions over outcome tables: rates, paired differences, verdicts. Undefined is NaN, never 0."""

from sweeper.statistics.intervals import Interval, clopper_pearson, wilson
from sweeper.statistics.outcomes import AXES, COUNTED, arm_name, pass_matrix, without_queries
from sweeper.statistics.paired import Estimate, Excluded, Pairing, match_runs, paired_difference
from sweeper.statistics.summary import Rate, pass_rate, subset_mean, subset_rates
from sweeper.statistics.verdicts import Component, Verdict, decide

__all__ = [
    "AXES",
    "COUNTED",
    "Component",
    "Estimate",
    "Excluded",
    "Interval",
    "Pairing",
    "Rate",
    "Verdict",
    "arm_name",
    "clopper_pearson",
    "decide",
    "match_runs",
    "paired_difference",
    "pass_matrix",
    "pass_rate",
    "subset_mean",
    "subset_rates",
    "wilson",
    "without_queries",
]

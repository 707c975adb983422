"""Pure functions over outcome tables: rates, paired differences, verdicts. Undefined is NaN, never 0."""

from sweeper.statistics.agreement import (
    agreement,
    cohen_kappa,
    fleiss_kappa,
    gwet_ac1,
    krippendorff_alpha,
    raw_agreement,
)
from sweeper.statistics.definitions import (
    DEFINITIONS,
    by_subset,
    rate_by_judge,
    rates,
    sensitivity,
    stabletoolbench,
    strict,
    tooleval,
)
from sweeper.statistics.intervals import Interval, clopper_pearson, wilson
from sweeper.statistics.outcomes import AXES, COUNTED, arm_name, pass_matrix, without_queries
from sweeper.statistics.paired import Estimate, Excluded, Pairing, match_runs, paired_difference
from sweeper.statistics.summary import Rate, pass_rate, subset_mean, subset_rates
from sweeper.statistics.verdicts import Component, Verdict, decide
from sweeper.statistics.win_rate import win_rate

__all__ = [
    "AXES",
    "COUNTED",
    "DEFINITIONS",
    "Component",
    "Estimate",
    "Excluded",
    "Interval",
    "Pairing",
    "Rate",
    "Verdict",
    "agreement",
    "arm_name",
    "by_subset",
    "clopper_pearson",
    "cohen_kappa",
    "decide",
    "fleiss_kappa",
    "gwet_ac1",
    "krippendorff_alpha",
    "match_runs",
    "paired_difference",
    "pass_matrix",
    "pass_rate",
    "rate_by_judge",
    "rates",
    "raw_agreement",
    "sensitivity",
    "stabletoolbench",
    "strict",
    "subset_mean",
    "subset_rates",
    "tooleval",
    "wilson",
    "win_rate",
    "without_queries",
]

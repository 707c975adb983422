"""Pure functions over outcome tables: rates, paired differences, verdicts. Undefined is NaN, never 0."""

from sweeper.statistics.agreement import (
    agreement,
    cohen_kappa,
    fleiss_kappa,
    gwet_ac1,
    krippendorff_alpha,
    raw_agreement,
)
from sweeper.statistics.bootstrap import cluster_bootstrap, two_way_bootstrap
from sweeper.statistics.claims.component import Component
from sweeper.statistics.claims.detectable import detectable_divergence, detectable_margin
from sweeper.statistics.claims.needed import Needed
from sweeper.statistics.clustered import clustered_interval, clustered_rate
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
from sweeper.statistics.equivalence import tost, tost_interval
from sweeper.statistics.fits import fit_power_law, fit_quadratic
from sweeper.statistics.intervals import Interval, clopper_pearson, wilson
from sweeper.statistics.mixed import mixed_logistic
from sweeper.statistics.multiple import holm
from sweeper.statistics.outcomes import AXES, COUNTED, arm_name, pass_matrix, without_queries
from sweeper.statistics.paired import Estimate, Excluded, Pairing, match_runs, paired_difference
from sweeper.statistics.paired_tests import mcnemar, permutation
from sweeper.statistics.power import approximate_power, minimum_detectable_effect, power, seeds_needed
from sweeper.statistics.summary import Rate, pass_rate, subset_mean, subset_rates
from sweeper.statistics.verdicts import (
    Reading,
    Sensitivity,
    Verdict,
    adjust,
    decide,
    decide_all,
    one_family,
    outcomes_of,
)
from sweeper.statistics.win_rate import win_rate

__all__ = [
    "AXES",
    "COUNTED",
    "DEFINITIONS",
    "Component",
    "Estimate",
    "Excluded",
    "Interval",
    "Needed",
    "Pairing",
    "Rate",
    "Reading",
    "Sensitivity",
    "Verdict",
    "adjust",
    "agreement",
    "approximate_power",
    "arm_name",
    "by_subset",
    "clopper_pearson",
    "cluster_bootstrap",
    "clustered_interval",
    "clustered_rate",
    "cohen_kappa",
    "decide",
    "decide_all",
    "detectable_divergence",
    "detectable_margin",
    "fit_power_law",
    "fit_quadratic",
    "fleiss_kappa",
    "gwet_ac1",
    "holm",
    "krippendorff_alpha",
    "match_runs",
    "mcnemar",
    "minimum_detectable_effect",
    "mixed_logistic",
    "one_family",
    "outcomes_of",
    "paired_difference",
    "pass_matrix",
    "pass_rate",
    "permutation",
    "power",
    "rate_by_judge",
    "rates",
    "raw_agreement",
    "seeds_needed",
    "sensitivity",
    "stabletoolbench",
    "strict",
    "subset_mean",
    "subset_rates",
    "tooleval",
    "tost",
    "tost_interval",
    "two_way_bootstrap",
    "wilson",
    "win_rate",
    "without_queries",
]

"""Pure functions over outcome tables: rates, paired differences, verdicts. Undefined is NaN, never 0."""

from sweeper.statistics.comparison_simulation import ComparisonDesign
from sweeper.statistics.definitions import (
    DEFINITIONS,
    compare_definitions,
    compute_judged_rates,
    compute_rates_by_judge,
    compute_rates_by_subset,
)
from sweeper.statistics.intervals import Interval, clopper_pearson_interval, wilson_interval
from sweeper.statistics.judge_agreement import (
    cohen_kappa,
    fleiss_kappa,
    gwet_ac1,
    krippendorff_alpha,
    measure_agreement,
    raw_agreement,
)
from sweeper.statistics.multiple_testing import holm_step_down
from sweeper.statistics.paired import EffectEstimate, Exclusions, Pairing, estimate_paired_difference, match_runs
from sweeper.statistics.pass_matrix import (
    COUNTED_STATUSES,
    DEFAULT_AXES,
    build_pass_matrix,
    drop_queries,
)
from sweeper.statistics.pass_rates import PassRate, average_subset_rates, compute_pass_rate, compute_subset_rates
from sweeper.statistics.power import (
    approximate_power,
    find_minimum_detectable_effect,
    find_required_seeds,
    simulate_power,
)
from sweeper.statistics.prediction_powered import (
    CorrectedEstimate,
    estimate_corrected_difference,
    estimate_corrected_rate,
)
from sweeper.statistics.scaling_fits import fit_power_law, fit_quadratic
from sweeper.statistics.vote_scores import score_stabletoolbench, score_strict, score_tooleval
from sweeper.statistics.win_rate import compute_win_rate

__all__ = [
    "COUNTED_STATUSES",
    "DEFAULT_AXES",
    "DEFINITIONS",
    "ComparisonDesign",
    "CorrectedEstimate",
    "EffectEstimate",
    "Exclusions",
    "Interval",
    "Pairing",
    "PassRate",
    "approximate_power",
    "average_subset_rates",
    "build_pass_matrix",
    "clopper_pearson_interval",
    "cohen_kappa",
    "compare_definitions",
    "compute_judged_rates",
    "compute_pass_rate",
    "compute_rates_by_judge",
    "compute_rates_by_subset",
    "compute_subset_rates",
    "compute_win_rate",
    "drop_queries",
    "estimate_corrected_difference",
    "estimate_corrected_rate",
    "estimate_paired_difference",
    "find_minimum_detectable_effect",
    "find_required_seeds",
    "fit_power_law",
    "fit_quadratic",
    "fleiss_kappa",
    "gwet_ac1",
    "holm_step_down",
    "krippendorff_alpha",
    "match_runs",
    "measure_agreement",
    "raw_agreement",
    "score_stabletoolbench",
    "score_strict",
    "score_tooleval",
    "simulate_power",
    "wilson_interval",
]

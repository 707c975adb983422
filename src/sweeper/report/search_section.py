"""What a search explored and confirmed, and which hyperparameters mattered."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, cast

from sweeper.report.claim_document import AxisValue, Number, Range
from sweeper.report.document import (
    FinalistEntry,
    ImportanceEntry,
    SearchEntry,
    SearchStepEntry,
    TrialEntry,
    get_axis,
)

if TYPE_CHECKING:
    import optuna

    from sweeper.storage import JsonObject

MIN_AXES = 3
"""With fewer axes, a plot against each axis shows more."""
MIN_TRIALS = 10
"""PED-ANOVA compares the best tenth with all: below ten trials there is no tenth."""
MAX_PARALLEL_LINES = 300
"""Maximum number of trials drawn as lines; of more, a selection evenly spaced by value, with the best and the worst."""
IMPORTANCE_METHOD = (
    "PED-ANOVA (Watanabe et al. 2023): how far the best tenth of the trials differs from all along one axis"
)
Direction = Literal["maximize", "minimize"]
DIRECTIONS: dict[str, Direction] = {
    "pass_rate": "maximize",
    "val_pass_rate": "maximize",
    "val_loss": "minimize",
    "best_val_loss": "minimize",
}
"""Metric -> its better direction."""
_CONFIRMED_METRICS = {"val_loss": "val_loss", "best_val_loss": "best_val_loss", "val_pass_rate": "pass_rate"}
"""Metric of the exploration -> metric of the confirmation runs. The confirmed pass rate is measured on test queries
that no choice has used: other queries as well as other seeds."""


def summarize_search(search_history: JsonObject | None, trials: Sequence[TrialEntry]) -> SearchEntry | None:
    """Summarize what a search explored and confirmed.

    Args:
        search_history: the document of `search history`.
        trials: the trials of the report.

    Returns:
        None without a search. Finalists have the explored score, the mean and 95 % t-interval (over seeds) of the
        confirmed one, and `shrinkage`: how much worse the confirmed mean is than the explored score, in the metric's
        unit. The best of many noisy scores is expected to shrink.
    """
    if search_history is None:
        return None
    direction = search_history["directions"][0]
    entries = {entry["proposal"]: entry for entry in search_history["trials"]}
    confirmed = [row for row in trials if row.get("role") == "confirm"]
    finalists = []
    for proposal in dict.fromkeys(str(row.get("proposal")) for row in confirmed):
        rows = [row for row in confirmed if row.get("proposal") == proposal]
        finalists.append(_describe_finalist(entries[proposal], rows, search_history["metrics"][0], direction))
    return {
        "algorithm": search_history["algorithm"],
        "scheduler": search_history["scheduler"],
        "metrics": search_history["metrics"],
        "directions": search_history["directions"],
        "planned": search_history["planned"],
        "confirmed_by": _CONFIRMED_METRICS[search_history["metrics"][0]],
        "states": dict(Counter(entry["state"] for entry in search_history["trials"])),
        "population": _summarize_population(search_history, trials),
        "best": _trace_best_so_far(search_history["trials"], direction),
        "finalists": finalists,
    }


def _describe_finalist(
    entry: JsonObject, rows: Sequence[TrialEntry], metric: str, direction: Direction
) -> FinalistEntry:
    """Compare the explored score of a proposal with its runs on fresh seeds."""
    values = [row["metrics"].get(_CONFIRMED_METRICS[metric]) for row in rows if row["status"] == "COMPLETE"]
    mean, interval = _compute_mean_interval(value for value in values if value is not None and not math.isnan(value))
    explored = entry["values"][0]
    # The axes of a member of a population are those it ended with.
    initial_axes: Mapping[str, AxisValue] = entry["begins_with"] if "begins_with" in entry else entry["axes"]
    return {
        "proposal": entry["proposal"],
        "model": rows[0]["model"],
        "anchor": entry["anchor"],
        "axes": {axis: value for axis, value in initial_axes.items() if axis != "model"},
        "changes": entry.get("changes", []),
        "explored": explored,
        "confirmed": mean,
        "interval": interval,
        "seeds": len(values),
        "seeds_planned": len(rows),
        "diverged": sum(row["status"] == "DIVERGED" for row in rows),
        "shrinkage": mean - explored if direction == "minimize" else explored - mean,
    }


def _summarize_population(search_history: JsonObject, trials: Sequence[TrialEntry]) -> dict[str, int] | None:
    """Count the members of a population that continue others, and those of them trained from the start because the
    checkpoint was missing; None for other searches."""
    if search_history["scheduler"] != "pbt":
        return None
    members = [row for row in trials if row.get("role") == "explore"]
    return {
        "went_on": sum(bool(entry["goes_on_from"]) for entry in search_history["trials"]),
        "from_start": sum(row["metrics"].get("branched_from_step") == 0 for row in members),
    }


def select_confirmed_winners(trials: Sequence[TrialEntry]) -> set[str]:
    """Select the confirmation runs that represent their model: those of its best explored proposal.

    The baseline trial represents its model only where no proposal was better.

    Returns:
        The fingerprints of these runs.
    """
    confirmed = [row for row in trials if row.get("role") == "confirm"]
    best_proposals: dict[str, object] = {}
    for row in confirmed:
        best_proposals.setdefault(row["model"], row.get("proposal"))
    return {str(row["fingerprint"]) for row in confirmed if best_proposals[row["model"]] == row.get("proposal")}


def _trace_best_so_far(entries: Sequence[JsonObject], direction: Direction) -> list[SearchStepEntry]:
    """List each proposal in order with its score, and the best score of its model up to it."""
    better = min if direction == "minimize" else max
    best: dict[str, float] = {}
    steps: list[SearchStepEntry] = []
    for i, entry in enumerate(entries):
        value = entry["values"][0] if entry["state"] == "COMPLETE" and entry["values"] else None
        model, rungs = entry["model"], {int(step): loss for step, loss in entry["rungs"].items()}
        if value is not None:
            best[model] = better(best.get(model, value), value)
        steps.append(
            {
                "trial": i,
                "model": model,
                "anchor": entry["anchor"],
                "value": value,
                "rung": rungs[max(rungs)] if entry["state"] == "PRUNED" and rungs else None,
                "state": entry["state"],
                "best": best.get(model),
            }
        )
    return steps


def _compute_mean_interval(values: Iterable[float]) -> tuple[float, Range]:
    """Compute the mean and its 95 % t-interval; NaN where undefined."""
    import numpy as np
    from scipy import special

    sample = np.array(list(values), dtype=float)
    if not len(sample):
        return math.nan, [math.nan, math.nan]
    mean = float(sample.mean())
    if len(sample) < 2:
        return mean, [math.nan, math.nan]
    half_width = float(special.stdtrit(len(sample) - 1, 0.975) * sample.std(ddof=1) / math.sqrt(len(sample)))
    return mean, [mean - half_width, mean + half_width]


def select_importance_trials(
    trials: Sequence[TrialEntry], search_history: JsonObject | None, varying_axes: Sequence[str], *, is_evaluated: bool
) -> tuple[list[TrialEntry], list[str], str]:
    """Select the trials, axes and metric of the importances.

    Of a search: its explored trials with constant values, its own axes, and the metric it searched by. Else all trials,
    the axes that vary, and the pass rate, or the validation loss of a study without evaluation.
    """
    if search_history is None:
        return list(trials), list(varying_axes), "pass_rate" if is_evaluated else "val_loss"
    explored = [row for row in trials if _was_explored_with_constant_values(row)]
    axes = list(dict.fromkeys(axis for entry in search_history["trials"] for axis in entry["axes"]))
    return explored, axes or list(varying_axes), str(search_history["metrics"][0])


def _was_explored_with_constant_values(row: TrialEntry) -> bool:
    return row.get("role") in ("explore", "anchor") and not isinstance(row.get("changes"), list | tuple)


def summarize_importances(
    trials: Sequence[TrialEntry], varying_axes: Sequence[str], metric: str
) -> ImportanceEntry | None:
    """Estimate how much each axis mattered, and select the trials to draw as parallel coordinates.

    Trials without a finite value of the metric are left out.

    Returns:
        None with fewer than `MIN_AXES` axes or `MIN_TRIALS` trials, and where all values are equal.
    """
    if len(varying_axes) < MIN_AXES:
        return None
    rows: list[dict[str, AxisValue]] = []
    for trial in trials:
        value = _read_objective(trial, metric)
        if value is not None and math.isfinite(value):
            places = {axis: get_axis(trial, axis) for axis in varying_axes}
            # NaN (clipping off) differs from itself.
            rows.append({axis: None if place != place else place for axis, place in places.items()} | {"value": value})
    if len(rows) < MIN_TRIALS or len({row["value"] for row in rows}) == 1:
        return None
    rows.sort(key=_read_value)
    stride = max(1.0, (len(rows) - 1) / (MAX_PARALLEL_LINES - 1))
    return {
        "metric": metric,
        "method": IMPORTANCE_METHOD,
        "axes": list(varying_axes),
        "importances": compute_importances(build_optuna_study(rows, varying_axes, metric)),
        "n_trials": len(rows),
        "lines": [rows[round(i * stride)] for i in range(min(len(rows), MAX_PARALLEL_LINES))],
    }


def _read_objective(trial: TrialEntry, metric: str) -> Number:
    """Read the metric of a trial.

    A diverged run passes nothing and has no validation loss; a pruned one has only that of an earlier step.
    """
    if trial["status"] == "PRUNED":
        return None
    if trial["status"] == "DIVERGED":
        return 0.0 if DIRECTIONS[metric] == "maximize" else None
    value = trial["metrics"].get(metric)
    return None if value is None else float(value)


def _read_value(row: Mapping[str, AxisValue]) -> float:
    return float(cast(float, row["value"]))


def compute_importances(study: optuna.Study) -> dict[str, float]:
    """Compute the share of each parameter, the largest first."""
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    return dict(get_param_importances(study, evaluator=PedAnovaImportanceEvaluator()))


def build_optuna_study(rows: Sequence[Mapping[str, AxisValue]], axes: Sequence[str], metric: str) -> optuna.Study:
    """Build an Optuna study in memory from rows: axis -> value, and `value` for the metric."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction=DIRECTIONS[metric])
    columns = {axis: _make_column([row[axis] for row in rows]) for axis in axes}
    distributions = {axis: distribution for axis, (distribution, _) in columns.items()}
    for i, row in enumerate(rows):
        params = {axis: values[i] for axis, (_, values) in columns.items()}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=_read_value(row)))
    return study


def _make_column(
    values: Sequence[AxisValue],
) -> tuple[optuna.distributions.BaseDistribution, list[str] | list[float]]:
    """Make the distribution of an axis and its values: numbers, or text where one of them is text or off."""
    import optuna

    numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) < len(values):
        texts = ["off" if value is None else str(value) for value in values]
        return optuna.distributions.CategoricalDistribution(list(dict.fromkeys(texts))), texts
    low, high = min(numbers), max(numbers)
    return optuna.distributions.FloatDistribution(low, high, log=low > 0 and high / low >= 10), numbers

"""Trials of many hyperparameters -> which of them mattered: Optuna's importances and parallel coordinates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna

MIN_AXES = 3
"""Of fewer axes the plots against each of them say more."""
MIN_TRIALS = 10
"""PED-ANOVA compares the best tenth with all: below ten there is no tenth."""
MAX_PARALLEL_LINES = 300
"""Trials drawn as lines; of more, these evenly by value, the best and the worst among them."""
IMPORTANCE_METHOD = (
    "PED-ANOVA (Watanabe et al. 2023): how far the best tenth of the trials differs from all along one axis"
)


def summarize_importances(
    trials: Sequence[Mapping[str, Any]], varying_axes: Sequence[str], metric: str
) -> dict[str, Any] | None:
    """What a study of LEAST_AXES or more varied axes (the seed is none) tells of each: `metric`, `method`,
    `importances` (axis -> share, of sum 1), `n_trials`, and `lines` (axis -> value, and `value`) for parallel
    coordinates. None for smaller studies. `trials`: the document's; those without a finite value are left out."""
    if len(varying_axes) < MIN_AXES:
        return None
    rows: list[dict[str, Any]] = []
    for trial in trials:
        if trial["status"] == "PRUNED":  # its loss is of an epoch, or of a rung, and not of its end
            continue
        value = _read_objective(trial, metric)
        if isinstance(value, int | float) and math.isfinite(value):
            # A table holds what is off as NaN, which differs from itself.
            rows.append({axis: None if trial[axis] != trial[axis] else trial[axis] for axis in varying_axes})
            rows[-1]["value"] = float(value)
    if len(rows) < MIN_TRIALS or len({row["value"] for row in rows}) == 1:
        return None
    rows.sort(key=lambda row: float(row["value"]))
    step = max(1.0, (len(rows) - 1) / (MAX_PARALLEL_LINES - 1))
    lines = [rows[round(i * step)] for i in range(min(len(rows), MAX_PARALLEL_LINES))]
    return {
        "metric": metric,
        "method": IMPORTANCE_METHOD,
        "axes": list(varying_axes),
        "importances": compute_importances(build_optuna_study(rows, varying_axes, metric)),
        "n_trials": len(rows),
        "lines": lines,
    }


def _read_objective(trial: Mapping[str, Any], metric: str) -> Any:
    """A diverged run passes nothing; it has no validation loss."""
    if trial["status"] == "DIVERGED":
        return 0.0 if metric.endswith("pass_rate") else None
    return trial["metrics"].get(metric)


def compute_importances(study: optuna.Study) -> dict[str, float]:
    """Share of each parameter, the largest first."""
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    return dict(get_param_importances(study, evaluator=PedAnovaImportanceEvaluator()))


def build_optuna_study(rows: Sequence[Mapping[str, Any]], axes: Sequence[str], metric: str) -> optuna.Study:
    """Rows (axis -> value, and `value`) as an Optuna study in memory; a rate is maximised, a loss minimised."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize" if metric.endswith("pass_rate") else "minimize")
    kinds = {axis: _make_distribution([row[axis] for row in rows]) for axis in axes}
    for row in rows:
        # A categorical holds text as well as numbers and nothing: None of clipping is `off`.
        params = {a: _format_category(row[a]) if _is_categorical(kinds[a]) else float(row[a]) for a in axes}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=dict(kinds), value=float(row["value"])))
    return study


def _make_distribution(values: Sequence[Any]) -> optuna.distributions.BaseDistribution:
    import optuna

    if any(isinstance(value, str | bool) or value is None for value in values):
        return optuna.distributions.CategoricalDistribution(list(dict.fromkeys(map(_format_category, values))))
    low, high = float(min(values)), float(max(values))
    return optuna.distributions.FloatDistribution(low, high, log=low > 0 and high / low >= 10)


def _is_categorical(distribution: Any) -> bool:
    return hasattr(distribution, "choices")


def _format_category(value: Any) -> str:
    return "off" if value is None else str(value)

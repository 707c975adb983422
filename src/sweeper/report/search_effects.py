"""What a search explored, and how much of it was left once it was confirmed on fresh seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
_CONFIRMED_METRIC = {"val_loss": "val_loss", "best_val_loss": "best_val_loss", "val_pass_rate": "pass_rate"}
"""Metric explored by -> the metric of the confirming runs that is held against it. The pass rate is then of test
queries, which no choice has seen: other queries, besides other seeds."""


def summarize_search(search_history: Row | None, trials: Sequence[Row]) -> dict[str, Any] | None:
    """The document's part about a search; None without one.

    `searched`: the study's `search history`; `trials`: the report's rows. `finalists` have the explored score, the
    mean and 95 % t-interval (over seeds) of the confirmed one, and `shrinkage`: how much worse the confirmed mean is
    than the explored score, in the metric's unit; the best of many noisy scores is expected to shrink. `changes`: the
    schedule that population based training found, with what its run begins with under `axes`.
    """
    if search_history is None:
        return None
    metric = search_history["metrics"][0]
    again = _CONFIRMED_METRIC[metric]
    entries = {entry["proposal"]: entry for entry in search_history["trials"]}
    finalists = []
    for proposal in dict.fromkeys(row["proposal"] for row in trials if row.get("role") == "confirm"):
        rows = [row for row in trials if row.get("role") == "confirm" and row["proposal"] == proposal]
        entry = entries[proposal]
        found = [row["metrics"].get(again) for row in rows if row["status"] == "COMPLETE"]
        mean, interval = _compute_mean_interval(value for value in found if value is not None and not math.isnan(value))
        explored = entry["values"][0]
        worse = 1.0 if search_history["directions"][0] == "minimize" else -1.0
        finalists.append(
            {
                "proposal": proposal,
                "model": rows[0]["model"],
                "anchor": entry["anchor"],
                "axes": {axis: value for axis, value in _read_initial_axes(entry).items() if axis != "model"},
                "changes": entry.get("changes", []),
                "explored": explored,
                "confirmed": mean,
                "interval": interval,
                "seeds": len(found),
                "seeds_planned": len(rows),
                "diverged": sum(row["status"] == "DIVERGED" for row in rows),
                "shrinkage": worse * (mean - explored),
            }
        )
    states: dict[str, int] = {}
    for entry in search_history["trials"]:
        states[entry["state"]] = states.get(entry["state"], 0) + 1
    return {
        **{key: search_history[key] for key in ("algorithm", "scheduler", "metrics", "directions", "planned")},
        "confirmed_by": again,
        "states": states,
        "population": _summarize_population(search_history, trials),
        "best": _trace_best_so_far(search_history),
        "finalists": finalists,
    }


def _read_initial_axes(entry: Row) -> Row:
    """What a run begins with: of a population's member its `axes` are what it ends with."""
    found: Row = entry.get("begins_with", entry["axes"])
    return found


def _summarize_population(search_history: Row, trials: Sequence[Row]) -> dict[str, int] | None:
    """Of a population: members that `went_on` from others, and how many of these were trained `from_start`, whose
    checkpoint was not there. None for other searches."""
    if search_history["scheduler"] != "pbt":
        return None
    rows = [row for row in trials if row.get("role") == "explore"]
    from_start = sum(row["metrics"].get("branched_from_step") == 0 for row in rows)
    return {"went_on": sum(bool(entry["goes_on_from"]) for entry in search_history["trials"]), "from_start": from_start}


def select_confirmed_winners(trials: Sequence[Row]) -> set[str]:
    """Fingerprints of the confirming runs that stand for their model: those of its best explored proposal. The anchor
    stands for itself only where nothing was better."""
    first: dict[str, str] = {}
    for row in trials:
        if row.get("role") == "confirm":
            first.setdefault(row["model"], row["proposal"])
    return {str(r["fingerprint"]) for r in trials if r.get("role") == "confirm" and first[r["model"]] == r["proposal"]}


def _trace_best_so_far(search_history: Row) -> list[dict[str, Any]]:
    """Each proposal in order with its score, and the best one of its model up to it; `rung`: the last loss of one that
    was stopped early."""
    better = min if search_history["directions"][0] == "minimize" else max
    best: dict[str, float] = {}
    found = []
    for i, entry in enumerate(search_history["trials"]):
        value = entry["values"][0] if entry["state"] == "COMPLETE" and entry["values"] else None
        model, rungs = entry["model"], {int(step): loss for step, loss in entry["rungs"].items()}
        if value is not None:
            best[model] = better(best.get(model, value), value)
        last = rungs[max(rungs)] if entry["state"] == "PRUNED" and rungs else None
        row = {"trial": i, "model": model, "anchor": entry["anchor"], "value": value, "rung": last}
        found.append(row | {"state": entry["state"], "best": best.get(model)})
    return found


def _compute_mean_interval(values: Any) -> tuple[float, list[float]]:
    """Mean and 95 % t-interval; NaN where there is none to have."""
    import numpy as np
    from scipy import special

    found = np.array(list(values), dtype=float)
    if not len(found):
        return math.nan, [math.nan, math.nan]
    if len(found) < 2:
        return float(found.mean()), [math.nan, math.nan]
    half = float(special.stdtrit(len(found) - 1, 0.975) * found.std(ddof=1) / math.sqrt(len(found)))
    return float(found.mean()), [float(found.mean()) - half, float(found.mean()) + half]

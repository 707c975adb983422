"""Rows of the trials table -> trials, data sets, hardware and learning curves of the document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from sweeper.report.curves import downsample_history
from sweeper.report.document import CurveEntry, FailureEntry, TrialEntry

if TYPE_CHECKING:
    import pandas as pd

_METRIC_COLUMNS = (
    "pass_rate",
    "val_loss",
    "train_loss",
    "train_seconds",
    "eval_seconds",
    "train_flops",
    "steps",
    "tokens",
)
"""Columns of the trials table that are metrics of a trial."""
_DATA_KEYS = ("source", "fit_policy", "max_length", "read", "examples", "rows", "target_tokens", "fit", "dropped")
_HARDWARE_COLUMNS = ("engine", "cpus", "gpus")
_MAX_TOTAL_CURVE_POINTS = 40_000
"""Points of all learning curves together, so that the page stays small however many trials there are."""


def serialize_trials(trials: pd.DataFrame) -> list[TrialEntry]:
    """Write every planned trial as the document holds it."""
    return [_serialize_trial({str(key): value for key, value in row.items()}) for row in trials.to_dict("records")]


def _serialize_trial(row: Mapping[str, object]) -> TrialEntry:
    own_metrics = row.get("metrics")
    metrics = {name: row[name] for name in _METRIC_COLUMNS if name in row}
    rest = {name: value for name, value in row.items() if name not in metrics}
    entry = {
        **rest,
        "failure": _parse_failure(row.get("failure")),
        "metrics": metrics | dict(own_metrics if isinstance(own_metrics, Mapping) else {}),
        "asked": row.get("asked") or {},
        "applied": row.get("applied") or {},
    }
    return cast(TrialEntry, entry)


def _parse_failure(failure: object) -> FailureEntry | None:
    """Read the failure of a trial; a bare text is a traceback whose last line is the message."""
    if isinstance(failure, Mapping):
        kind, message, traceback = (str(failure.get(key, "")) for key in ("kind", "message", "traceback"))
        return {"kind": kind, "message": message, "traceback": traceback}
    if not isinstance(failure, str) or not failure.strip():
        return None
    return {"kind": "", "message": failure.strip().splitlines()[-1], "traceback": failure}


def collect_datasets(trials: pd.DataFrame) -> list[dict[str, object]]:
    """Collect the manifest of each data set: what was kept, cut and dropped."""
    datasets: dict[str, dict[str, object]] = {}
    for manifest in trials["data"] if "data" in trials.columns else ():
        if isinstance(manifest, Mapping) and "fingerprint" in manifest:
            keys = ("fingerprint", *(key for key in _DATA_KEYS if key in manifest))
            datasets.setdefault(str(manifest["fingerprint"]), {key: manifest[key] for key in keys})
    return list(datasets.values())


def count_hardware(trials: pd.DataFrame) -> list[dict[str, object]]:
    """Count the trials by engine and resources."""
    names = [name for name in _HARDWARE_COLUMNS if name in trials.columns]
    counts = Counter(zip(*(trials[name] for name in names), strict=True)) if names else Counter()
    return [dict(zip(names, row, strict=True)) | {"trials": count} for row, count in counts.items()]


def downsample_histories(histories: Mapping[str, pd.DataFrame]) -> dict[str, CurveEntry]:
    """Downsample the history of every trial, to fewer points each the more trials there are."""
    n_points = max(20, min(200, _MAX_TOTAL_CURVE_POINTS // max(1, len(histories))))
    return {name: downsample_history(history, n_points) for name, history in histories.items()}

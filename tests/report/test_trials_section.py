from __future__ import annotations

import math

import pandas as pd

from sweeper.report.trials_section import collect_datasets, count_hardware, downsample_histories, serialize_trials


def test_metrics_of_columns_and_of_the_record_are_joined() -> None:
    row = {"fingerprint": "f", "model": "m", "pass_rate": 0.5, "metrics": {"val_loss": 1.0}, "failure": None}
    (entry,) = serialize_trials(pd.DataFrame([row], dtype=object))
    assert entry["metrics"] == {"pass_rate": 0.5, "val_loss": 1.0}
    assert (entry["failure"], entry["asked"], entry["applied"]) == (None, {}, {})
    assert "pass_rate" not in entry


def test_failure_is_read_from_a_mapping_or_a_traceback() -> None:
    rows = [
        {"fingerprint": "a", "failure": {"kind": "data", "message": "no rows", "traceback": "t"}},
        {"fingerprint": "b", "failure": "Traceback:\n  File x\nValueError: bad"},
        {"fingerprint": "c", "failure": "  "},
        {"fingerprint": "d", "failure": math.nan},
    ]
    first, second, *others = (entry["failure"] for entry in serialize_trials(pd.DataFrame(rows, dtype=object)))
    assert first == {"kind": "data", "message": "no rows", "traceback": "t"}
    assert second is not None and second["message"] == "ValueError: bad"
    assert others == [None, None]


def test_data_sets_are_listed_once() -> None:
    one, two = ({"fingerprint": name, "rows": 3, "secret": 1} for name in "ab")
    trials = pd.DataFrame({"data": [one, two, one, {}]}, dtype=object)
    assert collect_datasets(trials) == [{"fingerprint": "a", "rows": 3}, {"fingerprint": "b", "rows": 3}]
    assert collect_datasets(pd.DataFrame({"model": ["m"]})) == []


def test_hardware_is_counted_by_engine_and_resources() -> None:
    trials = pd.DataFrame({"engine": ["single", "ddp", "single"], "cpus": [1, 2, 1], "gpus": [0, 1, 0]})
    assert count_hardware(trials) == [
        {"engine": "single", "cpus": 1, "gpus": 0, "trials": 2},
        {"engine": "ddp", "cpus": 2, "gpus": 1, "trials": 1},
    ]


def test_more_trials_have_fewer_points_each() -> None:
    history = pd.DataFrame({"step": range(1, 1001), "loss": 1.0, "grad_norm": 1.0, "val_loss": math.nan})
    few = downsample_histories({"a": history})
    many = downsample_histories({str(k): history for k in range(1500)})
    assert 20 <= len(many["0"]["step"]) < len(few["a"]["step"]) <= 202

"""Tables of runs that differ in any axis, with stated passes."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd

SUBSETS = ("G1_instruction", "G1_category", "G1_tool", "G2_instruction", "G2_category", "G3_instruction")
SIZES = {"small": 100, "middle": 200, "large": 300}
RUN: dict[str, Any] = {
    "model": "middle",
    "num_train_epochs": 1.0,
    "learning_rate": 0.01,
    "max_grad_norm": 0.3,
    "status": "COMPLETE",
    "val_loss": 1.0,
    "train_seconds": 100.0,
    "eval_seconds": 100.0,
    "train_flops": 1e9,
}


def run(rate: float = 0.5, **fields: Any) -> dict[str, Any]:
    """One planned run; `rate`: share of queries it passes, the easiest first in every subset."""
    return RUN | {"seed": 0, "rate": rate} | fields


def seeds(count: int, rate: Any = 0.5, **fields: Any) -> list[dict[str, Any]]:
    """The same run at several seeds; a list gives each its own rate."""
    rates = rate if isinstance(rate, list) else [rate] * count
    return [run(rates[seed], seed=seed, **fields) for seed in range(count)]


def tables(runs: list[dict[str, Any]], queries: int = 600) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Trials and outcomes. `rate` may be a dict: end of a subset's name -> rate there."""
    trials, rates = [], {}
    for k, each in enumerate(runs):
        name = f"run{k:03d}"
        fields = {key: value for key, value in each.items() if key != "rate"}
        trials.append(fields | {"fingerprint": name, "parameters": SIZES.get(each["model"])})
        if each["status"] == "COMPLETE":
            rates[name] = each["rate"]
    return pd.DataFrame(trials), asked(rates, queries) if rates else pd.DataFrame()


def asked(rates: dict[str, Any], queries: int, judge: str = "oracle") -> pd.DataFrame:
    """Outcomes of runs, fingerprint -> rate."""
    places, kinds = np.arange(queries), len(SUBSETS)
    passed = np.zeros((len(rates), queries), dtype=int)
    for row, rate in zip(passed, rates.values(), strict=True):
        by_subset = [
            next(v for end, v in rate.items() if s.endswith(end)) if isinstance(rate, dict) else rate for s in SUBSETS
        ]
        row[:] = places // kinds < np.round(np.asarray(by_subset)[places % kinds] * queries / kinds)
    names = pd.Series(list(rates)).take(np.repeat(np.arange(len(rates)), queries))
    words = pd.Series(["unsolved", "solved"]).take(passed.ravel())
    return questions(queries, len(rates)).assign(
        fingerprint=names.array, judge=judge, passed=passed.ravel().astype(float), status=words.array
    )


@cache
def questions(queries: int, runs: int) -> pd.DataFrame:
    """What is the same for every run."""
    one = pd.DataFrame(
        {
            "fingerprint": "",
            "subset": np.asarray(SUBSETS)[np.arange(queries) % len(SUBSETS)],
            "query_id": [str(i) for i in range(queries)],
            "judge": "",
            "vote": 0,
            "passed": 0.0,
            "status": "",
            "task": "solvable",
            "answered": True,
        }
    )
    return pd.concat([one] * runs, ignore_index=True)

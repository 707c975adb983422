"""Tables of runs that differ in any axis, with stated passes."""

from __future__ import annotations

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
    trials, outcomes = [], []
    for k, each in enumerate(runs):
        name = f"run{k:03d}"
        fields = {key: value for key, value in each.items() if key != "rate"}
        trials.append(fields | {"fingerprint": name, "parameters": SIZES.get(each["model"])})
        if each["status"] == "COMPLETE":
            outcomes.append(asked(name, each["rate"], queries))
    return pd.DataFrame(trials), pd.concat(outcomes, ignore_index=True) if outcomes else pd.DataFrame()


def asked(name: str, rate: Any, queries: int, judge: str = "oracle") -> pd.DataFrame:
    places = np.arange(queries)
    subset = np.asarray(SUBSETS)[places % len(SUBSETS)]
    if isinstance(rate, dict):
        rates = np.asarray([next(value for end, value in rate.items() if s.endswith(end)) for s in subset])
    else:
        rates = np.full(queries, rate)
    passed = places // len(SUBSETS) < np.round(rates * queries / len(SUBSETS))
    return pd.DataFrame(
        {
            "fingerprint": name,
            "subset": subset,
            "query_id": [str(i) for i in places],
            "judge": judge,
            "vote": 0,
            "passed": passed.astype(float),
            "status": np.where(passed, "solved", "unsolved"),
            "task": "solvable",
            "answered": True,
        }
    )

"""Small trial and outcome tables with stated passes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

SIZES = {"small": 100, "middle": 200, "large": 300}


def study(
    rates: dict[tuple[str, float], Any], seeds: int = 2, queries: int = 200, status: dict[str, str] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(model, epochs) -> share of queries passed, easiest first, so that arms differ by exactly the difference.

    A rate may be a list, one value per seed. `status` overrides by fingerprint `model-epochs-seed`.
    """
    trials, outcomes = [], []
    for (model, epochs), rate in rates.items():
        for seed in range(seeds):
            name = f"{model}-{epochs:g}-{seed}"
            trials.append(
                {
                    "fingerprint": name,
                    "model": model,
                    "parameters": SIZES[model],
                    "num_train_epochs": epochs,
                    "learning_rate": 0.01,
                    "max_grad_norm": np.nan,
                    "seed": seed,
                    "status": (status or {}).get(name, "COMPLETE"),
                    "failure": None,
                }
            )
            value = rate[seed] if isinstance(rate, list) else rate
            if trials[-1]["status"] in ("COMPLETE", "DIVERGED"):
                outcomes.append(rows(name, np.arange(queries) < round(value * queries)))
    return pd.DataFrame(trials), pd.concat(outcomes, ignore_index=True) if outcomes else pd.DataFrame()


def rows(fingerprint: str, passed: Any, judge: str = "oracle", vote: int = 0) -> pd.DataFrame:
    passed = np.asarray(passed, dtype=float)
    names = [f"q{i}" for i in range(len(passed))]
    subset = ["G1_tool" if i % 2 else "G2_category" for i in range(len(passed))]
    columns = {"fingerprint": fingerprint, "subset": subset, "query_id": names, "judge": judge, "vote": vote}
    return pd.DataFrame(columns | {"passed": passed})

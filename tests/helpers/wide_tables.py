"""A study with everything in it: an odd one among the sizes, learning rate x clipping, divergences, failures, leakage,
several definitions, costs; and as many trials as asked for."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from report_tables import SUBSETS

from sweeper.config import Claim
from sweeper.report import ReportTables, build_report

SIZES = {"opt-125m": 125_239_296, "opt-350m": 331_196_416, "opt-1.3b": 1_315_758_080, "opt-2.7b": 2_651_596_800}
LEVELS = {"opt-125m": 0.35, "opt-350m": 0.62, "opt-1.3b": 0.64, "opt-2.7b": 0.66}
CLAIMS = [
    Claim(id="spot", text="350M is the best.", kind="best-of", axis="model", candidate="opt-350m", margin=0.05),
    Claim(
        id="reaches",
        text="350M passes about 60 %.",
        kind="reaches",
        axis="model",
        candidate="opt-350m",
        reference=0.6,
        direction="about",
        margin=0.05,
        where={"learning_rate": 0.001, "max_grad_norm": 0.3},
    ),
]
INFO: dict[str, Any] = {
    "name": "wide",
    "question": "Which size, which learning rate, which clipping?",
    "axes": ["model", "learning_rate", "max_grad_norm", "seed"],
    "manifest": {"commit": "0123abc", "dirty": True, "cpus": 2, "versions": {"torch": "2.13.0"}},
}


def wide_tables(
    queries: int = 60, seeds: int = 2, rates: tuple[float, ...] = (1e-3, 1e-2)
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, pd.DataFrame]]:
    rng = np.random.default_rng(3)
    hard = rng.random(queries)
    trials, outcomes, histories = [], [], {}
    for model, rate, clip, seed in itertools.product(SIZES, rates, (0.3, None), range(seeds)):
        number = len(trials)
        name = f"{number:04x}{rng.integers(16**12):012x}"
        status = "DIVERGED" if rate == 1e-2 and clip is None else "COMPLETE"
        if (model, rate, clip, seed) == ("opt-2.7b", rates[0], 0.3, seeds - 1):
            status = "FAILED"
        level = LEVELS[model] - 0.1 * abs(np.log10(rate) + 3)
        passed = (hard + rng.normal(0, 0.1, queries) < level + rng.normal(0, 0.01)).astype(float)
        failure = {"kind": "out of memory", "message": "24 <GiB>", "traceback": "Traceback\nOutOfMemoryError"}
        metrics = {"pass_rate": passed.mean(), "val_loss": 1.5 - level, "train_seconds": SIZES[model] / 1e6}
        metrics |= {"eval_seconds": 40.0, "train_flops": 6.0 * SIZES[model] * 1e6, "steps": 300.0}
        trials.append(
            {"fingerprint": name, "model": model, "parameters": SIZES[model], "num_train_epochs": 1}
            | {"learning_rate": rate, "max_grad_norm": clip, "seed": seed, "status": status}
            | {"failure": failure if status == "FAILED" else None, "metrics": {} if status == "FAILED" else metrics}
            | {"engine": "single", "cpus": 2, "gpus": 0, "asked": {"max_grad_norm": clip}, "applied": {}}
        )
        if status == "FAILED":
            continue
        steps = np.arange(10, 301, 10)
        loss = 5 * np.exp(-steps / 60) + 1.4 - level + rng.gamma(2, 0.01, len(steps))
        history = pd.DataFrame({"step": steps, "loss": loss, "grad_norm": rng.gamma(2, 1, len(steps))})
        histories[name] = history.assign(val_loss=np.where(steps == 300, 1.5 - level, np.nan))
        unsure = (passed == 0) & (np.arange(queries) % 5 == 0)
        outcomes.append(
            pd.DataFrame(
                {
                    "fingerprint": name,
                    "subset": [SUBSETS[i % 6] for i in range(queries)],
                    "query_id": [str(i) for i in range(queries)],
                    "judge": "rules",
                    "vote": 0,
                    "passed": passed,
                    "status": np.where(passed > 0, "solved", np.where(unsure, "unsure", "unsolved")),
                    "task": np.where(np.arange(queries) % 10 == 3, "unsolvable", "solvable"),
                    "answered": np.arange(queries) % 7 != 0,
                    "finished": np.arange(queries) % 7 != 0,
                    "overgenerated": np.arange(queries) % 4 == 0,
                    "incoherent": False,
                    "hallucinated": np.arange(queries) % 9 == 0,
                }
            )
        )
    return pd.DataFrame(trials, dtype=object), pd.concat(outcomes, ignore_index=True), histories


def leakage(queries: int = 60) -> dict[str, Any]:
    counts = {"queries": 10, "exact_duplicates": 1, "near_duplicates": 2, "tools": 3, "tools_in_training": 3}
    counts |= {"apis": 9, "apis_in_training": 8, "categories": 2, "categories_in_training": 2, "excluded": 3}
    return {
        "method": {"threshold": 0.7, "shingle_words": 3},
        "test": {"name": "test set", "queries": queries},
        "subsets": [counts | {"subset": SUBSETS[0], "promise": "unseen instructions", "verdict": "broken"}],
        "exclude": [
            {"subset": SUBSETS[i % 6], "query_id": str(i), "reasons": ["exact"]} for i in range(0, queries, 12)
        ],
    }


@cache
def wide_document() -> dict[str, Any]:
    return build_report(INFO, CLAIMS, ReportTables(*wide_tables(), leakage=leakage()))


@cache
def long_document() -> dict[str, Any]:
    """More trials than a page's own table holds."""
    rates = tuple(float(f"{rate:.3g}") for rate in np.geomspace(1e-5, 1e-2, 22))
    return build_report(INFO, [], ReportTables(*wide_tables(queries=12, seeds=3, rates=rates)))

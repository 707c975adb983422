"""A study as tables: 3 sizes x 2 epoch budgets x 3 seeds, 120 queries in six subsets, drawn from a stated truth."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from sweeper.config import Claim
from sweeper.report import ReportTables, build_report

SIZES = {"opt-tiny-32": 45_344, "opt-tiny-64": 139_776, "opt-tiny-96": 282_240}
SUBSETS = ("G1_instruction", "G1_category", "G1_tool", "G2_instruction", "G2_category", "G3_instruction")
RATES = {("opt-tiny-32", 1): 0.22, ("opt-tiny-32", 3): 0.5, ("opt-tiny-64", 1): 0.72}
RATES |= {("opt-tiny-64", 3): 0.9, ("opt-tiny-96", 1): 0.72, ("opt-tiny-96", 3): 0.88}
CLAIMS = [
    Claim(
        id="sweet-spot",
        text="The middle size is the best; a smaller model underfits and a larger one is no better.",
        kind="best-of",
        axis="model",
        candidate="opt-tiny-64",
        margin=0.1,
    ),
    Claim(
        id="single-epoch",
        text="One epoch is enough; more epochs gain nothing.",
        kind="no-gain-beyond",
        axis="num_train_epochs",
        candidate=1,
        margin=0.05,
    ),
]
INFO: dict[str, Any] = {
    "name": "quickstart",
    "question": "Is there a best size, and is one epoch enough? (in miniature, on a generated world of tools)",
    "miniature": True,
    "axes": ["model", "num_train_epochs", "seed"],
    "manifest": {"commit": "0123abc", "dirty": False, "cpus": 2, "versions": {"torch": "2.13.0", "trl": "1.16.0"}},
}


def tables() -> tuple[pd.DataFrame, pd.DataFrame, dict[str, pd.DataFrame]]:
    rng = np.random.default_rng(7)
    hard = rng.random(120)
    trials, outcomes, histories = [], [], {}
    for (model, epochs), rate in RATES.items():
        for seed in (0, 1, 2):
            name = f"{len(trials):02d}{rng.integers(16**14):014x}"
            passed = hard + rng.normal(0, 0.12, 120) < rate + rng.normal(0, 0.01)
            curve = history(rng, epochs, rate)
            trials.append(
                {
                    "fingerprint": name,
                    "model": model,
                    "parameters": SIZES[model],
                    "num_train_epochs": epochs,
                    "learning_rate": 0.01,
                    "max_grad_norm": 0.3,
                    "seed": seed,
                    "status": "COMPLETE",
                    "failure": None,
                    "pass_rate": passed.mean(),
                    "val_loss": curve["val_loss"].dropna().iloc[-1],
                    "train_loss": curve["loss"].dropna().iloc[-1],
                    "train_seconds": 20.0 * epochs,
                    "asked": {"max_grad_norm": 0.3},
                    "applied": {"max_grad_norm": 0.3},
                }
            )
            outcomes.append(
                pd.DataFrame(
                    {
                        "fingerprint": name,
                        "subset": [SUBSETS[i % 6] for i in range(120)],
                        "query_id": [str(i) for i in range(120)],
                        "judge": "oracle",
                        "vote": 0,
                        "passed": passed.astype(float),
                    }
                )
            )
            histories[name] = curve
    return pd.DataFrame(trials), pd.concat(outcomes, ignore_index=True), histories


def history(rng: np.random.Generator, epochs: int, rate: float) -> pd.DataFrame:
    steps = np.arange(5, 500 * epochs + 1, 5)
    loss = 6 * np.exp(-steps / 80) + (1 - rate) * 0.4 + rng.gamma(2, 0.01, len(steps))
    train = pd.DataFrame({"step": steps, "loss": loss, "grad_norm": rng.gamma(2, 1, len(steps)), "val_loss": np.nan})
    ends = 500 * np.arange(1, epochs + 1)
    held_out = 6 * np.exp(-ends / 80) + (1 - rate) * 0.45
    return pd.concat([train, pd.DataFrame({"step": ends, "val_loss": held_out})]).sort_values("step")


def document(**info: Any) -> dict[str, Any]:
    """The report, a copy of one's own."""
    return json.loads(_document(json.dumps(info)))


@cache
def _document(info: str) -> str:
    trials, outcomes, histories = tables()
    return json.dumps(build_report(INFO | json.loads(info), CLAIMS, ReportTables(trials, outcomes, histories)))

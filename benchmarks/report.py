"""Is the report of a large study fast and small? 10,000 trials x 1,100 queries: a minute, 2 GB, 15 MB of HTML.

    python benchmarks/report.py [--trials N] [--queries N] [--arms {few,many}] [--profile] [--keep FOLDER]

The tables are drawn, not trained. `few`: ten seeds per arm; `many`: every trial an arm of its own. Peak memory is that
of the whole process, tables included. Times start with the tables in memory and end with both files on disk.
"""

from __future__ import annotations

import argparse
import cProfile
import itertools
import pstats
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from row import Row, finish

from sweeper.config import Claim
from sweeper.report import ReportTables, build_report, write_report

MODELS = {f"opt-tiny-{width}": width * width * 30 for width in (32, 64, 96, 128, 192)}
SUBSETS = ("G1_instruction", "G1_category", "G1_tool", "G2_instruction", "G2_category", "G3_instruction")


def cells(trials: int, arms: str) -> list[tuple[str, int, float, float | None, int]]:
    """(model, epochs, learning rate, clip, seed), as many as asked for."""
    seeds = 10 if arms == "few" else 1
    rates = [float(f"{rate:.3g}") for rate in np.geomspace(1e-5, 1e-1, -(-trials // (5 * 2 * 10 * seeds)))]
    clips = [None, *(float(f"{clip:.2g}") for clip in np.geomspace(0.1, 10, 9))]
    return list(itertools.product(MODELS, (1, 3), rates, clips, range(seeds)))[:trials]


def tables(trials: int, queries: int, arms: str) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, pd.DataFrame]]:
    """A study of that size: larger models, longer training and middling learning rates pass more."""
    rng = np.random.default_rng(0)
    asked, rows, histories = cells(trials, arms), [], {}
    hard = rng.random(queries)
    passed = np.empty((len(asked), queries))
    for i, (model, epochs, rate, clip, seed) in enumerate(asked):
        diverged = rate > 0.03 and clip is None
        level = 0.2 + 0.1 * list(MODELS).index(model) + 0.1 * (epochs > 1) - 0.1 * abs(np.log10(rate) + 3)
        passed[i] = hard + rng.normal(0, 0.15, queries) < level + rng.normal(0, 0.02)
        name = f"{i:016x}"
        steps = np.arange(1, 201)
        loss = 6 * np.exp(-steps / 40) + 1 - level / 2 + rng.gamma(2, 0.02, 200)
        history = pd.DataFrame({"step": steps, "loss": loss, "grad_norm": rng.gamma(2, 1, 200), "val_loss": np.nan})
        history.loc[[99, 199], "val_loss"] = [1.3 - level / 2, 1.2 - level / 2]
        histories[name] = history
        applied = {"learning_rate": rate, "max_grad_norm": clip, "optimizer_steps": 200}
        metrics = {"pass_rate": passed[i].mean(), "val_loss": 1.2 - level / 2, "steps": 200, "train_seconds": 60.0}
        metrics |= {"eval_seconds": 30.0, "train_flops": 1e9 * MODELS[model]}
        rows.append(
            {"fingerprint": name, "model": model, "parameters": MODELS[model], "num_train_epochs": epochs}
            | {"learning_rate": rate, "max_grad_norm": clip, "seed": seed, "failure": None, "metrics": metrics}
            | {"status": "DIVERGED" if diverged else "COMPLETE", "asked": applied, "applied": applied}
            | {"val_loss": metrics["val_loss"]}
        )
    names = np.array([row["fingerprint"] for row in rows])
    n = len(names)
    subset = np.tile(np.arange(queries) % len(SUBSETS), n).astype("int8")
    query = np.tile(np.arange(queries), n).astype("int16")
    status = (passed.ravel() == 0).astype("int8")
    zero = np.zeros(n * queries, dtype="int8")
    outcomes = pd.DataFrame(
        {
            "fingerprint": pd.Categorical.from_codes(np.repeat(np.arange(n), queries), names),
            "subset": pd.Categorical.from_codes(subset, SUBSETS),
            "query_id": pd.Categorical.from_codes(query, [str(k) for k in range(queries)]),
            "judge": pd.Categorical.from_codes(zero, ["oracle"]),
            "vote": zero,
            "passed": passed.ravel(),
            "status": pd.Categorical.from_codes(status, ["solved", "unsolved"]),
            "task": pd.Categorical.from_codes(zero, ["solvable"]),
            "answered": True,
            "finished": True,
            "overgenerated": np.arange(n * queries) % 7 == 0,
            "incoherent": False,
            "hallucinated": False,
        }
    )
    return pd.DataFrame(rows, dtype=object), outcomes, histories


CLAIMS = [
    Claim(
        id="sweet-spot",
        text="The middle size is the best.",
        kind="best-of",
        axis="model",
        candidate="opt-tiny-96",
        margin=0.05,
    ),
    Claim(
        id="single-epoch",
        text="One epoch is enough.",
        kind="no-gain-beyond",
        axis="num_train_epochs",
        candidate=1,
        margin=0.05,
    ),
]


def main() -> int:
    """Build and write the report; print seconds, peak memory and bytes, and end with 1 where an aim is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=1_100)
    parser.add_argument("--arms", choices=("few", "many"), default="few")
    parser.add_argument("--no-claims", action="store_true")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--keep", type=Path, default=None)
    asked = parser.parse_args()
    trials, outcomes, histories = tables(asked.trials, asked.queries, asked.arms)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    info: dict[str, Any] = {
        "name": "large",
        "question": "Is the report of a large study fast and small?",
        "axes": ["model", "num_train_epochs", "learning_rate", "max_grad_norm", "seed"],
    }
    profile = cProfile.Profile()
    if asked.profile:
        profile.enable()
    started = time.monotonic()
    document = build_report(info, [] if asked.no_claims else CLAIMS, ReportTables(trials, outcomes, histories))
    built = time.monotonic() - started
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.keep or Path(scratch)
        write_report(document, html_path=folder / "report.html", json_path=folder / "report.json")
        sizes = {kind: (folder / f"report.{kind}").stat().st_size for kind in ("html", "json")}
    seconds = time.monotonic() - started
    if asked.profile:
        profile.disable()
        pstats.Stats(profile).sort_stats("cumulative").print_stats(45)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    study = f"the report of {len(trials):,} trials x {asked.queries:,} queries"
    return finish(
        [
            Row(study, "s", [seconds], aim="<= 60"),
            Row(f"{study}: peak memory", "GB", [peak / 1e9], aim="<= 2", limit=before / 1e9, limit_is="its tables"),
            Row(f"{study}: HTML", "MB", [sizes["html"] / 1e6], aim="<= 15"),
        ],
        arms=len(document["arms"]),
        build_seconds=built,
        json_bytes=sizes["json"],
    )


if __name__ == "__main__":
    sys.exit(main())

"""The table of a trial's training history, and the metrics computed from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

HISTORY_COLUMNS = ("step", "epoch", "loss", "learning_rate", "grad_norm", "val_loss")
LogHistory = Sequence[Mapping[str, float]]
"""The rows that a trainer logged."""


def make_history(log_history: LogHistory) -> pd.DataFrame:
    """Return one row per logged step; NaN where a row lacks a value.

    Columns: step, epoch, loss (nats per target token), learning_rate, grad_norm (before clipping), val_loss, and
    rung_loss where a search measured it. There are no times: the same trial gives the same table.
    """
    import pandas as pd

    rows = [row for row in log_history if {"loss", "val_loss", "rung_loss"} & set(row)]
    columns = [*HISTORY_COLUMNS, *(["rung_loss"] if any("rung_loss" in row for row in rows) else [])]
    return pd.DataFrame([{key: row.get(key, float("nan")) for key in columns} for row in rows], columns=columns)


def compute_metrics(
    history: pd.DataFrame, *, tokens: int, steps: int, flops_per_token: float, seconds: float
) -> dict[str, float | None]:
    """Return a record's metrics.

    Args:
        history: the table of `make_history`.
        tokens: tokens trained on, padding not counted.
        steps: optimizer steps taken; those that fp16's loss scaling skipped are none.
        flops_per_token: FLOPs of one token, forward and backward; NaN for an unknown architecture.
        seconds: training time.
    """
    validation, losses = history["val_loss"].dropna(), history["loss"].dropna()
    rungs: dict[str, float | None] = {}
    if "rung_loss" in history:
        rungs = {"rung_loss": float(history["rung_loss"].dropna().iloc[-1])}
    return rungs | {
        "val_loss": float(validation.iloc[-1]) if len(validation) else float("nan"),
        "best_val_loss": float(validation.min()) if len(validation) else float("nan"),
        "train_loss": float(losses.iloc[-1]) if len(losses) else float("nan"),
        "steps": float(steps),
        "tokens": float(tokens),
        "train_flops": tokens * flops_per_token,
        "train_seconds": seconds,
    }

"""A study's budget while it runs: what it has spent lies in its folder, so that a later run goes on counting."""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from typing import Any

from sweeper.spec import Sweep, load_hardware
from sweeper.store import Store, read_json, write_json
from sweeper.study.costs.budget import SPENT, Budget, Spent, spent_on
from sweeper.study.costs.preflight import price
from sweeper.study.costs.trial import Cost
from sweeper.study.plan import Plan, PlannedTrial


class Purse:
    """Asked before a trial starts, told when it ended. Without a `budget` it counts all the same."""

    def __init__(self, sweep: Sweep, store: Store) -> None:
        self.sweep, self.store = sweep, store
        self._path = store.study(sweep.name) / SPENT
        before = read_json(self._path) if self._path.exists() else {}
        self._hours_before = float(before.pop("wall_hours", 0.0))
        known = {key: math.nan if value is None else float(value) for key, value in before.items()}
        self.budget = Budget(sweep.budget, Spent(**known), self._hours_before)
        self._began = time.monotonic()
        self._running: dict[str, tuple[PlannedTrial, float]] = {}

    def start(self, trial: PlannedTrial) -> bool:
        """Whether there is room for it; then it counts as running."""
        if trial.fingerprint in self._running:  # its worker was lost: it holds what it held
            return True
        predicted = self._predicted(trial)
        if not self.budget.may_start(predicted, self._hours):
            return False
        self.budget.started(trial.fingerprint, predicted)
        self._running[trial.fingerprint] = trial, time.monotonic()
        return True

    def _predicted(self, trial: PlannedTrial) -> Cost | None:
        """What a search proposes has no price yet; it gets one where there is a limit to keep."""
        if trial.predicted is None and self.sweep.budget is not None:
            plan, _ = price(Plan(self.sweep, (trial,), ()), self.store, load_hardware())
            trial = plan.trials[0]
        return trial.predicted.cost if trial.predicted else None

    def end(self, row: dict[str, Any]) -> None:
        """It ended. One without a measure of its own, a failed one, has spent the time since it started."""
        trial, began = self._running.pop(row["fingerprint"], (None, 0.0))
        if trial is None:
            return
        metrics = row.get("metrics") or {}
        own = metrics.get("own_train_seconds", metrics.get("train_seconds"))  # a branch's, without its trunk's
        if trial.predicted is not None and not trial.predicted.left.training:
            own = 0.0  # it had been trained before
        seconds = [own, metrics.get("eval_seconds", metrics.get("val_eval_seconds"))]
        train, evaluation = (math.nan if value is None else float(value) for value in seconds)
        if math.isnan(train):
            train = time.monotonic() - began
        hardware = self.sweep.hardware.get(trial.spec.runtime.hardware or "")
        self.budget.ended(trial.fingerprint, spent_on(trial.spec.runtime, train, evaluation, hardware))
        self.save()

    def save(self) -> None:
        """What was spent so far, on this machine."""
        numbers = asdict(self.budget.spent) | {"wall_hours": self._hours_before + self._hours}
        write_json(self._path, {key: None if math.isnan(value) else value for key, value in numbers.items()})

    def close(self) -> None:
        """And where the store lies."""
        self.save()
        self.store.push(self._path)

    @property
    def _hours(self) -> float:
        return (time.monotonic() - self._began) / 3600

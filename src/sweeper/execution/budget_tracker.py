"""A study's budget while it runs: what it has spent lies in its folder, so that a later run goes on counting."""

from __future__ import annotations

import math
import time
from dataclasses import asdict

from sweeper.config import Sweep, load_hardware_specs
from sweeper.planning.budget_limits import RESOURCE_USAGE_FILE, Budget, ResourceUsage, usage_of_trial
from sweeper.planning.cost_model import Cost
from sweeper.planning.estimate import estimate_plan
from sweeper.planning.plan import Plan, PlannedTrial
from sweeper.storage import Store, read_json, write_json
from sweeper.training import TrialRow


class BudgetTracker:
    """Asked before a trial starts, told when it ended. Without a `budget` it counts all the same."""

    def __init__(self, sweep: Sweep, store: Store) -> None:
        self.sweep, self.store = sweep, store
        self._path = store.study_folder(sweep.name) / RESOURCE_USAGE_FILE
        before = read_json(self._path) if self._path.exists() else {}
        self._earlier_hours = float(before.pop("wall_hours", 0.0))
        known = {key: math.nan if value is None else float(value) for key, value in before.items()}
        self.budget = Budget(sweep.budget, ResourceUsage(**known), self._earlier_hours)
        self._started_at = time.monotonic()
        self._running_trials: dict[str, tuple[PlannedTrial, float]] = {}

    def try_start(self, trial: PlannedTrial) -> bool:
        """Whether there is room for it; then it counts as running."""
        if trial.fingerprint in self._running_trials:  # its worker was lost: it holds what it held
            return True
        predicted = self._estimate_cost(trial)
        if not self.budget.check_limits(predicted, self._elapsed_hours):
            return False
        self.budget.record_start(trial.fingerprint, predicted)
        self._running_trials[trial.fingerprint] = trial, time.monotonic()
        return True

    def _estimate_cost(self, trial: PlannedTrial) -> Cost | None:
        """What a search proposes has no price yet; it gets one where there is a limit to keep."""
        if trial.estimate is None and self.sweep.budget is not None:
            plan, _ = estimate_plan(Plan(self.sweep, (trial,), ()), self.store, load_hardware_specs())
            trial = plan.trials[0]
        return trial.estimate.cost if trial.estimate else None

    def finish(self, row: TrialRow) -> None:
        """It ended. One without a measure of its own, a failed one, has spent the time since it started."""
        trial, began = self._running_trials.pop(row.fingerprint, (None, 0.0))
        if trial is None:
            return
        metrics = row.metrics
        own = metrics.get("own_train_seconds", metrics.get("train_seconds"))  # a branch's, without its trunk's
        if trial.estimate is not None and not trial.estimate.remaining.needs_training:
            own = 0.0  # it had been trained before
        seconds = [own, metrics.get("eval_seconds", metrics.get("val_eval_seconds"))]
        train, evaluation = (math.nan if value is None else float(value) for value in seconds)
        if math.isnan(train):
            train = time.monotonic() - began
        hardware = self.sweep.hardware.get(trial.spec.runtime.hardware or "")
        self.budget.record_end(trial.fingerprint, usage_of_trial(trial.spec.runtime, train, evaluation, hardware))
        self.save_usage()

    def save_usage(self) -> None:
        """What was spent so far, on this machine."""
        numbers = asdict(self.budget.usage) | {"wall_hours": self._earlier_hours + self._elapsed_hours}
        write_json(self._path, {key: None if math.isnan(value) else value for key, value in numbers.items()})

    def close(self) -> None:
        """And where the store lies."""
        self.save_usage()
        self.store.push(self._path)

    @property
    def _elapsed_hours(self) -> float:
        return (time.monotonic() - self._started_at) / 3600

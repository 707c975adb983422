"""The budget of a running study. Its usage is saved in the study's folder, so that a later run continues counting."""

from __future__ import annotations

import math
import time
from dataclasses import asdict

from sweeper.config import Sweep, load_hardware_specs
from sweeper.planning.budget import RESOURCE_USAGE_FILE, Budget, ResourceUsage, measure_trial_usage
from sweeper.planning.cost_model import Cost
from sweeper.planning.estimate import estimate_plan
from sweeper.planning.plan import Plan, PlannedTrial
from sweeper.storage import Store, read_json, write_json
from sweeper.training import TrialRow


class BudgetTracker:
    """Reserves the budget of trials before they start, and counts what they used. Counts without a budget too."""

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
        """Return whether the budget has room for a trial. If so, it counts as running."""
        if trial.fingerprint in self._running_trials:  # it lost its worker and keeps its reservation
            return True
        predicted = self._estimate_cost(trial)
        if not self.budget.check_limits(predicted, self._elapsed_hours):
            return False
        self.budget.record_start(trial.fingerprint, predicted)
        self._running_trials[trial.fingerprint] = trial, time.monotonic()
        return True

    def _estimate_cost(self, trial: PlannedTrial) -> Cost | None:
        """Return the expected cost. A proposed trial has no estimate yet; it is computed if there is a limit."""
        if trial.estimate is None and self.sweep.budget is not None:
            plan, _ = estimate_plan(Plan(self.sweep, (trial,), ()), self.store, load_hardware_specs())
            trial = plan.trials[0]
        return trial.estimate.cost if trial.estimate else None

    def finish(self, row: TrialRow) -> None:
        """Count an ended trial. A failed one without measured times used the time since its start."""
        trial, began = self._running_trials.pop(row.fingerprint, (None, 0.0))
        if trial is None:
            return
        metrics = row.metrics
        own = metrics.get("own_train_seconds", metrics.get("train_seconds"))  # excludes the trunk of a branch
        if trial.estimate is not None and not trial.estimate.remaining.needs_training:
            own = 0.0  # trained in an earlier run
        seconds = [own, metrics.get("eval_seconds", metrics.get("val_eval_seconds"))]
        train, evaluation = (math.nan if value is None else float(value) for value in seconds)
        if math.isnan(train):
            train = time.monotonic() - began
        hardware = self.sweep.hardware.get(trial.spec.runtime.hardware or "")
        self.budget.record_end(trial.fingerprint, measure_trial_usage(trial.spec.runtime, train, evaluation, hardware))
        self.save_usage()

    def save_usage(self) -> None:
        """Save the usage on this machine."""
        numbers = asdict(self.budget.usage) | {"wall_hours": self._earlier_hours + self._elapsed_hours}
        write_json(self._path, {key: None if math.isnan(value) else value for key, value in numbers.items()})

    def close(self) -> None:
        """Save the usage, and upload it."""
        self.save_usage()
        self.store.push(self._path)

    @property
    def _elapsed_hours(self) -> float:
        return (time.monotonic() - self._started_at) / 3600

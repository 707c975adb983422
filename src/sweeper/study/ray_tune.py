"""The plan on Ray Tune: warm workers, reused from trial to trial. The only file that imports Ray."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sweeper.errors import SweeperError
from sweeper.store import Store
from sweeper.study.backend import RunTrials
from sweeper.study.plan import Plan, PlannedTrial
from sweeper.study.progress import ProgressDisplay
from sweeper.study.stage import run_trial
from sweeper.tracking import Tracker, Tracking
from sweeper.trial import FAILED, failure_of

LOST_WORKER_RETRIES = 3
"""A trial goes on from its checkpoint this often after its worker died. Errors of the trial itself never get here."""
REPORT_SECONDS = 0.5
"""Progress is sent to the driver at most this often: a report is a round trip between processes."""


@contextmanager
def ray_backend(address: str | None, display: ProgressDisplay) -> Iterator[RunTrials]:
    """A backend on the Ray cluster at `address`, or on one started here."""
    import ray

    _quiet()
    context = _connect(address)
    display.say(f"Ray dashboard: http://{context.dashboard_url}" if context.dashboard_url else "Ray dashboard: off")
    try:
        yield _tune
    finally:
        ray.shutdown()


def _quiet() -> None:
    """Tune's own table would fight with ours for the terminal."""
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    # Ctrl-C then raises KeyboardInterrupt here, and is told apart from trials that failed.
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_TRAIN_ENABLE_STATE_TRACKING", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _connect(address: str | None) -> Any:
    import ray

    try:
        if address:
            return ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        return ray.init(include_dashboard=True, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise SweeperError(
            "Ray", asked=f"--address {address or '(none)'}", found=str(error), do="--backend inline runs without Ray"
        ) from error


def _tune(trials: list[PlannedTrial], plan: Plan, store: Store, tracking: Tracking, display: ProgressDisplay) -> None:
    import ray
    from ray import tune

    by_fingerprint = {trial.fingerprint: trial for trial in trials}
    shared = ray.put((by_fingerprint, plan.sweep.evaluation, store, Tracker(tracking, plan.sweep.name, store)))

    def trainable(config: dict[str, Any]) -> None:
        planned, evaluation, where, tracker = ray.get(shared)
        last = 0.0

        def tell(progress: dict[str, Any]) -> None:
            nonlocal last
            if progress.get("stage") != "training" or time.monotonic() - last > REPORT_SECONDS:
                last = time.monotonic()
                tune.report({"progress": progress})

        fingerprint = config["fingerprint"]
        try:
            row = run_trial(planned[fingerprint], evaluation, where, tracker, tell)
        except Exception as error:  # Tune would retry it: that is for lost workers, not for bugs
            row = {"fingerprint": fingerprint, "status": FAILED, "metrics": {}, "failure": failure_of(error).message}
        tune.report({"row": row})

    def resources(config: dict[str, Any]) -> Any:
        runtime = by_fingerprint[config["fingerprint"]].spec.runtime
        return tune.PlacementGroupFactory([{"CPU": runtime.cpus, "GPU": runtime.gpus}])

    tuner = tune.Tuner(
        tune.with_resources(trainable, resources),
        param_space={"fingerprint": tune.grid_search(list(by_fingerprint))},
        tune_config=tune.TuneConfig(reuse_actors=True, trial_name_creator=lambda t: _name(by_fingerprint, t)),
        run_config=tune.RunConfig(
            name=f"ray-{int(time.time())}",
            storage_path=str(store.study(plan.sweep.name)),
            verbose=0,
            callbacks=[_callback(display)],
            failure_config=tune.FailureConfig(max_failures=LOST_WORKER_RETRIES),
        ),
    )
    results = tuner.fit()
    for error in results.errors:
        display.say(f"Ray: a trial's worker was lost {LOST_WORKER_RETRIES + 1} times: {error}")


def _name(by_fingerprint: dict[str, PlannedTrial], trial: Any) -> str:
    """What the Ray dashboard shows: the arm and the seed."""
    planned = by_fingerprint[trial.config["fingerprint"]]
    epochs = planned.spec.recipe.num_train_epochs
    return f"{planned.spec.model.name}-epochs{epochs:g}-seed{planned.spec.seed}-{planned.fingerprint[:6]}"


def _callback(display: ProgressDisplay) -> Any:
    from ray import tune

    class Show(tune.Callback):  # type: ignore[misc]
        """Feeds the live display from Tune's results."""

        def __init__(self, display: ProgressDisplay | None) -> None:
            self.display = display

        def __getstate__(self) -> dict[str, Any]:
            """Tune pickles its callbacks to restore them; ours draws on this terminal, and disk is our truth."""
            return {"display": None}

        def on_trial_result(
            self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
        ) -> None:
            """Show what a worker reported."""
            if self.display and "progress" in result:
                self.display.told(trial.config["fingerprint"], result["progress"])
            if self.display and "row" in result:
                self.display.ended(result["row"])

    return Show(display)

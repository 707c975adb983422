"""The tracker `wandb`: one W&B run per trial, grouped by study and resumable. Offline unless WANDB_MODE is set."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sweeper.storage import Store, to_strict_json
from sweeper.tracking.sinks.base import MetricSink

if TYPE_CHECKING:
    from sweeper.planning.plan import PlannedTrial
    from sweeper.training import TrainingProgress, TrialRecord, TrialRow


class WandbRun(MetricSink):
    """One trial's run. Its id is made of the study and the trial's fingerprint, so that it can be resumed."""

    def __init__(self, study: str, store: Store, trial: PlannedTrial) -> None:
        import wandb

        directory = store.study_folder(study) / "wandb"
        directory.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("WANDB_SILENT", "true")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "sweeper"),
            id=f"{study}-{trial.fingerprint}",
            name=f"{trial.spec.model.name}-e{trial.spec.recipe.num_train_epochs:g}-s{trial.spec.seed}",
            group=study,
            job_type="trial",
            mode=os.environ.get("WANDB_MODE", "offline"),  # type: ignore[arg-type]
            resume="allow",
            dir=str(directory),
            config=trial.to_row(),
            settings=wandb.Settings(
                silent=True, disable_git=True, disable_code=True, x_disable_stats=True, console="off"
            ),
        )

    def log(self, progress: TrainingProgress) -> None:
        """Record the numbers of one logged step."""
        numbers = progress.to_document()
        step = int(numbers.pop("step"))
        numbers.pop("steps")
        self._run.log(numbers, step=step)

    def finish(self, row: TrialRow, record: TrialRecord) -> None:
        """Record the status, the final metrics, and the requested and applied settings."""
        metrics = {**record.metrics, "parameters": record.parameters, **row.metrics}
        self._run.summary.update(to_strict_json(metrics) | {"status": row.status})
        self._run.config.update({"applied": record.applied, "asked": record.asked}, allow_val_change=True)

    def close(self) -> None:
        """Let W&B write the rest."""
        self._run.finish()


def open_sink(study: str, store: Store, trial: PlannedTrial) -> WandbRun:
    """Start or resume the trial's run."""
    return WandbRun(study, store, trial)

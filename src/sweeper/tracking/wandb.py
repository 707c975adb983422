"""One W&B run per trial, grouped by study, resumable by the trial's fingerprint. Offline unless WANDB_MODE is set."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from sweeper.storage import Store, to_strict_json

if TYPE_CHECKING:
    from sweeper.training import TrialRecord, TrialRow


class WandbRun:
    """One trial's run."""

    def __init__(self, study: str, store: Store, trial: Any) -> None:
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

    def log(self, progress: dict[str, Any]) -> None:
        """Metrics of one logged step."""
        step = int(progress["step"])
        self._run.log({key: value for key, value in progress.items() if key not in ("step", "steps")}, step=step)

    def finish(self, row: TrialRow, record: TrialRecord) -> None:
        """The trial's end: status, final metrics, asked and applied."""
        metrics = {**record.metrics, "parameters": record.parameters, **row.metrics}
        self._run.summary.update(to_strict_json(metrics) | {"status": row.status})
        self._run.config.update({"applied": record.applied, "asked": record.asked}, allow_val_change=True)

    def close(self) -> None:
        """W&B writes the rest."""
        self._run.finish()

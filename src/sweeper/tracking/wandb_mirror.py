"""One W&B run per trial, grouped by study, resumable by the trial's fingerprint."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sweeper.store import Store, without_nan

if TYPE_CHECKING:
    from sweeper.trial import TrialRecord

Tracking = Literal["wandb", "none"]


class TrialTrack:
    """Where one trial's numbers go; without a run, nowhere."""

    def __init__(self, run: Any = None) -> None:
        self._run = run

    def log(self, progress: dict[str, Any]) -> None:
        """Metrics of one logged step."""
        if self._run is not None:
            step = int(progress["step"])
            self._run.log({key: value for key, value in progress.items() if key not in ("step", "steps")}, step=step)

    def finish(self, row: dict[str, Any], record: TrialRecord) -> None:
        """The trial's end: status, final metrics, asked and applied."""
        if self._run is not None:
            self._run.summary.update(without_nan(row["metrics"]) | {"status": row["status"]})
            self._run.config.update({"applied": record.applied, "asked": record.asked}, allow_val_change=True)


@dataclass(frozen=True)
class Tracker:
    """Opens a run per trial. Picklable: workers get a copy."""

    kind: Tracking
    study: str
    store: Store

    @contextlib.contextmanager
    def trial(self, planned: Any) -> Iterator[TrialTrack]:
        """A run for one trial. A tracker that cannot start is named on stderr, and never fails the trial."""
        run = None
        if self.kind == "wandb":
            try:
                run = self._start(planned)
            except Exception as error:  # a mirror must not cost a training run
                print(f"W&B: trial {planned.fingerprint} is not tracked: {error}", file=sys.stderr)
        try:
            yield TrialTrack(run)
        finally:
            if run is not None:
                run.finish()

    def _start(self, planned: Any) -> Any:
        import wandb

        directory = self.store.study(self.study) / "wandb"
        directory.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("WANDB_SILENT", "true")
        return wandb.init(
            project=os.environ.get("WANDB_PROJECT", "sweeper"),
            id=f"{self.study}-{planned.fingerprint}",
            name=f"{planned.spec.model.name}-e{planned.spec.recipe.num_train_epochs:g}-s{planned.spec.seed}",
            group=self.study,
            job_type="trial",
            mode=os.environ.get("WANDB_MODE", "offline"),  # type: ignore[arg-type]
            resume="allow",
            dir=str(directory),
            config=planned.row(),
            settings=wandb.Settings(
                silent=True, disable_git=True, disable_code=True, x_disable_stats=True, console="off"
            ),
        )

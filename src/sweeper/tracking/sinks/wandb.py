"""The tracker `wandb`: one W&B run per trial, grouped by study and resumable. Offline unless WANDB_MODE is set."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, cast
from urllib.parse import urlsplit

from sweeper.errors import UsageError
from sweeper.storage import Store, to_strict_json
from sweeper.tracking.sinks.base import MetricSink, SinkType

if TYPE_CHECKING:
    from sweeper.planning.plan import PlannedTrial
    from sweeper.training import TrainingProgress, TrialRecord, TrialRow


Mode = Literal["online", "offline", "shared", "disabled"]
CONNECT_SECONDS = 5.0
_DEFAULT_SERVER = "https://api.wandb.ai"
_ENCLOSING_RUN = ("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_NAME", "WANDB_RUN_GROUP", "WANDB_JOB_TYPE", "WANDB_RESUME")
"""Variables that W&B's sweep agent, or a user's own run, leaves in the environment: they override what `init` gets."""


@contextmanager
def _ignore_enclosing_run() -> Iterator[None]:
    """Hide the variables of another run: each trial is a run of its own."""
    hidden = {name: os.environ.pop(name) for name in _ENCLOSING_RUN if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


def find_outage() -> str:
    """Say why W&B's server cannot be reached, where WANDB_MODE is `online`; else return an empty text.

    W&B itself would wait a minute and a half for it in every trial.
    """
    if _get_mode() != "online":
        return ""
    parts = urlsplit(os.environ.get("WANDB_BASE_URL", _DEFAULT_SERVER))
    port = parts.port or (80 if parts.scheme == "http" else 443)
    if any(name in os.environ for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy")):
        return ""  # only the proxy knows
    try:
        with socket.create_connection((str(parts.hostname), port), timeout=CONNECT_SECONDS):
            return ""
    except OSError as error:
        return (
            f"W&B at {parts.hostname} cannot be reached ({error.strerror or error}): runs are recorded offline; "
            "`wandb sync` sends them later"
        )


def _get_mode() -> Mode:
    return cast("Mode", os.environ.get("WANDB_MODE", "offline"))


class WandbRun(MetricSink):
    """One trial's run. Its id is made of the study and the trial's fingerprint, so that it can be resumed."""

    def __init__(self, study: str, store: Store, trial: PlannedTrial, is_offline: bool) -> None:
        import wandb

        directory = store.study_folder(study) / "wandb"
        directory.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("WANDB_SILENT", "true")
        run_id = f"{study}-{trial.fingerprint}"
        with _ignore_enclosing_run():
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "sweeper"),
                id=run_id,
                name=f"{trial.spec.model.name}-e{trial.spec.recipe.num_train_epochs:g}-s{trial.spec.seed}",
                group=study,
                job_type="trial",
                mode="offline" if is_offline else _get_mode(),
                resume="allow",
                dir=str(directory),
                config=trial.to_row(),
                settings=wandb.Settings(
                    silent=True, disable_git=True, disable_code=True, x_disable_stats=True, console="off"
                ),
            )
        if self._run.id != run_id:
            found = f"run {self._run.id}"
            self._run.finish()
            hint = "unset the WANDB_ variables that name a run, or use --tracking none"
            raise UsageError("W&B", requested=f"run {run_id}", found=found, hint=hint)

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


SINK = SinkType(WandbRun, find_outage)

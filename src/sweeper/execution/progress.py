"""The live display of a run: trials done, running and failed, current loss, and the time left."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sweeper.planning.plan import Plan, PlannedTrial
from sweeper.storage import Store
from sweeper.tracking import StudyMetrics
from sweeper.training import TrialProgress, TrialRow, read_record

_SHORT_AXES = {"num_train_epochs": "epochs", "learning_rate": "lr", "max_grad_norm": "clip"}
_REFRESHES_PER_SECOND = 4


@dataclass
class _RunningTrial:
    """The latest numbers of a running trial."""

    stage: str = ""
    step: int = 0
    total_steps: int = 0
    loss: float | None = None

    def update(self, progress: TrialProgress) -> None:
        """Update from a report. A report without a loss leaves the last one."""
        self.stage = progress.stage
        if progress.training is not None:
            self.step, self.total_steps = progress.training.step, progress.training.total_steps
            self.loss = self.loss if progress.training.loss is None else progress.training.loss

    @property
    def finished_share(self) -> float:
        """Share of the training steps that are done."""
        return self.step / self.total_steps if self.total_steps else 0.0


class ProgressDisplay:
    """Shows a running study on a terminal; on other output, prints one line per ended trial.

    Example:
        with ProgressDisplay(Console(stderr=True)) as display:
            run_study(plan, store, backend="inline", address=None, tracking="none", display=display)
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.metrics = StudyMetrics()
        self._trials: dict[str, PlannedTrial] = {}
        self._label_axes = ["num_train_epochs", "learning_rate"]
        self._prepared_share = self._audited_share = 1.0
        self._running: dict[str, _RunningTrial] = {}
        self._planned_count = self._reused_count = self._finished_count = self._failed_count = 0
        self._remaining_work: dict[str, float] = {}
        """Relative work of trials that have not ended."""
        self._pending_search_work: list[float] = []
        """Relative work of trials that a search has still to propose."""
        self._finished_work = 0.0
        self._started_at = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> ProgressDisplay:
        if self.console.is_terminal:
            self._live = Live(
                get_renderable=self._render, console=self.console, refresh_per_second=_REFRESHES_PER_SECOND
            )
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the terminal as it was. Lines can still be printed."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def start_study(self, plan: Plan, todo: Collection[PlannedTrial], store: Store, *, n_waiting: int = 0) -> None:
        """Show a study whose unfinished trials are `todo`, besides `n_waiting` that claims may need later."""
        self._planned_count = len(plan.trials) + len(plan.placeholders) - n_waiting
        self._reused_count = len(plan.trials) - len(todo) - n_waiting
        self._pending_search_work = [_estimate_relative_work(trial) for trial in plan.placeholders]
        self._trials = {trial.fingerprint: trial for trial in plan.trials}
        varied = plan.varying_axes
        self._label_axes += [axis for axis in varied if axis not in (*self._label_axes, "model", "seed")]
        self._remaining_work = {trial.fingerprint: _estimate_relative_work(trial) for trial in todo}
        self._started_at = time.monotonic()
        reused = self._trials.keys() - self._remaining_work.keys()  # and those that wait, which have no record
        records = {fingerprint: read_record(store.record_path(fingerprint)) for fingerprint in reused}
        statuses = {fingerprint: record.status for fingerprint, record in records.items() if record}
        self.metrics.start(plan.sweep.name, self._trials, statuses, store.root)
        to_run = self._planned_count - self._reused_count
        self.print_line(
            f"{plan.sweep.name}: {self._planned_count + n_waiting} trials, {self._reused_count} finished before, "
            f"{to_run} to run{f', {n_waiting} only if claims stay open' if n_waiting else ''}, in {store.location}"
        )

    def add_look(self, trials: Collection[PlannedTrial], n_failed: int) -> None:
        """Add the trials that open claims need for their next look; `n_failed` of those before have no result."""
        self._planned_count += len(trials)
        self._remaining_work |= {trial.fingerprint: _estimate_relative_work(trial) for trial in trials}
        open_claims = f"open claims need {len(trials)} more trials" if trials else "no claim needs more trials"
        if n_failed:
            open_claims = f"{n_failed} trials that they need have no result; {open_claims}"
        self.print_line(f"looked at the claims: {open_claims}")

    def add_trial(self, trial: PlannedTrial, row: TrialRow | None) -> None:
        """Add a trial that was unknown when the study started; with its row if it has ended before."""
        if trial.fingerprint not in self._trials:
            self._trials[trial.fingerprint] = trial
            if self._pending_search_work:
                self._pending_search_work.pop()
            else:
                self._planned_count += 1
            if row is not None:
                self._reused_count += 1
        if row is None:
            self._remaining_work[trial.fingerprint] = _estimate_relative_work(trial)
        self.metrics.add_trial(trial, row.status if row else None)

    def on_preparation_progress(self, share: float) -> None:
        """Show the share of the data that is prepared, 0 to 1."""
        self._prepared_share = share

    def on_audit_progress(self, share: float) -> None:
        """Show the share of the data that is compared with the test queries, 0 to 1."""
        self._audited_share = share

    def print_line(self, text: str) -> None:
        """Print a line above the live display."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def on_progress(self, fingerprint: str, progress: TrialProgress) -> None:
        """Show the latest numbers of a running trial."""
        trial = self._running.setdefault(fingerprint, _RunningTrial())
        if progress.reason and progress.stage != trial.stage:
            self.print_line(f"{self._format_arm(fingerprint)}  {progress.stage}: {progress.reason}")
        trial.update(progress)
        self.metrics.on_progress(fingerprint, progress)

    def on_trial_end(self, row: TrialRow) -> None:
        """Print the row of a trial that ended."""
        self._running.pop(row.fingerprint, None)
        self.metrics.on_trial_end(row)
        self._finished_work += self._remaining_work.pop(row.fingerprint, 0.0)
        self._finished_count += 1
        self._failed_count += row.is_failed
        count = f"[{self._reused_count + self._finished_count}/{self._planned_count}]"
        reason = f": {row.failure.message}" if row.failure else ""
        self.print_line(
            f"{count} {self._format_arm(row.fingerprint)}  {row.status}  {'  '.join(_format_metrics(row))}{reason}"
        )

    def _format_arm(self, fingerprint: str) -> str:
        row = self._trials[fingerprint].to_row()
        values = (f"{row[a]:g}" if isinstance(row[a], int | float) else str(row[a] or "off") for a in self._label_axes)
        settings = [
            f"{_SHORT_AXES.get(axis, axis)} {value}" for axis, value in zip(self._label_axes, values, strict=True)
        ]
        changes = [f"changed at {change['step']:,}" for change in row.get("changes", ())]
        return " ".join([row["model"], *settings, *changes, f"seed {row['seed']}"])

    def _render(self) -> RenderableType:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column in ("running", "stage", "step", "loss"):
            table.add_column(column, justify="left" if column in ("running", "stage") else "right")
        for fingerprint, trial in self._running.items():
            step = f"{trial.step}/{trial.total_steps}" if trial.total_steps else ""
            loss = "" if trial.loss is None else f"{trial.loss:.3f}"
            table.add_row(self._format_arm(fingerprint), trial.stage, step, loss)
        return Group(table, Text(self._format_headline(), style="bold"))

    def _format_headline(self) -> str:
        finished = self._reused_count + self._finished_count
        left = self._planned_count - finished
        parts = [f"{finished} done ({self._failed_count} failed)", f"{len(self._running)} running", f"{left} left"]
        if self._prepared_share < 1:
            parts.append(f"preparing data {self._prepared_share:.0%}")
        if self._audited_share < 1:
            parts.append(f"checking train/test contamination {self._audited_share:.0%}")
        elapsed = time.monotonic() - self._started_at
        running_work = sum(
            _estimate_relative_work(self._trials[f]) * t.finished_share for f, t in self._running.items()
        )
        done = self._finished_work + running_work
        if done > 0 and left:
            remaining = sum(self._remaining_work.values()) + sum(self._pending_search_work) - running_work
            parts.append(f"about {elapsed * max(remaining, 0.0) / done / 60:.1f} min left")
        return f"{', '.join(parts)}, {elapsed / 60:.1f} min elapsed"


def _format_metrics(row: TrialRow) -> list[str]:
    columns = [
        ("val_loss", "val loss", ".3f"),
        ("val_pass_rate", "val pass rate", ".1%"),
        ("pass_rate", "pass rate", ".1%"),
    ]
    if row.status == "PRUNED":
        columns.insert(1, ("rung_loss", "loss at its rung", ".3f"))
    return [f"{label} {row.metrics[key]:{form}}" for key, label, form in columns if row.metrics.get(key) is not None]


def _estimate_relative_work(trial: PlannedTrial) -> float:
    """Estimate the relative work of a trial, for the time left: parameters x epochs, plus a constant per epoch."""
    return ((trial.parameters or 0) + 50_000) * trial.spec.recipe.num_train_epochs

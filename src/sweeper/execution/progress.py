"""The live display: trials done / running / failed, current loss, pass rate, time left."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sweeper.config.axes import format_axis_value, get_axis_label
from sweeper.planning.plan import Plan, PlannedTrial
from sweeper.storage import Store
from sweeper.tracking import StudyMetrics
from sweeper.training import TrialRow, read_record


class ProgressDisplay:
    """Shows a running study on a terminal; on anything else, a line for each trial that ends."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.metrics = StudyMetrics()
        self._trials: dict[str, PlannedTrial] = {}
        self._label_axes = ["num_train_epochs", "learning_rate"]
        self._prepared_share = self._audited_share = 1.0
        self._running_progress: dict[str, dict[str, Any]] = {}
        self._planned_count = self._reused_count = self._finished_count = self._failed_count = 0
        self._remaining_work: dict[str, float] = {}
        self._pending_search_work: list[float] = []
        """Work of trials that a search has still to propose."""
        self._finished_work = 0.0
        self._started_at = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> ProgressDisplay:
        if self.console.is_terminal:
            self._live = Live(get_renderable=self._render, console=self.console, refresh_per_second=4)
            self._live.__enter__()
        return self

    def __exit__(self, kind: Any, *rest: Any) -> None:
        if self._live is not None:
            self._live.__exit__(kind, *rest)

    def start_study(self, plan: Plan, todo: list[PlannedTrial], store: Store) -> None:
        """The study and what of it is left to do."""
        self._planned_count, self._reused_count = (
            len(plan.trials) + len(plan.placeholders),
            len(plan.trials) - len(todo),
        )
        self._pending_search_work = [_estimate_relative_work(trial) for trial in plan.placeholders]
        self._trials = {trial.fingerprint: trial for trial in plan.trials}
        varied = plan.varying_axes
        self._label_axes += [axis for axis in varied if axis not in (*self._label_axes, "model", "seed")]
        self._remaining_work = {t.fingerprint: _estimate_relative_work(t) for t in todo}
        self._started_at = time.monotonic()
        before = self._trials.keys() - self._remaining_work.keys()
        records = {fingerprint: read_record(store.record_path(fingerprint)) for fingerprint in before}
        ended = {fingerprint: record.status for fingerprint, record in records.items() if record}
        self.metrics.start(plan.sweep.name, self._trials, ended, store.root)
        counts = f"{self._planned_count} trials, {self._reused_count} finished before, {self._planned_count - self._reused_count} to run"
        self.print_line(f"{plan.sweep.name}: {counts}, in {store.location}")

    def add_trial(self, trial: PlannedTrial, row: TrialRow | None) -> None:
        """A trial that nobody knew of when the study started; with its row where it has ended before."""
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
        """How much of the data is read, 0 to 1."""
        self._prepared_share = share

    def on_audit_progress(self, share: float) -> None:
        """How much of the data is held against the test queries, 0 to 1."""
        self._audited_share = share

    def print_line(self, text: str) -> None:
        """A line that stays."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def on_progress(self, fingerprint: str, progress: dict[str, Any]) -> None:
        """A running trial's latest numbers."""
        self._running_progress.setdefault(fingerprint, {}).update(progress)
        self.metrics.on_progress(fingerprint, progress)

    def on_trial_end(self, row: TrialRow) -> None:
        """A trial that ended, with its row."""
        fingerprint, metrics = row.fingerprint, row.metrics
        self._running_progress.pop(fingerprint, None)
        self.metrics.on_trial_end(row)
        self._finished_work += self._remaining_work.pop(fingerprint, 0.0)
        self._finished_count += 1
        self._failed_count += row.is_failed
        numbers = [
            f"{label} {metrics[key]:{form}}"
            for key, label, form in (
                ("val_loss", "val loss", ".3f"),
                ("rung_loss", "loss at its rung", ".3f") if row.status == "PRUNED" else ("", "", ""),
                ("val_pass_rate", "val pass rate", ".1%"),
                ("pass_rate", "pass rate", ".1%"),
            )
            if metrics.get(key) is not None
        ]
        why = f": {row.failure.message}" if row.failure else ""
        count, arm = (
            f"[{self._reused_count + self._finished_count}/{self._planned_count}]",
            self._format_arm(fingerprint),
        )
        self.print_line(f"{count} {arm}  {row.status}  {'  '.join(numbers)}{why}")

    def _format_arm(self, fingerprint: str) -> str:
        row = self._trials[fingerprint].to_row()
        named = [f"{get_axis_label(axis, short=True)} {format_axis_value(row[axis])}" for axis in self._label_axes]
        changed = [f"changed at {change['step']:,}" for change in row.get("changes", ())]
        return " ".join([row["model"], *named, *changed, f"seed {row['seed']}"])

    def _render(self) -> RenderableType:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column in ("running", "stage", "step", "loss"):
            table.add_column(column, justify="left" if column in ("running", "stage") else "right")
        for fingerprint, now in self._running_progress.items():
            step = f"{now['step']:.0f}/{now['steps']:.0f}" if "step" in now else ""
            loss = f"{now['loss']:.3f}" if "loss" in now else ""
            table.add_row(self._format_arm(fingerprint), str(now.get("stage", "")), step, loss)
        return Group(table, Text(self._format_headline(), style="bold"))

    def _format_headline(self) -> str:
        left = self._planned_count - self._reused_count - self._finished_count
        text = f"{self._reused_count + self._finished_count} done ({self._failed_count} failed), {len(self._running_progress)} running, {left} to go"
        if self._prepared_share < 1:
            text += f", preparing data {self._prepared_share:.0%}"
        if self._audited_share < 1:
            text += f", looking for leakage {self._audited_share:.0%}"
        elapsed = time.monotonic() - self._started_at
        partly = sum(
            _estimate_relative_work(self._trials[f]) * n.get("step", 0) / n.get("steps", 1)
            for f, n in self._running_progress.items()
        )
        done = self._finished_work + partly
        if done > 0 and left:
            left_to_do = sum(self._remaining_work.values()) + sum(self._pending_search_work)
            seconds = elapsed * max(left_to_do - partly, 0.0) / done
            text += f", about {seconds / 60:.1f} min left"
        return f"{text}, {elapsed / 60:.1f} min so far"


def _estimate_relative_work(trial: PlannedTrial) -> float:
    """Relative cost of a trial, for the time left: parameters x epochs, plus a constant per epoch."""
    return ((trial.parameters or 0) + 50_000) * trial.spec.recipe.num_train_epochs

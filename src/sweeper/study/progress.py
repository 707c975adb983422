"""The live display: trials done / running / failed, current loss, pass rate, time left."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sweeper.store import Store
from sweeper.study.plan import Plan, PlannedTrial
from sweeper.tracking import StudyMetrics
from sweeper.trial import read_record


class ProgressDisplay:
    """Shows a running study on a terminal; on anything else, a line for each trial that ends."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.metrics = StudyMetrics()
        self._trials: dict[str, PlannedTrial] = {}
        self._shown = ["num_train_epochs", "learning_rate"]
        self._read = self._audited = 1.0
        self._running: dict[str, dict[str, Any]] = {}
        self._planned = self._reused = self._done = self._failed = 0
        self._work_left: dict[str, float] = {}
        self._to_come: list[float] = []
        """Work of trials that a search has still to propose."""
        self._work_done = 0.0
        self._started = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> ProgressDisplay:
        if self.console.is_terminal:
            self._live = Live(get_renderable=self._render, console=self.console, refresh_per_second=4)
            self._live.__enter__()
        return self

    def __exit__(self, kind: Any, *rest: Any) -> None:
        if self._live is not None:
            self._live.__exit__(kind, *rest)

    def start(self, plan: Plan, todo: list[PlannedTrial], store: Store) -> None:
        """The study and what of it is left to do."""
        self._planned, self._reused = len(plan.trials) + len(plan.stand_ins), len(plan.trials) - len(todo)
        self._to_come = [_work(trial) for trial in plan.stand_ins]
        self._trials = {trial.fingerprint: trial for trial in plan.trials}
        varied = plan.varied
        self._shown += [axis for axis in varied if axis not in (*self._shown, "model", "seed")]
        self._work_left = {t.fingerprint: _work(t) for t in todo}
        self._started = time.monotonic()
        before = self._trials.keys() - self._work_left.keys()
        records = {fingerprint: read_record(store.record(fingerprint)) for fingerprint in before}
        ended = {fingerprint: record.status for fingerprint, record in records.items() if record}
        self.metrics.start(plan.sweep.name, self._trials, ended, store.root)
        counts = f"{self._planned} trials, {self._reused} finished before, {self._planned - self._reused} to run"
        self.say(f"{plan.sweep.name}: {counts}, in {store.location}")

    def proposed(self, trial: PlannedTrial, row: dict[str, Any] | None) -> None:
        """A trial that nobody knew of when the study started; with its row where it has ended before."""
        if trial.fingerprint not in self._trials:
            self._trials[trial.fingerprint] = trial
            if self._to_come:
                self._to_come.pop()
            else:
                self._planned += 1
            if row is not None:
                self._reused += 1
        if row is None:
            self._work_left[trial.fingerprint] = _work(trial)
        self.metrics.proposed(trial, row["status"] if row else None)

    def preparing(self, share: float) -> None:
        """How much of the data is read, 0 to 1."""
        self._read = share

    def auditing(self, share: float) -> None:
        """How much of the data is held against the test queries, 0 to 1."""
        self._audited = share

    def say(self, text: str) -> None:
        """A line that stays."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def told(self, fingerprint: str, progress: dict[str, Any]) -> None:
        """A running trial's latest numbers."""
        self._running.setdefault(fingerprint, {}).update(progress)
        self.metrics.told(fingerprint, progress)

    def ended(self, row: dict[str, Any]) -> None:
        """A trial that ended, with its row."""
        fingerprint, metrics = row["fingerprint"], row.get("metrics", {})
        self._running.pop(fingerprint, None)
        self.metrics.ended(row)
        self._work_done += self._work_left.pop(fingerprint, 0.0)
        self._done += 1
        self._failed += row["status"] == "FAILED"
        numbers = [
            f"{label} {metrics[key]:{form}}"
            for key, label, form in (
                ("val_loss", "val loss", ".3f"),
                ("rung_loss", "loss at its rung", ".3f") if row["status"] == "PRUNED" else ("", "", ""),
                ("val_pass_rate", "val pass rate", ".1%"),
                ("pass_rate", "pass rate", ".1%"),
            )
            if metrics.get(key) is not None
        ]
        why = f": {row['failure']}" if row.get("failure") else ""
        count, arm = f"[{self._reused + self._done}/{self._planned}]", self._arm(fingerprint)
        self.say(f"{count} {arm}  {row['status']}  {'  '.join(numbers)}{why}")

    def _arm(self, fingerprint: str) -> str:
        row = self._trials[fingerprint].row()
        short = {"num_train_epochs": "epochs", "learning_rate": "lr", "max_grad_norm": "clip"}
        values = (f"{row[a]:g}" if isinstance(row[a], int | float) else str(row[a] or "off") for a in self._shown)
        named = [f"{short.get(axis, axis)} {value}" for axis, value in zip(self._shown, values, strict=True)]
        changed = [f"changed at {change['step']:,}" for change in row.get("changes", ())]
        return " ".join([row["model"], *named, *changed, f"seed {row['seed']}"])

    def _render(self) -> RenderableType:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column in ("running", "stage", "step", "loss"):
            table.add_column(column, justify="left" if column in ("running", "stage") else "right")
        for fingerprint, now in self._running.items():
            step = f"{now['step']:.0f}/{now['steps']:.0f}" if "step" in now else ""
            loss = f"{now['loss']:.3f}" if "loss" in now else ""
            table.add_row(self._arm(fingerprint), str(now.get("stage", "")), step, loss)
        return Group(table, Text(self._headline(), style="bold"))

    def _headline(self) -> str:
        left = self._planned - self._reused - self._done
        text = f"{self._reused + self._done} done ({self._failed} failed), {len(self._running)} running, {left} to go"
        if self._read < 1:
            text += f", preparing data {self._read:.0%}"
        if self._audited < 1:
            text += f", looking for leakage {self._audited:.0%}"
        elapsed = time.monotonic() - self._started
        partly = sum(_work(self._trials[f]) * n.get("step", 0) / n.get("steps", 1) for f, n in self._running.items())
        done = self._work_done + partly
        if done > 0 and left:
            left_to_do = sum(self._work_left.values()) + sum(self._to_come)
            seconds = elapsed * max(left_to_do - partly, 0.0) / done
            text += f", about {seconds / 60:.1f} min left"
        return f"{text}, {elapsed / 60:.1f} min so far"


def _work(trial: PlannedTrial) -> float:
    """Relative cost of a trial, for the time left: parameters x epochs, plus a constant per epoch."""
    return ((trial.parameters or 0) + 50_000) * trial.spec.recipe.num_train_epochs

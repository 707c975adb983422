"""The display of a run: one line per ended trial, and a headline of counts and time."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from small_studies import load_small_sweep

from sweeper.execution.progress import ProgressDisplay
from sweeper.planning.plan import Plan
from sweeper.planning.planner import plan_sweep
from sweeper.storage import Store
from sweeper.training import Failure, TrainingProgress, TrialProgress, TrialRow


@pytest.fixture
def plan() -> Plan:
    return plan_sweep(load_small_sweep("axes.seed=[0,1]", "axes.max_grad_norm=[null,1]"))


@pytest.fixture
def output() -> io.StringIO:
    return io.StringIO()


def start_display(output: io.StringIO, plan: Plan, store: Path, finished: int = 0) -> ProgressDisplay:
    display = ProgressDisplay(Console(file=output, width=200))
    display.start_study(plan, plan.trials[finished:], Store(store))
    return display


def test_start_study_prints_finished_and_remaining_trials(plan: Plan, output: io.StringIO, tmp_path: Path) -> None:
    start_display(output, plan, tmp_path, finished=1)
    assert "quickstart: 4 trials, 1 finished before, 3 to run" in output.getvalue()


def test_on_trial_end_prints_the_arm_and_its_metrics(plan: Plan, output: io.StringIO, tmp_path: Path) -> None:
    display = start_display(output, plan, tmp_path)
    off, one = plan.trials[0], next(trial for trial in plan.trials if trial.spec.recipe.max_grad_norm)
    display.on_trial_end(TrialRow(off.fingerprint, "COMPLETE", {"val_loss": 1.25, "pass_rate": 0.5}))
    display.on_trial_end(TrialRow.failed(one.fingerprint, Failure(kind="bug", message="broken", traceback="")))
    first, second = output.getvalue().splitlines()[1:]
    assert first.startswith("[1/4] opt-tiny-32 epochs 1")
    assert "clip off" in first
    assert first.endswith("seed 0  COMPLETE  val loss 1.250  pass rate 50.0%")
    assert second.startswith("[2/4] ")
    assert "clip 1" in second
    assert second.rstrip().endswith(": broken")


def test_headline_counts_trials_and_predicts_the_time_left(plan: Plan, output: io.StringIO, tmp_path: Path) -> None:
    display = start_display(output, plan, tmp_path)
    assert display._format_headline().startswith("0 done (0 failed), 0 running, 4 left, 0.0 min elapsed")
    display.on_progress(plan.trials[0].fingerprint, TrialProgress("training", TrainingProgress(2, 4, loss=1.0)))
    assert "1 running, 4 left, about " in display._format_headline()
    display.on_trial_end(TrialRow(plan.trials[0].fingerprint, "COMPLETE"))
    assert display._format_headline().startswith("1 done (0 failed), 0 running, 3 left, about ")
    display.on_preparation_progress(0.25)
    display.on_audit_progress(0.5)
    assert "preparing data 25%, checking train/test contamination 50%" in display._format_headline()


def test_running_trial_keeps_its_loss_if_a_report_has_none(plan: Plan, output: io.StringIO, tmp_path: Path) -> None:
    display, key = start_display(output, plan, tmp_path), plan.trials[0].fingerprint
    display.on_progress(key, TrialProgress("training", TrainingProgress(1, 4, loss=1.5)))
    display.on_progress(key, TrialProgress("training", TrainingProgress(2, 4)))
    Console(file=output, width=200).print(display._render())
    assert "2/4" in output.getvalue()
    assert "1.500" in output.getvalue()


def test_a_trial_that_waits_says_why_once(plan: Plan, output: io.StringIO, tmp_path: Path) -> None:
    display, key = start_display(output, plan, tmp_path), plan.trials[0].fingerprint
    for _ in range(2):
        display.on_progress(key, TrialProgress("waiting for storage", reason="No space left on device: rows"))
    (line,) = output.getvalue().splitlines()[1:]
    assert line.startswith("opt-tiny-32 epochs 1")
    assert line.endswith("waiting for storage: No space left on device: rows")


def test_close_leaves_a_terminal_on_which_lines_can_be_printed(plan: Plan, output: io.StringIO) -> None:
    with ProgressDisplay(Console(file=output, width=200, force_terminal=True)) as display:
        display.close()
        display.print_line("the end")
    assert output.getvalue().rstrip().endswith("the end")


def test_add_trial_counts_a_proposal_in_place_of_a_placeholder(plan: Plan, output: io.StringIO, tmp_path: Path) -> None:
    first, second, *placeholders = plan.trials
    study = Plan(plan.sweep, (first,), (), placeholders=(second,))
    display = ProgressDisplay(Console(file=output, width=200))
    display.start_study(study, [first], Store(tmp_path))
    display.add_trial(second, None)
    assert ", 2 left" in display._format_headline()
    display.add_trial(placeholders[0], None)
    assert ", 3 left" in display._format_headline(), "no placeholder is left: the study grows"

"""Store -> tables: every planned trial is a row, whatever became of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.config import Sweep, find_sweep, load_sweep, read_yaml_as_dict
from sweeper.errors import UsageError
from sweeper.evaluation import compute_suite_fingerprint, extract_metrics, read_outcomes, read_summary
from sweeper.planning.budget_limits import RESOURCE_USAGE_FILE
from sweeper.planning.plan import Plan, PlannedTrial
from sweeper.planning.planner import plan_sweep
from sweeper.planning.workload import compute_suite_fingerprints
from sweeper.search import load_search_history
from sweeper.storage import LockSnapshot, Store, read_json
from sweeper.training import FAILED, PRUNED, Failure, RowStatus, TrialRecord, TrialRow, read_record, read_status

if TYPE_CHECKING:
    import pandas as pd

CONTAMINATION_FILE = "leakage.json"
"""The audit of a study's training data against its test queries, in the study's folder."""


@dataclass(frozen=True)
class StudyTables:
    """A study as read from the store. `trials`: one row per planned trial; `outcomes`: one per (trial, query, judge,
    vote); `histories`: fingerprint -> logged steps; `leakage`: the audit's document, None where there was none;
    `predicted`: the plan as the first run wrote it; `spent`: what all runs spent (`purse`)."""

    plan: Plan
    trials: list[TrialRow]
    outcomes: pd.DataFrame
    histories: dict[str, pd.DataFrame]
    manifest: dict[str, Any]
    contamination: dict[str, Any] | None
    search_history: dict[str, Any] | None = None
    """The search's history (`search_document`)."""
    first_plan: dict[str, Any] | None = None
    resource_usage: dict[str, Any] | None = None


def load_study_plan(name: str, store: Store, overrides: list[str] | None = None) -> Plan:
    """The plan of a study by its name in the store, else of a sweep file or name. Raises UsageError or ConfigError."""
    as_run = store.study_folder(name) / "sweep.yaml"
    is_name = Path(name).name == name  # a path is a sweep file's
    if is_name:
        store.pull(as_run.parent, patterns=["*.yaml"])
    if is_name and as_run.exists() and not overrides:
        try:
            return plan_sweep(Sweep.model_validate(read_yaml_as_dict(as_run)), store)
        except ValueError as error:
            raise UsageError(str(as_run), found=f"not a sweep as run: {error}", hint="run the sweep again") from error
    return plan_sweep(load_sweep(find_sweep(name), overrides or []), store)


def read_trial_row(trial: PlannedTrial, store: Store) -> TrialRow:
    """The row of a trial that the store has finished, as a backend tells it."""
    record = read_record(store.record_path(trial.fingerprint))
    if record is None:
        return TrialRow(trial.fingerprint, "PENDING")
    row = TrialRow.from_record(record)
    if trial.evaluation is not None and record.status not in (FAILED, PRUNED):
        suite = compute_suite_fingerprint(trial.evaluation, trial.spec.data)
        if summary := read_summary(store, trial.fingerprint, suite):
            row = row.add_evaluation(extract_metrics(summary, trial.evaluation))
    return row


def is_finished(trial: PlannedTrial, store: Store) -> bool:
    """Whether nothing is left to do: trained (not FAILED) and, where asked, evaluated."""
    status = read_status(store.record_path(trial.fingerprint))
    if status is None or status == FAILED:
        return False
    if status == PRUNED:
        return trial.may_be_pruned
    if trial.evaluation is None:
        return True
    suite = compute_suite_fingerprint(trial.evaluation, trial.spec.data)
    return (store.evaluation_folder(trial.fingerprint, suite) / "summary.json").exists()


def pull_records(plan: Plan, store: Store) -> LockSnapshot:
    """Bring what the store's URL has of a plan, where it is one; to be called before records are read."""
    suites = zip(plan.trials, compute_suite_fingerprints(plan.trials), strict=True)
    return store.pull_results(
        {trial.fingerprint: suite for trial, suite in suites if trial.fingerprint}, plan.sweep.name
    )


def collect_study(plan: Plan, store: Store) -> StudyTables:
    """Read everything the store has about a plan. Missing numbers are NaN."""
    rows, files, histories = [], [], {}
    now = pull_records(plan, store)
    for trial, suite in zip(plan.trials, compute_suite_fingerprints(plan.trials), strict=True):
        record = read_record(store.record_path(trial.fingerprint)) if trial.fingerprint else None
        if record and record.status == PRUNED and not trial.may_be_pruned:
            record = None  # a search stopped it; this study wants its end
        row = _build_trial_row(trial, record, store, now)
        summary = read_summary(store, trial.fingerprint, suite) if suite and record else None
        if suite and trial.evaluation and summary is not None:
            row = row.add_evaluation(extract_metrics(summary, trial.evaluation))
            if trial.evaluation.split == "test":
                row = replace(row, subsets=summary.subsets)
                files.append(store.evaluation_folder(trial.fingerprint, suite) / "outcomes.parquet")
        elif suite and record and record.status not in (FAILED, PRUNED):
            row = _add_evaluation_status(row, store, suite, now)
        rows.append(row)
        history = store.trial_folder(trial.fingerprint) / "history.parquet"
        if record and history.exists():
            histories[trial.fingerprint] = _read_history(history)
    folder = store.study_folder(plan.sweep.name)
    manifest_path, leakage_path = folder / "manifest.json", folder / CONTAMINATION_FILE
    plan_path, spent_path = folder / "plan.json", folder / RESOURCE_USAGE_FILE
    search_history = load_search_history(plan.sweep, folder)
    return StudyTables(
        plan=plan,
        trials=rows,
        outcomes=read_outcomes(files),
        histories=histories,
        manifest=read_json(manifest_path) if manifest_path.exists() else {},
        search_history=search_history.to_document() if search_history else None,
        contamination=read_json(leakage_path) if leakage_path.exists() else None,
        first_plan=read_json(plan_path) if plan_path.exists() else None,
        resource_usage=read_json(spent_path) if spent_path.exists() else None,
    )


def collect_part_studies(tables: StudyTables, store: Store) -> list[StudyTables]:
    """Of a union: the tables of each of its sweeps, as if it had been run by itself."""
    return [collect_study(part, store) for part in tables.plan.parts]


def _build_trial_row(trial: PlannedTrial, record: TrialRecord | None, store: Store, snapshot: LockSnapshot) -> TrialRow:
    if record is None:
        row = TrialRow(trial.fingerprint, _infer_unfinished_status(trial, store, snapshot))
    else:
        row = TrialRow.from_record(record)
    return replace(row, planned=trial.to_row())


def _infer_unfinished_status(trial: PlannedTrial, store: Store, snapshot: LockSnapshot) -> RowStatus:
    """RUNNING while a live process holds the trial's lock, else PENDING."""
    held = bool(trial.fingerprint) and snapshot.is_locked(store.trial_folder(trial.fingerprint))
    return "RUNNING" if held else "PENDING"


def _add_evaluation_status(row: TrialRow, store: Store, suite: str, snapshot: LockSnapshot) -> TrialRow:
    """The row of a trained trial whose evaluation has not ended well."""
    directory = store.evaluation_folder(row.fingerprint, suite)
    if (directory / "failure.json").exists():
        return replace(row, status=FAILED, failure=Failure.model_validate(read_json(directory / "failure.json")))
    return replace(row, status="RUNNING" if snapshot.is_locked(directory) else "PENDING")


HISTORY_COLUMNS = ("step", "loss", "grad_norm", "val_loss")


def _read_history(path: Path) -> pd.DataFrame:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        history: pd.DataFrame = file.read(
            [name for name in HISTORY_COLUMNS if name in file.schema_arrow.names]
        ).to_pandas()
    return history

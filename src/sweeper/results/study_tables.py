"""Tables of a study, read from the store: one row per planned trial, finished or not."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from sweeper.config import Sweep, find_sweep, list_sweep_names, load_sweep, read_yaml_as_dict
from sweeper.errors import StoreError, UsageError, suggest_nearest
from sweeper.evaluation import compute_suite_fingerprint, extract_metrics, read_summary
from sweeper.evaluation.outcomes_table import combine_outcomes, read_checked_outcomes
from sweeper.planning.budget import RESOURCE_USAGE_FILE
from sweeper.planning.estimate import cannot_be_evaluated
from sweeper.planning.plan import Plan, PlannedTrial
from sweeper.planning.planner import plan_sweep
from sweeper.planning.workload import compute_suite_fingerprints
from sweeper.results.claim_registry import ClaimRegistry, read_claim_registry
from sweeper.results.look_ledger import LookLedger, read_look_ledger
from sweeper.results.study_evidence import list_needed_trials
from sweeper.search import JOURNAL_FILE, load_search_history
from sweeper.storage import JsonObject, LockSnapshot, Store, check_files, check_log, read_json
from sweeper.training import FAILED, PRUNED, Failure, RowStatus, TrialRecord, TrialRow, read_record, read_status

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

MANIFEST_FILE = "manifest.json"
"""Where and with which versions each run of a study ran, in its folder."""
CONTAMINATION_FILE = "leakage.json"
"""Train/test contamination of a study, in its folder."""
HISTORY_COLUMNS = ("step", "loss", "grad_norm", "val_loss")


@dataclass(frozen=True)
class StudyTables:
    """A study as read from the store."""

    plan: Plan
    trials: list[TrialRow]
    """One row per planned trial."""
    outcomes: pd.DataFrame
    """One row per (trial, query, judge, vote)."""
    histories: dict[str, pd.DataFrame]
    """Fingerprint -> logged steps, with `HISTORY_COLUMNS`."""
    runs: list[JsonObject]
    """Where and with which versions each run ran (`RunManifest`), oldest first; empty if the study has not run."""
    claim_registry: ClaimRegistry
    """When its claims were registered."""
    contamination: JsonObject | None
    """Train/test contamination; None without an audit."""
    needed: frozenset[str] = frozenset()
    """Fingerprints of the trials that it needs as its results are now."""
    search_history: JsonObject | None = None
    """History of the search (`SearchHistory.to_document`); None without a search."""
    first_plan: JsonObject | None = None
    """The plan with the estimates of the first run (`plan.json`); None if the study has not run."""
    look_ledger: LookLedger = field(default_factory=LookLedger)
    """On how many seeds its verdicts have been read."""
    resource_usage: JsonObject | None = None
    """Resources used in all runs (`BudgetTracker`); None if the study has not run."""

    @property
    def manifest(self) -> JsonObject:
        """The last run; empty if the study has not run."""
        return self.runs[-1] if self.runs else {}


def load_study_plan(name: str, store: Store, overrides: list[str] | None = None) -> Plan:
    """Plan a study of the store, or else a sweep.

    Args:
        name: name of a study, name of a sweep, or path of a sweep file.
        store: the store.
        overrides: settings as of `--set`. A study with overrides is planned from its sweep file.

    Raises:
        UsageError, ConfigError: there is no such study or sweep, or it is invalid.
    """
    stored_sweep = store.study_folder(name) / "sweep.yaml"
    is_name = Path(name).name == name  # otherwise the path of a sweep file
    if is_name:
        store.pull(stored_sweep.parent, patterns=["*.yaml"])
    if is_name and stored_sweep.exists() and not overrides:
        plan = plan_sweep(read_stored_sweep(stored_sweep), store)
        check_journal(stored_sweep.parent)
        return plan
    try:
        path = find_sweep(name)
    except UsageError as error:
        raise _make_unknown_study_error(name, store, is_stored=is_name and stored_sweep.exists()) from error
    return plan_sweep(load_sweep(path, overrides or []), store)


def read_stored_sweep(path: Path) -> Sweep:
    """Read the sweep of a study from its folder.

    Raises:
        StoreError: it cannot be read, or is not what was run.
    """
    hint = f"delete {path} and run the sweep again, which keeps all results; or use another name: --set name=NAME"
    check_files(path.parent, _read_study_digests(path.parent), path.name, hint)
    try:
        return Sweep.model_validate(read_yaml_as_dict(path))
    except ValueError as error:
        reason = f"{error.error_count()} invalid fields" if isinstance(error, ValidationError) else str(error)
        raise StoreError(str(path), found=f"invalid sweep: {reason}", hint=hint) from error


def check_journal(folder: Path) -> None:
    """Check that the journal of a study's search still begins as it did when a run ended.

    Args:
        folder: the study's folder.

    Raises:
        StoreError: it is missing, or has lost or changed proposals.
    """
    if digest := _read_study_digests(folder).get(JOURNAL_FILE):
        hint = "restore the file from a copy, or start a new search with --set name=NAME"
        check_log(folder / JOURNAL_FILE, *digest, hint)


def _read_study_digests(folder: Path) -> dict[str, tuple[int, str]]:
    """Read the digests that a run left in `plan.json`; empty before the first run, and of version 0.1.0."""
    plan = folder / "plan.json"
    digests = read_json(plan).get("files", {}) if plan.exists() else {}
    return {name: (int(size), str(sha256)) for name, (size, sha256) in digests.items()}


def _make_unknown_study_error(name: str, store: Store, *, is_stored: bool) -> UsageError:
    """Return the error for a study that no sweep file describes; a stored one is refused only with `--set`."""
    if is_stored:
        hint = "give the path of its sweep file, or leave out --set"
        return UsageError(f"study {name}", requested="--set", found="no sweep file of this name", hint=hint)
    studies = [path.parent.name for path in store.study_folder(name).parent.glob("*/sweep.yaml")]
    hint = suggest_nearest(name, [*studies, *list_sweep_names()])
    found = f"no such file, no study of this name in {store.location}, and no sweep of this name"
    return UsageError("study", requested=name, found=found, hint=hint)


def read_trial_row(trial: PlannedTrial, store: Store) -> TrialRow:
    """Read the row of a trial as a backend would report it; PENDING without a record."""
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
    """Return whether a trial is trained, without failure, and evaluated if it has an evaluation."""
    status = read_status(store.record_path(trial.fingerprint))
    if status is None or status == FAILED:
        return False
    if status == PRUNED:
        return trial.may_be_pruned
    if trial.evaluation is None:
        return True
    suite = compute_suite_fingerprint(trial.evaluation, trial.spec.data)
    folder = store.evaluation_folder(trial.fingerprint, suite)
    return (folder / "summary.json").exists() or cannot_be_evaluated(status, folder)


def pull_records(plan: Plan, store: Store) -> LockSnapshot:
    """Pull the results of a plan from the remote side of the store, if there is one. Call it before reading records."""
    suites = zip(plan.trials, compute_suite_fingerprints(plan.trials), strict=True)
    return store.pull_results(
        {trial.fingerprint: suite for trial, suite in suites if trial.fingerprint}, plan.sweep.name
    )


def collect_study(plan: Plan, store: Store) -> StudyTables:
    """Read all results of a plan from the store. Missing numbers are NaN."""
    rows, outcomes, histories = [], [], {}
    snapshot = pull_records(plan, store)
    for trial, suite in zip(plan.trials, compute_suite_fingerprints(plan.trials), strict=True):
        try:
            row, scored, history = _read_trial(trial, suite, store, snapshot)
        except (StoreError, ValidationError) as error:
            row, scored, history = _make_unreadable_row(trial, error), None, None
        rows.append(row)
        if scored is not None:
            outcomes.append(scored)
        if history is not None:
            histories[trial.fingerprint] = history
    table = combine_outcomes(outcomes)
    folder = store.study_folder(plan.sweep.name)
    runs = read_runs(folder)
    registry = read_claim_registry(
        folder, has_run=bool(runs), was_run_by_older_version=was_run_by_older_version(folder)
    )
    needed = list_needed_trials(plan.sweep, rows, table, histories, registry.list_late(plan.sweep.claims))
    if plan.sweep.until == "decided":
        rows = [
            replace(row, status="NOT_NEEDED") if row.status == "PENDING" and row.fingerprint not in needed else row
            for row in rows
        ]
    search_history = load_search_history(plan.sweep, folder)
    return StudyTables(
        plan=plan,
        trials=rows,
        outcomes=table,
        histories=histories,
        runs=runs,
        claim_registry=registry,
        look_ledger=_read_looks(folder),
        needed=frozenset(needed),
        search_history=search_history.to_document() if search_history else None,
        contamination=_read_contamination(folder / CONTAMINATION_FILE),
        first_plan=_read_json_or_none(folder / "plan.json"),
        resource_usage=_read_json_or_none(folder / RESOURCE_USAGE_FILE),
    )


def _read_looks(folder: Path) -> LookLedger:
    """Read the ledger of looks; empty if it is damaged: status goes on, and a report, which adds to it, says so."""
    try:
        return read_look_ledger(folder)
    except StoreError:
        return LookLedger()


def _read_trial(
    trial: PlannedTrial, suite: str | None, store: Store, snapshot: LockSnapshot
) -> tuple[TrialRow, pa.Table | None, pd.DataFrame | None]:
    """Read the row of a trial, its outcomes on test queries and its history; None for what it does not have yet.

    Raises:
        StoreError: a file that cannot be read, or is not what was written.
    """
    record = read_record(store.record_path(trial.fingerprint)) if trial.fingerprint else None
    if record and record.status == PRUNED and not trial.may_be_pruned:
        record = None  # the search of another study stopped it; this study needs all of its steps
    row, outcomes = _build_trial_row(trial, record, store, snapshot), None
    summary = read_summary(store, trial.fingerprint, suite) if suite and record else None
    if suite and trial.evaluation and summary is not None:
        row = row.add_evaluation(extract_metrics(summary, trial.evaluation))
        if trial.evaluation.split == "test":
            row = replace(row, subsets=summary.subsets)
            path = store.evaluation_folder(trial.fingerprint, suite) / "outcomes.parquet"
            outcomes = read_checked_outcomes(path, trial.fingerprint, summary)
    elif suite and record and record.status not in (FAILED, PRUNED):
        row = _add_evaluation_status(row, store, suite, snapshot)
    folder = store.trial_folder(trial.fingerprint)
    history = folder / "history.parquet"
    # One that the record lists and that is gone is damage; other runs, such as failed ones, may have none.
    has_history = record is not None and (history.name in record.files or history.exists())
    return row, outcomes, _read_history(history, record) if has_history and record else None


def _make_unreadable_row(trial: PlannedTrial, error: Exception) -> TrialRow:
    """Return the row of a trial whose files are damaged; the rest of the study goes on."""
    message = f"{error.where}: {error.found}; {error.hint}" if isinstance(error, StoreError) else str(error)
    failure = Failure(kind="damaged", message=" ".join(message.split()), traceback="")
    return TrialRow(trial.fingerprint, "UNREADABLE", failure=failure, planned=trial.to_row())


def read_runs(folder: Path) -> list[JsonObject]:
    """Read the runs of a study, oldest first; none if it has not run. Version 0.1.0 kept only the last one.

    Args:
        folder: the study's folder.

    Raises:
        StoreError: the manifest cannot be read.
    """
    manifest = _read_json_or_none(folder / MANIFEST_FILE)
    if manifest is None:
        return []
    runs = manifest.get("runs", [manifest])
    if not isinstance(runs, list) or not all(isinstance(run, dict) for run in runs):
        raise StoreError(str(folder / MANIFEST_FILE), found="not a list of runs", hint="move the file away")
    return runs


def was_run_by_older_version(folder: Path) -> bool:
    """Return whether version 0.1.0 ran a study last: its manifest is one run, and no list of runs."""
    manifest = _read_json_or_none(folder / MANIFEST_FILE)
    return manifest is not None and "runs" not in manifest


def collect_part_studies(tables: StudyTables, store: Store) -> list[StudyTables]:
    """Collect the tables of each sweep of a combined sweep, as if it had been run by itself."""
    return [collect_study(part, store) for part in tables.plan.parts]


def _build_trial_row(trial: PlannedTrial, record: TrialRecord | None, store: Store, snapshot: LockSnapshot) -> TrialRow:
    if record is None:
        row = TrialRow(trial.fingerprint, _infer_unfinished_status(trial, store, snapshot))
    else:
        row = TrialRow.from_record(record)
    return replace(row, planned=trial.to_row())


def _infer_unfinished_status(trial: PlannedTrial, store: Store, snapshot: LockSnapshot) -> RowStatus:
    """Return RUNNING if a process holds the lock of the trial, else PENDING."""
    is_locked = bool(trial.fingerprint) and snapshot.is_locked(store.trial_folder(trial.fingerprint))
    return "RUNNING" if is_locked else "PENDING"


def _add_evaluation_status(row: TrialRow, store: Store, suite: str, snapshot: LockSnapshot) -> TrialRow:
    """Return the row of a trained trial whose evaluation failed, runs or is pending."""
    directory = store.evaluation_folder(row.fingerprint, suite)
    if cannot_be_evaluated(row.status, directory):
        return row
    if (directory / "failure.json").exists():
        return replace(row, status=FAILED, failure=Failure.model_validate(read_json(directory / "failure.json")))
    return replace(row, status="RUNNING" if snapshot.is_locked(directory) else "PENDING")


def _read_contamination(path: Path) -> JsonObject | None:
    audit = _read_json_or_none(path)
    leaked = [] if audit is None else audit.get("exclude")
    keys = {"subset", "query_id"}
    if not isinstance(leaked, list) or not all(isinstance(entry, dict) and keys <= entry.keys() for entry in leaked):
        raise StoreError(str(path), found="not an audit of contamination", hint="delete it and run again")
    return audit


def _read_json_or_none(path: Path) -> JsonObject | None:
    return read_json(path) if path.exists() else None


def _read_history(path: Path, record: TrialRecord) -> pd.DataFrame:
    import pyarrow.parquet as pq

    check_files(path.parent, record.files, path.name)
    try:
        with pq.ParquetFile(path) as file:
            history: pd.DataFrame = file.read(
                [name for name in HISTORY_COLUMNS if name in file.schema_arrow.names]
            ).to_pandas()
    except Exception as error:  # a damaged file can break any part of the reader
        hint = f"delete {path.parent} and run again"
        raise StoreError(str(path), found=f"history cannot be read: {error}", hint=hint) from error
    return history

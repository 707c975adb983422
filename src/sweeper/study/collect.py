"""Store -> tables: every planned trial is a row, whatever became of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper import evaluate
from sweeper.errors import UsageError
from sweeper.spec import Sweep, find_sweep, load_sweep, read_plain
from sweeper.store import Snapshot, Store, read_json
from sweeper.study.costs.budget import SPENT
from sweeper.study.plan import Plan, PlannedTrial, plan_sweep
from sweeper.study.search import search_document
from sweeper.trial import FAILED, PRUNED, TrialRecord, read_record, read_status

if TYPE_CHECKING:
    import pandas as pd

NAN = float("nan")
LEAKAGE = "leakage.json"
"""The audit of a study's training data against its test queries, in the study's folder."""


@dataclass(frozen=True)
class StudyTables:
    """A study as read from the store. `trials`: one row per planned trial; `outcomes`: one per (trial, query, judge,
    vote); `histories`: fingerprint -> logged steps; `leakage`: the audit's document, None where there was none;
    `predicted`: the plan as the first run wrote it; `spent`: what all runs spent (`purse`)."""

    plan: Plan
    trials: list[dict[str, Any]]
    outcomes: pd.DataFrame
    histories: dict[str, pd.DataFrame]
    manifest: dict[str, Any]
    leakage: dict[str, Any] | None
    searched: dict[str, Any] | None = None
    """The search's history (`search_document`)."""
    predicted: dict[str, Any] | None = None
    spent: dict[str, Any] | None = None


def load_study(name: str, store: Store, overrides: list[str] | None = None) -> Plan:
    """The plan of a study by its name in the store, else of a sweep file or name. Raises UsageError or ConfigError."""
    as_run = store.study(name) / "sweep.yaml"
    is_name = Path(name).name == name  # a path is a sweep file's
    if is_name:
        store.pull(as_run.parent, only=["*.yaml"])
    if is_name and as_run.exists() and not overrides:
        try:
            return plan_sweep(Sweep.model_validate(read_plain(as_run)), store)
        except ValueError as error:
            raise UsageError(str(as_run), found=f"not a sweep as run: {error}", do="run the sweep again") from error
    return plan_sweep(load_sweep(find_sweep(name), overrides or []), store)


def suites_of(plan: Plan) -> list[str | None]:
    """Of each trial: the fingerprint of the suite that it is evaluated on; None where the sweep evaluates nothing."""
    known: dict[tuple[str, str], str] = {}
    found: list[str | None] = []
    for trial in plan.trials:
        if trial.evaluation is None:
            found.append(None)
            continue
        key = trial.evaluation.model_dump_json(), trial.spec.data.model_dump_json()
        if key not in known:
            known[key] = evaluate.suite_fingerprint(trial.evaluation, trial.spec.data)
        found.append(known[key])
    return found


def row_of(trial: PlannedTrial, store: Store) -> dict[str, Any]:
    """The row of a trial that the store has finished, as a backend tells it."""
    record = read_record(store.record(trial.fingerprint))
    if record is None:
        return {"fingerprint": trial.fingerprint, "status": "PENDING", "metrics": {}}
    metrics = dict(record.metrics) | {"parameters": record.parameters}
    if trial.evaluation is not None and record.status not in (FAILED, PRUNED):
        suite = evaluate.suite_fingerprint(trial.evaluation, trial.spec.data)
        if summary := evaluate.read_summary(store, trial.fingerprint, suite):
            metrics |= evaluate.metrics_of(summary, trial.evaluation)
    return {"fingerprint": trial.fingerprint, "status": record.status, "metrics": metrics}


def finished(trial: PlannedTrial, store: Store) -> bool:
    """Whether nothing is left to do: trained (not FAILED) and, where asked, evaluated."""
    status = read_status(store.record(trial.fingerprint))
    if status is None or status == FAILED:
        return False
    if status == PRUNED:
        return trial.may_be_pruned
    if trial.evaluation is None:
        return True
    suite = evaluate.suite_fingerprint(trial.evaluation, trial.spec.data)
    return (store.evaluation(trial.fingerprint, suite) / "summary.json").exists()


def refresh(plan: Plan, store: Store) -> Snapshot:
    """Bring what the store's URL has of a plan, where it is one; to be called before records are read."""
    suites = zip(plan.trials, suites_of(plan), strict=True)
    return store.refresh({trial.fingerprint: suite for trial, suite in suites if trial.fingerprint}, plan.sweep.name)


def collect(plan: Plan, store: Store) -> StudyTables:
    """Read everything the store has about a plan. Missing numbers are NaN."""
    rows, files, histories = [], [], {}
    now = refresh(plan, store)
    for trial, suite in zip(plan.trials, suites_of(plan), strict=True):
        record = read_record(store.record(trial.fingerprint)) if trial.fingerprint else None
        if record and record.status == PRUNED and not trial.may_be_pruned:
            record = None  # a search stopped it; this study wants its end
        row = _row(trial, record, store, now)
        summary = evaluate.read_summary(store, trial.fingerprint, suite) if suite and record else None
        if suite and summary is not None:
            row["metrics"] |= evaluate.metrics_of(summary, trial.evaluation) if trial.evaluation else {}
            if trial.evaluation and trial.evaluation.split == "test":
                row["subsets"] = summary["subsets"]
                files.append(store.evaluation(trial.fingerprint, suite) / "outcomes.parquet")
        elif suite and record and record.status not in (FAILED, PRUNED):
            row |= _unevaluated(store, trial.fingerprint, suite, now)
        rows.append(row)
        history = store.trial(trial.fingerprint) / "history.parquet"
        if record and history.exists():
            histories[trial.fingerprint] = _history(history)
    folder = store.study(plan.sweep.name)
    manifest_path, leakage_path = folder / "manifest.json", folder / LEAKAGE
    plan_path, spent_path = folder / "plan.json", folder / SPENT
    return StudyTables(
        plan=plan,
        trials=rows,
        outcomes=evaluate.read_outcomes(files),
        histories=histories,
        manifest=read_json(manifest_path) if manifest_path.exists() else {},
        searched=search_document(plan.sweep, folder),
        leakage=read_json(leakage_path) if leakage_path.exists() else None,
        predicted=read_json(plan_path) if plan_path.exists() else None,
        spent=read_json(spent_path) if spent_path.exists() else None,
    )


def collect_parts(tables: StudyTables, store: Store) -> list[StudyTables]:
    """Of a union: the tables of each of its sweeps, as if it had been run by itself."""
    return [collect(part, store) for part in tables.plan.parts]


def _row(trial: PlannedTrial, record: TrialRecord | None, store: Store, now: Snapshot) -> dict[str, Any]:
    metrics: dict[str, Any] = {"pass_rate": NAN, "val_loss": NAN}
    if record is not None:
        metrics |= {key: NAN if value is None else value for key, value in record.metrics.items()}
    return {
        **trial.row(),
        "status": record.status if record else _unfinished(trial, store, now),
        "failure": record.failure.model_dump() if record and record.failure else None,
        "metrics": metrics,
        "asked": record.asked if record else {},
        "applied": record.applied if record else {},
        "data": record.data if record else {},
        "resumed_from_step": record.resumed_from_step if record else None,
    }


def _unfinished(trial: PlannedTrial, store: Store, now: Snapshot) -> str:
    """RUNNING while a live process holds the trial's lock, else PENDING."""
    held = bool(trial.fingerprint) and now.held(store.trial(trial.fingerprint))
    return "RUNNING" if held else "PENDING"


def _unevaluated(store: Store, fingerprint: str, suite: str, now: Snapshot) -> dict[str, Any]:
    directory = store.evaluation(fingerprint, suite)
    if (directory / "failure.json").exists():
        return {"status": FAILED, "failure": read_json(directory / "failure.json")}
    return {"status": "RUNNING" if now.held(directory) else "PENDING"}


CURVES = ("step", "loss", "grad_norm", "val_loss")


def _history(path: Path) -> pd.DataFrame:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        history: pd.DataFrame = file.read([name for name in CURVES if name in file.schema_arrow.names]).to_pandas()
    return history

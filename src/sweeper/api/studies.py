"""Run a sweep, open its study, and read its tables, verdicts and report."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

from sweeper.api.plans import SweepPlan, refuse_underpowered
from sweeper.api.sweeps import load_sweep
from sweeper.config import Sweep
from sweeper.errors import UsageError, suggest_nearest
from sweeper.storage import JsonObject, Store

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from sweeper.planning.plan import Plan
    from sweeper.report.claim_document import ClaimEntry
    from sweeper.report.combined_document import CombinedReport
    from sweeper.report.document import Report
    from sweeper.results.study_tables import StudyTables

__all__ = ["Study", "StudyReport", "StudyVerdict", "open_study", "run"]


@dataclass(frozen=True)
class StudyVerdict:
    """The verdict on one claim."""

    id: str
    text: str
    """The claim."""
    kind: str
    label: str
    """`supported`, `refuted` or `inconclusive`."""
    sentence: str
    """The verdict in one sentence, with its numbers."""
    reason: str
    """Why it is inconclusive, or what limits it."""
    estimate: float
    """The comparison that decides, in `unit`; NaN where it is undefined."""
    interval: tuple[float, float]
    """Lower and upper end of its confidence interval at level 1 - `alpha`; NaN where it is undefined."""
    unit: str | None
    """`points`: a difference of pass rates, as a fraction (0.05 is five percentage points); `nats`: of losses."""
    alpha: float
    p: float
    p_adjusted: float
    """Adjusted by Holm's method over all claims of the study."""
    n_seeds: int
    n_queries: int
    registered: str | None
    """When the claim was registered, ISO 8601, UTC; None if that is not recorded."""
    late: str
    """How it departs from a claim registered before the first result, such as `added after 8 of 8 trials had
    finished`; empty if it does not."""

    @classmethod
    def from_entry(cls, entry: ClaimEntry) -> StudyVerdict:
        """Make the verdict from a claim of a report's document."""
        low, high = entry["interval"]
        return cls(
            id=entry["id"],
            text=entry["text"],
            kind=entry["kind"],
            label=entry["verdict"],
            sentence=entry["sentence"],
            reason=entry["reason"],
            estimate=_nan_if_none(entry["estimate"]),
            interval=(_nan_if_none(low), _nan_if_none(high)),
            unit=entry["unit"],
            alpha=entry["alpha"],
            p=_nan_if_none(entry["p"]),
            p_adjusted=_nan_if_none(entry["p_adjusted"]),
            n_seeds=entry["n_seeds"],
            n_queries=entry["n_queries"],
            registered=entry["registration"]["registered"],
            late=entry["registration"]["label"],
        )

    def __str__(self) -> str:
        """Return `claim: LABEL. sentence`."""
        late = f" ({self.late})" if self.late else ""
        return f"{self.id}: {self.label.upper()}{late}. {self.sentence}"


@dataclass(frozen=True)
class StudyReport:
    """A report that has been written."""

    document: Report | CombinedReport = field(repr=False)
    """Everything that the page shows; the JSON file holds the same."""
    path: Path
    """The HTML page."""

    @property
    def json_path(self) -> Path:
        """The JSON file, beside the page."""
        return self.path.with_suffix(".json")

    def write_wandb_report(self) -> Path:
        """Write the report as W&B blocks, `wandb_report.json` beside the page, and return its path."""
        from sweeper import report as reports

        return reports.write_wandb_report(cast("Report", self.document), self.path.parent)

    def push_to_wandb(self, entity: str | None = None, project: str | None = None) -> str:
        """Send the report to W&B.

        Args:
            entity: W&B entity; None: `WANDB_ENTITY`, or the account's own.
            project: W&B project; None: `WANDB_PROJECT`, or `sweeper`.

        Returns:
            Its URL.

        Raises:
            UsageError: no account, or no package `wandb-workspaces`.
        """
        from sweeper import report as reports

        entity = entity or os.environ.get("WANDB_ENTITY")
        project = project or os.environ.get("WANDB_PROJECT", "sweeper")
        return reports.push_wandb_report(cast("Report", self.document), entity, project)


class Study:
    """A study of the store: its trials, their results, the verdicts on its claims, and its report.

    Results are read on first use and kept; open the study again to see those of trials that ended since.

    Args:
        planned: the plan of the study.
        store: the store that holds its results.
    """

    def __init__(self, planned: Plan, store: Store) -> None:
        self.planned = planned
        self.store = store

    def __repr__(self) -> str:
        """Return the study's name and the numbers of its trials by status."""
        counts = ", ".join(f"{count:,} {status}" for status, count in self.status_counts.items())
        return f"Study({self.name!r}: {counts or 'no trials'})"

    @property
    def name(self) -> str:
        """Name of the study: that of its sweep."""
        return self.planned.sweep.name

    @property
    def sweep(self) -> Sweep:
        """The sweep, as it was run."""
        return self.planned.sweep

    @property
    def is_combined(self) -> bool:
        """Whether the study combines several sweeps."""
        return bool(self.planned.parts)

    @property
    def varying_axes(self) -> list[str]:
        """Axes with several values, except model and seed."""
        return self.planned.varying_axes

    @cached_property
    def tables(self) -> StudyTables:
        """All results of the study as typed objects."""
        from sweeper.results.study_tables import collect_study

        return collect_study(self.planned, self.store)

    @property
    def has_run(self) -> bool:
        """Whether the study, or any of its trials in another study, has run in this store."""
        return bool(self.tables.runs) or any(row.status not in ("PENDING", "NOT_NEEDED") for row in self.tables.trials)

    def require_run(self) -> None:
        """Check that the study, or any of its trials, has run.

        Raises:
            UsageError: it has not; the message names the studies of the store.
        """
        if not self.has_run:
            others = sorted(path.parent.name for path in self.store.study_folder(self.name).parent.glob("*/sweep.yaml"))
            known = f"; studies there: {', '.join(others)}" if others else ""
            found = f"it has not run in {self.store.location}{known}"
            raise UsageError(f"study {self.name}", found=found, hint=f"sweeper run {self.name}")

    @property
    def status_counts(self) -> dict[str, int]:
        """Number of trials by status."""
        return dict(Counter(str(row.status) for row in self.tables.trials))

    @property
    def part_statuses(self) -> dict[str, dict[str, int]]:
        """Of a combined study: sweep -> its number of trials by status."""
        trials = zip(self.planned.trials, self.tables.trials, strict=True)
        status = {trial.key: str(row.status) for trial, row in trials}
        return {
            part.sweep.name: dict(Counter(status[trial.key] for trial in part.trials)) for part in self.planned.parts
        }

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row per planned trial: what was planned, its status, and one column per metric (NaN where undefined)."""
        import pandas as pd

        nested = ("failure", "metrics", "asked", "applied", "data", "subsets")
        rows = []
        for row in self.tables.trials:
            document = row.to_document()
            columns = {key: value for key, value in document.items() if key not in nested}
            failure = None if row.failure is None else row.failure.message
            rows.append(columns | cast("JsonObject", document["metrics"]) | {"failure": failure})
        return pd.DataFrame(rows)

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row per logged step of a trial: fingerprint, axes, step, loss, grad_norm and val_loss (nats)."""
        import pandas as pd

        frames = [frame.copy() for frame in self.tables.histories.values()]
        for name, frame in zip(self.tables.histories, frames, strict=True):
            frame.insert(0, "fingerprint", name)
        if not frames:
            return pd.DataFrame(columns=["fingerprint", "step", "loss", "grad_norm", "val_loss"])
        return self._add_axes(pd.concat(frames, ignore_index=True))

    @cached_property
    def outcomes(self) -> pd.DataFrame:
        """One row per trial, test query, judge and vote, with the trial's axes; `passed` is 1, 0 or NaN (unscored)."""
        import pandas as pd

        from sweeper.evaluation.outcomes_table import OUTCOME_COLUMNS

        if self.tables.outcomes.empty:
            return pd.DataFrame(columns=list(OUTCOME_COLUMNS))
        return self._add_axes(self.tables.outcomes.copy(deep=False))

    def _add_axes(self, table: pd.DataFrame) -> pd.DataFrame:
        """Add the axes of each row's trial, before the other columns."""
        import pandas as pd

        trials = self.trials.drop_duplicates("fingerprint").set_index("fingerprint")
        fingerprints = pd.Categorical(table["fingerprint"])
        columns = [axis for axis in (*self.sweep.axes, *self.sweep.searched) if axis in trials.columns]
        for position, axis in enumerate(columns, start=1):
            values = trials[axis].reindex(fingerprints.categories).to_numpy()[fingerprints.codes]
            if axis in table.columns:
                table = table.drop(columns=axis)
            table.insert(min(position, len(table.columns)), axis, values)
        return table

    @cached_property
    def claims(self) -> pd.DataFrame:
        """One row per claim: the fields of its `StudyVerdict`, the interval as columns `low` and `high`."""
        import pandas as pd

        columns = [each.name for each in fields(StudyVerdict)]
        place = columns.index("interval")
        columns[place : place + 1] = ["low", "high"]
        rows = [vars(verdict) | dict(zip(("low", "high"), verdict.interval, strict=True)) for verdict in self.verdicts]
        return pd.DataFrame(rows, columns=columns)

    def verdict(self, claim: str) -> StudyVerdict:
        """Return the verdict on a claim.

        Args:
            claim: its id, as in the sweep file.

        Raises:
            UsageError: the sweep has no such claim, or the study has not run.
        """
        verdicts = {verdict.id: verdict for verdict in self.verdicts}
        if claim not in verdicts:
            found, hint = f"no such claim in study {self.name}", suggest_nearest(str(claim), verdicts)
            raise UsageError("claim", requested=str(claim), found=found, hint=hint)
        return verdicts[claim]

    @property
    def verdicts(self) -> list[StudyVerdict]:
        """The verdicts on the registered claims, in the order of the sweep file, then on those added later."""
        document = self._document
        return [StudyVerdict.from_entry(entry) for entry in (*document["claims"], *document["later_claims"])]

    @cached_property
    def _documents(self) -> tuple[Report | CombinedReport, dict[str, Report]]:
        """The report's document; of a combined study, also those of its parts."""
        from sweeper import report as reports
        from sweeper.results.study_tables import collect_part_studies

        self.require_run()
        if self.is_combined:
            return reports.build_combined_report(self.tables, collect_part_studies(self.tables, self.store))
        return reports.build_study_report(self.tables), {}

    @property
    def _document(self) -> Report | CombinedReport:
        return self._documents[0]

    def report(self, path: str | Path | None = None) -> StudyReport:
        """Evaluate the claims, record the look, and write the report as HTML and JSON; of a union also its parts'.

        Args:
            path: the page; the JSON file is written beside it. None: `report.html` in the study's folder of the store.

        Raises:
            UsageError: the study has not run, or `path` is a folder or ends in `.json`.
            StoreError: results that cannot be read.
            OSError: a file that cannot be written.
        """
        from sweeper import report as reports

        document, parts = self._documents
        folder = self.store.study_folder(self.name)
        written = StudyReport(document, _check_page(path) if path is not None else folder / "report.html")
        paths = {"html_path": written.path, "json_path": written.json_path}
        reports.record_report_looks(self.planned, self.store, document)  # first: no look goes unrecorded
        if self.is_combined:
            reports.write_combined_report(cast("CombinedReport", document), parts, **paths)
        else:
            reports.write_report(cast("Report", document), **paths)
        self.store.push(folder, patterns=["report*"])
        return written

    def read_search_history(self) -> JsonObject:
        """Return the proposals of the study's search, as `sweeper search history --json` prints them.

        Raises:
            UsageError: the sweep has no search.
        """
        from sweeper.search import load_search_history

        history = load_search_history(self.sweep, self.store.study_folder(self.name))
        if history is None:
            hint = "`sweeper status` shows its trials"
            raise UsageError(f"study {self.name}", found="a sweep without a search", hint=hint)
        return history.to_document()

    def to_document(self) -> JsonObject:
        """Return the document of `sweeper status --json`."""
        return {"study": self.name, "trials": [row.to_document() for row in self.tables.trials]}


def open_study(name: str | Path, storage: str | Path = "storage", overrides: Sequence[str] = ()) -> Study:
    """Open a study of a store.

    Args:
        name: name of the study; or the name or path of a sweep, whose trials in the store are read.
        storage: the store: a folder, or a URL such as `s3://bucket/folder`.
        overrides: `key=value` texts as given to `--set`; the study is then planned from its sweep file.

    Returns:
        The study; its results are read on first use.

    Raises:
        UsageError: no such study and no such sweep.
        ConfigError: the sweep is invalid.
    """
    from sweeper.results.study_tables import load_study_plan

    store = Store.from_location(storage)
    return Study(load_study_plan(str(name), store, list(overrides)), store)


def run(
    sweep: Sweep | str | Path | Mapping[str, object],
    storage: str | Path = "storage",
    *,
    backend: str = "ray",
    address: str | None = None,
    tracking: str = "wandb",
    accept_underpowered: bool = False,
    console: Console | None = None,
) -> Study:
    """Train and evaluate every unfinished trial of a sweep. Run it again to resume.

    Args:
        sweep: a sweep of `load_sweep`, or what it takes: a name, a path or a mapping.
        storage: the store: a folder, or a URL such as `s3://bucket/folder`.
        backend: `ray` runs trials in parallel on a cluster; `inline` runs them one by one in this process.
        address: the Ray cluster: `auto`, `host:port`, or `local` (from `start_local_cluster`). None starts Ray here.
        tracking: `wandb` (offline unless WANDB_MODE is set) or `none`.
        accept_underpowered: run claims whose minimum detectable effect exceeds their margin, as a sweep with
            `accept_underpowered: true` does.
        console: receives progress; None: standard error.

    Returns:
        The study.

    Raises:
        UsageError: an unknown backend or tracker, a plan with problems or underpowered claims, another sweep under the
            name of a study that has results, or another run of the study in progress.
        BudgetReachedError: the budget of the sweep ended the run.
        TrialsFailedError: a trial failed; the others ended, and `open_study` reads them.
        KeyboardInterrupt: the study can be resumed.
    """
    from rich.console import Console

    from sweeper.config import load_hardware_specs
    from sweeper.execution.backends.base import BACKENDS
    from sweeper.execution.progress import ProgressDisplay
    from sweeper.execution.study_runner import run_study
    from sweeper.planning.estimate import estimate_plan
    from sweeper.planning.planner import plan_sweep
    from sweeper.tracking import TRACKERS

    BACKENDS.check(backend, where="--backend")
    TRACKERS.check(tracking, where="--tracking")
    sweep = sweep if isinstance(sweep, Sweep) else load_sweep(sweep)
    store = Store.from_location(storage)
    planned, _ = estimate_plan(plan_sweep(sweep, store), store, load_hardware_specs())
    if not (accept_underpowered or sweep.accept_underpowered):
        refuse_underpowered(SweepPlan(planned))
    if address is not None:
        address = BACKENDS.load(backend).resolve_address(address)
    with ProgressDisplay(console or Console(stderr=True)) as display:
        planned = run_study(
            planned,
            store,
            backend=backend,
            address=address,
            tracking=tracking,  # type: ignore[arg-type]
            display=display,
        )
    return Study(planned, store)


def _check_page(path: str | Path) -> Path:
    """Check the path of a page, beside which the JSON file is written."""
    page = Path(path)
    if page.is_dir():
        raise UsageError(str(path), found="a folder", hint=f"give a file, such as {page / 'report.html'}")
    if page.suffix == ".json":
        raise UsageError(
            str(path), found="the name of the JSON file, which is written beside the page", hint="end it in .html"
        )
    return page


def _nan_if_none(value: float | None) -> float:
    return math.nan if value is None else value

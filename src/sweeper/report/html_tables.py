"""The document -> the tables of its page: every cell as text, with the key that it sorts by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias, TypedDict

from sweeper.config.axes import format_arm_name
from sweeper.report.claim_document import ClaimEntry, Number, Range
from sweeper.report.document import (
    ArmEntry,
    FailureEntry,
    Report,
    TrialEntry,
    get_axis,
)
from sweeper.report.formatting import MISSING, format_duration, format_number, format_percentage_points
from sweeper.report.trial_columns import STATUS, TrialColumn, list_page_columns, shorten_fingerprint

N_STATIC_ROWS = 200
"""Rows written into the page itself; a longer table is one block of JSON that the script shows page by page."""
MIN_SEARCHABLE_ROWS = 8
"""A table with at least this many rows has a search box."""
MAX_CLAIM_ARMS = 60
"""Arms listed under one claim; the page gives their number."""
MAX_FAILURES = 50
MAX_TRACEBACK_CHARS = 20_000
"""Characters kept of a traceback: its end."""
_DEFINITIONS = {"strict": "strict", "stabletoolbench": "StableToolBench", "tooleval": "ToolEval"}
_FAILURE_MODES = {
    "unfinished": "no final answer",
    "incoherent": "incoherent",
    "hallucinated": "unknown API",
    "overgenerated": "extra text after the call",
}

SortKey: TypeAlias = str | float | None
CompactCell: TypeAlias = SortKey | list[SortKey]


class TablePayload(TypedDict):
    """A table for the page's script."""

    kinds: list[str]
    rows: list[list[CompactCell]]


@dataclass(frozen=True)
class Cell:
    """One cell.

    Args:
        text: the text.
        sort_key: what it sorts by; None sorts last in a column of numbers.
        css_class: a class of its own.
        href: a link target.
    """

    text: str
    sort_key: SortKey = None
    css_class: str = ""
    href: str = ""

    @property
    def compact_value(self) -> CompactCell:
        """The cell as JSON, without empty values at its end."""
        key = float(f"{self.sort_key:.4g}") if isinstance(self.sort_key, float) else self.sort_key
        is_same_as_text = str(key) == self.text.replace(",", "")
        parts: list[SortKey] = [self.text, None if is_same_as_text else key, self.css_class, self.href]
        while len(parts) > 1 and parts[-1] in ("", None):
            parts.pop()
        return parts[0] if len(parts) == 1 else parts


@dataclass(frozen=True)
class Column:
    """A column. `css_class`: `n` for numbers, `mono`, or `nowrap`."""

    label: str
    css_class: str = ""


@dataclass(frozen=True)
class HtmlTable:
    """A sortable table. `status_column`: the column with a filter menu."""

    id: str
    label: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    status_column: int | None = None

    @property
    def static_rows(self) -> tuple[tuple[Cell, ...], ...]:
        """Rows in the page itself."""
        return self.rows[: N_STATIC_ROWS // 4] if self.is_paged else self.rows

    @property
    def is_paged(self) -> bool:
        """Whether there are more rows than the page holds."""
        return len(self.rows) > N_STATIC_ROWS

    @property
    def is_searchable(self) -> bool:
        """Whether the table has a search box."""
        return len(self.rows) >= MIN_SEARCHABLE_ROWS

    @property
    def statuses(self) -> list[str]:
        """Choices of the filter menu."""
        if self.status_column is None:
            return []
        return list(dict.fromkeys(row[self.status_column].text for row in self.rows))

    @property
    def payload(self) -> TablePayload:
        """All rows, for the script."""
        return {
            "kinds": [column.css_class for column in self.columns],
            "rows": [[cell.compact_value for cell in row] for row in self.rows],
        }


class FailureGroup(FailureEntry):
    """Trials with one failure: their places in the document, and their short names."""

    trials: list[int]
    names: list[str]


def build_html_tables(document: Report) -> dict[str, HtmlTable]:
    """Build every table whose length grows with the study, by id."""
    tables = [build_trials_table(document), build_cost_table(document)]
    if document["study"]["evaluated"]:
        tables += [build_subsets_table(document), build_failure_modes_table(document)]
    if document["leakage"]:
        tables.append(build_contamination_table(document))
    if document.get("predicted"):
        tables.append(build_predicted_table(document))
    return {table.id: table for table in tables}


def build_trials_table(document: Report) -> HtmlTable:
    """Build the table of every planned trial."""
    columns = list_page_columns([axis for axis in document["study"]["varied"] if axis != "model"])
    failure_numbers = {key: k for k, failure in enumerate(group_failures(document), 1) for key in failure["trials"]}
    rows = []
    for i, trial in enumerate(document["trials"]):
        cells = [_make_trial_cell(column, trial) for column in columns]
        if i in failure_numbers:
            k = columns.index(STATUS)
            cells[k] = replace(cells[k], href=f"#failure-{failure_numbers[i]}")
        rows.append(tuple(cells))
    return HtmlTable(
        "trials",
        "Every planned trial",
        tuple(Column(column.label, column.css_class) for column in columns),
        tuple(rows),
        status_column=columns.index(STATUS),
    )


def _make_trial_cell(column: TrialColumn, trial: TrialEntry) -> Cell:
    value = column.read(trial)
    text = column.format(value)
    if column is STATUS:
        return Cell(text, css_class=f"status {text}")
    is_number = column.css_class == "n" and not isinstance(value, bool)
    return Cell(text, value if is_number else None)


def build_subsets_table(document: Report) -> HtmlTable:
    """Build the table of pass rates by subset and overall, in percent."""
    names = sorted({row["subset"] for row in document["subsets"]})
    rates: dict[str, dict[str, Number]] = {}
    for row in document["subsets"]:
        rates.setdefault(row["arm"], {})[row["subset"]] = row["pass_rate"]
    columns = [Column("arm", "nowrap"), *_make_number_columns(*(name.replace("_", " ") for name in names))]
    columns += _make_number_columns("overall", "interval", "mean of subsets", "queries", "runs")
    rows = [
        (
            Cell(arm["label"]),
            *(make_bare_percent_cell(rates.get(arm["label"], {}).get(name)) for name in names),
            make_bare_percent_cell(arm["pass_rate"], "strong"),
            make_interval_cell(arm["interval"]),
            make_bare_percent_cell(arm["subset_mean"]["pass_rate"]),
            make_count_cell(arm["n_queries"]),
            _make_share_cell(arm["runs_done"], arm["runs"]),
        )
        for arm in document["arms"]
    ]
    return HtmlTable("subset-table", "Pass rate by subset", tuple(columns), tuple(rows))


def build_failure_modes_table(document: Report) -> HtmlTable:
    """Build the table of pass rates under each definition and of failure modes, for arms that were judged."""
    columns = [Column("arm", "nowrap")]
    columns += _make_number_columns(*_DEFINITIONS.values(), *_FAILURE_MODES.values(), "unseen tools")
    rows = []
    for arm in document["arms"]:
        if not arm["definitions"]:
            continue
        drop = arm["signatures"].get("unseen_tool_drop")
        rows.append(
            (
                Cell(arm["label"]),
                *(make_percent_cell(arm["definitions"].get(key)) for key in _DEFINITIONS),
                *(make_percent_cell(arm["signatures"].get(key)) for key in _FAILURE_MODES),
                Cell(MISSING) if drop is None else Cell(format_percentage_points(-drop), -drop),
            )
        )
    return HtmlTable("signature-table", "Definitions and failures", tuple(columns), tuple(rows))


def build_contamination_table(document: Report) -> HtmlTable:
    """Build the table of pass rates with and without leaked test queries, in percent."""
    names = ("all queries", "interval", "queries", "without leaked", "interval", "queries")
    columns = (Column("arm", "nowrap"), *_make_number_columns(*names))
    rows = []
    for arm in document["arms"]:
        cells = [Cell(arm["label"])]
        for rate in (arm, arm["without_leaked"]):
            cells += [
                make_bare_percent_cell(rate["pass_rate"] if rate else None),
                make_interval_cell(rate["interval"] if rate else [None, None]),
                make_count_cell(rate["n_queries"] if rate else None),
            ]
        rows.append(tuple(cells))
    return HtmlTable("leakage-table", "Pass rates without leaked queries", columns, tuple(rows))


def build_cost_table(document: Report) -> HtmlTable:
    """Build the table of mean time and compute per run of each arm."""
    is_evaluated = document["study"]["evaluated"]
    names = ["training", "training FLOPs"]
    names += ["evaluation", "evaluation per solved", "all per solved"] if is_evaluated else []
    columns = (Column("arm", "nowrap"), *_make_number_columns(*names, "runs", "diverged"))
    rows = []
    for arm in document["arms"]:
        cost = arm["cost"]
        cells = [Cell(arm["label"]), make_duration_cell(cost["train_seconds"]), make_flops_cell(cost["train_flops"])]
        if is_evaluated:
            cells.append(make_duration_cell(cost["eval_seconds"]))
            cells.append(make_short_duration_cell(cost["eval_seconds_per_solved"]))
            cells.append(make_short_duration_cell(cost["seconds_per_solved"]))
        cells += [_make_share_cell(arm["runs_done"], arm["runs"]), make_count_cell(arm["runs_diverged"])]
        rows.append(tuple(cells))
    return HtmlTable("cost-table", "Cost and time", columns, tuple(rows))


def build_predicted_table(document: Report) -> HtmlTable:
    """Build the table of predicted against actual time of each arm's trials."""
    columns = (Column("arm", "nowrap"), *_make_number_columns("ran", "predicted", "actual", "actual / predicted"))
    predicted = document["predicted"]
    rows = [
        (
            Cell(arm["label"]),
            _make_share_cell(arm["ran"], arm["planned"]),
            make_duration_cell(arm["predicted"]),
            make_duration_cell(arm["actual"]),
            make_number_cell(arm["ratio"], ".2f"),
        )
        for arm in ([*predicted["arms"], predicted["all"]] if predicted else ())
    ]
    return HtmlTable("predicted-table", "Predicted against actual", columns, tuple(rows))


def find_claim_arms(claim: ClaimEntry, document: Report) -> list[ArmEntry]:
    """Find the arms that a claim's comparisons name, in the document's order.

    One side of a comparison may name several axes of an arm, as in `opt-350m, clip 0.3`.
    """
    names = {name for part in (*claim["components"], *claim["beside"]) for name in part["names"]}
    sides = [set(name.split(", ")) for name in names]
    arms = []
    for arm in document["arms"]:
        own_names = {format_arm_name(axis, get_axis(arm, axis)) for axis in document["study"]["axes"]}
        if any(side <= own_names for side in sides):
            arms.append(arm)
    return arms


def group_failures(document: Report) -> list[FailureGroup]:
    """Group failures of one kind and message; the first trial's traceback stands for all."""
    groups: dict[tuple[str, str], FailureGroup] = {}
    for i, trial in enumerate(document["trials"]):
        failure = trial["failure"]
        if failure:
            group = groups.setdefault(
                (failure["kind"], failure["message"]),
                {**failure, "traceback": failure["traceback"][-MAX_TRACEBACK_CHARS:], "trials": [], "names": []},
            )
            group["trials"].append(i)
            group["names"].append(shorten_fingerprint(trial["fingerprint"]))
    return list(groups.values())[:MAX_FAILURES]


def _make_number_columns(*labels: str) -> list[Column]:
    return [Column(label, "n") for label in labels]


def _make_share_cell(count: int, total: int) -> Cell:
    return Cell(f"{count:,} of {total:,}", count)


def make_count_cell(number: Number) -> Cell:
    """Make a cell for a whole number."""
    return Cell(format_number(number, ",.0f"), number)


def make_percent_cell(rate: Number) -> Cell:
    """Make a cell for a rate: `77.5 %`."""
    return Cell(MISSING) if rate is None else Cell(f"{100 * rate:.1f} %", rate)


def make_bare_percent_cell(rate: Number, css_class: str = "") -> Cell:
    """Make a cell for a rate in a table of percentages: `77.5`."""
    return Cell(MISSING) if rate is None else Cell(f"{100 * rate:.1f}", rate, css_class)


def make_interval_cell(bounds: Range) -> Cell:
    """Make a cell for an interval in percent, sorted by its lower end."""
    low, high = bounds
    return Cell(MISSING) if low is None or high is None else Cell(f"{100 * low:.1f} to {100 * high:.1f}", low)


def make_number_cell(number: Number, format_spec: str = ".3f") -> Cell:
    """Make a cell for a number with fixed decimals, so that columns align."""
    return Cell(format_number(number, format_spec), number)


def make_duration_cell(n_seconds: Number) -> Cell:
    """Make a cell for a duration."""
    return Cell(format_duration(n_seconds), n_seconds)


def make_short_duration_cell(n_seconds: Number) -> Cell:
    """Make a cell for a short duration, with hundredths of a second."""
    is_short = n_seconds is not None and n_seconds < 120
    return Cell(f"{n_seconds:.2f} s" if is_short else format_duration(n_seconds), n_seconds)


def make_flops_cell(n_flops: Number) -> Cell:
    """Make a cell for a number of operations: `1.23e+15`."""
    return Cell(format_number(n_flops, ".3g"), n_flops)

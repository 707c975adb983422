"""The report's document -> the tables of its page: every cell as text, with what it is sorted by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeper.config.axes import format_arm_name
from sweeper.report.text import format_percentage_points

MISSING = "–"
STATIC_ROWS = 200
"""Rows written into the page itself; a longer table is one block of JSON, of which the script draws pages."""
MIN_SEARCHABLE_ROWS = 8
"""Rows from which a table can be searched."""
MAX_CLAIM_ARMS = 60
"""Arms listed under one claim; the page says how many there are."""
MAX_FAILURES = 50
MAX_TRACEBACK_CHARS = 20_000
"""Characters of a traceback, its end."""
AXIS_LABELS = {"num_train_epochs": "epochs", "max_grad_norm": "clip"}

SortKey = str | float | int | None


@dataclass(frozen=True)
class Cell:
    """Text, what it sorts by (nothing: last in a column of numbers), a class of its own, a place to go to."""

    text: str
    sort_key: SortKey = None
    css_class: str = ""
    href: str = ""

    @property
    def compact_value(self) -> Any:
        """As JSON, without what is empty at its end."""
        sort = float(f"{self.sort_key:.4g}") if isinstance(self.sort_key, float) else self.sort_key
        told = str(sort) == self.text.replace(",", "")
        parts: list[Any] = [self.text, None if told else sort, self.css_class, self.href]
        while len(parts) > 1 and parts[-1] in ("", None):
            parts.pop()
        return parts[0] if len(parts) == 1 else parts


@dataclass(frozen=True)
class Column:
    """A head. `kind`: `n` for numbers, `mono`, `nowrap`."""

    label: str
    css_class: str = ""


@dataclass(frozen=True)
class HtmlTable:
    """One table that sorts. `status`: the column that a menu filters."""

    id: str
    label: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    status_column: int | None = None

    @property
    def static_rows(self) -> tuple[tuple[Cell, ...], ...]:
        """Rows in the page itself."""
        return self.rows[:STATIC_ROWS] if not self.is_paged else self.rows[: STATIC_ROWS // 4]

    @property
    def is_paged(self) -> bool:
        """Whether there are more rows than the page holds."""
        return len(self.rows) > STATIC_ROWS

    @property
    def is_searchable(self) -> bool:
        """Whether it can be searched."""
        return len(self.rows) >= MIN_SEARCHABLE_ROWS

    @property
    def statuses(self) -> list[str]:
        """What the menu offers."""
        return (
            [] if self.status_column is None else list(dict.fromkeys(row[self.status_column].text for row in self.rows))
        )

    @property
    def payload(self) -> dict[str, Any]:
        """All rows, for the script."""
        return {
            "kinds": [column.css_class for column in self.columns],
            "rows": [[c.compact_value for c in r] for r in self.rows],
        }


def build_html_tables(document: Mapping[str, Any]) -> dict[str, HtmlTable]:
    """Every table whose length grows with the study, by name."""
    made = [build_trials_table(document), build_cost_table(document)]
    if document["study"]["evaluated"]:
        made += [build_subsets_table(document), build_failure_modes_table(document)]
    if document["leakage"]:
        made.append(build_contamination_table(document))
    if document.get("predicted"):
        made.append(build_predicted_table(document))
    return {grid.id: grid for grid in made}


def build_trials_table(document: Mapping[str, Any]) -> HtmlTable:
    """Every planned trial."""
    axes = [axis for axis in document["study"]["varied"] if axis != "model"]
    heads = [Column("trial", "mono"), Column("model", "nowrap"), Column("parameters", "n")]
    heads += [Column(AXIS_LABELS.get(axis, axis.replace("_", " ")), "n") for axis in axes]
    heads += [Column("seed", "n"), Column("status")]
    heads += [Column(name, "n") for name in ("pass rate", "val. loss", "training", "evaluation")]
    places = {key: k for k, failure in enumerate(group_failures(document), 1) for key in failure["trials"]}
    rows = []
    for number, trial in enumerate(document["trials"]):
        metrics, status = trial["metrics"], str(trial["status"])
        place = places.get(number)
        rows.append(
            (
                Cell(str(trial["fingerprint"])[:8] or "unknown"),
                Cell(str(trial["model"])),
                make_count_cell(trial.get("parameters")),
                *(make_axis_cell(trial.get(axis)) for axis in axes),
                make_count_cell(trial["seed"]),
                Cell(status, css_class=f"status {status}", href=f"#failure-{place}" if place else ""),
                make_percent_cell(metrics.get("pass_rate")),
                make_number_cell(metrics.get("val_loss")),
                make_duration_cell(metrics.get("train_seconds")),
                make_duration_cell(metrics.get("eval_seconds")),
            )
        )
    return HtmlTable("trials", "Every planned trial", tuple(heads), tuple(rows), status_column=4 + len(axes))


def build_subsets_table(document: Mapping[str, Any]) -> HtmlTable:
    """Pass rates of every arm by subset and over all, in percent."""
    names = sorted({row["subset"] for row in document["subsets"]})
    rates: dict[str, dict[str, Any]] = {}
    for row in document["subsets"]:
        rates.setdefault(row["arm"], {})[row["subset"]] = row["pass_rate"]
    heads = [Column("arm", "nowrap"), *(Column(name.replace("_", " "), "n") for name in names)]
    heads += [Column(n, "n") for n in ("overall", "interval", "mean of subsets", "queries", "runs")]
    rows = [
        (
            Cell(arm["label"]),
            *(make_bare_percent_cell(rates.get(arm["label"], {}).get(name)) for name in names),
            make_bare_percent_cell(arm["pass_rate"], "strong"),
            make_interval_cell(arm["interval"]),
            make_bare_percent_cell(arm["subset_mean"]["pass_rate"]),
            make_count_cell(arm["n_queries"]),
            Cell(f"{arm['runs_done']:,} of {arm['runs']:,}", arm["runs_done"]),
        )
        for arm in document["arms"]
    ]
    return HtmlTable("subset-table", "Pass rate by subset", tuple(heads), tuple(rows))


def build_failure_modes_table(document: Mapping[str, Any]) -> HtmlTable:
    """Pass rates under each definition and how answers fail, of the arms that were judged."""
    definitions = {"strict": "strict", "stabletoolbench": "StableToolBench", "tooleval": "ToolEval"}
    ways = {"unfinished": "no final answer", "incoherent": "incoherent", "hallucinated": "unknown API"}
    ways |= {"overgenerated": "text beyond"}
    heads = [
        Column("arm", "nowrap"),
        *(Column(n, "n") for n in (*definitions.values(), *ways.values(), "unseen tools")),
    ]
    rows = []
    for arm in document["arms"]:
        if arm["definitions"]:
            drop = arm["signatures"].get("unseen_tool_drop")
            rows.append(
                (
                    Cell(arm["label"]),
                    *(make_percent_cell(arm["definitions"].get(key)) for key in definitions),
                    *(make_percent_cell(arm["signatures"].get(key)) for key in ways),
                    Cell(MISSING) if drop is None else Cell(format_percentage_points(-drop), -drop),
                )
            )
    return HtmlTable("signature-table", "Definitions and failures", tuple(heads), tuple(rows))


def build_contamination_table(document: Mapping[str, Any]) -> HtmlTable:
    """Pass rates with and without the queries that training gives away, in percent."""
    heads = [Column("arm", "nowrap")]
    heads += [Column(n, "n") for n in ("all queries", "interval", "queries", "without them", "interval", "queries")]
    rows = []
    for arm in document["arms"]:
        cells = [Cell(arm["label"])]
        for rate in (arm, arm["without_leaked"]):
            cells += [
                make_bare_percent_cell(rate["pass_rate"]),
                make_interval_cell(rate["interval"]),
                make_count_cell(rate["n_queries"]),
            ]
        rows.append(tuple(cells))
    return HtmlTable("leakage-table", "Pass rates without leaked queries", tuple(heads), tuple(rows))


def build_cost_table(document: Mapping[str, Any]) -> HtmlTable:
    """Mean time and compute of a run of each arm."""
    evaluated = document["study"]["evaluated"]
    names = ["training", "training FLOPs"]
    names += ["evaluation", "evaluation per solved", "all per solved"] if evaluated else []
    heads = [Column("arm", "nowrap"), *(Column(n, "n") for n in names), Column("runs", "n"), Column("diverged", "n")]
    rows = []
    for arm in document["arms"]:
        cost = arm["cost"]
        cells = [Cell(arm["label"]), make_duration_cell(cost["train_seconds"]), make_flops_cell(cost["train_flops"])]
        if evaluated:
            cells += [make_duration_cell(cost["eval_seconds"])]
            cells += [make_short_duration_cell(cost[key]) for key in ("eval_seconds_per_solved", "seconds_per_solved")]
        cells += [
            Cell(f"{arm['runs_done']:,} of {arm['runs']:,}", arm["runs_done"]),
            make_count_cell(arm["runs_diverged"]),
        ]
        rows.append(tuple(cells))
    return HtmlTable("cost-table", "Cost and time", tuple(heads), tuple(rows))


def build_predicted_table(document: Mapping[str, Any]) -> HtmlTable:
    """Time of each arm's trials as predicted and as it was."""
    heads = [Column("arm", "nowrap"), *(Column(n, "n") for n in ("ran", "predicted", "actual", "actual / predicted"))]
    rows = [
        (
            Cell(arm["label"]),
            Cell(f"{arm['ran']:,} of {arm['planned']:,}", arm["ran"]),
            make_duration_cell(arm["predicted"]),
            make_duration_cell(arm["actual"]),
            make_number_cell(arm["ratio"], 2),
        )
        for arm in [*document["predicted"]["arms"], document["predicted"]["all"]]
    ]
    return HtmlTable("predicted-table", "Predicted against actual", tuple(heads), tuple(rows))


def find_claim_arms(claim: Mapping[str, Any], document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The arms that a claim's comparisons name, as the document lists them. A side may name several of an arm's places,
    as `opt-350m, clip 0.3`."""
    names = {name for part in (*claim["components"], *claim["beside"]) for name in part["names"]}
    sides = [set(name.split(", ")) for name in names]
    axes = document["study"]["axes"]
    found = []
    for arm in document["arms"]:
        own = {format_arm_name(axis, arm[axis]) for axis in axes}
        if any(side <= own for side in sides):
            found.append(arm)
    return found


def group_failures(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Failures that say the same, together: kind, message, the first one's traceback, the places of their trials."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for number, trial in enumerate(document["trials"]):
        failure = trial["failure"]
        if failure:
            key = (failure["kind"], failure["message"])
            traceback = failure["traceback"][-MAX_TRACEBACK_CHARS:]
            own = found.setdefault(key, {**failure, "traceback": traceback, "trials": [], "names": []})
            own["trials"].append(number)
            own["names"].append(str(trial["fingerprint"])[:8] or "unknown")
    return list(found.values())[:MAX_FAILURES]


def make_axis_cell(axis_value: Any) -> Cell:
    """A value of an axis."""
    if axis_value is None:
        return Cell("off")
    if isinstance(axis_value, int | float) and not isinstance(axis_value, bool):
        return Cell(f"{axis_value:g}", axis_value)
    return Cell(str(axis_value), str(axis_value))


def make_count_cell(number: Any) -> Cell:
    """A whole number."""
    return Cell(MISSING) if number is None else Cell(f"{number:,.0f}", number)


def make_percent_cell(rate: float | None) -> Cell:
    """A rate as `77.5 %`."""
    return Cell(MISSING) if rate is None else Cell(f"{100 * rate:.1f} %", rate)


def make_bare_percent_cell(rate: float | None, css_class: str = "") -> Cell:
    """A rate as `77.5`, under a head that says percent."""
    return Cell(MISSING) if rate is None else Cell(f"{100 * rate:.1f}", rate, css_class)


def make_interval_cell(bounds: Sequence[float | None]) -> Cell:
    """Both ends, sorted by the lower."""
    low, high = bounds
    return Cell(MISSING) if low is None or high is None else Cell(f"{100 * low:.1f} to {100 * high:.1f}", low)


def make_number_cell(number: float | None, digits: int = 3) -> Cell:
    """A number with fixed decimals, so that columns align."""
    return Cell(MISSING) if number is None else Cell(f"{number:.{digits}f}", number)


def make_duration_cell(n_seconds: float | None) -> Cell:
    """A duration."""
    return Cell(MISSING) if n_seconds is None else Cell(format_duration(n_seconds), n_seconds)


def make_short_duration_cell(n_seconds: float | None) -> Cell:
    """A short duration."""
    return (
        Cell(MISSING)
        if n_seconds is None
        else Cell(f"{n_seconds:.2f} s" if n_seconds < 120 else format_duration(n_seconds), n_seconds)
    )


def make_flops_cell(n_flops: float | None) -> Cell:
    """`1.23e+15`."""
    return Cell(MISSING) if n_flops is None else Cell(f"{n_flops:.3g}", n_flops)


def format_duration(n_seconds: float | None) -> str:
    """Seconds as `47 s`, `12 min` or `3.4 h`."""
    if n_seconds is None:
        return MISSING
    if n_seconds < 120:
        return f"{n_seconds:.0f} s"
    return f"{n_seconds / 60:.0f} min" if n_seconds < 7200 else f"{n_seconds / 3600:.1f} h"


def join_names(names: Iterable[str], limit: int = 8) -> str:
    """The first names, and that there are more."""
    known = list(names)
    return ", ".join(known[:limit]) + (", …" if len(known) > limit else "")

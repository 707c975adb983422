"""The report's document -> the tables of its page: every cell as text, with what it is sorted by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeper.report.sentences import points
from sweeper.statistics import arm_name

MISSING = "–"
STATIC_ROWS = 200
"""Rows written into the page itself; a longer table is one block of JSON, of which the script draws pages."""
TOOLS_FROM = 8
"""Rows from which a table can be searched."""
CLAIM_ARMS = 60
"""Arms listed under one claim; the page says how many there are."""
FAILURES_SHOWN = 50
TRACEBACK_SHOWN = 20_000
"""Characters of a traceback, its end."""
AXIS_WORDS = {"num_train_epochs": "epochs", "max_grad_norm": "clip"}

Sort = str | float | int | None


@dataclass(frozen=True)
class Cell:
    """Text, what it sorts by (nothing: last in a column of numbers), a class of its own, a place to go to."""

    text: str
    sort: Sort = None
    kind: str = ""
    href: str = ""

    @property
    def compact(self) -> Any:
        """As JSON, without what is empty at its end."""
        sort = float(f"{self.sort:.4g}") if isinstance(self.sort, float) else self.sort
        told = str(sort) == self.text.replace(",", "")
        parts: list[Any] = [self.text, None if told else sort, self.kind, self.href]
        while len(parts) > 1 and parts[-1] in ("", None):
            parts.pop()
        return parts[0] if len(parts) == 1 else parts


@dataclass(frozen=True)
class Column:
    """A head. `kind`: `n` for numbers, `mono`, `nowrap`."""

    label: str
    kind: str = ""


@dataclass(frozen=True)
class Grid:
    """One table that sorts. `status`: the column that a menu filters."""

    id: str
    label: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    status: int | None = None

    @property
    def shown(self) -> tuple[tuple[Cell, ...], ...]:
        """Rows in the page itself."""
        return self.rows[:STATIC_ROWS] if not self.paged else self.rows[: STATIC_ROWS // 4]

    @property
    def paged(self) -> bool:
        """Whether there are more rows than the page holds."""
        return len(self.rows) > STATIC_ROWS

    @property
    def tools(self) -> bool:
        """Whether it can be searched."""
        return len(self.rows) >= TOOLS_FROM

    @property
    def statuses(self) -> list[str]:
        """What the menu offers."""
        return [] if self.status is None else list(dict.fromkeys(row[self.status].text for row in self.rows))

    @property
    def json(self) -> dict[str, Any]:
        """All rows, for the script."""
        return {"kinds": [column.kind for column in self.columns], "rows": [[c.compact for c in r] for r in self.rows]}


def grids(document: Mapping[str, Any]) -> dict[str, Grid]:
    """Every table whose length grows with the study, by name."""
    made = [trials_grid(document), cost_grid(document)]
    if document["study"]["evaluated"]:
        made += [subsets_grid(document), signatures_grid(document)]
    if document["leakage"]:
        made.append(leakage_grid(document))
    if document.get("predicted"):
        made.append(predicted_grid(document))
    return {grid.id: grid for grid in made}


def trials_grid(document: Mapping[str, Any]) -> Grid:
    """Every planned trial."""
    axes = [axis for axis in document["study"]["varied"] if axis != "model"]
    heads = [Column("trial", "mono"), Column("model", "nowrap"), Column("parameters", "n")]
    heads += [Column(AXIS_WORDS.get(axis, axis.replace("_", " ")), "n") for axis in axes]
    heads += [Column("seed", "n"), Column("status")]
    heads += [Column(name, "n") for name in ("pass rate", "val. loss", "training", "evaluation")]
    places = {key: k for k, failure in enumerate(failures(document), 1) for key in failure["trials"]}
    rows = []
    for number, trial in enumerate(document["trials"]):
        metrics, status = trial["metrics"], str(trial["status"])
        place = places.get(number)
        rows.append(
            (
                Cell(str(trial["fingerprint"])[:8] or "unknown"),
                Cell(str(trial["model"])),
                count(trial.get("parameters")),
                *(value(trial.get(axis)) for axis in axes),
                count(trial["seed"]),
                Cell(status, kind=f"status {status}", href=f"#failure-{place}" if place else ""),
                percent(metrics.get("pass_rate")),
                number_(metrics.get("val_loss")),
                seconds(metrics.get("train_seconds")),
                seconds(metrics.get("eval_seconds")),
            )
        )
    return Grid("trials", "Every planned trial", tuple(heads), tuple(rows), status=4 + len(axes))


def subsets_grid(document: Mapping[str, Any]) -> Grid:
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
            *(hundredths(rates.get(arm["label"], {}).get(name)) for name in names),
            hundredths(arm["pass_rate"], "strong"),
            interval(arm["interval"]),
            hundredths(arm["subset_mean"]["pass_rate"]),
            count(arm["n_queries"]),
            Cell(f"{arm['runs_done']:,} of {arm['runs']:,}", arm["runs_done"]),
        )
        for arm in document["arms"]
    ]
    return Grid("subset-table", "Pass rate by subset", tuple(heads), tuple(rows))


def signatures_grid(document: Mapping[str, Any]) -> Grid:
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
                    *(percent(arm["definitions"].get(key)) for key in definitions),
                    *(percent(arm["signatures"].get(key)) for key in ways),
                    Cell(MISSING) if drop is None else Cell(points(-drop), -drop),
                )
            )
    return Grid("signature-table", "Definitions and failures", tuple(heads), tuple(rows))


def leakage_grid(document: Mapping[str, Any]) -> Grid:
    """Pass rates with and without the queries that training gives away, in percent."""
    heads = [Column("arm", "nowrap")]
    heads += [Column(n, "n") for n in ("all queries", "interval", "queries", "without them", "interval", "queries")]
    rows = []
    for arm in document["arms"]:
        cells = [Cell(arm["label"])]
        for rate in (arm, arm["without_leaked"]):
            cells += [hundredths(rate["pass_rate"]), interval(rate["interval"]), count(rate["n_queries"])]
        rows.append(tuple(cells))
    return Grid("leakage-table", "Pass rates without leaked queries", tuple(heads), tuple(rows))


def cost_grid(document: Mapping[str, Any]) -> Grid:
    """Mean time and compute of a run of each arm."""
    evaluated = document["study"]["evaluated"]
    names = ["training", "training FLOPs"]
    names += ["evaluation", "evaluation per solved", "all per solved"] if evaluated else []
    heads = [Column("arm", "nowrap"), *(Column(n, "n") for n in names), Column("runs", "n"), Column("diverged", "n")]
    rows = []
    for arm in document["arms"]:
        cost = arm["cost"]
        cells = [Cell(arm["label"]), seconds(cost["train_seconds"]), flops(cost["train_flops"])]
        if evaluated:
            cells += [seconds(cost["eval_seconds"])]
            cells += [fine_seconds(cost[key]) for key in ("eval_seconds_per_solved", "seconds_per_solved")]
        cells += [Cell(f"{arm['runs_done']:,} of {arm['runs']:,}", arm["runs_done"]), count(arm["runs_diverged"])]
        rows.append(tuple(cells))
    return Grid("cost-table", "Cost and time", tuple(heads), tuple(rows))


def predicted_grid(document: Mapping[str, Any]) -> Grid:
    """Time of each arm's trials as predicted and as it was."""
    heads = [Column("arm", "nowrap"), *(Column(n, "n") for n in ("ran", "predicted", "actual", "actual / predicted"))]
    rows = [
        (
            Cell(arm["label"]),
            Cell(f"{arm['ran']:,} of {arm['planned']:,}", arm["ran"]),
            seconds(arm["predicted"]),
            seconds(arm["actual"]),
            number_(arm["ratio"], 2),
        )
        for arm in [*document["predicted"]["arms"], document["predicted"]["all"]]
    ]
    return Grid("predicted-table", "Predicted against actual", tuple(heads), tuple(rows))


def claim_arms(claim: Mapping[str, Any], document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The arms that a claim's comparisons name, as the document lists them. A side may name several of an arm's places,
    as `opt-350m, clip 0.3`."""
    names = {name for part in (*claim["components"], *claim["beside"]) for name in part["names"]}
    sides = [set(name.split(", ")) for name in names]
    axes = document["study"]["axes"]
    found = []
    for arm in document["arms"]:
        own = {arm_name(axis, arm[axis]) for axis in axes}
        if any(side <= own for side in sides):
            found.append(arm)
    return found


def failures(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Failures that say the same, together: kind, message, the first one's traceback, the places of their trials."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for number, trial in enumerate(document["trials"]):
        failure = trial["failure"]
        if failure:
            key = (failure["kind"], failure["message"])
            traceback = failure["traceback"][-TRACEBACK_SHOWN:]
            own = found.setdefault(key, {**failure, "traceback": traceback, "trials": [], "names": []})
            own["trials"].append(number)
            own["names"].append(str(trial["fingerprint"])[:8] or "unknown")
    return list(found.values())[:FAILURES_SHOWN]


def value(held: Any) -> Cell:
    """A value of an axis."""
    if held is None:
        return Cell("off")
    if isinstance(held, int | float) and not isinstance(held, bool):
        return Cell(f"{held:g}", held)
    return Cell(str(held), str(held))


def count(number: Any) -> Cell:
    """A whole number."""
    return Cell(MISSING) if number is None else Cell(f"{number:,.0f}", number)


def percent(rate: float | None) -> Cell:
    """A rate as `77.5 %`."""
    return Cell(MISSING) if rate is None else Cell(f"{100 * rate:.1f} %", rate)


def hundredths(rate: float | None, kind: str = "") -> Cell:
    """A rate as `77.5`, under a head that says percent."""
    return Cell(MISSING) if rate is None else Cell(f"{100 * rate:.1f}", rate, kind)


def interval(pair: Sequence[float | None]) -> Cell:
    """Both ends, sorted by the lower."""
    low, high = pair
    return Cell(MISSING) if low is None or high is None else Cell(f"{100 * low:.1f} to {100 * high:.1f}", low)


def number_(held: float | None, digits: int = 3) -> Cell:
    """A number with fixed decimals, so that columns align."""
    return Cell(MISSING) if held is None else Cell(f"{held:.{digits}f}", held)


def seconds(held: float | None) -> Cell:
    """A duration."""
    return Cell(MISSING) if held is None else Cell(duration(held), held)


def fine_seconds(held: float | None) -> Cell:
    """A short duration."""
    return Cell(MISSING) if held is None else Cell(f"{held:.2f} s" if held < 120 else duration(held), held)


def flops(held: float | None) -> Cell:
    """`1.23e+15`."""
    return Cell(MISSING) if held is None else Cell(f"{held:.3g}", held)


def duration(held: float | None) -> str:
    """Seconds as `47 s`, `12 min` or `3.4 h`."""
    if held is None:
        return MISSING
    if held < 120:
        return f"{held:.0f} s"
    return f"{held / 60:.0f} min" if held < 7200 else f"{held / 3600:.1f} h"


def listed(names: Iterable[str], most: int = 8) -> str:
    """The first names, and that there are more."""
    known = list(names)
    return ", ".join(known[:most]) + (", …" if len(known) > most else "")

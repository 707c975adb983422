"""The document -> a W&B report: a plain description of its blocks, written to disk, and sent on request.

Constructing a `Report` of `wandb_workspaces` already verifies a login online. The description therefore comes first: it
needs neither the package nor an account, holds the same numbers as the page, and is what gets sent.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, assert_never

from sweeper.config.axes import get_axis_label
from sweeper.errors import UsageError
from sweeper.report.claim_document import RESULT_LABELS, AxisValue, ClaimEntry
from sweeper.report.document import Report, StudyEntry, get_axis, list_claims
from sweeper.report.figure_parts import METRIC_TITLES
from sweeper.report.formatting import MISSING, format_number
from sweeper.report.html_tables import HtmlTable, build_html_tables
from sweeper.storage import write_bytes

WANDB_REPORT_FILE = "wandb_report.json"
MAX_RUN_SETS = 20
"""Arms with a run set of their own; with more, one set groups the runs."""
MAX_TABLE_ROWS = 100
"""Rows of a table: longer ones are in report.json."""
MAX_TITLE_LENGTH = 128
"""W&B's own limit."""
_TABLE_TITLES = {
    "subset-table": "Subsets",
    "signature-table": "How answers fail",
    "cost-table": "Cost and time",
    "leakage-table": "Without leaked queries",
    "trials": "Every planned trial",
}


class HeadingBlock(TypedDict):
    """A heading of level 1 to 3."""

    kind: Literal["heading"]
    level: int
    text: str


class TextBlock(TypedDict):
    """A paragraph."""

    kind: Literal["text"]
    text: str


class TableBlock(TypedDict):
    """A table; every cell is text."""

    kind: Literal["table"]
    columns: list[str]
    rows: list[list[str]]


class Panel(TypedDict):
    """A built-in W&B plot."""

    type: Literal["line", "scatter"]
    title: str
    x: str
    y: str
    log_x: bool


class RunSet(TypedDict):
    """Runs of a study: those whose W&B config matches all of `filters`, grouped by `group_by`."""

    name: str
    group: str
    filters: dict[str, AxisValue]
    group_by: list[str]


class PanelsBlock(TypedDict):
    """Plots over run sets."""

    kind: Literal["panels"]
    panels: list[Panel]
    run_sets: list[RunSet]


Block = HeadingBlock | TextBlock | TableBlock | PanelsBlock


class WandbDescription(TypedDict):
    """A W&B report as plain data."""

    title: str
    description: str
    blocks: list[Block]


def build_wandb_report(document: Report) -> WandbDescription:
    """Describe the report as W&B blocks."""
    study = document["study"]
    blocks: list[Block] = [
        _make_heading(1, study["question"]),
        *(_make_text(text) for text in (study["caveat"], _describe_partial(study)) if text),
        *_make_verdict_blocks(document),
        *_make_plot_blocks(document),
    ]
    for claim in list_claims(document):
        blocks += _make_claim_blocks(claim)
    tables = build_html_tables(document)
    for name, title in _TABLE_TITLES.items():
        if name in tables and tables[name].rows:
            blocks += [_make_heading(2, title), *_make_table_blocks(tables[name])]
    blocks += _make_manifest_blocks(document)
    title = f"{study['name']}: {study['question']}"[:MAX_TITLE_LENGTH]
    return {"title": title, "description": study["caveat"], "blocks": blocks}


def write_wandb_report(document: Report, folder: Path) -> Path:
    """Write the description into a folder and return its path."""
    path = folder / WANDB_REPORT_FILE
    text = json.dumps(build_wandb_report(document), indent=1, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode())
    return path


def push_wandb_report(document: Report, entity: str | None, project: str) -> str:
    """Send the report to W&B.

    Returns:
        The address of the report.

    Raises:
        UsageError: the package or an account is missing, or W&B refuses.
    """
    where = "report --push"
    missing = find_missing_requirement()
    if missing:
        raise UsageError(where, requested=f"a W&B report in {project}", found=missing[0], hint=missing[1])
    import wandb_workspaces.reports.v2 as wr

    description = build_wandb_report(document)
    try:
        report = wr.Report(
            project=project,
            title=description["title"],
            description=description["description"],
            blocks=make_wandb_blocks(description, wr, entity or "", project),
            width="fluid",
            **({"entity": entity} if entity else {}),
        )
        report.save()
    except Exception as error:  # W&B raises many kinds: no network, no right to the project, …
        raise UsageError(
            where,
            requested=f"a W&B report in {entity or 'the default entity'}/{project}",
            found=f"W&B refused: {error}",
            hint=f"check `wandb login`, WANDB_ENTITY and WANDB_PROJECT; {WANDB_REPORT_FILE} holds the report",
        ) from error
    return str(report.url)


def find_missing_requirement() -> tuple[str, str] | None:
    """Find what is missing to send a report.

    Returns:
        What is missing and a hint; None where nothing is.
    """
    if importlib.util.find_spec("wandb_workspaces") is None:
        return (
            "the package wandb-workspaces is not installed",
            f"pip install 'sweeper[wandb-report]'; {WANDB_REPORT_FILE} holds the report",
        )
    import wandb

    try:
        has_key = wandb.login(prompt=False, verify=False)
    except Exception as error:  # a key of the wrong form, a broken netrc
        return f"no W&B account: {error}", "`wandb login`"
    if not has_key:
        hint = f"`wandb login`, or set WANDB_API_KEY; {WANDB_REPORT_FILE} holds the report"
        return "no W&B account: no API key", hint
    return None


def make_wandb_blocks(description: WandbDescription, wr: Any, entity: str, project: str) -> list[object]:
    """Make the blocks of `wandb_workspaces.reports.v2`, given as `wr`. Does not use the network."""
    return [_make_wandb_block(block, wr, entity, project) for block in description["blocks"]]


def _make_wandb_block(block: Block, wr: Any, entity: str, project: str) -> object:
    if block["kind"] == "heading":
        return {1: wr.H1, 2: wr.H2, 3: wr.H3}[block["level"]](block["text"])
    if block["kind"] == "text":
        return wr.P(block["text"])
    if block["kind"] == "table":
        return wr.MarkdownBlock(_format_markdown_table(block["columns"], block["rows"]))
    if block["kind"] == "panels":
        return wr.PanelGrid(
            runsets=[_make_wandb_run_set(wr, run_set, entity, project) for run_set in block["run_sets"]],
            panels=[_make_wandb_panel(wr, panel) for panel in block["panels"]],
        )
    assert_never(block)


def _make_wandb_run_set(wr: Any, run_set: RunSet, entity: str, project: str) -> object:
    # As text: the package's own expressions lose the quotes around a value that holds one.
    filters = [f'Metric("Group") == {run_set["group"]!r}']
    filters += [f"Config({key!r}) == {value!r}" for key, value in run_set["filters"].items()]
    return wr.Runset(
        entity=entity,
        project=project,
        name=run_set["name"],
        filters=" and ".join(filters),
        groupby=[f"config.{key}" for key in run_set["group_by"]],
    )


def _make_wandb_panel(wr: Any, panel: Panel) -> object:
    match panel["type"]:
        case "line":
            return wr.LinePlot(title=panel["title"], x=panel["x"], y=[panel["y"]], log_x=panel["log_x"])
        case "scatter":
            return wr.ScatterPlot(
                title=panel["title"],
                x=wr.Config(panel["x"].removeprefix("config:")),
                y=wr.SummaryMetric(panel["y"]),
                log_x=panel["log_x"],
            )
        case _:
            assert_never(panel["type"])


def _make_verdict_blocks(document: Report) -> list[Block]:
    """Make a heading and a sentence per claim, and a table per group of protocol variants."""
    blocks: list[Block] = []
    for claim in document["claims"]:
        blocks += _make_verdict(claim)
    if document["later_claims"]:
        blocks.append(_make_heading(2, "Claims added or changed after trials had finished"))
    for claim in document["later_claims"]:
        blocks += [*_make_verdict(claim), _make_text(claim["registration"]["label"])]
    if document["withdrawn_claims"]:
        names = ", ".join(document["withdrawn_claims"])
        blocks.append(_make_text(f"Registered and later removed from the sweep: {names}."))
    for ids in document["protocols"]:
        own = [claim for claim in document["claims"] if claim["id"] in ids]
        rows = [[claim["protocol"], claim["id"], claim["verdict"], claim["reason"]] for claim in own]
        blocks.append(_make_heading(2, f"One question, {len(ids)} protocols"))
        blocks.append({"kind": "table", "columns": ["protocol", "claim", "verdict", "reason"], "rows": rows})
    return blocks


def _make_verdict(claim: ClaimEntry) -> list[Block]:
    texts = dict.fromkeys([claim["sentence"], claim["reason"]])
    return [_make_heading(3, f"{claim['verdict']}: {claim['text']}"), *map(_make_text, texts)]


def _make_plot_blocks(document: Report) -> list[Block]:
    """Make the sections with plots: size, fits, epochs, learning rate and clipping, learning curves."""
    study = document["study"]
    metrics = ("pass_rate", "val_loss") if study["evaluated"] else ("val_loss",)
    by_size = [_describe_scatter("parameters", metric, log_x=True) for metric in metrics]
    blocks = _make_section("Size", by_size, document)
    blocks += [_make_text(confound["text"]) for confound in document["confounds"]]
    blocks += _make_fit_blocks(document)
    if "num_train_epochs" in study["varied"]:
        blocks += _make_section("Epochs", [_describe_scatter("num_train_epochs", m) for m in metrics], document)
    if document["map"]:
        metric = document["map"]["metric"]
        panels = [_describe_scatter(axis, metric, log_x=True) for axis in ("learning_rate", "max_grad_norm")]
        blocks += _make_section("Learning rate and clipping", panels, document)
    curves = [_describe_line(name) for name in ("loss", "val_loss", "grad_norm")]
    return blocks + _make_section("Learning curves", curves, document)


def _make_section(title: str, panels: Sequence[Panel], document: Report) -> list[Block]:
    return [
        _make_heading(2, title),
        {"kind": "panels", "panels": list(panels), "run_sets": _describe_run_sets(document)},
    ]


def _describe_run_sets(document: Report) -> list[RunSet]:
    """Describe one run set per arm, or one for all where there are more than `MAX_RUN_SETS`."""
    study = document["study"]
    if len(document["arms"]) > MAX_RUN_SETS:
        return [{"name": study["name"], "group": study["name"], "filters": {}, "group_by": list(study["varied"])}]
    return [
        {
            "name": arm["label"],
            "group": study["name"],
            "filters": {axis: get_axis(arm, axis) for axis in ("model", *study["varied"]) if axis in arm},
            "group_by": [],
        }
        for arm in document["arms"]
    ]


def _describe_scatter(axis: str, metric: str, *, log_x: bool = False) -> Panel:
    title = f"{_get_metric_title(metric)} against {get_axis_label(axis)}"
    return {"type": "scatter", "title": title, "x": f"config:{axis}", "y": metric, "log_x": log_x}


def _describe_line(metric: str) -> Panel:
    return {
        "type": "line",
        "title": f"{_get_metric_title(metric)} against step",
        "x": "Step",
        "y": metric,
        "log_x": False,
    }


def _get_metric_title(metric: str) -> str:
    return METRIC_TITLES.get(metric, metric.replace("_", " "))


def _make_claim_blocks(claim: ClaimEntry) -> list[Block]:
    blocks: list[Block] = [_make_heading(2, f"Claim {claim['id']}")]
    comparisons = [
        [part["sentence"] or MISSING, part["wanted"], RESULT_LABELS[part["result"]]] for part in claim["components"]
    ]
    if comparisons:
        blocks.append({"kind": "table", "columns": ["comparison", "required", "result"], "rows": comparisons})
    checks = [[row["name"], row["verdict"] or MISSING, row["reason"]] for row in claim["sensitivity"]]
    if checks:
        blocks.append({"kind": "table", "columns": ["sensitivity analysis", "verdict", "reason"], "rows": checks})
    if claim["needed"]:
        blocks.append(_make_text(_describe_needed(claim)))
    return blocks


def _describe_needed(claim: ClaimEntry) -> str:
    """Describe how many seeds or queries would settle a claim."""
    needed = claim["needed"]
    if needed is None:
        return ""
    counts = (
        ("seeds", needed["seeds"], needed["more_seeds"]),
        ("queries", needed["queries"], needed["more_queries"]),
    )
    texts = [f"about {more:,} more {name} ({total:,} in total)" for name, total, more in counts if total is not None]
    text = " or ".join(texts)
    return f"{text[:1].upper()}{text[1:]} would settle this. {needed['reason']}" if texts else needed["reason"]


def _make_fit_blocks(document: Report) -> list[Block]:
    rows = [
        [
            *(text.replace("_", " ") for text in (fit["metric"], fit["size"], fit["name"], fit["group"])),
            format_number(fit["r2"]),
            format_number(fit["aicc"]),
            str(fit["residual_df"]),
            fit["caveat"],
        ]
        for fit in document["fits"]
    ]
    columns = ["metric", "against", "curve", "arm", "R²", "AICc", "residual d.f.", "caveat"]
    return [{"kind": "table", "columns": columns, "rows": rows}] if rows else []


def _make_table_blocks(table: HtmlTable) -> list[Block]:
    rows = [[cell.text for cell in row] for row in table.rows[:MAX_TABLE_ROWS]]
    blocks: list[Block] = [{"kind": "table", "columns": [column.label for column in table.columns], "rows": rows}]
    if len(table.rows) > MAX_TABLE_ROWS:
        blocks.append(_make_text(f"The first {MAX_TABLE_ROWS} of {len(table.rows):,} rows; report.json has all."))
    return blocks


def _make_manifest_blocks(document: Report) -> list[Block]:
    blocks: list[Block] = [_make_heading(2, "Manifest"), _make_text("\n".join(document["commands"]))]
    rows = [[str(key), _format_manifest_value(value)] for key, value in document["manifest"].items()]
    return [*blocks, {"kind": "table", "columns": ["", "value"], "rows": rows}] if rows else blocks


def _make_heading(level: int, text: str) -> HeadingBlock:
    return {"kind": "heading", "level": level, "text": text}


def _make_text(text: str) -> TextBlock:
    return {"kind": "text", "text": text}


def _describe_partial(study: StudyEntry) -> str:
    return "Partial: the study has not finished." if study["partial"] else ""


def _format_manifest_value(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping | list) else str(value)


def _format_markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a Markdown table; special characters in cells are escaped."""
    separator = f"| {' | '.join('---' for _ in columns)} |"
    return "\n".join([_format_markdown_row(columns), separator, *map(_format_markdown_row, rows)])


def _format_markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_escape_markdown(cell) for cell in cells)} |"


def _escape_markdown(text: str) -> str:
    for character in "\\`*_{}[]<>#|~":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())

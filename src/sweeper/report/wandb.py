"""The report's document -> a W&B report: a plain description of its blocks, written to disk, and sent where asked.

Building a `Report` of `wandb_workspaces` already asks W&B who one is. The description comes first, therefore: it needs
neither the package nor an account, holds the same numbers as the page, and is what gets sent.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sweeper.errors import UsageError
from sweeper.report.figures import METRIC_TITLES
from sweeper.report.html_tables import HtmlTable, build_html_tables
from sweeper.storage import write_bytes

WANDB_REPORT_FILE = "wandb_report.json"
MAX_RUN_SETS = 20
"""Arms with a run set of their own; of more, the runs are grouped in one set."""
MAX_TABLE_ROWS = 100
"""Rows of a table: longer ones are in report.json."""
MAX_TITLE_LENGTH = 128
"""W&B's own limit."""
Block = dict[str, Any]


def build_wandb_report(document: Mapping[str, Any]) -> dict[str, Any]:
    """Title, description and blocks, by `kind`: `heading` (level, text), `text`, `table` (columns, rows) and `panels`
    (panels, run_sets).

    A run set holds the runs of one arm by their W&B configs (`filters`: key -> value, all of them), of this study
    (`group`, as `tracking` sets it). With more than MOST_RUN_SETS arms, one set groups its runs by the axes
    (`group_by`).
    """
    study = document["study"]
    blocks: list[Block] = [_make_heading(1, study["question"])]
    blocks += [_make_text(text) for text in (study["caveat"], _describe_partial(study)) if text]
    for claim in document["claims"]:
        blocks.append(_make_heading(3, f"{claim['verdict']}: {claim['text']}"))
        blocks.append(_make_text(claim["sentence"]))
        if claim["reason"] != claim["sentence"]:
            blocks.append(_make_text(claim["reason"]))
    for ids in document["protocols"]:
        own = [claim for claim in document["claims"] if claim["id"] in ids]
        rows = [[claim["protocol"], claim["id"], claim["verdict"], claim["reason"]] for claim in own]
        blocks += [_make_heading(2, f"One question, {len(ids)} protocols")]
        blocks += [{"kind": "table", "columns": ["protocol", "claim", "verdict", "why"], "rows": rows}]
    tables = build_html_tables(document)
    blocks += _make_section(
        "Size", [_describe_panel("scatter", "config:parameters", m, log_x=True) for m in _list_metrics(study)], document
    )
    blocks += [_make_text(found["text"]) for found in document["confounds"]]
    blocks += _make_fit_blocks(document)
    if "num_train_epochs" in study["varied"]:
        panels = [_describe_panel("scatter", "config:num_train_epochs", metric) for metric in _list_metrics(study)]
        blocks += _make_section("Epochs", panels, document)
    if document["map"]:
        panels = [_describe_panel("scatter", "config:learning_rate", document["map"]["metric"], log_x=True)]
        panels.append(_describe_panel("scatter", "config:max_grad_norm", document["map"]["metric"], log_x=True))
        blocks += _make_section("Learning rate and clipping", panels, document)
    curves = [_describe_panel("line", "Step", name) for name in ("loss", "val_loss", "grad_norm")]
    blocks += _make_section("Learning curves", curves, document)
    for claim in document["claims"]:
        blocks += _make_claim_blocks(claim)
    names = {"subset-table": "Subsets", "signature-table": "How answers fail", "cost-table": "Cost and time"}
    names |= {"leakage-table": "Without leaked queries", "trials": "Every planned trial"}
    for name, title in names.items():
        if name in tables and tables[name].rows:
            blocks += [_make_heading(2, title), *_make_table_blocks(tables[name])]
    blocks += [_make_heading(2, "Manifest"), _make_text("\n".join(document["commands"]))]
    rows = [[str(key), _format_manifest_value(value)] for key, value in document["manifest"].items()]
    if rows:
        blocks.append({"kind": "table", "columns": ["", "value"], "rows": rows})
    return {
        "title": f"{study['name']}: {study['question']}"[:MAX_TITLE_LENGTH],
        "description": study["caveat"],
        "blocks": blocks,
    }


def write_wandb_report(document: Mapping[str, Any], folder: Path) -> Path:
    """Write the description beside the report; where it is."""
    path = folder / WANDB_REPORT_FILE
    write_bytes(
        path, (json.dumps(build_wandb_report(document), indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
    )
    return path


def push_wandb_report(document: Mapping[str, Any], entity: str | None, project: str) -> str:
    """Send the report to W&B; its address. Raises UsageError where the package or an account is missing."""
    lacking = find_missing_requirement()
    if lacking:
        raise UsageError("report --push", requested=f"a W&B report in {project}", found=lacking[0], hint=lacking[1])
    import wandb_workspaces.reports.v2 as wr

    spec = build_wandb_report(document)
    try:
        blocks = make_wandb_blocks(spec, wr, entity or "", project)
        more = {"entity": entity} if entity else {}
        report = wr.Report(
            project=project, title=spec["title"], description=spec["description"], blocks=blocks, width="fluid", **more
        )
        report.save()
    except Exception as error:  # of many kinds, none of them ours: no network, no right to the project, …
        raise UsageError(
            "report --push",
            requested=f"a W&B report in {entity or 'the default entity'}/{project}",
            found=f"W&B refused: {error}",
            hint=f"`wandb login`, WANDB_ENTITY and WANDB_PROJECT, or use {WANDB_REPORT_FILE}, which holds the report",
        ) from error
    return str(report.url)


def find_missing_requirement() -> tuple[str, str] | None:
    """What sending lacks, and what to do about it; None where nothing is."""
    if importlib.util.find_spec("wandb_workspaces") is None:
        return (
            "the package wandb-workspaces is not installed",
            f"pip install 'sweeper[wandb-report]'; {WANDB_REPORT_FILE} holds the report meanwhile",
        )
    import wandb

    try:
        known = wandb.login(prompt=False, verify=False)
    except Exception as error:  # a key of the wrong form, a broken netrc
        return f"no W&B account: {error}", "`wandb login`"
    if not known:
        return (
            "no W&B account: no API key",
            f"`wandb login`, or WANDB_API_KEY; {WANDB_REPORT_FILE} holds the report meanwhile",
        )
    return None


def make_wandb_blocks(description: Mapping[str, Any], wr: Any, entity: str, project: str) -> list[Any]:
    """The description as blocks of `wandb_workspaces.reports.v2`, given as `wr`. Asks nobody anything."""
    makers: dict[str, Callable[[Block], Any]] = {
        "heading": lambda block: {1: wr.H1, 2: wr.H2, 3: wr.H3}[block["level"]](block["text"]),
        "text": lambda block: wr.P(block["text"]),
        "table": lambda block: wr.MarkdownBlock(_format_markdown_table(block["columns"], block["rows"])),
        "panels": lambda block: wr.PanelGrid(
            runsets=[_make_runset(wr, one, entity, project) for one in block["run_sets"]],
            panels=[_make_wandb_panel(wr, panel) for panel in block["panels"]],
        ),
    }
    return [makers[block["kind"]](block) for block in description["blocks"]]


def _make_runset(wr: Any, run_set: Mapping[str, Any], entity: str, project: str) -> Any:
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


def _make_wandb_panel(wr: Any, panel: Mapping[str, Any]) -> Any:
    if panel["type"] == "line":
        return wr.LinePlot(title=panel["title"], x=panel["x"], y=[panel["y"]], log_x=panel["log_x"])
    return wr.ScatterPlot(
        title=panel["title"],
        x=wr.Config(panel["x"].removeprefix("config:")),
        y=wr.SummaryMetric(panel["y"]),
        log_x=panel["log_x"],
    )


def _make_section(title: str, panels: Sequence[Block], document: Mapping[str, Any]) -> list[Block]:
    return [
        _make_heading(2, title),
        {"kind": "panels", "panels": list(panels), "run_sets": _describe_run_sets(document)},
    ]


def _describe_run_sets(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    study = document["study"]
    if len(document["arms"]) > MAX_RUN_SETS:
        whole = {"name": study["name"], "group": study["name"], "filters": {}, "group_by": list(study["varied"])}
        return [whole]
    return [
        {
            "name": arm["label"],
            "group": study["name"],
            "filters": {axis: arm[axis] for axis in ("model", *study["varied"]) if axis in arm},
            "group_by": [],
        }
        for arm in document["arms"]
    ]


def _list_metrics(study: Mapping[str, Any]) -> tuple[str, ...]:
    return ("pass_rate", "val_loss") if study["evaluated"] else ("val_loss",)


def _describe_panel(kind: str, x: str, y: str, *, log_x: bool = False) -> Block:
    against = x.removeprefix("config:").replace("_", " ").lower()
    return {
        "type": kind,
        "title": f"{METRIC_TITLES.get(y, y.replace('_', ' '))} against {against}",
        "x": x,
        "y": y,
        "log_x": log_x,
    }


def _make_claim_blocks(claim: Mapping[str, Any]) -> list[Block]:
    blocks: list[Block] = [_make_heading(2, f"Claim {claim['id']}")]
    parts = [[part["sentence"] or "–", part["wanted"], part["result"]] for part in claim["components"]]
    if parts:
        blocks.append({"kind": "table", "columns": ["comparison", "has to be", "result"], "rows": parts})
    other = [[row["name"], row["verdict"] or "–", row["reason"]] for row in claim["sensitivity"]]
    if other:
        blocks.append({"kind": "table", "columns": ["read otherwise", "verdict", "why"], "rows": other})
    needed = claim["needed"]
    if needed:
        counts = [
            f"{needed[key]:,} {key} in all, {needed[f'more_{key}']:,} more"
            for key in ("seeds", "queries")
            if needed[key] is not None
        ]
        blocks.append(_make_text(" ".join(["; or ".join(counts) + "." if counts else "", needed["reason"]]).strip()))
    return blocks


def _make_fit_blocks(document: Mapping[str, Any]) -> list[Block]:
    rows = [
        [
            *(fit[key].replace("_", " ") for key in ("metric", "size", "name", "group")),
            *(_format_number(fit[key]) for key in ("r2", "aicc")),
            str(fit["residual_df"]),
            fit["caveat"],
        ]
        for fit in document["fits"]
    ]
    columns = ["of", "against", "curve", "at", "R²", "AICc", "residual d.f.", "caveat"]
    return [{"kind": "table", "columns": columns, "rows": rows}] if rows else []


def _make_table_blocks(table: HtmlTable) -> list[Block]:
    rows = [[cell.text for cell in row] for row in table.rows[:MAX_TABLE_ROWS]]
    blocks: list[Block] = [{"kind": "table", "columns": [column.label for column in table.columns], "rows": rows}]
    if len(table.rows) > MAX_TABLE_ROWS:
        blocks.append(_make_text(f"The first {MAX_TABLE_ROWS} of {len(table.rows):,} rows; report.json has all."))
    return blocks


def _make_heading(level: int, text: str) -> Block:
    return {"kind": "heading", "level": level, "text": text}


def _make_text(text: str) -> Block:
    return {"kind": "text", "text": text}


def _describe_partial(study: Mapping[str, Any]) -> str:
    return "Partial: the study has not finished." if study["partial"] else ""


def _format_number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _format_manifest_value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping | list) else str(value)


def _format_markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; text that means something there is taken literally."""

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(_escape_markdown(cell) for cell in cells)} |"

    return "\n".join([line(columns), line(["---"] * len(columns)).replace("\\", ""), *(line(row) for row in rows)])


def _escape_markdown(text: str) -> str:
    for character in "\\`*_{}[]<>#|~":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())

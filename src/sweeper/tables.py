"""Documents -> tables for a terminal. Pure: no command looks anything up here."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from sweeper.study import Plan

_COLOUR = {
    "COMPLETE": "green",
    "RUNNING": "cyan",
    "FAILED": "red",
    "DIVERGED": "yellow",
    "supported": "green",
    "refuted": "red",
    "inconclusive": "yellow",
    "ok": "green",
    "missing": "red",
    "optional": "yellow",
    "holds": "green",
    "broken": "red",
    "unknown": "yellow",
}


def plan_table(plan: Plan) -> RenderableType:
    """All trials of a plan, with the axes as columns."""
    axes = list(plan.sweep.axes)
    table = _table(plan.sweep.name, ["fingerprint", *axes, "parameters", "engine", "cpus", "gpus"], left=2)
    for trial in plan.trials:
        row = trial.row()
        size = "unknown" if row["parameters"] is None else f"{row['parameters']:,}"
        values = ["off" if row[axis] is None else f"{row[axis]}" for axis in axes]
        table.add_row(
            row["fingerprint"] or "unknown", *values, size, row["engine"], f"{row['cpus']:g}", f"{row['gpus']:g}"
        )
    lines: list[RenderableType] = [Text(plan.sweep.question, style="bold"), table, Text(f"{len(plan.trials)} trials")]
    lines += [Text(f"claim {claim.id}: {claim.text}") for claim in plan.sweep.claims]
    return Group(*lines)


def status_table(name: str, trials: list[dict[str, Any]]) -> RenderableType:
    """Every planned trial, and how many there are of each status."""
    columns = ["trial", "model", "epochs", "lr", "clip", "seed", "status", "val loss", "pass rate"]
    table = _table(name, columns, left=2)
    for row in trials:
        clip = "off" if row["max_grad_norm"] is None else f"{row['max_grad_norm']:g}"
        table.add_row(
            row["fingerprint"][:8] or "unknown",
            row["model"],
            f"{row['num_train_epochs']:g}",
            f"{row['learning_rate']:g}",
            clip,
            str(row["seed"]),
            Text(row["status"], style=_COLOUR.get(row["status"], "")),
            _number(row["metrics"].get("val_loss"), ".3f"),
            _number(row["metrics"].get("pass_rate"), ".1%"),
        )
    counts: dict[str, int] = {}
    for row in trials:
        counts[row["status"]] = counts.get(row["status"], 0) + 1
    lines: list[RenderableType] = [table, Text(", ".join(f"{n} {status}" for status, n in counts.items()))]
    for row in trials:
        if row["failure"]:
            lines.append(
                Text(f"{row['fingerprint']}: {row['failure']['kind']}: {row['failure']['message']}", style="red")
            )
    return Group(*lines)


def verdict_lines(document: dict[str, Any]) -> list[RenderableType]:
    """One line a claim: verdict and sentence."""
    lines: list[RenderableType] = []
    for claim in document["claims"]:
        verdict = Text(claim["verdict"].upper(), style=f"bold {_COLOUR.get(claim['verdict'], '')}")
        lines.append(Text.assemble(f"{claim['id']}: ", verdict, f"\n  {claim['sentence']}"))
    caveat = document.get("study", {}).get("caveat")
    if caveat:
        lines.append(Text(caveat, style="dim"))
    return lines


def inspect_table(found: dict[str, Any]) -> RenderableType:
    """What a data source holds, what each fitting policy would keep of it, and the token quantiles."""
    source = found["source"]
    kept = _table(
        f"fitting into {found['max_length']:,} tokens of {found['model']}",
        ["policy", "examples", "target tokens", "prompts cut", "targets cut", "APIs lost in them", "dropped"],
        left=1,
    )
    for policy, row in found["fit"].items():
        kept.add_row(
            Text(policy, style="bold" if policy == found["fit_policy"] else ""),
            f"{row['examples']:,}",
            f"{row['target_tokens']:,}",
            _number(row["prompts_cut_share"], ".1%"),
            f"{row['targets_cut']:,}",
            _number(row["apis_lost_share"], ".1%"),
            _listed(row["dropped"]),
        )
    sizes = _table("tokens an example", ["", "p50", "p90", "max"], left=1)
    for name in ("prompt_tokens", "target_tokens"):
        quantiles = found[name]
        sizes.add_row(name.replace("_", " "), *(_number(quantiles.get(key), ",.0f") for key in ("p50", "p90", "max")))
    return Group(
        Text(f"{source['kind']}: {source['location']} ({source['files']:,} files, sha256 {source['sha256'][:12]}…)"),
        Text(
            f"{found['valid_queries']:,} valid queries, {found['invalid_queries']:,} invalid; left out: "
            f"{_listed(found['unreadable'])}; arguments that are not JSON: {found['arguments_not_json']:,}; "
            f"duplicate ids: {found['duplicate_ids']:,}"
        ),
        kept,
        sizes,
        *_problems(found["problems"]),
    )


def manifest_table(manifest: dict[str, Any], directory: str) -> RenderableType:
    """The manifest of a prepared data set, one line a fact."""
    source, fit = manifest["source"], manifest["fit"]
    table = _table("", ["", "train", "validation"], left=1)
    for name in ("rows", "tokens", "target_tokens"):
        table.add_row(name.replace("_", " "), f"{manifest[name]['train']:,}", f"{manifest[name]['validation']:,}")
    return Group(
        Text(f"data {manifest['fingerprint']} in {directory}", style="bold"),
        Text(f"{source['kind']}: {source['location']}, {source['files']:,} files, sha256 {source['sha256']}"),
        Text(
            f"fit {manifest['fit_policy']} at {manifest['max_length']:,} tokens: {manifest['read']:,} examples read, "
            f"{manifest['examples']:,} kept, {fit['prompts_cut']:,} prompts and {fit['targets_cut']:,} targets cut"
        ),
        Text(f"dropped: {_listed(manifest['dropped'])}"),
        table,
        Text(f"licence: {manifest['licence']}"),
        *_problems(manifest["problems"]),
    )


def leakage_table(found: dict[str, Any]) -> RenderableType:
    """Per subset: duplicates, shares already seen, the promise; then what to exclude."""
    train, test = found["train"], found["test"]
    columns = ["subset", "promise", "verdict", "queries", "exact", "near", "tools seen", "APIs seen", "categories seen"]
    table = _table(f"{test['name']}, {test['queries']:,} queries", [*columns, "to exclude"], left=3)
    for row in found["subsets"]:
        seen = (f"{row[f'{kind}_in_training']:,}/{row[kind]:,}" for kind in ("tools", "apis", "categories"))
        verdict = Text(row["verdict"], style=_COLOUR.get(row["verdict"], ""))
        counts = (f"{row[key]:,}" for key in ("queries", "exact_duplicates", "near_duplicates"))
        table.add_row(row["subset"], row["promise"], verdict, *counts, *seen, f"{row['excluded']:,}")
    lines: list[RenderableType] = [
        Text(f"training: {train['queries']:,} queries, {train['functions']:,} APIs, of {train['location']}"),
        table,
        *(Text(f"missing in {name}: {len(ids):,} ids", style="yellow") for name, ids in test["missing_ids"].items()),
    ]
    shown = found["exclude"][:_SHOWN]
    lines += [Text(f"exclude {e['subset']} {e['query_id']}: {'; '.join(e['reasons'])}") for e in shown]
    if len(found["exclude"]) > len(shown):
        lines.append(Text(f"and {len(found['exclude']) - len(shown):,} more: --json or --out has all"))
    return Group(*lines)


_SHOWN = 20
"""Lines of a long list that a terminal is given."""


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in counts.items()) or "none"


def _problems(problems: list[str]) -> list[Text]:
    shown = [Text(f"problem: {problem}", style="yellow") for problem in problems[:_SHOWN]]
    more = len(problems) - len(shown)
    return [*shown, Text(f"and {more} more", style="yellow")] if more else shown


def doctor_table(found: dict[str, Any]) -> RenderableType:
    """One row per part."""
    table = _table("", ["part", "state", "found", "what to do"], left=4)
    for check in found["checks"]:
        table.add_row(check["name"], Text(check["state"], style=_COLOUR[check["state"]]), check["found"], check["do"])
    return Group(
        table, Text(f"{found['cpus']} CPU cores; the quickstart {'can' if found['ok'] else 'cannot'} run here")
    )


def _table(title: str, columns: list[str], *, left: int) -> Table:
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="dim")
    for i, column in enumerate(columns):
        table.add_column(
            column, justify="left" if i < left or column in ("status", "engine") else "right", no_wrap=i == 0
        )
    return table


def _number(value: Any, form: str) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return format(value, form)

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
    lines: list[RenderableType] = [
        Text(plan.sweep.question, style="bold"),
        table,
        Text(f"{len(plan.trials)} trial{'s' if len(plan.trials) != 1 else ''}"),
    ]
    lines += [Text(f"claim {claim.id}: {claim.text}") for claim in plan.sweep.claims]
    return Group(*lines)


def claims_table(claims: list[dict[str, Any]]) -> RenderableType:
    """What each claim could show, before the run."""
    columns = ["claim", "kind", "seeds", "queries", "margin", "detectable", "note"]
    table = _table("claims: smallest difference found in four of five studies, in points", columns, left=2)
    for claim in claims:
        effect = claim["detectable_effect"]
        assumed = (
            f"if {claim['assumed']['discordance']:.0%} of queries differ, runs by {claim['assumed']['seed_sd']:.0%}"
        )
        note = claim["reason"] or assumed
        table.add_row(
            claim["id"],
            claim["kind"],
            str(claim["seeds"]),
            f"{claim['queries']:,}",
            f"{100 * claim['margin']:g}",
            "–" if effect is None else f"{100 * effect:.1f}",
            Text(note, style="yellow" if claim["underpowered"] else ""),
        )
    return table


def simulated_table(found: dict[str, Any]) -> RenderableType:
    """How often each verdict was given in studies drawn from a stated truth."""
    columns = ["claim", "holds in this truth", "supported", "refuted", "inconclusive", "intervals that cover"]
    table = _table(f"{found['studies']:,} studies of {found['queries']:,} queries", columns, left=2)
    for claim in found["claims"]:
        holds = {True: "yes", False: "no", None: "undefined"}[claim["holds"]]
        shares = (_number(claim["verdicts"][word], ".1%") for word in ("supported", "refuted", "inconclusive"))
        table.add_row(claim["id"], holds, *shares, _number(claim["coverage"], ".1%"))
    left_out = found["not_simulated"]
    note = [Text(f"not simulated (they need more than pass rates): {', '.join(left_out)}")] if left_out else []
    return Group(table, *note)


def status_table(name: str, trials: list[dict[str, Any]], varied: list[str]) -> RenderableType:
    """Every planned trial with the axes that vary, and how many there are of each status."""
    axes = list(dict.fromkeys(["num_train_epochs", "learning_rate", "max_grad_norm", *varied]))
    short = {"num_train_epochs": "epochs", "learning_rate": "lr", "max_grad_norm": "clip"}
    columns = ["trial", "model", *(short.get(axis, axis) for axis in axes), "seed", "status", "val loss", "pass rate"]
    table = _table(name, columns, left=2)
    for row in trials:
        values = (row[axis] for axis in axes)
        table.add_row(
            row["fingerprint"][:8] or "unknown",
            row["model"],
            *("off" if value is None else f"{value:g}" if isinstance(value, float) else str(value) for value in values),
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
            listed(row["dropped"]),
        )
    sizes = _table("tokens an example", ["", "p50", "p90", "max"], left=1)
    for name in ("prompt_tokens", "target_tokens"):
        quantiles = found[name]
        sizes.add_row(name.replace("_", " "), *(_number(quantiles.get(key), ",.0f") for key in ("p50", "p90", "max")))
    return Group(
        Text(f"{source['kind']}: {source['location']} ({source['files']:,} files, sha256 {source['sha256'][:12]}…)"),
        Text(
            f"{found['valid_queries']:,} valid queries, {found['invalid_queries']:,} invalid; left out: "
            f"{listed(found['unreadable'])}; arguments that are not JSON: {found['arguments_not_json']:,}; "
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
        Text(f"dropped: {listed(manifest['dropped'])}"),
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
        seen = (
            "unknown" if row[f"{kind}_in_training"] is None else f"{row[f'{kind}_in_training']:,}/{row[kind]:,}"
            for kind in ("tools", "apis", "categories")
        )
        verdict = Text(row["verdict"], style=_COLOUR.get(row["verdict"], ""))
        counts = (f"{row[key]:,}" for key in ("queries", "exact_duplicates", "near_duplicates"))
        table.add_row(row["subset"], row["promise"], verdict, *counts, *seen, f"{row['excluded']:,}")
    lines: list[RenderableType] = [
        Text(f"training: {train['queries']:,} queries, {train['functions']:,} APIs, of {train['location']}"),
        table,
        *(Text(f"missing in {name}: {len(ids):,} ids", style="yellow") for name, ids in test["missing_ids"].items()),
    ]
    lines += _problems(train["problems"])
    shown = found["exclude"][:_SHOWN]
    lines += [Text(f"exclude {e['subset']} {e['query_id']}: {'; '.join(e['reasons'])}") for e in shown]
    if len(found["exclude"]) > len(shown):
        lines.append(Text(f"and {len(found['exclude']) - len(shown):,} more: --json or --out has all"))
    return Group(*lines)


_SHOWN = 20
"""Lines of a long list that a terminal is given."""


def listed(counts: dict[str, int]) -> str:
    """`22 too-long, 1 no-target`, or `none`."""
    return ", ".join(f"{count:,} {reason}" for reason, count in counts.items()) or "none"


def _problems(problems: list[str]) -> list[Text]:
    shown = [Text(f"problem: {problem}", style="yellow") for problem in problems[:_SHOWN]]
    more = len(problems) - len(shown)
    return [*shown, Text(f"and {more} more", style="yellow")] if more else shown


def judged_table(found: dict[str, Any]) -> RenderableType:
    """Rates of the headline judge by subset, of every judge overall, the failing rules, and the agreement."""
    names = {"strict": "strict", "stabletoolbench": "StableToolBench", "tooleval": "ToolEval"}
    table = _table(f"pass rate by {found['judge']}", ["subset", "answers", "unscored", *names.values()], left=1)

    def rate(rates: dict[str, Any], name: str) -> str:
        one = rates["pass_rate"][name]
        low, high = one["interval"]
        return f"{_number(one['value'], '.1%')} ({_number(low, '.1%')}–{_number(high, '.1%')})"

    for name, rates in [*found["subsets"].items(), ("overall", found["overall"])]:
        table.add_row(name, f"{rates['n']:,}", f"{rates['unscored']:,}", *(rate(rates, key) for key in names))
    mean = (_number(found["subset_mean"][key], ".1%") for key in names)
    table.add_row("mean of subsets", "", "", *mean)
    lines: list[RenderableType] = [table]
    if len(found["judges"]) > 1:
        judges = _table("overall, by judge", ["judge", "unscored", *names.values()], left=1)
        for name, own in found["judges"].items():
            judges.add_row(name, f"{own['overall']['unscored']:,}", *(rate(own["overall"], key) for key in names))
        lines.append(judges)
    for name, own in found["judges"].items():
        if own["overall"]["rules"]:
            rules = _table(f"rules ({name})", ["rule", "failed", "undecided", "of"], left=1)
            for rule, row in own["overall"]["rules"].items():
                rules.add_row(rule.replace("_", " "), f"{row['failed']:,}", f"{row['undecided']:,}", f"{row['n']:,}")
            lines.append(rules)
        lines += [Text(f"unscored: {n:,} × {why}", style="yellow") for why, n in own["unscored_reasons"].items()]
    if found["agreement"]:
        columns = ["agreement", "items", "raw", "Gwet AC1", "Krippendorff alpha", "Cohen kappa", "Fleiss kappa"]
        pairs = _table("", columns, left=1)
        for name, row in found["agreement"].items():
            values = (row[key] for key in ("raw", "gwet_ac1", "krippendorff_alpha", "cohen_kappa", "fleiss_kappa"))
            pairs.add_row(name, f"{row['n']:,}", *(_number(v["value"] if v else None, ".2f") for v in values))
        lines.append(pairs)
    panel = found["judges"][found["judge"]]["sensitivity"]
    lines.append(
        Text(f"the definitions differ by up to {_number(panel['spread'], '.1%')} on these answers", style="dim")
    )
    if found["missing"]:
        lines.append(Text(f"{found['missing']:,} queries have no answer: strict counts them as failed", style="yellow"))
    return Group(*lines)


def compared_table(found: dict[str, Any]) -> RenderableType:
    """Win rate of A over B, overall and by subset."""
    columns = ["subset", "queries", "A wins", "B wins", "ties", "unscored", "win rate of A", "p"]
    table = _table(f"A against B, by {found['judge']}", columns, left=1)
    for name, row in [*found["subsets"].items(), ("overall", found["overall"])]:
        low, high = row["interval"]
        rate = f"{_number(row['value'], '.1%')} ({_number(low, '.1%')}–{_number(high, '.1%')})"
        counts = (f"{row[key]:,}" for key in ("n", "wins", "losses", "ties", "unscored"))
        table.add_row(name, *counts, rate, _number(row["p_value"], ".3f"))
    by = ", ".join(f"{count:,} by {how}" for how, count in found["decided_by"].items() if count)
    left_out = found["answered_by_one_side_only"]
    return Group(table, Text(f"decided: {by}; answered by one side only: {left_out['a']} of A, {left_out['b']} of B"))


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

"""Documents -> tables for a terminal. Pure: no command looks anything up here."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from sweeper.planning.plan import Plan

_STATUS_COLORS = {
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


def render_plan_table(plan: Plan) -> RenderableType:
    """All trials of a plan, with the axes as columns; of a large one its arms. Then what they will cost."""
    from sweeper.planning.branching import branching_savings, format_branching_savings

    lines: list[RenderableType] = [
        Text(plan.sweep.question, style="bold"),
        _render_trials_table(plan) if len(plan.trials) <= _MAX_LISTED_TRIALS else _render_arms_table(plan),
        Text(f"{len(plan.trials):,} trial{'s' if len(plan.trials) != 1 else ''}{_format_pending_trials(plan)}"),
    ]
    if plan.parts:
        said = f"{plan.requested:,} trials asked by {len(plan.parts)} sweeps, {len(plan.trials):,} distinct"
        lines[2] = Text(said + _format_pending_trials(plan))
        lines += [
            Text(f"  {row['sweep']}: {row['trials']:,} trials, {row['shared']:,} of them shared")
            for row in (part.to_part_row(plan) for part in plan.parts)
        ]
    if saved := branching_savings(plan.trials):
        lines.append(Text(format_branching_savings(saved)))
    if plan.estimate is not None:
        lines += [Text(line) for line in format_cost_lines(plan.estimate)]
    lines += [Text(f"claim {claim.id}: {claim.text}") for claim in plan.sweep.claims]
    return Group(*lines)


def _format_pending_trials(plan: Plan) -> str:
    """What a search will add."""
    counts = Counter("confirm" if trial.role == "confirm" else "explore" for trial in plan.placeholders)
    said = [f"{counts['explore']:,} that the search will propose" if counts["explore"] else ""]
    said.append(f"{counts['confirm']:,} that confirm its best" if counts["confirm"] else "")
    return "".join(f", and {what}" for what in said if what) + (
        " (costs: drawn at random)" if plan.placeholders else ""
    )


def _render_trials_table(plan: Plan) -> RenderableType:
    axes = [*plan.sweep.axes, *plan.sweep.searched]
    table = _make_table(
        plan.sweep.name, ["fingerprint", *axes, "parameters", "engine", *_RUNTIME_COLUMNS], n_left_columns=2
    )
    for trial in plan.trials:
        row = trial.to_row()
        values = [_format_axis_value(row[axis]) for axis in axes]
        table.add_row(row["fingerprint"] or "unknown", *values, *_format_trial_resources(row), _format_trial_time(row))
    return table


def _render_arms_table(plan: Plan) -> RenderableType:
    """One line for the trials that differ in their seed alone."""
    axes = [axis for axis in (*plan.sweep.axes, *plan.sweep.searched) if axis != "seed"]
    arms: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for trial in plan.trials:
        row = trial.to_row()
        arms.setdefault(tuple(row[axis] for axis in axes), []).append(row)
    table = _make_table(
        plan.sweep.name, [*axes, "seeds", "reused", "parameters", "engine", *_RUNTIME_COLUMNS], n_left_columns=1
    )
    for values, rows in list(arms.items())[:_MAX_LISTED_ARMS]:
        reused = sum(row.get("reused") == "whole" for row in rows)
        longest = max(rows, key=lambda row: row.get("predicted_seconds") or 0.0)
        cells = (
            *map(_format_axis_value, values),
            f"{len(rows):,}",
            f"{reused:,}" if reused else "",
            *_format_trial_resources(rows[0]),
        )
        table.add_row(*cells, _format_trial_time({**longest, "reused": "whole" if reused == len(rows) else ""}))
    left = len(arms) - _MAX_LISTED_ARMS
    return Group(table, Text(f"and {left:,} more arms: --json has every trial")) if left > 0 else table


def _format_trial_resources(row: dict[str, Any]) -> tuple[str | Text, ...]:
    """What a trial is and gets."""
    size = "unknown" if row["parameters"] is None else f"{row['parameters']:,}"
    return (size, row["engine"], str(row["workers"]), f"{row['cpus']:g}", f"{row['gpus']:g}", _format_memory(row))


def _format_trial_time(row: dict[str, Any]) -> Text:
    """Predicted of one trial, from its start to its end."""
    if row.get("reused") == "whole":
        return Text("reused", style="dim")
    seconds = row.get("predicted_seconds")
    if seconds is None or math.isnan(seconds):
        return Text("")
    return Text(_format_duration(seconds) + (" (evaluation)" if row.get("reused") else ""))


def format_cost_lines(estimate: dict[str, Any]) -> list[str]:
    """What a plan will cost, for people; each figure with the range it may well lie in."""
    cost, kwh = estimate["cost"], estimate["energy_kwh_range"]
    names = ("gpu_hours", "cpu_hours", "usd")
    spans = {name: _format_range(cost["low"][name], cost[name], cost["high"][name]) for name in names}
    reused = [f"{estimate['reused']:,} trials reused, at no cost"] if estimate["reused"] else []
    reused += [f"{estimate['reused_training']:,} only evaluated"] if estimate["reused_training"] else []
    steps, tokens = _format_si(estimate["steps"]), _format_si(estimate["tokens"])
    flops = "unknown" if math.isnan(estimate["flops"]) else f"{estimate['flops']:.3g}"
    size = f"{steps} optimiser steps, {tokens} tokens, {flops} training FLOPs"
    lines = [f"to do: {'; '.join([size, *reused])}"]
    money = "" if math.isnan(cost["usd"]) else f", {spans['usd']} US dollars on demand"
    spent = [f"{spans['gpu_hours']} GPU-hours{money}"] if cost["gpu_hours"] != 0 else []
    spent += [f"{spans['cpu_hours']} core-hours"] if cost["cpu_hours"] != 0 else []
    low, high = (hours * 3600 for hours in estimate["wall_hours_range"])
    wall = estimate["wall_hours"] * 3600
    span = (
        "unknown"
        if math.isnan(wall)
        else f"{_format_duration(wall)} ({_format_duration(low)} to {_format_duration(high)})"
    )
    energy = _format_range(kwh[0], estimate["energy_kwh"], kwh[1])
    lines.append(f"cost: {', '.join(spent) or 'nothing'}; {energy} kWh; wall time {span}")
    disk = [_format_bytes(estimate[f"disk_bytes_{when}"]) for when in ("while_training", "kept")]
    memory = estimate["memory_gib_peak"]
    most = "" if math.isnan(memory) else f"; memory at most {memory:.1f} GiB a GPU"
    lines.append(
        f"disk: checkpoints of at most {_format_bytes(estimate['checkpoint_bytes'])} each, {disk[0]} while training, "
        f"{disk[1]} kept{most}"
    )
    lines += [f"  {line}" for line in _truncate_lines(estimate["rests_on"])]
    return lines + [f"not known: {reason}" for reason in _truncate_lines(estimate["unknown"])]


def _truncate_lines(lines: list[str]) -> list[str]:
    return (
        lines
        if len(lines) <= _MAX_LISTED_LINES
        else [*lines[:_MAX_LISTED_LINES], f"and {len(lines) - _MAX_LISTED_LINES:,} more"]
    )


def _format_range(low: float, expected: float, high: float) -> str:
    """`87 (58 to 180)`; one number where the ends are the same."""
    if math.isnan(expected):
        return "unknown"
    return (
        f"{_format_three_digits(expected)} ({_format_three_digits(low)} to {_format_three_digits(high)})"
        if low < high
        else _format_three_digits(expected)
    )


def _format_three_digits(number: float) -> str:
    """Three significant digits, never as a power of ten."""
    return f"{float(f'{number:.3g}'):,.10g}"


def _format_si(number: float) -> str:
    """`5.76 G`."""
    if math.isnan(number):
        return "unknown"
    for size, name in ((1e12, " T"), (1e9, " G"), (1e6, " M")):
        if number >= size:
            return f"{number / size:.3g}{name}"
    return f"{number:,.0f}"


def _format_bytes(count: float) -> str:
    """In units of 10^3, as disks are sold."""
    if math.isnan(count):
        return "unknown"
    for size, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if count >= size:
            return f"{count / size:.3g} {name}"
    return f"{count / 1e3:.3g} kB"


def _format_duration(seconds: float) -> str:
    """`47 s`, `12 min` or `3.4 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


_RUNTIME_COLUMNS = ("workers", "cpus", "gpus", "GiB a GPU", "time")
_MAX_LISTED_TRIALS = 60
"""A larger plan is shown by its arms."""
_MAX_LISTED_ARMS = 40


def _format_memory(row: dict[str, Any]) -> Text:
    """Predicted of a worker, of what its share of a GPU has."""
    if row["memory_gib_predicted"] is None:
        return Text("")
    there = "" if row["memory_gib_there"] is None else f" of {row['memory_gib_there']:.1f}"
    return Text(f"{row['memory_gib_predicted']:.1f}{there}", style="red" if row["fits"] is False else "")


def _format_axis_value(value: Any) -> str:
    return "off" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def render_claims_table(claims: list[dict[str, Any]]) -> RenderableType:
    """What each claim could show, before the run."""
    columns = ["claim", "kind", "protocol", "seeds", "queries", "margin", "detectable", "note"]
    table = _make_table(
        "claims: smallest difference found in four of five studies, in points", columns, n_left_columns=3
    )
    table.columns[-1].justify = "left"
    for claim in claims:
        effect = claim["detectable_effect"]
        assumed = (
            f"if {claim['assumed']['discordance']:.0%} of queries differ, runs by {claim['assumed']['seed_sd']:.0%}"
        )
        note = claim["reason"] or assumed
        table.add_row(
            claim["id"],
            claim["kind"],
            claim["protocol"],
            str(claim["seeds"]),
            f"{claim['queries']:,}",
            f"{100 * claim['margin']:g}",
            "–" if effect is None else f"{100 * effect:.1f}",
            Text(note, style="yellow" if claim["underpowered"] else ""),
        )
    return table


def render_simulation_table(document: dict[str, Any]) -> RenderableType:
    """How often each verdict was given in studies drawn from a stated truth."""
    columns = ["claim", "holds in this truth", "supported", "refuted", "inconclusive", "intervals that cover"]
    table = _make_table(
        f"{document['studies']:,} studies of {document['queries']:,} queries", columns, n_left_columns=2
    )
    for claim in document["claims"]:
        holds = {True: "yes", False: "no", None: "undefined"}[claim["holds"]]
        shares = (_format_number(claim["verdicts"][word], ".1%") for word in ("supported", "refuted", "inconclusive"))
        table.add_row(claim["id"], holds, *shares, _format_number(claim["coverage"], ".1%"))
    left_out = document["not_simulated"]
    note = [Text(f"not simulated (they need more than pass rates): {', '.join(left_out)}")] if left_out else []
    return Group(table, *note)


def format_part_lines(plan: Plan, trials: list[dict[str, Any]]) -> list[Text]:
    """Of a union: how far each of its sweeps is. `trials` are the rows of the plan's trials."""
    status = {trial.key: row["status"] for trial, row in zip(plan.trials, trials, strict=True)}
    lines = []
    for part in plan.parts:
        counts = Counter(status[trial.key] for trial in part.trials)
        lines.append(Text(f"{part.sweep.name}: {format_counts(counts)} of {len(part.trials):,}"))
    return lines


def render_status_table(name: str, trials: list[dict[str, Any]], varying_axes: list[str]) -> RenderableType:
    """Every planned trial with the axes that vary, and how many there are of each status."""
    axes = list(dict.fromkeys(["num_train_epochs", "learning_rate", "max_grad_norm", *varying_axes]))
    short = {"num_train_epochs": "epochs", "learning_rate": "lr", "max_grad_norm": "clip"}
    columns = ["trial", "model", *(short.get(axis, axis) for axis in axes), "seed", "status", "val loss", "pass rate"]
    table = _make_table(name, columns, n_left_columns=2)
    for row in trials:
        values = (row[axis] for axis in axes)
        table.add_row(
            row["fingerprint"][:8] or "unknown",
            row["model"],
            *map(_format_axis_value, values),
            str(row["seed"]),
            Text(row["status"], style=_STATUS_COLORS.get(row["status"], "")),
            _format_number(row["metrics"].get("val_loss"), ".3f"),
            _format_number(row["metrics"].get("pass_rate"), ".1%"),
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


def render_search_table(document: dict[str, Any]) -> RenderableType:
    """The proposals of a search in order, and how many there are of each state."""
    axes = list(dict.fromkeys(axis for entry in document["trials"] for axis in entry["axes"] if axis != "model"))
    table = _make_table(
        document["study"], ["", "model", *axes, "state", *document["metrics"], "last rung"], n_left_columns=2
    )
    for entry in document["trials"]:
        number = entry["proposal"].rpartition("#")[2] + (" anchor" if entry["anchor"] else "")
        if entry.get("goes_on_from"):
            number += f" from {entry['goes_on_from'].rpartition('#')[2]} at {entry['at_step']:,}"
        if entry["retry_of"] is not None:
            number += f" retry of {entry['retry_of']}"
        values = entry["values"] if entry["state"] == "COMPLETE" and entry["values"] else []
        rungs = {int(step): loss for step, loss in entry["rungs"].items()}
        last = f"{rungs[max(rungs)]:.3f} at {max(rungs):,}" if rungs else ""
        table.add_row(
            number,
            entry["model"],
            *(_format_axis_value(entry["axes"][axis]) if axis in entry["axes"] else "" for axis in axes),
            Text(entry["state"], style=_STATUS_COLORS.get(entry["state"], "")),
            *(_format_number(values[i] if values else None, ".4g") for i in range(len(document["metrics"]))),
            last,
        )
    counts = Counter(entry["state"] for entry in document["trials"])
    said = ", ".join(f"{count} {state}" for state, count in counts.items()) or "nothing proposed yet"
    most = "at most " if document["scheduler"] == "pbt" else ""
    how = f"{most}{document['planned']} planned; {document['algorithm']}, {document['scheduler']}"
    return Group(table, Text(f"{said}; {how}"))


def render_verdict_lines(document: dict[str, Any]) -> list[RenderableType]:
    """One line a claim: verdict and sentence."""
    lines: list[RenderableType] = []
    for claim in document["claims"]:
        verdict = Text(claim["verdict"].upper(), style=f"bold {_STATUS_COLORS.get(claim['verdict'], '')}")
        lines.append(Text.assemble(f"{claim['id']}: ", verdict, f"\n  {claim['sentence']}"))
    caveat = document.get("study", {}).get("caveat")
    if caveat:
        lines.append(Text(caveat, style="dim"))
    return lines


def render_length_table(document: dict[str, Any]) -> RenderableType:
    """What a data source holds, what each fitting policy would keep of it, and the token quantiles."""
    source = document["source"]
    kept = _make_table(
        f"fitting into {document['max_length']:,} tokens of {document['model']}",
        ["policy", "examples", "target tokens", "prompts cut", "targets cut", "APIs lost in them", "dropped"],
        n_left_columns=1,
    )
    for policy, row in document["fit"].items():
        kept.add_row(
            Text(policy, style="bold" if policy == document["fit_policy"] else ""),
            f"{row['examples']:,}",
            f"{row['target_tokens']:,}",
            _format_number(row["prompts_cut_share"], ".1%"),
            f"{row['targets_cut']:,}",
            _format_number(row["apis_lost_share"], ".1%"),
            format_counts(row["dropped"]),
        )
    sizes = _make_table("tokens an example", ["", "p50", "p90", "max"], n_left_columns=1)
    for name in ("prompt_tokens", "target_tokens"):
        quantiles = document[name]
        sizes.add_row(
            name.replace("_", " "), *(_format_number(quantiles.get(key), ",.0f") for key in ("p50", "p90", "max"))
        )
    return Group(
        Text(f"{source['kind']}: {source['location']} ({source['files']:,} files, sha256 {source['sha256'][:12]}…)"),
        Text(
            f"{document['valid_queries']:,} valid queries, {document['invalid_queries']:,} invalid; left out: "
            f"{format_counts(document['unreadable'])}; arguments that are not JSON: {document['arguments_not_json']:,}; "
            f"duplicate ids: {document['duplicate_ids']:,}"
        ),
        kept,
        sizes,
        *_format_problems(document["problems"]),
    )


def render_manifest_table(manifest: dict[str, Any], directory: str) -> RenderableType:
    """The manifest of a prepared data set, one line a fact."""
    source, fit = manifest["source"], manifest["fit"]
    table = _make_table("", ["", "train", "validation"], n_left_columns=1)
    for name in ("rows", "tokens", "target_tokens"):
        table.add_row(name.replace("_", " "), f"{manifest[name]['train']:,}", f"{manifest[name]['validation']:,}")
    return Group(
        Text(f"data {manifest['fingerprint']} in {directory}", style="bold"),
        Text(f"{source['kind']}: {source['location']}, {source['files']:,} files, sha256 {source['sha256']}"),
        Text(
            f"fit {manifest['fit_policy']} at {manifest['max_length']:,} tokens: {manifest['read']:,} examples read, "
            f"{manifest['examples']:,} kept, {fit['prompts_cut']:,} prompts and {fit['targets_cut']:,} targets cut"
        ),
        Text(f"dropped: {format_counts(manifest['dropped'])}"),
        table,
        Text(f"licence: {manifest['licence']}"),
        *_format_problems(manifest["problems"]),
    )


def render_contamination_table(document: dict[str, Any]) -> RenderableType:
    """Per subset: duplicates, shares already seen, the promise; then what to exclude."""
    train, test = document["train"], document["test"]
    columns = ["subset", "promise", "verdict", "queries", "exact", "near", "tools seen", "APIs seen", "categories seen"]
    table = _make_table(f"{test['name']}, {test['queries']:,} queries", [*columns, "to exclude"], n_left_columns=3)
    for row in document["subsets"]:
        seen = (
            "unknown" if row[f"{kind}_in_training"] is None else f"{row[f'{kind}_in_training']:,}/{row[kind]:,}"
            for kind in ("tools", "apis", "categories")
        )
        verdict = Text(row["verdict"], style=_STATUS_COLORS.get(row["verdict"], ""))
        counts = (f"{row[key]:,}" for key in ("queries", "exact_duplicates", "near_duplicates"))
        table.add_row(row["subset"], row["promise"], verdict, *counts, *seen, f"{row['excluded']:,}")
    lines: list[RenderableType] = [
        Text(f"training: {train['queries']:,} queries, {train['functions']:,} APIs, of {train['location']}"),
        table,
        *(Text(f"missing in {name}: {len(ids):,} ids", style="yellow") for name, ids in test["missing_ids"].items()),
    ]
    lines += _format_problems(train["problems"])
    shown = document["exclude"][:_MAX_LISTED_LINES]
    lines += [Text(f"exclude {e['subset']} {e['query_id']}: {'; '.join(e['reasons'])}") for e in shown]
    if len(document["exclude"]) > len(shown):
        lines.append(Text(f"and {len(document['exclude']) - len(shown):,} more: --json or --out has all"))
    return Group(*lines)


_MAX_LISTED_LINES = 20
"""Lines of a long list that a terminal is given."""


def format_counts(counts: dict[str, int]) -> str:
    """`22 too-long, 1 no-target`, or `none`."""
    return ", ".join(f"{count:,} {reason}" for reason, count in counts.items()) or "none"


def _format_problems(problems: list[str]) -> list[Text]:
    shown = [Text(f"problem: {problem}", style="yellow") for problem in problems[:_MAX_LISTED_LINES]]
    more = len(problems) - len(shown)
    return [*shown, Text(f"and {more} more", style="yellow")] if more else shown


def render_judging_table(document: dict[str, Any]) -> RenderableType:
    """Rates of the headline judge by subset, of every judge overall, the failing rules, the agreement, and whatever was
    not judged, not reached or not executed, by count."""
    names = {"strict": "strict", "stabletoolbench": "StableToolBench", "tooleval": "ToolEval"}
    columns = ["subset", "queries", "answers", "missing", "unscored answers", *names.values()]
    table = _make_table(f"pass rate by {document['judge']}", columns, n_left_columns=1)

    def rates_of(rates: dict[str, Any]) -> list[str]:
        return [_format_rate(rates["pass_rate"][key]) for key in names]

    for name, rates in [*document["subsets"].items(), ("overall", document["overall"])]:
        counts = (rates["n"], rates["n"] - rates["missing"], rates["missing"], rates["unscored"])
        table.add_row(name, *(f"{count:,}" for count in counts), *rates_of(rates))
    mean = (_format_number(document["subset_mean"][key], ".1%") for key in names)
    table.add_row("mean of subsets", *[""] * 4, *mean)
    lines: list[RenderableType] = [table]
    if len(document["judges"]) > 1:
        judges = _make_table("overall, by judge", ["judge", "unscored answers", *names.values()], n_left_columns=1)
        for name, own in document["judges"].items():
            judges.add_row(name, f"{own['overall']['unscored']:,}", *rates_of(own["overall"]))
        lines.append(judges)
    for name, own in document["judges"].items():
        if own["overall"]["rules"]:
            rules = _make_table(f"rules ({name})", ["rule", "failed", "undecided", "of"], n_left_columns=1)
            for rule, row in own["overall"]["rules"].items():
                rules.add_row(rule.replace("_", " "), f"{row['failed']:,}", f"{row['undecided']:,}", f"{row['n']:,}")
            lines.append(rules)
        lines += [
            Text(f"unscored by {name}: {_format_vote_count(n)}: {why}", style="yellow")
            for why, n in own["unscored_reasons"].items()
        ]
        lines += [
            Text(
                f"{name} was asked whether the query can be solved, and {_format_vote_count(n)} got no answer, which ToolEval's "
                f"definition counts as solvable: {why}",
                style="yellow",
            )
            for why, n in own["task_unanswered"].items()
        ]
    if document["agreement"]:
        columns = ["agreement", "items", "raw", "Gwet AC1", "Krippendorff alpha", "Cohen kappa", "Fleiss kappa"]
        pairs = _make_table("", columns, n_left_columns=1)
        for name, row in document["agreement"].items():
            values = (row[key] for key in ("raw", "gwet_ac1", "krippendorff_alpha", "cohen_kappa", "fleiss_kappa"))
            pairs.add_row(name, f"{row['n']:,}", *(_format_number(v["value"] if v else None, ".2f") for v in values))
        lines.append(pairs)
    panel = document["judges"][document["judge"]]["sensitivity"]
    if _format_number(panel["spread"], "") != "–":
        lines.append(Text(f"the definitions differ by up to {panel['spread']:.1%} on these answers", style="dim"))
    if document["missing"]:
        lines.append(
            Text(f"{document['missing']:,} queries have no answer: strict counts them as failed", style="yellow")
        )
    outside = document.get("outside_suite", {"answers": 0})
    if outside["answers"]:
        first = ", ".join(f"{subset} {query}" for subset, query in outside["first"])
        more = ", …" if outside["answers"] > len(outside["first"]) else ""
        said = f"{outside['answers']:,} answers are to no query of the suite, and not judged: {first}{more}"
        lines.append(Text(said, style="yellow"))
    if "episodes" in document:
        lines += _format_episode_lines(document)
    return Group(*lines, *_format_usage_lines(document))


def _format_episode_lines(document: dict[str, Any]) -> list[Text]:
    """How episodes ended, and what the environment did not execute."""
    ended, calls = document["episodes"]["ended"], document["environment"]
    away = document["episodes"]["unreachable_reasons"]
    words = {"missed": "not recorded", "substituted": "answered by another recorded response", "failed": "failed"}
    faults = [f"{calls[kind]:,} {said}" for kind, said in words.items() if calls[kind]]
    return [
        Text(
            f"episodes ended: {format_counts(ended)}", style="yellow" if {"context", "unreachable"} & set(ended) else ""
        ),
        *(Text(f"unscored: {n:,} episodes: {why}", style="yellow") for why, n in away.items()),
        Text(
            f"environment: {calls['calls']:,} calls, {', '.join(faults) or 'all executed'}",
            style="yellow" if faults else "",
        ),
    ]


def _format_usage_lines(document: dict[str, Any]) -> list[Text]:
    """What was asked of each endpoint by this command, and what it cost."""
    asked = {"agent": document.get("usage"), **{f"judge {k}": usage for k, usage in document["judging_usage"].items()}}
    lines = []
    for name, usage in asked.items():
        if usage is None:
            continue
        spent = usage["money"]
        money = (
            "money not counted (it takes both prices)" if spent is None else f"money {_format_number(spent, ',.4g')}"
        )
        untold = f" ({usage['uncounted']:,} replies did not tell)" if usage["uncounted"] else ""
        lines.append(
            Text(
                f"endpoint of {name}, this time: {usage['requests']:,} requests, {usage['retries']:,} retries, "
                f"{usage['failed']:,} failed; tokens {usage['prompt_tokens']:,} in, {usage['completion_tokens']:,} out"
                f"{untold}; {money}"
            )
        )
    return lines


def render_comparison_table(document: dict[str, Any]) -> RenderableType:
    """Win rate of A over B, overall and by subset."""
    columns = ["subset", "decided", "A wins", "B wins", "ties", "undecided", "unscored", "win rate of A", "p"]
    table = _make_table(f"A against B, by {document['judge']}", columns, n_left_columns=1)
    for name, row in [*document["subsets"].items(), ("overall", document["overall"])]:
        counts = (f"{row[key]:,}" for key in ("n", "wins", "losses", "ties", "undecided", "unscored"))
        p = "<0.001" if row["p_value"] < 0.001 else _format_number(row["p_value"], ".3f")
        table.add_row(name, *counts, _format_rate(row), p)
    by = ", ".join(f"{count:,} by {how}" for how, count in document["decided_by"].items() if count)
    left_out = document["answered_by_one_side_only"]
    lines = [Text(f"pairs: {by}; answered by one side only: {left_out['a']} of A, {left_out['b']} of B")]
    undecided = document["decided_by"]["undecided"]
    if undecided:
        said = f"{undecided:,} pairs are undecided: the judge is unsure of an answer; they are in no rate"
        lines.append(Text(said, style="yellow"))
    reasons = Counter(pair["reason"] for pair in document["pairs"] if pair["by"] == "unscored")
    lines += [
        Text(f"unscored: {n:,} pairs: {why}", style="yellow") for why, n in reasons.most_common(_MAX_LISTED_LINES)
    ]
    return Group(table, *lines, *_format_usage_lines(document))


def render_environment_table(document: dict[str, Any]) -> RenderableType:
    """One row per part."""
    table = _make_table("", ["part", "state", "found", "what to do"], n_left_columns=4)
    for check in document["checks"]:
        table.add_row(
            check["name"], Text(check["state"], style=_STATUS_COLORS[check["state"]]), check["found"], check["do"]
        )
    return Group(
        table, Text(f"{document['cpus']} CPU cores; the quickstart {'can' if document['ok'] else 'cannot'} run here")
    )


def _make_table(title: str, columns: list[str], *, n_left_columns: int) -> Table:
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="dim")
    for i, column in enumerate(columns):
        table.add_column(
            column, justify="left" if i < n_left_columns or column in ("status", "engine") else "right", no_wrap=i == 0
        )
    return table


def _format_vote_count(n_votes: int) -> str:
    return f"{n_votes:,} vote{'' if n_votes == 1 else 's'}"


def _format_rate(rate: dict[str, Any]) -> str:
    """`40.0% (31.2%–49.5%)`, or one dash where it is undefined."""
    low, high = rate["interval"]
    value = _format_number(rate["value"], ".1%")
    return value if value == "–" else f"{value} ({_format_number(low, '.1%')}–{_format_number(high, '.1%')})"


def _format_number(value: Any, format_spec: str) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return format(value, format_spec)

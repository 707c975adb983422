"""Tables of a study's commands: plan, claims, simulation, status, search, verdicts, environment."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sweeper.api.formatting import (
    MISSING,
    STATUS,
    format_axis_value,
    format_bytes,
    format_counts,
    format_duration,
    format_number,
    format_range,
    format_si,
    get_axis_label,
    list_claim_notes,
    list_status_columns,
)
from sweeper.cli.formatting import format_plural, make_status, make_table, make_warning, truncate_lines

if TYPE_CHECKING:
    from sweeper.api.formatting import ClaimEntry, JsonObject, TrialEntry
    from sweeper.cli.doctor import EnvironmentReport

_RESOURCE_COLUMNS = ("parameters", "engine", "workers", "cpus", "gpus", "GiB per GPU", "time")
_MAX_LISTED_TRIALS = 60
"""Trials of a plan that are listed one by one; a larger plan is shown by its arms."""
_MAX_LISTED_ARMS = 40


def render_plan_table(document: JsonObject, axes: Sequence[str]) -> RenderableType:
    """Render the trials of a plan, or the arms of a large one, and what they will cost.

    Args:
        document: the document of `plan --json`.
        axes: axes of the sweep, those of its search included.
    """
    trials: list[JsonObject] = document["trials"]
    make = _render_trials_table if len(trials) <= _MAX_LISTED_TRIALS else _render_arms_table
    lines: list[RenderableType] = [
        Text(document["question"], style="bold"),
        make(document["sweep"], trials, axes),
        Text(_format_trial_counts(document)),
        *(Text(_format_part_counts(part)) for part in document.get("parts", ())),
    ]
    if "branching" in document:
        lines.append(Text(_format_savings(document["branching"])))
    if "cost" in document:
        lines += [Text(line) for line in format_cost_lines(document)]
    lines += [Text(f"claim {claim['id']}: {claim['text']}") for claim in document["claims"]]
    return Group(*lines)


def _format_trial_counts(document: JsonObject) -> str:
    """Format `222 trials: 129 unique + 57 search + 36 confirmation (174 requested by 8 sweeps)`."""
    pending = document.get("to_come", {"explore": 0, "confirm": 0})
    n_trials = len(document["trials"])
    text = format_plural(n_trials + sum(pending.values()), "trial")
    if any(pending.values()):
        roles = {"search": pending["explore"], "confirmation": pending["confirm"]}
        parts = [f"{count:,} {role}" for role, count in roles.items() if count]
        text += f": {' + '.join([f'{n_trials:,} unique', *parts])}"
    if "parts" in document:
        text += f" ({document['asked']:,} requested by {len(document['parts'])} sweeps)"
    return f"{text}; search trials cost what random values would" if any(pending.values()) else text


def _format_part_counts(row: JsonObject) -> str:
    return f"  {row['sweep']}: {format_plural(row['trials'], 'trial')}, {row['shared']:,} of them shared"


def _format_savings(savings: JsonObject) -> str:
    """Format what branched epochs save."""
    arms = f"branched epochs: {savings['branches']} arms continue from {savings['trunks']} longest arms"
    if math.isnan(savings["saved_share"]):
        return f"{arms}; the saving is unknown until the data are prepared: `sweeper data prepare …`"
    whole = savings["saved_steps"] + savings["steps"]
    return f"{arms}: {savings['saved_share']:.0%} of the steps saved ({savings['saved_steps']:,} of {whole:,})"


def _render_trials_table(name: str, trials: Sequence[JsonObject], axes: Sequence[str]) -> Table:
    columns = ["fingerprint", *(get_axis_label(axis, short=True) for axis in axes), *_RESOURCE_COLUMNS]
    table = make_table(name, columns, n_left_columns=2)
    for row in trials:
        values = [format_axis_value(row[axis]) for axis in axes]
        table.add_row(row["fingerprint"] or "unknown", *values, *_format_resources(row), _format_trial_time(row))
    return table


def _render_arms_table(name: str, trials: Sequence[JsonObject], axes: Sequence[str]) -> RenderableType:
    """Render one line per arm: trials that differ in their seed alone."""
    axes = [axis for axis in axes if axis != "seed"]
    arms: dict[tuple[object, ...], list[JsonObject]] = {}
    for row in trials:
        arms.setdefault(tuple(row[axis] for axis in axes), []).append(row)
    columns = [*(get_axis_label(axis, short=True) for axis in axes), "seeds", "reused", *_RESOURCE_COLUMNS]
    table = make_table(name, columns, n_left_columns=1)
    for values, rows in list(arms.items())[:_MAX_LISTED_ARMS]:
        n_reused = sum(row.get("reused") == "whole" for row in rows)
        longest = max(rows, key=lambda row: row.get("predicted_seconds") or 0.0)
        table.add_row(
            *map(format_axis_value, values),
            f"{len(rows):,}",
            f"{n_reused:,}" if n_reused else "",
            *_format_resources(rows[0]),
            _format_trial_time({**longest, "reused": "whole" if n_reused == len(rows) else ""}),
        )
    n_more = len(arms) - _MAX_LISTED_ARMS
    return Group(table, Text(f"and {n_more:,} more arms: --json lists every trial")) if n_more > 0 else table


def _format_resources(row: JsonObject) -> tuple[str | Text, ...]:
    """Format the size of a trial's model and the resources of the trial."""
    size = "unknown" if row["parameters"] is None else f"{row['parameters']:,}"
    return (size, row["engine"], str(row["workers"]), f"{row['cpus']:g}", f"{row['gpus']:g}", _format_memory(row))


def _format_memory(row: JsonObject) -> Text:
    """Format the predicted memory of a worker and the memory of its share of a GPU; red if it does not fit."""
    if row["memory_gib_predicted"] is None:
        return Text("")
    available = "" if row["memory_gib_there"] is None else f" of {row['memory_gib_there']:.1f}"
    return Text(f"{row['memory_gib_predicted']:.1f}{available}", style="red" if row["fits"] is False else "")


def _format_trial_time(row: JsonObject) -> Text:
    """Format the predicted time of a trial, from start to end."""
    if row.get("reused") == "whole":
        return Text("reused", style="dim")
    seconds = row.get("predicted_seconds")
    if seconds is None or math.isnan(seconds):
        return Text("")
    return Text(format_duration(seconds) + (" (evaluation)" if row.get("reused") else ""))


def format_cost_lines(estimate: JsonObject) -> list[str]:
    """Format what a plan will cost; each figure with its range."""
    lines = [
        f"work: {_format_work(estimate)}",
        f"cost: {_format_cost(estimate)}",
        f"disk: {_format_disk(estimate)}",
        *(f"  {line}" for line in truncate_lines(estimate["rests_on"])),
    ]
    return lines + [f"unknown: {reason}" for reason in truncate_lines(estimate["unknown"])]


def _format_work(estimate: JsonObject) -> str:
    flops = _or_unknown(format_number(estimate["flops"], ".3g"))
    parts = [
        f"{_or_unknown(format_si(estimate['steps']))} optimizer steps, "
        f"{_or_unknown(format_si(estimate['tokens']))} tokens, {flops} training FLOPs"
    ]
    if estimate["reused"]:
        parts.append(f"{estimate['reused']:,} trials reused, at no cost")
    if estimate["reused_training"]:
        parts.append(f"{estimate['reused_training']:,} only evaluated")
    return "; ".join(parts)


def _format_cost(estimate: JsonObject) -> str:
    cost, energy = estimate["cost"], estimate["energy_kwh_range"]
    ranges = {
        name: format_range(cost["low"][name], cost[name], cost["high"][name])
        for name in ("gpu_hours", "cpu_hours", "usd")
    }
    parts = [f"{ranges['gpu_hours']} GPU-hours"] if cost["gpu_hours"] != 0 else []
    if parts and not math.isnan(cost["usd"]):
        parts.append(f"{ranges['usd']} US dollars on demand")
    if cost["cpu_hours"] != 0:
        parts.append(f"{ranges['cpu_hours']} core-hours")
    wall, *wall_range = (3600 * hours for hours in (estimate["wall_hours"], *estimate["wall_hours_range"]))
    wall_text = (
        "unknown"
        if math.isnan(wall)
        else f"{format_duration(wall)} ({' to '.join(format_duration(end) for end in wall_range)})"
    )
    kwh = format_range(energy[0], estimate["energy_kwh"], energy[1])
    return f"{', '.join(parts) or 'nothing'}; {kwh} kWh; wall time {wall_text}"


def _format_disk(estimate: JsonObject) -> str:
    checkpoint, training, kept = (
        _or_unknown(format_bytes(estimate[name]))
        for name in ("checkpoint_bytes", "disk_bytes_while_training", "disk_bytes_kept")
    )
    memory = estimate["memory_gib_peak"]
    peak = "" if math.isnan(memory) else f"; at most {memory:.1f} GiB of memory per GPU"
    return f"checkpoints of at most {checkpoint} each, {training} while training, {kept} kept{peak}"


def _or_unknown(text: str) -> str:
    return "unknown" if text == MISSING else text


def render_claims_table(claims: Sequence[JsonObject]) -> RenderableType:
    """Render what each claim can detect, and how likely it is supported if it holds, before the run."""
    columns = ["claim", "kind", "seeds", "mean seeds", "queries", "margin", "detectable", "power", "note"]
    title = "claims: minimum detectable effect (80 % power), percentage points; power of the claim at its margin"
    table = make_table(title, columns, n_left_columns=2)
    table.columns[-1].justify = "left"
    for claim in claims:
        effect, looks = claim["detectable_effect"], [look["seeds"] for look in claim["looks"]]
        table.add_row(
            claim["id"],
            claim["kind"] if claim["protocol"] == "identical" else f"{claim['kind']}, {claim['protocol']}",
            ", ".join(map(str, looks)) or str(claim["seeds"]),
            format_number(claim["expected_seeds"], ".1f"),
            f"{claim['queries']:,}",
            f"{claim['margin']:g} nats" if claim["margin_unit"] == "nats" else f"{100 * claim['margin']:g}",
            MISSING if effect is None else f"{100 * effect:.1f}",
            format_number(claim["power"], ".0%"),
            Text(claim["reason"] or _format_assumptions(claim), style="yellow" if claim["underpowered"] else ""),
        )
    return table


def _format_assumptions(claim: JsonObject) -> str:
    """Format what the detectable effect assumes, and what finished runs show, with which the power is computed."""
    spreads = {"assuming": claim["assumed"], "observed": claim["observed"]}
    parts = []
    for word, values in spreads.items():
        if values["seed_sd"] is not None:
            parts.append(
                f"{word} {values['discordance']:.0%} discordant queries, seed standard deviation "
                f"{100 * values['seed_sd']:.3g} points"
            )
    if claim["observed"]["collapse_rate"]:
        parts.append(f"observed {claim['observed']['collapse_rate']:.0%} collapsed runs")
    return "; ".join(parts)


def format_look_price(price: JsonObject | None) -> list[Text]:
    """Format what `until: decided` is expected to cost.

    Args:
        price: `until_decided` of the document of `plan --json`; None for a sweep that is complete.
    """
    if price is None:
        return []
    unit = "gpu_hours" if price["worst"]["gpu_hours"] else "cpu_hours"
    name = {"gpu_hours": "GPU-hours", "cpu_hours": "core-hours"}[unit]
    expected, worst = (format_number(price[key][unit], ".3g") for key in ("expected", "worst"))
    fixed = price["fixed"]
    without = "" if fixed is None else f"; without looks {format_number(fixed[unit], '.3g')} for the same power"
    return [Text(f"until decided: {expected} {name} expected, {worst} at most{without} (simulated)")]


def render_simulation_table(document: JsonObject) -> RenderableType:
    """Render how often each verdict was reached under assumed true pass rates."""
    columns = ["claim", "true", "supported", "refuted", "inconclusive", "interval coverage", "mean seeds"]
    title = f"{document['studies']:,} studies of {document['queries']:,} queries"
    table = make_table(title, columns, n_left_columns=2)
    for claim in document["claims"]:
        holds = {True: "yes", False: "no", None: "undefined"}[claim["holds"]]
        shares = (format_number(claim["verdicts"][label], ".1%") for label in ("supported", "refuted", "inconclusive"))
        coverage, seeds = format_number(claim["coverage"], ".1%"), format_number(claim["expected_seeds"], ".1f")
        table.add_row(claim["id"], holds, *shares, coverage, seeds)
    skipped = document["not_simulated"]
    note = [Text(f"not simulated (they need more than pass rates): {', '.join(skipped)}")] if skipped else []
    return Group(table, *note)


def format_part_lines(part_statuses: Mapping[str, Mapping[str, int]]) -> list[Text]:
    """Format the progress of each sweep of a combined study.

    Args:
        part_statuses: sweep -> its number of trials by status.
    """
    return [
        Text(f"{name}: {format_counts(counts)} of {sum(counts.values()):,}") for name, counts in part_statuses.items()
    ]


def render_status_table(name: str, trials: Sequence[JsonObject], varying_axes: Sequence[str]) -> RenderableType:
    """Render every planned trial with the axes that vary, and the number of trials by status.

    Args:
        name: name of the study.
        trials: the trials of the document of `status --json`.
        varying_axes: axes with several values.
    """
    axes = list(dict.fromkeys(["num_train_epochs", "learning_rate", "max_grad_norm", *varying_axes]))
    columns = list_status_columns(axes)
    status = columns.index(STATUS)
    table = make_table(name, [column.label for column in columns], n_left_columns=2)
    for row in trials:
        entry = cast("TrialEntry", row)
        texts = [column.format(column.read(entry)) for column in columns]
        table.add_row(*texts[:status], make_status(texts[status]), *texts[status + 1 :])
    failures = [
        Text(f"{row['fingerprint']}: {row['failure']['kind']}: {row['failure']['message']}", style="red")
        for row in trials
        if row["failure"]
    ]
    return Group(table, Text(format_counts(Counter(row["status"] for row in trials))), *failures)


def render_search_table(document: JsonObject) -> RenderableType:
    """Render the proposals of a search in order, and their number by state."""
    axes = list(dict.fromkeys(axis for entry in document["trials"] for axis in entry["axes"] if axis != "model"))
    labels = [get_axis_label(axis, short=True) for axis in axes]
    columns = ["", "model", *labels, "state", *document["metrics"], "last rung"]
    table = make_table(document["study"], columns, n_left_columns=2)
    for entry in document["trials"]:
        values = entry["values"] if entry["state"] == "COMPLETE" and entry["values"] else []
        rungs = {int(step): loss for step, loss in entry["rungs"].items()}
        table.add_row(
            _format_proposal(entry),
            entry["model"],
            *(format_axis_value(entry["axes"][axis]) if axis in entry["axes"] else "" for axis in axes),
            make_status(entry["state"]),
            *(format_number(values[i] if values else None, ".4g") for i in range(len(document["metrics"]))),
            f"{rungs[max(rungs)]:.3f} at {max(rungs):,}" if rungs else "",
        )
    counts: Mapping[str, int] = Counter(entry["state"] for entry in document["trials"])
    summary = format_counts(counts) if counts else "nothing proposed yet"
    limit = "at most " if document["scheduler"] == "pbt" else ""
    method = f"{document['algorithm']}, {document['scheduler']}"
    return Group(table, Text(f"{summary}; {limit}{document['planned']} planned; {method}"))


def _format_proposal(entry: JsonObject) -> str:
    """Format a proposal's number, whether it is a baseline trial, and what it continues or repeats."""
    text: str = entry["proposal"].rpartition("#")[2] + (" baseline" if entry["anchor"] else "")
    if entry.get("goes_on_from"):
        text += f" from {entry['goes_on_from'].rpartition('#')[2]} at {entry['at_step']:,}"
    return text if entry["retry_of"] is None else f"{text} retry of {entry['retry_of']}"


def render_verdict_lines(document: Mapping[str, Any]) -> list[RenderableType]:
    """Render each claim with its verdict, its sentence and its reason; claims added later come last, under a title."""
    lines: list[RenderableType] = [_render_verdict(claim) for claim in document["claims"]]
    if document["later_claims"]:
        lines.append(make_warning("Claims added or changed after trials had finished:"))
        lines += [_render_verdict(claim) for claim in document["later_claims"]]
    if document["withdrawn_claims"]:
        names = ", ".join(document["withdrawn_claims"])
        lines.append(make_warning(f"Registered and later removed from the sweep: {names}"))
    caveat = document["study"]["caveat"]
    return [*lines, Text(caveat, style="dim")] if caveat else lines


def _render_verdict(claim: Mapping[str, Any]) -> RenderableType:
    verdict = make_status(claim["verdict"].upper())
    verdict.style = f"bold {make_status(claim['verdict']).style}".strip()
    label = claim["registration"]["label"]
    head = Text.assemble(f"{claim['id']}: ", verdict, (f" ({label})" if label else "", "yellow"))
    texts = dict.fromkeys([claim["sentence"], claim["reason"], *list_claim_notes(cast("ClaimEntry", claim))])
    return Group(head, *(Padding(Text(text), (0, 0, 0, 2), expand=False) for text in texts if text))


def render_environment_table(report: EnvironmentReport) -> RenderableType:
    """Render one row per part of the environment."""
    table = make_table("", ["part", "state", "found", "hint"], n_left_columns=4)
    for check in report.checks:
        table.add_row(check.name, make_status(check.state), check.found, check.hint)
    can_run = "can" if report.ok else "cannot"
    return Group(table, Text(f"{report.cpus} CPU cores; the quickstart {can_run} run here"))

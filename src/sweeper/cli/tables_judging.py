"""Tables of `evaluate`, `judge` and `compare`."""

from __future__ import annotations

from collections import Counter

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sweeper.api.formatting import MISSING, JsonObject, format_counts, format_number
from sweeper.cli.formatting import MAX_LISTED_LINES, format_plural, make_table, make_warning

_DEFINITIONS = {"strict": "strict", "stabletoolbench": "StableToolBench", "tooleval": "ToolEval"}
_CALL_FAULTS = {"missed": "not recorded", "substituted": "answered by another recorded response", "failed": "failed"}


def render_judging_table(document: JsonObject) -> RenderableType:
    """Render the rates of the leading judge by subset and of all judges overall, the failing rules and the agreement;
    then counts of what was not judged, not reached or not executed."""
    lines: list[RenderableType] = [_render_rates(document)]
    if len(document["judges"]) > 1:
        lines.append(_render_rates_by_judge(document))
    for name, judged in document["judges"].items():
        if judged["overall"]["rules"]:
            lines.append(_render_rules(name, judged["overall"]["rules"]))
        lines += _format_unscored_lines(name, judged)
    if document["agreement"]:
        lines.append(_render_agreement(document["agreement"]))
    for judge, rates in document["prediction_powered"].items():
        lines += _render_corrected_estimate(f"strict pass rate, {judge} and labels", rates["overall"])
    spread = document["judges"][document["judge"]]["sensitivity"]["spread"]
    if format_number(spread, "") != MISSING:
        lines.append(Text(f"the definitions differ by up to {spread:.1%} on these answers", style="dim"))
    if document["missing"]:
        lines.append(make_warning(f"{document['missing']:,} queries have no answer: strict counts them as failed"))
    outside = document.get("outside_suite", {"answers": 0})
    if outside["answers"]:
        names = ", ".join(f"{subset} {query}" for subset, query in outside["first"])
        more = ", …" if outside["answers"] > len(outside["first"]) else ""
        lines.append(
            make_warning(
                f"{outside['answers']:,} answers match no query of the suite and are not judged: {names}{more}"
            )
        )
    if "episodes" in document:
        lines += _format_episode_lines(document)
    return Group(*lines, *_format_usage_lines(document))


def _render_rates(document: JsonObject) -> Table:
    columns = ["subset", "queries", "answers", "missing", "unscored answers", *_DEFINITIONS.values()]
    table = make_table(f"pass rate by {document['judge']}", columns, n_left_columns=1)
    for name, rates in [*document["subsets"].items(), ("overall", document["overall"])]:
        counts = (rates["n"], rates["n"] - rates["missing"], rates["missing"], rates["unscored"])
        table.add_row(name, *(f"{count:,}" for count in counts), *_format_rates(rates))
    means = (format_number(document["subset_mean"][key], ".1%") for key in _DEFINITIONS)
    table.add_row("mean of subsets", *[""] * 4, *means)
    return table


def _render_rates_by_judge(document: JsonObject) -> Table:
    columns = ["judge", "unscored answers", *_DEFINITIONS.values()]
    table = make_table("overall, by judge", columns, n_left_columns=1)
    for name, judged in document["judges"].items():
        table.add_row(name, f"{judged['overall']['unscored']:,}", *_format_rates(judged["overall"]))
    return table


def _render_rules(judge: str, rules: JsonObject) -> Table:
    table = make_table(f"rules ({judge})", ["rule", "failed", "undecided", "of"], n_left_columns=1)
    for rule, row in rules.items():
        table.add_row(rule.replace("_", " "), f"{row['failed']:,}", f"{row['undecided']:,}", f"{row['n']:,}")
    return table


def _format_unscored_lines(judge: str, judged: JsonObject) -> list[Text]:
    lines = [f"unscored by {judge}: {format_plural(n, 'vote')}: {why}" for why, n in judged["unscored_reasons"].items()]
    lines += [
        f"{judge} did not judge whether the query is solvable for {format_plural(n, 'vote')}; ToolEval's definition "
        f"counts these queries as solvable: {why}"
        for why, n in judged["task_unanswered"].items()
    ]
    return [make_warning(line) for line in lines]


def _render_agreement(agreement: JsonObject) -> Table:
    columns = ["agreement", "items", "raw", "Gwet AC1", "Krippendorff alpha", "Cohen kappa", "Fleiss kappa"]
    table = make_table("", columns, n_left_columns=1)
    for name, row in agreement.items():
        measures = (row[key] for key in ("raw", "gwet_ac1", "krippendorff_alpha", "cohen_kappa", "fleiss_kappa"))
        values = (format_number(measure["value"] if measure else None, ".2f") for measure in measures)
        table.add_row(name, f"{row['n']:,}", *values)
    return table


def _render_corrected_estimate(title: str, row: JsonObject) -> list[RenderableType]:
    """Render a rate or a difference by the labels, by the judge, and by both; then what was left out."""
    table = make_table(title, ["", "labels", "judged", "95 % interval"], n_left_columns=1)
    n_labels, n_judged = f"{row['n_labelled']:,}", f"{row['n_judged']:,}"
    table.add_row("human labels alone", n_labels, "", _format_rate(row["labels"]))
    table.add_row("judge alone", "", n_judged, _format_rate(row["judge"]))
    table.add_row("judge corrected by labels (PPI++)", n_labels, n_judged, _format_rate(row["corrected"]))
    lines: list[RenderableType] = [table]
    if row["reason"]:
        lines.append(make_warning(f"no corrected rate: {row['reason']}"))
    else:
        worth = f"{row['n_labelled'] * row['variance_ratio']:,.0f}"
        text = f"{row['method']}: {n_labels} labels with the judge are as precise as {worth} without it"
        lines.append(Text(text, style="dim"))
    if row["labels_left_out"]:
        lines.append(
            make_warning(f"{format_plural(row['labels_left_out'], 'label')} not used: no score or counterpart")
        )
    if row["joined_strata"]:
        lines.append(make_warning(f"subsets with too few labels, joined: {', '.join(row['joined_strata'])}"))
    return lines


def _format_episode_lines(document: JsonObject) -> list[Text]:
    """Format how episodes ended, and which calls the environment did not execute."""
    ended, calls = document["episodes"]["ended"], document["environment"]
    unreachable = document["episodes"]["unreachable_reasons"]
    faults = [f"{calls[kind]:,} {label}" for kind, label in _CALL_FAULTS.items() if calls[kind]]
    reasoned = document["episodes"]["reasoned"]
    ended_style = "yellow" if {"context", "unreachable"} & set(ended) else ""
    return [
        Text(f"episodes ended: {format_counts(ended)}", style=ended_style),
        *(make_warning(f"unscored: {n:,} episodes: {why}") for why, n in unreachable.items()),
        *([Text(f"reasoning before the action in {reasoned:,} texts")] if reasoned else []),
        Text(
            f"environment: {calls['calls']:,} calls, {', '.join(faults) or 'all executed'}",
            style="yellow" if faults else "",
        ),
    ]


def _format_usage_lines(document: JsonObject) -> list[Text]:
    """Format the requests, tokens and cost of each endpoint in this command."""
    usages = {"agent": document.get("usage"), **{f"judge {k}": u for k, u in document["judging_usage"].items()}}
    lines = []
    for name, usage in usages.items():
        if usage is None:
            continue
        cost = usage["money"]
        cost_text = "unknown (give both prices)" if cost is None else format_number(cost, ",.4g")
        uncounted = f" ({usage['uncounted']:,} replies without token counts)" if usage["uncounted"] else ""
        lines.append(
            Text(
                f"endpoint of {name}, this run: {usage['requests']:,} requests, {usage['retries']:,} retries, "
                f"{usage['failed']:,} failed; tokens {usage['prompt_tokens']:,} in, {usage['completion_tokens']:,} out"
                f"{uncounted}; cost {cost_text}" + "".join(f"; refused: {text}" for text in usage["refused"])
            )
        )
    return lines


def render_comparison_table(document: JsonObject) -> RenderableType:
    """Render the win rate of A over B, overall and by subset."""
    columns = ["subset", "decided", "A wins", "B wins", "ties", "undecided", "unscored", "win rate of A", "p"]
    table = make_table(f"A against B, by {document['judge']}", columns, n_left_columns=1)
    for name, row in [*document["subsets"].items(), ("overall", document["overall"])]:
        counts = (f"{row[key]:,}" for key in ("n", "wins", "losses", "ties", "undecided", "unscored"))
        p = "<0.001" if row["p_value"] < 0.001 else format_number(row["p_value"], ".3f")
        table.add_row(name, *counts, _format_rate(row), p)
    decided_by, one_sided = document["decided_by"], document["answered_by_one_side_only"]
    by = ", ".join(f"{count:,} by {how}" for how, count in decided_by.items() if count)
    lines = [Text(f"pairs: {by}; answered by one side only: {one_sided['a']} of A, {one_sided['b']} of B")]
    if decided_by["undecided"]:
        n_undecided = decided_by["undecided"]
        lines.append(
            make_warning(f"{n_undecided:,} pairs are undecided and in no rate: the judge is unsure of an answer")
        )
    reasons = Counter(pair["reason"] for pair in document["pairs"] if pair["by"] == "unscored")
    lines += [make_warning(f"unscored: {n:,} pairs: {why}") for why, n in reasons.most_common(MAX_LISTED_LINES)]
    corrected: list[RenderableType] = []
    for judge, difference in document["prediction_powered"].items():
        corrected += _render_corrected_estimate(f"strict pass rate of A minus B, {judge} and labels", difference)
    return Group(table, *lines, *corrected, *_format_usage_lines(document))


def _format_rates(rates: JsonObject) -> list[str]:
    """Format a pass rate under each definition."""
    return [_format_rate(rates["pass_rate"][key]) for key in _DEFINITIONS]


def _format_rate(rate: JsonObject) -> str:
    """Format `40.0% (31.2%–49.5%)`, or a dash where the rate is undefined."""
    low, high = rate["interval"]
    value = format_number(rate["value"], ".1%")
    return value if value == MISSING else f"{value} ({format_number(low, '.1%')}–{format_number(high, '.1%')})"

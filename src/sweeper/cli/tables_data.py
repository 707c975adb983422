"""Tables of the `data` commands."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from sweeper.api.formatting import JsonObject, format_counts, format_number
from sweeper.cli.formatting import (
    MAX_LISTED_LINES,
    format_problems,
    make_status,
    make_table,
    make_warning,
)


def render_length_table(document: JsonObject) -> RenderableType:
    """Render what a data source holds, what each length policy would keep of it, and token quantiles."""
    source = document["source"]
    by_policy = make_table(
        f"length policies at {document['max_length']:,} tokens of {document['model']}",
        ["policy", "examples", "target tokens", "prompts cut", "targets cut", "APIs lost in them", "dropped"],
        n_left_columns=1,
    )
    for policy, row in document["fit"].items():
        by_policy.add_row(
            Text(policy, style="bold" if policy == document["fit_policy"] else ""),
            f"{row['examples']:,}",
            f"{row['target_tokens']:,}",
            format_number(row["prompts_cut_share"], ".1%"),
            f"{row['targets_cut']:,}",
            format_number(row["apis_lost_share"], ".1%"),
            format_counts(row["dropped"]),
        )
    lengths = make_table("tokens per example", ["", "p50", "p90", "max"], n_left_columns=1)
    for name in ("prompt_tokens", "target_tokens"):
        values = (format_number(document[name].get(key), ",.0f") for key in ("p50", "p90", "max"))
        lengths.add_row(name.replace("_", " "), *values)
    return Group(
        Text(f"{source['kind']}: {source['location']} ({source['files']:,} files, sha256 {source['sha256'][:12]}…)"),
        Text(
            f"{document['valid_queries']:,} valid queries, {document['invalid_queries']:,} invalid; left out: "
            f"{format_counts(document['unreadable'])}; arguments that are invalid JSON: "
            f"{document['arguments_not_json']:,}; duplicate ids: {document['duplicate_ids']:,}"
        ),
        by_policy,
        lengths,
        *format_problems(document["problems"]),
    )


def render_manifest_table(manifest: JsonObject, directory: str) -> RenderableType:
    """Render the manifest of a prepared data set, one line per fact."""
    source, fit = manifest["source"], manifest["fit"]
    table = make_table("", ["", "train", "validation"], n_left_columns=1)
    for name in ("rows", "tokens", "target_tokens"):
        table.add_row(name.replace("_", " "), f"{manifest[name]['train']:,}", f"{manifest[name]['validation']:,}")
    return Group(
        Text(f"data {manifest['fingerprint']} in {directory}", style="bold"),
        Text(f"{source['kind']}: {source['location']}, {source['files']:,} files, sha256 {source['sha256']}"),
        Text(
            f"length policy {manifest['fit_policy']} at {manifest['max_length']:,} tokens: "
            f"{manifest['read']:,} examples read, {manifest['examples']:,} kept, "
            f"{fit['prompts_cut']:,} prompts and {fit['targets_cut']:,} targets cut"
        ),
        Text(f"dropped: {format_counts(manifest['dropped'])}"),
        table,
        Text(f"license: {manifest['licence']}"),
        *format_problems(manifest["problems"]),
    )


def render_contamination_table(document: JsonObject) -> RenderableType:
    """Render, per subset, duplicates and shares seen in training; then the queries to exclude."""
    train, test = document["train"], document["test"]
    columns = ["subset", "promise", "verdict", "queries", "exact", "near", "tools seen", "APIs seen", "categories seen"]
    table = make_table(f"{test['name']}, {test['queries']:,} queries", [*columns, "to exclude"], n_left_columns=3)
    for row in document["subsets"]:
        seen = (
            "unknown" if row[f"{kind}_in_training"] is None else f"{row[f'{kind}_in_training']:,}/{row[kind]:,}"
            for kind in ("tools", "apis", "categories")
        )
        counts = (f"{row[key]:,}" for key in ("queries", "exact_duplicates", "near_duplicates"))
        verdict = make_status(row["verdict"])
        table.add_row(row["subset"], row["promise"], verdict, *counts, *seen, f"{row['excluded']:,}")
    lines: list[RenderableType] = [
        Text(f"training: {train['queries']:,} queries, {train['functions']:,} APIs, from {train['location']}"),
        table,
        *(make_warning(f"missing in {name}: {len(ids):,} ids") for name, ids in test["missing_ids"].items()),
    ]
    lines += format_problems(train["problems"])
    shown = document["exclude"][:MAX_LISTED_LINES]
    lines += [Text(f"exclude {e['subset']} {e['query_id']}: {'; '.join(e['reasons'])}") for e in shown]
    if len(document["exclude"]) > len(shown):
        lines.append(Text(f"and {len(document['exclude']) - len(shown):,} more: --json or --out lists all"))
    return Group(*lines)

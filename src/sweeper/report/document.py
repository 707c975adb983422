"""Tables of a study -> the report as one plain document. Every number shown anywhere comes from here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sweeper.claims import Comparison, RobustnessCheck, StudyTables, Verdict, decide_claims, select_judge_outcomes
from sweeper.report.arms import build_arms, lr_clip_heatmap, marginal_summaries
from sweeper.report.confounds import find_confounds
from sweeper.report.cost_section import compare_predicted_costs
from sweeper.report.curves import compute_loss_bands, downsample_history
from sweeper.report.scaling_section import fit_size_curves
from sweeper.report.search_effects import select_confirmed_winners, summarize_search
from sweeper.report.search_section import summarize_importances
from sweeper.report.text import format_comparison, format_comparison_value, format_requirement, format_verdict
from sweeper.statistics import COUNTED_STATUSES, DEFAULT_AXES, drop_queries
from sweeper.statistics.vectorized_rates import summarize_outcomes
from sweeper.storage import dump_json, to_strict_json

if TYPE_CHECKING:
    import pandas as pd

    from sweeper.config import Claim

MINIATURE_CAVEAT = (
    "This is a miniature: tiny models, trained from scratch on {data}. "
    "It shows that the method works and is no evidence about OPT."
)
TRIAL_METRICS = (
    "pass_rate",
    "val_loss",
    "train_loss",
    "train_seconds",
    "eval_seconds",
    "train_flops",
    "steps",
    "tokens",
)
RATE_ALPHA = 0.05
"""Level of the intervals of single rates; claims state their own."""
MAX_INDENTED_TRIALS = 1_000
MAX_TOTAL_CURVE_POINTS = 40_000
"""Points of all learning curves together, so that the page stays small however many trials there are."""


def build_report(
    sweep_info: Mapping[str, Any],
    claims: Sequence[Claim],
    trials: pd.DataFrame,
    outcomes: pd.DataFrame,
    histories: Mapping[str, pd.DataFrame],
    references: Sequence[Mapping[str, Any]] | None = None,
    leakage: Mapping[str, Any] | None = None,
    predicted_plan: Mapping[str, Any] | None = None,
    search_history: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Decide the claims and gather everything a report shows. JSON-able; what is undefined is None.

    `sweep_info`: name, question, miniature, and optionally axes (names) and manifest. `references`: published rates,
    each with name, source and rates (subset -> rate); a miniature shows none. `leakage`: the audit of training data
    against test queries; every arm then also has its rate over the queries that it does not exclude. `predicted`: the
    study's plan.json, of which the last section is made (with `wall_hours` of `sweep_info`). `searched`: the history of
    a search; then only trials confirmed on fresh seeds are arms and enter claims, each model's as found best. With
    outcomes of
    several judges, `sweep_info` names the `judge` whose outcomes the report shows and decides by. Random draws are
    seeded by the claim's id: the same tables give the same report. Raises DataError for tables that break their
    contract.
    """
    axes = [
        *DEFAULT_AXES,
        *(axis for axis in sweep_info.get("axes", ()) if axis not in DEFAULT_AXES and axis != "seed"),
    ]
    axes = [axis for axis in axes if axis in trials.columns]
    judge = sweep_info.get("judge")
    every_judge, outcomes = outcomes, select_judge_outcomes(outcomes, judge)
    planned, claimed, claim_axes = trials, trials, axes
    if search_history is not None:
        claimed = trials[
            trials["fingerprint"].isin(
                select_confirmed_winners([{str(k): v for k, v in row.items()} for row in trials.to_dict("records")])
            )
        ]
        claim_axes = ["model"]
        if "role" in trials.columns and (trials["role"] == "confirm").any():
            trials = trials[trials["role"] == "confirm"]
    matrix, runs = summarize_outcomes(outcomes, trials)
    miniature = bool(sweep_info.get("miniature", False))
    leaked = [(entry["subset"], str(entry["query_id"])) for entry in (leakage or {}).get("exclude", ())]
    study = StudyTables(
        claimed,
        every_judge,
        claim_axes,
        matrix,
        histories,
        leaked_queries=None if leakage is None else leaked,
    )
    verdicts = decide_claims(claims, study, judge=judge)
    clean = None if leakage is None else drop_queries(matrix, leaked)
    arms, subsets = build_arms(trials, matrix, axes, clean, runs, RATE_ALPHA)
    varied = [axis for axis in axes if trials[axis].nunique(dropna=False) > 1]
    evaluated = bool(sweep_info.get("evaluated", True))
    curves, rows = _downsample_histories(histories), [_serialize_trial(row) for row in planned.to_dict("records")]
    explored = [row for row in rows if _has_constant_values(row)] if search_history else rows
    looked_for = str(search_history["metrics"][0]) if search_history else "pass_rate" if evaluated else "val_loss"
    unfinished = int((~planned["status"].isin([*COUNTED_STATUSES, "FAILED", "PRUNED"])).sum())
    document = {
        "study": {
            "name": sweep_info["name"],
            "question": sweep_info["question"],
            "miniature": miniature,
            "caveat": MINIATURE_CAVEAT.format(data=sweep_info.get("data", "a generated world of tools"))
            if miniature
            else "",
            "evaluated": evaluated,
            "axes": axes,
            "varied": varied,
            "alpha": RATE_ALPHA,
            "planned": len(planned),
            "statuses": {str(name): int(count) for name, count in planned["status"].value_counts().items()},
            "partial": unfinished > 0,
        },
        "claims": [_serialize_verdict(verdict) for verdict in verdicts],
        "protocols": _group_protocol_variants(claims),
        "arms": arms,
        "subsets": subsets,
        "margins": marginal_summaries(arms, varied),
        "fits": fit_size_curves(arms, varied),
        "map": lr_clip_heatmap(arms, varied, is_evaluated=evaluated),
        "confounds": find_confounds(trials["model"].astype(str)) if "model" in trials.columns else [],
        "search": summarize_importances(explored, _list_search_axes(search_history) or varied, looked_for),
        "exploration": summarize_search(search_history, rows),
        "trials": rows,
        "leakage": None
        if leakage is None
        else {key: leakage[key] for key in CONTAMINATION_KEYS} | {"excluded": len(leaked)},
        "histories": curves,
        "learning": compute_loss_bands(curves, dict(zip(planned["fingerprint"], planned["model"], strict=True))),
        "references": [] if miniature or not references else [dict(reference) for reference in references],
        "data": _collect_datasets(planned),
        "manifest": dict(sweep_info.get("manifest") or {}),
        "hardware": _count_hardware(planned),
        "predicted": compare_predicted_costs(rows, predicted_plan, varied, sweep_info.get("wall_hours")),
        "commands": [command.format(name=sweep_info["name"]) for command in REPRODUCE_COMMANDS],
    }
    return to_strict_json(document)


def _has_constant_values(row: Mapping[str, Any]) -> bool:
    """Whether a search's trial was trained with the same values from its start to its end."""
    return row.get("role") in ("explore", "anchor") and not isinstance(row.get("changes"), list | tuple)


def _list_search_axes(search_history: Mapping[str, Any] | None) -> list[str]:
    """The axes that proposals have values of."""
    return list(dict.fromkeys(axis for entry in (search_history or {}).get("trials", ()) for axis in entry["axes"]))


def serialize_report(document: Mapping[str, Any]) -> str:
    """The document as strict JSON; indented unless the study is large."""
    indent = 2 if len(document.get("trials", ())) <= MAX_INDENTED_TRIALS else None
    return dump_json(document, indent)


CONTAMINATION_KEYS = ("method", "test", "subsets", "exclude")
REPRODUCE_COMMANDS = ("sweeper run sweep.yaml", "sweeper report {name}")
"""How to run the study again, in its own folder, and how this report was made."""
DATA_KEYS = ("source", "fit_policy", "max_length", "read", "examples", "rows", "target_tokens", "fit", "dropped")


def _collect_datasets(trials: pd.DataFrame) -> list[dict[str, Any]]:
    """What each data set of the study kept, cut and dropped, from its manifest; one entry a set of tokens."""
    found: dict[str, dict[str, Any]] = {}
    for manifest in trials["data"] if "data" in trials.columns else ():
        if isinstance(manifest, Mapping) and "fingerprint" in manifest:
            shown = {key: manifest[key] for key in DATA_KEYS if key in manifest}
            found.setdefault(str(manifest["fingerprint"]), {"fingerprint": manifest["fingerprint"], **shown})
    return list(found.values())


def _count_hardware(trials: pd.DataFrame) -> list[dict[str, Any]]:
    """What trials were given to run on, and how many of them."""
    names = [name for name in ("engine", "cpus", "gpus") if name in trials.columns]
    found: dict[tuple[Any, ...], int] = {}
    for row in zip(*(trials[name] for name in names), strict=True) if names else ():
        found[row] = found.get(row, 0) + 1
    return [dict(zip(names, row, strict=True)) | {"trials": count} for row, count in found.items()]


def _serialize_verdict(verdict: Verdict) -> dict[str, Any]:
    defined = verdict.binding_comparison is not None and _has_finite_numbers(verdict.binding_comparison)
    return {
        "id": verdict.claim_id,
        "text": verdict.text,
        "kind": verdict.kind,
        "metric": verdict.metric,
        "protocol": verdict.protocol,
        "verdict": verdict.label,
        "sentence": format_verdict(verdict) if defined else verdict.reason,
        "estimate": verdict.estimate,
        "interval": [verdict.interval.low, verdict.interval.high],
        "unit": verdict.binding_comparison.unit if verdict.binding_comparison else None,
        "alpha": verdict.alpha,
        "p": verdict.p,
        "p_adjusted": verdict.p_adjusted,
        "family": verdict.is_supported_in_family,
        "n": verdict.n,
        "n_queries": verdict.n_queries,
        "n_seeds": verdict.n_seeds,
        "excluded": asdict(verdict.exclusions) | {"trials": len(verdict.incomplete_runs)},
        "incomplete": list(verdict.incomplete_runs),
        "components": [_serialize_comparison(component) for component in verdict.comparisons if component.is_deciding],
        "beside": [_serialize_comparison(component) for component in verdict.comparisons if not component.is_deciding],
        "reading": verdict.interpretation or None,
        "readings": [asdict(reading) for reading in verdict.other_interpretations],
        "choices": [asdict(choice) for choice in verdict.choices],
        "by_judge": verdict.labels_by_judge,
        "sensitivity": [_serialize_sensitivity(row) for row in verdict.robustness_checks],
        "needed": asdict(verdict.required_sample_size) if verdict.required_sample_size else None,
        "reason": verdict.reason,
    }


def _group_protocol_variants(claims: Sequence[Claim]) -> list[list[str]]:
    """Ids of claims that ask the same of arms made comparable in different ways."""
    groups: dict[tuple[Any, ...], list[Claim]] = {}
    for claim in claims:
        same = (claim.kind, claim.axis, claim.candidate, tuple(map(str, claim.against)), claim.reading)
        groups.setdefault(same, []).append(claim)
    return [[c.id for c in own] for own in groups.values() if len({c.protocol for c in own}) > 1]


def _serialize_sensitivity(row: RobustnessCheck) -> dict[str, Any]:
    return {
        "name": row.name,
        "verdict": row.label,
        "estimate": row.estimate,
        "interval": [row.interval.low, row.interval.high],
        "n_queries": row.n_queries,
        "reason": row.reason,
    }


def _serialize_comparison(comparison: Comparison) -> dict[str, Any]:
    found = comparison.estimate
    return {
        "test": comparison.test,
        "metric": comparison.metric.name,
        "unit": comparison.unit,
        "first": comparison.first,
        "second": comparison.second,
        "names": list(comparison.names),
        "sentence": format_comparison(comparison) + "." if _has_finite_numbers(comparison) else None,
        "result": comparison.result,
        "wanted": format_requirement(comparison),
        "estimate": found.estimate,
        "interval": [found.low, found.high],
        "shown": {
            "estimate": format_comparison_value(comparison, found.estimate),
            "interval": [
                format_comparison_value(comparison, found.low),
                format_comparison_value(comparison, found.high),
            ],
        },
        "margin": comparison.margin if comparison.test != "superior" else None,
        "p": comparison.p,
        "n": found.n,
        "n_queries": found.n_queries,
        "n_seeds": found.n_seeds,
        "excluded": asdict(found.exclusions),
        "method": found.method,
    }


def _has_finite_numbers(comparison: Comparison) -> bool:
    """Whether a sentence can be written: estimate, interval and n are there."""
    found = comparison.estimate
    return found.n > 0 and all(math.isfinite(number) for number in (found.estimate, found.low, found.high))


def _serialize_trial(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A planned trial, as the trials table has it, its metrics together under `metrics`."""
    metrics = row.get("metrics") if isinstance(row.get("metrics"), Mapping) else {}
    flat = {name: row[name] for name in TRIAL_METRICS if name in row}
    return {
        **{name: value for name, value in row.items() if name not in flat},
        "failure": _parse_failure(row.get("failure")),
        "metrics": flat | dict(metrics or {}),
        "asked": row.get("asked") or {},
        "applied": row.get("applied") or {},
    }


def _parse_failure(failure: Any) -> dict[str, str] | None:
    """Kind, message and traceback of a failure; a bare text is a traceback whose last line says what it was."""
    if isinstance(failure, Mapping):
        return {key: str(failure.get(key, "")) for key in ("kind", "message", "traceback")}
    if not isinstance(failure, str) or not failure.strip():
        return None
    return {"kind": "", "message": failure.strip().splitlines()[-1], "traceback": failure}


def _downsample_histories(histories: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    each = max(20, min(200, MAX_TOTAL_CURVE_POINTS // max(1, len(histories))))
    return {name: downsample_history(history, each) for name, history in histories.items()}

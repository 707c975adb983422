"""Tables of a study -> the report as one plain document. Every number shown anywhere comes from here."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeper.report.arms import arms_of, map_of, margins_of
from sweeper.report.confounds import confounds
from sweeper.report.curves import bands, downsample
from sweeper.report.exploration import exploration_of, winners
from sweeper.report.fits import size_fits
from sweeper.report.predicted import predicted_of
from sweeper.report.search import search_of
from sweeper.report.sentences import amount, comparison_sentence, verdict_sentence, wanted
from sweeper.report.tally import runs_of
from sweeper.statistics import (
    AXES,
    COUNTED,
    Component,
    Sensitivity,
    Verdict,
    decide_all,
    outcomes_of,
    without_queries,
)

if TYPE_CHECKING:
    import pandas as pd

    from sweeper.spec import Claim

CAVEAT = (
    "This is a miniature: tiny models, trained from scratch on {data}. "
    "It shows that the method works and is no evidence about OPT."
)
METRICS = ("pass_rate", "val_loss", "train_loss", "train_seconds", "eval_seconds", "train_flops", "steps", "tokens")
ALPHA = 0.05
"""Level of the intervals of single rates; claims state their own."""
INDENTED_TRIALS = 1_000
CURVE_POINTS = 40_000
"""Points of all learning curves together, so that the page stays small however many trials there are."""


def build_report(
    sweep_info: Mapping[str, Any],
    claims: Sequence[Claim],
    trials: pd.DataFrame,
    outcomes: pd.DataFrame,
    histories: Mapping[str, pd.DataFrame],
    references: Sequence[Mapping[str, Any]] | None = None,
    leakage: Mapping[str, Any] | None = None,
    predicted: Mapping[str, Any] | None = None,
    searched: Mapping[str, Any] | None = None,
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
    axes = [*AXES, *(axis for axis in sweep_info.get("axes", ()) if axis not in AXES and axis != "seed")]
    axes = [axis for axis in axes if axis in trials.columns]
    judge = sweep_info.get("judge")
    every_judge, outcomes = outcomes, outcomes_of(outcomes, judge)
    planned, claimed, claim_axes = trials, trials, axes
    if searched is not None:
        claimed = trials[
            trials["fingerprint"].isin(
                winners([{str(k): v for k, v in row.items()} for row in trials.to_dict("records")])
            )
        ]
        claim_axes = ["model"]
        if "role" in trials.columns and (trials["role"] == "confirm").any():
            trials = trials[trials["role"] == "confirm"]
    matrix, runs = runs_of(outcomes, trials)
    miniature = bool(sweep_info.get("miniature", False))
    leaked = [(entry["subset"], str(entry["query_id"])) for entry in (leakage or {}).get("exclude", ())]
    verdicts = decide_all(
        claims,
        claimed,
        every_judge,
        judge=judge,
        axes=claim_axes,
        matrix=matrix,
        histories=histories,
        leaked=None if leakage is None else leaked,
    )
    clean = None if leakage is None else without_queries(matrix, leaked)
    arms, subsets = arms_of(trials, matrix, axes, clean, runs, ALPHA)
    varied = [axis for axis in axes if trials[axis].nunique(dropna=False) > 1]
    evaluated = bool(sweep_info.get("evaluated", True))
    curves, rows = _histories(histories), [_trial(row) for row in planned.to_dict("records")]
    explored = [row for row in rows if _has_one_value(row)] if searched else rows
    looked_for = str(searched["metrics"][0]) if searched else "pass_rate" if evaluated else "val_loss"
    unfinished = int((~planned["status"].isin([*COUNTED, "FAILED", "PRUNED"])).sum())
    document = {
        "study": {
            "name": sweep_info["name"],
            "question": sweep_info["question"],
            "miniature": miniature,
            "caveat": CAVEAT.format(data=sweep_info.get("data", "a generated world of tools")) if miniature else "",
            "evaluated": evaluated,
            "axes": axes,
            "varied": varied,
            "alpha": ALPHA,
            "planned": len(planned),
            "statuses": {str(name): int(count) for name, count in planned["status"].value_counts().items()},
            "partial": unfinished > 0,
        },
        "claims": [_claim(verdict) for verdict in verdicts],
        "protocols": _protocols(claims),
        "arms": arms,
        "subsets": subsets,
        "margins": margins_of(arms, varied),
        "fits": size_fits(arms, varied),
        "map": map_of(arms, varied, evaluated=evaluated),
        "confounds": confounds(trials["model"].astype(str)) if "model" in trials.columns else [],
        "search": search_of(explored, _searched_axes(searched) or varied, looked_for),
        "exploration": exploration_of(searched, rows),
        "trials": rows,
        "leakage": None
        if leakage is None
        else {key: leakage[key] for key in LEAKAGE_SHOWN} | {"excluded": len(leaked)},
        "histories": curves,
        "learning": bands(curves, dict(zip(planned["fingerprint"], planned["model"], strict=True))),
        "references": [] if miniature or not references else [dict(reference) for reference in references],
        "data": _data(planned),
        "manifest": dict(sweep_info.get("manifest") or {}),
        "hardware": _hardware(planned),
        "predicted": predicted_of(rows, predicted, varied, sweep_info.get("wall_hours")),
        "commands": [command.format(name=sweep_info["name"]) for command in COMMANDS],
    }
    plain: dict[str, Any] = jsonable(document)
    return plain


def _has_one_value(row: Mapping[str, Any]) -> bool:
    """Whether a search's trial was trained with the same values from its start to its end."""
    return row.get("role") in ("explore", "anchor") and not isinstance(row.get("changes"), list | tuple)


def _searched_axes(searched: Mapping[str, Any] | None) -> list[str]:
    """The axes that proposals have values of."""
    return list(dict.fromkeys(axis for entry in (searched or {}).get("trials", ()) for axis in entry["axes"]))


def to_json(document: Mapping[str, Any]) -> str:
    """The document as strict JSON; indented unless the study is large."""
    indent = 2 if len(document.get("trials", ())) <= INDENTED_TRIALS else None
    return json.dumps(jsonable(document), indent=indent, ensure_ascii=False, allow_nan=False)


def jsonable(value: Any) -> Any:
    """Plain Python, with NaN and infinities as None, since strict JSON has no word for them."""
    kind = type(value)
    # What there are most of comes first: a large study has millions of them.
    if kind is float:
        return value if math.isfinite(value) else None
    if kind is int or kind is str or kind is bool or value is None:
        return value
    if kind is dict or isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if kind is list or isinstance(value, tuple | np.ndarray | list):
        return [jsonable(item) for item in value]
    if isinstance(value, np.generic):
        return jsonable(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, int | str) else str(value)


LEAKAGE_SHOWN = ("method", "test", "subsets", "exclude")
COMMANDS = ("sweeper run sweep.yaml", "sweeper report {name}")
"""How to run the study again, in its own folder, and how this report was made."""
DATA_SHOWN = ("source", "fit_policy", "max_length", "read", "examples", "rows", "target_tokens", "fit", "dropped")


def _data(trials: pd.DataFrame) -> list[dict[str, Any]]:
    """What each data set of the study kept, cut and dropped, from its manifest; one entry a set of tokens."""
    found: dict[str, dict[str, Any]] = {}
    for manifest in trials["data"] if "data" in trials.columns else ():
        if isinstance(manifest, Mapping) and "fingerprint" in manifest:
            shown = {key: manifest[key] for key in DATA_SHOWN if key in manifest}
            found.setdefault(str(manifest["fingerprint"]), {"fingerprint": manifest["fingerprint"], **shown})
    return list(found.values())


def _hardware(trials: pd.DataFrame) -> list[dict[str, Any]]:
    """What trials were given to run on, and how many of them."""
    names = [name for name in ("engine", "cpus", "gpus") if name in trials.columns]
    found: dict[tuple[Any, ...], int] = {}
    for row in zip(*(trials[name] for name in names), strict=True) if names else ():
        found[row] = found.get(row, 0) + 1
    return [dict(zip(names, row, strict=True)) | {"trials": count} for row, count in found.items()]


def _claim(verdict: Verdict) -> dict[str, Any]:
    defined = verdict.binding is not None and _finite(verdict.binding)
    return {
        "id": verdict.claim_id,
        "text": verdict.text,
        "kind": verdict.kind,
        "metric": verdict.metric,
        "protocol": verdict.protocol,
        "verdict": verdict.verdict,
        "sentence": verdict_sentence(verdict) if defined else verdict.reason,
        "estimate": verdict.estimate,
        "interval": [verdict.interval.low, verdict.interval.high],
        "unit": verdict.binding.unit if verdict.binding else None,
        "alpha": verdict.alpha,
        "p": verdict.p,
        "p_adjusted": verdict.p_adjusted,
        "family": verdict.family,
        "n": verdict.n,
        "n_queries": verdict.n_queries,
        "n_seeds": verdict.n_seeds,
        "excluded": asdict(verdict.excluded) | {"trials": len(verdict.incomplete)},
        "incomplete": list(verdict.incomplete),
        "components": [_component(component) for component in verdict.components if component.decides],
        "beside": [_component(component) for component in verdict.components if not component.decides],
        "reading": verdict.reading or None,
        "readings": [asdict(reading) for reading in verdict.readings],
        "choices": [asdict(choice) for choice in verdict.choices],
        "by_judge": verdict.by_judge,
        "sensitivity": [_sensitivity(row) for row in verdict.sensitivity],
        "needed": asdict(verdict.needed) if verdict.needed else None,
        "reason": verdict.reason,
    }


def _protocols(claims: Sequence[Claim]) -> list[list[str]]:
    """Ids of claims that ask the same of arms made comparable in different ways."""
    groups: dict[tuple[Any, ...], list[Claim]] = {}
    for claim in claims:
        same = (claim.kind, claim.axis, claim.candidate, tuple(map(str, claim.against)), claim.reading)
        groups.setdefault(same, []).append(claim)
    return [[c.id for c in own] for own in groups.values() if len({c.protocol for c in own}) > 1]


def _sensitivity(row: Sensitivity) -> dict[str, Any]:
    return {
        "name": row.name,
        "verdict": row.verdict,
        "estimate": row.estimate,
        "interval": [row.interval.low, row.interval.high],
        "n_queries": row.n_queries,
        "reason": row.reason,
    }


def _component(component: Component) -> dict[str, Any]:
    found = component.estimate
    return {
        "test": component.test,
        "metric": component.metric,
        "unit": component.unit,
        "first": component.first,
        "second": component.second,
        "names": list(component.names),
        "sentence": comparison_sentence(component) + "." if _finite(component) else None,
        "result": component.word,
        "wanted": wanted(component),
        "estimate": found.estimate,
        "interval": [found.low, found.high],
        "shown": {
            "estimate": amount(component, found.estimate),
            "interval": [amount(component, found.low), amount(component, found.high)],
        },
        "margin": component.margin if component.test != "superior" else None,
        "p": component.p,
        "n": found.n,
        "n_queries": found.n_queries,
        "n_seeds": found.n_seeds,
        "excluded": asdict(found.excluded),
        "method": found.method,
    }


def _finite(component: Component) -> bool:
    """Whether a sentence can be written: estimate, interval and n are there."""
    found = component.estimate
    return found.n > 0 and all(math.isfinite(number) for number in (found.estimate, found.low, found.high))


def _trial(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A planned trial, as the trials table has it, its metrics together under `metrics`."""
    metrics = row.get("metrics") if isinstance(row.get("metrics"), Mapping) else {}
    flat = {name: row[name] for name in METRICS if name in row}
    return {
        **{name: value for name, value in row.items() if name not in flat},
        "failure": _failure(row.get("failure")),
        "metrics": flat | dict(metrics or {}),
        "asked": row.get("asked") or {},
        "applied": row.get("applied") or {},
    }


def _failure(failure: Any) -> dict[str, str] | None:
    """Kind, message and traceback of a failure; a bare text is a traceback whose last line says what it was."""
    if isinstance(failure, Mapping):
        return {key: str(failure.get(key, "")) for key in ("kind", "message", "traceback")}
    if not isinstance(failure, str) or not failure.strip():
        return None
    return {"kind": "", "message": failure.strip().splitlines()[-1], "traceback": failure}


def _histories(histories: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    each = max(20, min(200, CURVE_POINTS // max(1, len(histories))))
    return {name: downsample(history, each) for name, history in histories.items()}

"""Tables of a study -> the report as one plain document. Every number shown anywhere comes from here."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeper.report.curves import downsample
from sweeper.report.sentences import comparison_sentence, verdict_sentence
from sweeper.statistics import (
    AXES,
    COUNTED,
    Component,
    Rate,
    Verdict,
    arm_name,
    by_subset,
    decide,
    pass_matrix,
    pass_rate,
    subset_mean,
    subset_rates,
    without_queries,
)

if TYPE_CHECKING:
    import pandas as pd

    from sweeper.spec import Claim

CAVEAT = (
    "This is a miniature: tiny models, trained from scratch on {data}. "
    "It shows that the method works and is no evidence about OPT."
)
METRICS = ("pass_rate", "val_loss", "train_loss", "train_seconds", "eval_seconds", "steps", "tokens")
ALPHA = 0.05
"""Level of the intervals of single rates; claims state their own."""
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
) -> dict[str, Any]:
    """Decide the claims and gather everything a report shows. JSON-able; what is undefined is None.

    `sweep_info`: name, question, miniature, and optionally axes (names) and manifest. `references`: published rates,
    each with name, source and rates (subset -> rate); a miniature shows none. `leakage`: the audit of training data
    against test queries; every arm then also has its rate over the queries that it does not exclude. Random draws
    are seeded by the claim's id: the same tables give the same report. Raises DataError for tables that break their
    contract.
    """
    axes = [*AXES, *(axis for axis in sweep_info.get("axes", ()) if axis not in AXES and axis != "seed")]
    axes = [axis for axis in axes if axis in trials.columns]
    matrix = pass_matrix(trials, outcomes)
    miniature = bool(sweep_info.get("miniature", False))
    verdicts = []
    for claim in claims:
        rng = np.random.default_rng(zlib.crc32(claim.id.encode()))
        verdicts.append(decide(claim, trials, outcomes, rng=rng, axes=axes, matrix=matrix))
    leaked = [(entry["subset"], str(entry["query_id"])) for entry in (leakage or {}).get("exclude", ())]
    runs = _runs(outcomes)
    arms = _arms(trials, matrix, axes, None if leakage is None else without_queries(matrix, leaked), runs)
    unfinished = int((~trials["status"].isin([*COUNTED, "FAILED", "PRUNED"])).sum())
    document = {
        "study": {
            "name": sweep_info["name"],
            "question": sweep_info["question"],
            "miniature": miniature,
            "caveat": CAVEAT.format(data=sweep_info.get("data", "a generated world of tools")) if miniature else "",
            "evaluated": bool(sweep_info.get("evaluated", True)),
            "axes": axes,
            "varied": [axis for axis in axes if trials[axis].nunique(dropna=False) > 1],
            "statuses": {str(name): int(count) for name, count in trials["status"].value_counts().items()},
            "partial": unfinished > 0,
        },
        "claims": [_claim(verdict) for verdict in verdicts],
        "arms": [arm for arm, _ in arms],
        "subsets": [row for _, rows in arms for row in rows],
        "trials": [_trial(row) for row in trials.to_dict("records")],
        "leakage": None if leakage is None else {key: leakage[key] for key in ("method", "test", "subsets", "exclude")},
        "histories": _histories(histories),
        "references": [] if miniature or not references else [dict(reference) for reference in references],
        "data": _data(trials),
        "manifest": dict(sweep_info.get("manifest") or {}),
    }
    plain: dict[str, Any] = jsonable(document)
    return plain


def to_json(document: Mapping[str, Any]) -> str:
    """The document as strict JSON."""
    return json.dumps(jsonable(document), indent=2, ensure_ascii=False, allow_nan=False)


def jsonable(value: Any) -> Any:
    """Plain Python, with NaN and infinities as None, since strict JSON has no word for them."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [jsonable(item) for item in value]
    if isinstance(value, np.generic):
        return jsonable(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


DATA_SHOWN = ("source", "fit_policy", "max_length", "read", "examples", "rows", "target_tokens", "fit", "dropped")


def _data(trials: pd.DataFrame) -> list[dict[str, Any]]:
    """What each data set of the study kept, cut and dropped, from its manifest; one entry a set of tokens."""
    found: dict[str, dict[str, Any]] = {}
    for manifest in trials["data"] if "data" in trials.columns else ():
        if isinstance(manifest, Mapping) and "fingerprint" in manifest:
            shown = {key: manifest[key] for key in DATA_SHOWN if key in manifest}
            found.setdefault(str(manifest["fingerprint"]), {"fingerprint": manifest["fingerprint"], **shown})
    return list(found.values())


SIGNATURES = {
    "unfinished": "no final answer",
    "incoherent": "a step without an Action, or a call made three times",
    "hallucinated": "an API that was not offered",
    "overgenerated": "text beyond its action",
}
"""Ways in which small models fail (arXiv 2512.15943, section 6): share of episodes with at least one."""


def _runs(outcomes: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    """Of each run (fingerprint): its pass rate under every definition, and how often its episodes fail in which way."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    if outcomes.empty or not {"status", "task", "answered", "overgenerated"} <= set(outcomes.columns):
        return found
    for name, rows in outcomes.groupby("fingerprint", sort=False):
        rates = by_subset(rows, [])["overall"]["pass_rate"]
        episodes = rows.drop_duplicates(["subset", "query_id"])
        shares = {key: float(episodes[key].mean()) for key in SIGNATURES if key in episodes.columns}
        shares["unfinished"] = 1 - float(episodes["finished"].mean())
        found[str(name)] = {"definitions": {key: rate["value"] for key, rate in rates.items()}, "signatures": shares}
    return found


def _mean(dicts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Key by key, over runs; empty without any."""
    return {key: sum(d[key] for d in dicts) / len(dicts) for key in (dicts[0] if dicts else ())}


def _unseen_drop(subsets: Mapping[str, Rate]) -> float:
    """Pass rate on seen tools minus that on unseen ones: means of the `*_instruction` and of the other subsets."""
    seen = [rate.rate for name, rate in subsets.items() if name.endswith("_instruction")]
    unseen = [rate.rate for name, rate in subsets.items() if name.endswith(("_tool", "_category"))]
    return sum(seen) / len(seen) - sum(unseen) / len(unseen) if seen and unseen else math.nan


def _claim(verdict: Verdict) -> dict[str, Any]:
    defined = verdict.binding is not None and math.isfinite(verdict.estimate)
    return {
        "id": verdict.claim_id,
        "text": verdict.text,
        "verdict": verdict.verdict,
        "sentence": verdict_sentence(verdict) if defined else verdict.reason,
        "estimate": verdict.estimate,
        "interval": [verdict.interval.low, verdict.interval.high],
        "alpha": verdict.alpha,
        "n": verdict.n,
        "n_queries": verdict.n_queries,
        "n_seeds": verdict.n_seeds,
        "excluded": asdict(verdict.excluded) | {"trials": len(verdict.incomplete)},
        "incomplete": list(verdict.incomplete),
        "components": [_component(component) for component in verdict.components],
        "reason": verdict.reason,
    }


def _component(component: Component) -> dict[str, Any]:
    found = component.estimate
    return {
        "test": component.test,
        "first": component.first,
        "second": component.second,
        "names": list(component.names),
        "sentence": None if math.isnan(found.estimate) else comparison_sentence(component) + ".",
        "result": component.word,
        "estimate": found.estimate,
        "interval": [found.low, found.high],
        "margin": component.margin if component.test == "no-better" else None,
        "n": found.n,
        "n_queries": found.n_queries,
        "n_seeds": found.n_seeds,
        "excluded": asdict(found.excluded),
        "method": found.method,
    }


def _arms(
    trials: pd.DataFrame, matrix: pd.DataFrame, axes: list[str], clean: pd.DataFrame | None, runs: Mapping[str, Any]
) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """(arm, its subsets) for every combination of the axes, small models first."""
    varied = [axis for axis in axes if axis != "model" and trials[axis].nunique(dropna=False) > 1]
    found = []
    for _, rows in trials.groupby(axes, dropna=False, sort=False):
        row = rows.iloc[0].to_dict()
        label = " · ".join([str(row["model"]), *(arm_name(axis, row[axis]) for axis in varied)])
        done = rows.loc[rows["status"].isin(COUNTED)]
        names = list(done["fingerprint"])
        subsets = subset_rates(matrix, names, ALPHA)
        seeds = [
            {"seed": run["seed"], "status": run["status"], "val_loss": run.get("val_loss")}
            | {"pass_rate": pass_rate(matrix, [run["fingerprint"]]).rate}
            for run in done.to_dict("records")
        ]
        losses = [seed["val_loss"] for seed in seeds if seed["status"] == "COMPLETE" and _number(seed["val_loss"])]
        arm = {
            "label": label,
            **{axis: row[axis] for axis in axes},
            "parameters": row.get("parameters"),
            **_rate(pass_rate(matrix, names, ALPHA)),
            "subset_mean": _rate(subset_mean(subsets.values(), ALPHA)),
            "without_leaked": None if clean is None else _rate(pass_rate(clean, names, ALPHA)),
            "val_loss": sum(losses) / len(losses) if losses else None,
            "definitions": _mean([runs[name]["definitions"] for name in names if name in runs]),
            "signatures": _mean([runs[name]["signatures"] for name in names if name in runs])
            | {"unseen_tool_drop": _unseen_drop(subsets)},
            "runs": len(rows),
            "runs_done": len(done),
            "runs_diverged": int((rows["status"] == "DIVERGED").sum()),
            "seeds": seeds,
        }
        found.append((arm, [{"arm": label, "subset": name, **_rate(rate)} for name, rate in subsets.items()]))
    return sorted(found, key=lambda item: item[0]["parameters"] if _number(item[0]["parameters"]) else math.inf)


def _number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and math.isfinite(value)


def _rate(rate: Rate) -> dict[str, Any]:
    return {
        "pass_rate": rate.rate,
        "interval": [rate.low, rate.high],
        "n_queries": rate.n_queries,
        "n_outcomes": rate.n_outcomes,
        "unscored": rate.unscored,
    }


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

"""A study's tables -> the document of its report, and its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Required, TypedDict, cast

from sweeper.claims import StudyEvidence, Verdict, decide_claims, select_judge_outcomes
from sweeper.config import load_references
from sweeper.data.readers.base import describe_source_kind
from sweeper.data.sources import GENERATED
from sweeper.report.arms import build_arms, lr_clip_heatmap, marginal_summaries
from sweeper.report.claims_section import LookHistory, group_protocol_variants, serialize_verdict
from sweeper.report.combined_document import CombinedReport
from sweeper.report.confounds import find_confounds
from sweeper.report.cost_section import compare_predicted_costs
from sweeper.report.curves import compute_loss_bands
from sweeper.report.document import Report, StudyEntry
from sweeper.report.html import render_html
from sweeper.report.prediction_section import predict_sizes
from sweeper.report.scaling_section import fit_size_curves
from sweeper.report.search_section import (
    select_confirmed_winners,
    select_importance_trials,
    summarize_importances,
    summarize_search,
)
from sweeper.report.trials_section import collect_datasets, count_hardware, downsample_histories, serialize_trials
from sweeper.results.claim_registry import ClaimRegistry, Registration
from sweeper.results.look_ledger import LookLedger
from sweeper.results.study_evidence import build_trial_table, find_leading_judge, list_claim_axes, read_query_clusters
from sweeper.statistics import COUNTED_STATUSES, drop_queries
from sweeper.statistics.vectorized_rates import summarize_outcomes
from sweeper.storage import JsonObject, dump_json, to_strict_json, write_bytes

if TYPE_CHECKING:
    import pandas as pd

    from sweeper.config import Claim, Sweep
    from sweeper.results.study_tables import StudyTables
    from sweeper.statistics.aliases import QueryKey
    from sweeper.training import TrialRow

RATE_ALPHA = 0.05
"""Level of the intervals of single rates; claims state their own."""
MAX_INDENTED_TRIALS = 1_000
TOY_MODEL_CAVEAT = (
    "This study uses toy models: tiny ones, trained from scratch on {data}. "
    "It shows that the method works and is no evidence about OPT or any other pretrained model."
)
REPRODUCE_COMMANDS = ("sweeper run sweep.yaml", "sweeper report {name}")
"""The command that runs the study again, in its own folder, and the one that writes the report."""
_CONTAMINATION_KEYS = ("method", "test", "subsets", "exclude")


class StudyInfo(TypedDict, total=False):
    """What a report states about its study.

    `runs` are where it ran, oldest first; `claim_prefix` is what the ids of its claims begin with in the registry,
    and in the ledger of looks that were taken before this report;
    `data` describes the training data in a caveat; `judge` names the judge that decides the claims; `wall_hours` is the
    time of all runs together. Without a registry, nothing is known of when the claims were registered.
    """

    name: Required[str]
    question: Required[str]
    miniature: bool
    axes: Sequence[str]
    runs: Sequence[Mapping[str, object]]
    claim_registry: ClaimRegistry
    claim_prefix: str
    look_ledger: LookLedger
    data: str
    wall_hours: float | None
    evaluated: bool
    judge: str | None


@dataclass(frozen=True)
class ReportTables:
    """The tables that a report is built from.

    Args:
        trials: one row per planned trial.
        outcomes: one row per trial, query, judge and vote.
        histories: fingerprint -> logged steps.
        references: published rates; a study of toy models shows none.
        leakage: the audit of training data against test queries; every arm then also has its rate without the
            queries that the audit excludes.
        predicted_plan: the study's plan.json, for predicted against actual cost.
        search_history: the history of a search; then only trials confirmed on fresh seeds are arms, and those of each
            model's best proposal enter the claims.
        query_clusters: `tool` and `category` -> query -> what it is about; None: not known.
    """

    trials: pd.DataFrame
    outcomes: pd.DataFrame
    histories: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    references: Sequence[Mapping[str, object]] = ()
    leakage: JsonObject | None = None
    predicted_plan: JsonObject | None = None
    search_history: JsonObject | None = None
    query_clusters: Mapping[str, Mapping[QueryKey, str]] | None = None

    @property
    def leaked_queries(self) -> list[tuple[str, str]] | None:
        """Subset and id of every leaked query; None without an audit."""
        if self.leakage is None:
            return None
        return [(entry["subset"], str(entry["query_id"])) for entry in self.leakage["exclude"]]


def build_report(info: StudyInfo, claims: Sequence[Claim], tables: ReportTables) -> Report:
    """Evaluate the claims and gather everything that a report shows.

    Random draws are seeded by the claims' ids: the same tables give the same report.

    Returns:
        The document as strict JSON; undefined numbers are None.

    Raises:
        DataError: the tables break their contract.
    """
    planned, outcomes = tables.trials, select_judge_outcomes(tables.outcomes, info.get("judge"))
    axes = list_claim_axes(info.get("axes", ()), planned)
    arm_trials = _select_arm_trials(tables)
    matrix, runs = summarize_outcomes(outcomes, arm_trials)
    leaked = tables.leaked_queries
    registrations = _find_registrations(info, claims)
    ledger, prefix = info.get("look_ledger", LookLedger()), info.get("claim_prefix", "")
    seeds = list(dict.fromkeys(planned["seed"])) if "seed" in planned.columns else []
    looks = {
        claim.id: LookHistory(
            claim.looks, ledger.list_seeds(claim, prefix), ledger.list_other_seeds(claim, seeds, prefix)
        )
        for claim in claims
    }
    registered = [claim for claim in claims if not registrations[claim.id].is_late]
    late = [claim for claim in claims if registrations[claim.id].is_late]
    verdicts = _decide_claims(info, registered, tables, axes, matrix)
    # Late claims are adjusted over all claims, and registered ones over their own: a late one costs them nothing.
    late_verdicts = _decide_claims(info, [*registered, *late], tables, axes, matrix)[len(registered) :] if late else []
    clean_matrix = None if leaked is None else drop_queries(matrix, leaked)
    arm_fingerprints = set(arm_trials["fingerprint"])
    arms, subsets = build_arms(arm_trials, matrix, axes, clean_matrix, runs, RATE_ALPHA)
    varied = [axis for axis in axes if arm_trials[axis].nunique(dropna=False) > 1]
    is_evaluated = info.get("evaluated", True)
    curves, rows = downsample_histories(tables.histories), serialize_trials(planned)
    runs_of_study = info.get("runs", ())
    importances = select_importance_trials(rows, tables.search_history, varied, is_evaluated=is_evaluated)
    document: Report = {
        "study": _describe_study(info, planned, axes, varied),
        "claims": [
            serialize_verdict(verdict, registrations[verdict.claim_id], looks[verdict.claim_id]) for verdict in verdicts
        ],
        "later_claims": [
            serialize_verdict(verdict, registrations[verdict.claim_id], looks[verdict.claim_id])
            for verdict in late_verdicts
        ],
        "withdrawn_claims": _list_withdrawn(info, claims),
        "protocols": group_protocol_variants(registered),
        "arms": arms,
        "subsets": subsets,
        "margins": marginal_summaries(arms, varied),
        "fits": fit_size_curves(arms, varied),
        "predictions": predict_sizes([row for row in rows if row["fingerprint"] in arm_fingerprints], varied),
        "map": lr_clip_heatmap(arms, varied, is_evaluated=is_evaluated),
        "confounds": find_confounds(arm_trials["model"].astype(str)) if "model" in arm_trials.columns else [],
        "search": summarize_importances(*importances),
        "exploration": summarize_search(tables.search_history, rows),
        "trials": rows,
        "leakage": None
        if tables.leakage is None or leaked is None
        else {key: tables.leakage[key] for key in _CONTAMINATION_KEYS} | {"excluded": len(leaked)},
        "histories": curves,
        "learning": compute_loss_bands(curves, dict(zip(planned["fingerprint"], planned["model"], strict=True))),
        "references": [] if info.get("miniature") else [dict(reference) for reference in tables.references],
        "data": collect_datasets(planned),
        "manifest": dict(runs_of_study[-1]) if runs_of_study else {},
        "runs": [dict(run) for run in runs_of_study],
        "hardware": count_hardware(planned),
        "predicted": compare_predicted_costs(rows, tables.predicted_plan, varied, info.get("wall_hours")),
        "commands": [command.format(name=info["name"]) for command in REPRODUCE_COMMANDS],
    }
    return cast(Report, to_strict_json(document))


def _find_registrations(info: StudyInfo, claims: Sequence[Claim]) -> dict[str, Registration]:
    registry, prefix = info.get("claim_registry"), info.get("claim_prefix", "")
    if registry is None:
        return {claim.id: Registration("", is_late=False) for claim in claims}
    return {claim.id: registry.find(claim, prefix) for claim in claims}


def _list_withdrawn(info: StudyInfo, claims: Sequence[Claim]) -> list[str]:
    registry = info.get("claim_registry")
    return [] if registry is None else registry.list_withdrawn(claims, info.get("claim_prefix", ""))


def _select_arm_trials(tables: ReportTables) -> pd.DataFrame:
    """Select the trials that form arms: of a search, those confirmed on fresh seeds as soon as there are any."""
    trials = tables.trials
    if tables.search_history is None or "role" not in trials.columns or not (trials["role"] == "confirm").any():
        return trials
    return trials[trials["role"] == "confirm"]


def _decide_claims(
    info: StudyInfo, claims: Sequence[Claim], tables: ReportTables, axes: Sequence[str], matrix: pd.DataFrame
) -> list[Verdict]:
    """Decide the claims; those of a search on the confirmed trials of each model's best proposal."""
    trials, claim_axes = tables.trials, axes
    if tables.search_history is not None:
        winners = select_confirmed_winners(serialize_trials(trials))
        trials, claim_axes = trials[trials["fingerprint"].isin(winners)], ["model"]
    study = StudyEvidence(
        trials,
        tables.outcomes,
        claim_axes,
        matrix,
        tables.histories,
        leaked_queries=tables.leaked_queries,
        query_clusters=tables.query_clusters,
    )
    return decide_claims(claims, study, judge=info.get("judge"))


def _describe_study(info: StudyInfo, trials: pd.DataFrame, axes: list[str], varied: list[str]) -> StudyEntry:
    is_toy = bool(info.get("miniature", False))
    data = info.get("data") or describe_source_kind(GENERATED)
    is_unfinished = ~trials["status"].isin([*COUNTED_STATUSES, "FAILED", "PRUNED", "NOT_NEEDED"])
    return {
        "name": info["name"],
        "question": info["question"],
        "miniature": is_toy,
        "caveat": TOY_MODEL_CAVEAT.format(data=data) if is_toy else "",
        "evaluated": bool(info.get("evaluated", True)),
        "axes": axes,
        "varied": varied,
        "alpha": RATE_ALPHA,
        "planned": len(trials),
        "statuses": {str(name): int(count) for name, count in trials["status"].value_counts().items()},
        "partial": bool(is_unfinished.any()),
    }


def build_study_report(tables: StudyTables, claim_prefix: str = "") -> Report:
    """Build the report of a study as read from the store.

    Args:
        tables: the study's tables.
        claim_prefix: `SWEEP/` for a sweep in a union, whose claims are registered under that name.
    """
    sweep = tables.plan.sweep
    info: StudyInfo = {
        "name": sweep.name,
        "question": sweep.question,
        "miniature": sweep.uses_toy_models,
        "axes": [*sweep.axes, *sweep.searched],
        "runs": tables.runs,
        "claim_registry": tables.claim_registry,
        "claim_prefix": claim_prefix,
        "look_ledger": tables.look_ledger,
        "data": describe_data(sweep, tables.trials),
        "wall_hours": (tables.resource_usage or {}).get("wall_hours"),
        "evaluated": sweep.evaluation is not None,
        "judge": find_leading_judge(tables.outcomes),
    }
    report_tables = ReportTables(
        build_trial_table(tables.trials),
        tables.outcomes,
        tables.histories,
        references=[reference.model_dump(mode="json") for reference in load_references()],
        leakage=tables.contamination,
        predicted_plan=tables.first_plan,
        search_history=tables.search_history,
        query_clusters=read_query_clusters(sweep),
    )
    return build_report(info, sweep.claims, report_tables)


def format_caveat(sweep: Sweep, trials: Sequence[TrialRow]) -> str:
    """Format the caveat of a study of toy models; empty for other studies."""
    return TOY_MODEL_CAVEAT.format(data=describe_data(sweep, trials)) if sweep.uses_toy_models else ""


def describe_data(sweep: Sweep, trials: Sequence[TrialRow]) -> str:
    """Describe the training data of a sweep in a few words: the sources that its trials read, or its name before that.

    Args:
        trials: rows of its trials, with the manifest of their data.
    """
    if sweep.data.source == GENERATED:
        return describe_source_kind(GENERATED)
    sources = [row.data["source"] for row in trials if "source" in row.data]
    kinds = dict.fromkeys(str(source["kind"]) for source in sources if isinstance(source, Mapping))
    return " and ".join(describe_source_kind(kind) for kind in kinds) or f"the data set {sweep.data.name}"


def write_report(document: Report, *, html_path: Path, json_path: Path) -> None:
    """Write the report as HTML and as JSON, each atomically."""
    write_bytes(json_path, (serialize_report(document) + "\n").encode())
    write_bytes(html_path, render_html(document).encode())


def serialize_report(document: Report | CombinedReport) -> str:
    """Write the document as strict JSON text; indented unless the study is large."""
    trials = document.get("trials", ())
    indent = 2 if len(cast(Sequence[object], trials)) <= MAX_INDENTED_TRIALS else None
    return dump_json(document, indent)

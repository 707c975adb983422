"""The history of a search: its proposals and their outcomes, read from Optuna's storage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sweeper.config import SearchSpec, Sweep
from sweeper.search.space import (
    AxisValue,
    Proposal,
    count_planned_trials,
    list_groups,
    require_search,
    suggest_values,
)
from sweeper.search.storage import check_study_matches, format_study_name, is_search_started, open_storage

if TYPE_CHECKING:
    import datetime

    import optuna

ProposalState = Literal["RUNNING", "COMPLETE", "PRUNED", "FAIL", "DUPLICATE"]
"""Optuna's state; DUPLICATE for a proposal with the values of an earlier one."""
LOSS_SIGNS = {"minimize": 1.0, "maximize": -1.0}
"""Direction of the metric -> sign of a reported loss. Optuna's pruners compare in the direction of the metric, while
rungs report losses, whatever the metric is."""
BASELINE_ATTRIBUTE = "anchor"
"""User attributes of Optuna's trials. Stored studies hold these names."""
FINGERPRINT_ATTRIBUTE = "fingerprint"
STATUS_ATTRIBUTE = "status"
DUPLICATE_ATTRIBUTE = "duplicate_of"
"""Key of the earlier proposal with the same trial."""
RETRIED_ATTRIBUTE = "retry_of"
"""Number of the failed proposal that was retried."""
PARENT_ATTRIBUTE = "goes_on_from"
"""In a population: number of the parent, the step it was branched at, and number of the member that was replaced."""
BRANCH_STEP_ATTRIBUTE = "at_step"
REPLACED_ATTRIBUTE = "instead_of"
_RUNG_PREFIX = "stopped at "


@dataclass(frozen=True)
class ProposalRecord:
    """A proposal and its outcome."""

    proposal: Proposal
    state: ProposalState
    values: list[float] | None
    """Value of each metric; of a pruned trial, its last validation loss at a rung."""
    rung_losses: dict[int, float]
    """Resource -> validation loss at that rung."""
    fingerprint: str
    """The trial's fingerprint; empty if the driver died before it was recorded."""
    retried_number: int | None
    """The number of the failed proposal that this one is a retry of."""
    replaced_number: int | None = None
    """In a population: the number of the member that this one replaces."""


@dataclass(frozen=True)
class SearchHistory:
    """A search and its proposals so far, in the order in which they were made."""

    sweep: Sweep
    records: tuple[ProposalRecord, ...]

    def to_document(self) -> dict[str, object]:
        """Return the document that `search history --json` prints."""
        search = require_search(self.sweep)
        return {
            "study": self.sweep.name,
            "algorithm": search.algorithm,
            "scheduler": search.scheduler,
            "metrics": search.metrics,
            "directions": list(search.directions),
            "planned": count_planned_trials(self.sweep),
            "trials": [self._describe_record(record) for record in self.records],
        }

    def _describe_record(self, record: ProposalRecord) -> dict[str, object]:
        proposal = record.proposal
        return {
            "proposal": proposal.key,
            "model": proposal.group or proposal.values.get("model") or self.sweep.axes["model"][0],
            "anchor": proposal.is_baseline,
            "state": record.state,
            "values": record.values,
            "rungs": record.rung_losses,
            "fingerprint": record.fingerprint,
            "retry_of": record.retried_number,
            "axes": proposal.values,
            **(_describe_lineage(proposal) if require_search(self.sweep).pbt_config else {}),
        }


def _describe_lineage(proposal: Proposal) -> dict[str, object]:
    """Describe where a population member comes from: `axes` holds its last values, `changes` the way there."""
    parent = proposal.parent
    return {
        "goes_on_from": parent.key if parent else None,
        "at_step": proposal.branch_step if parent else None,
        "begins_with": proposal.initial_values,
        "changes": proposal.changes,
    }


def load_search_history(sweep: Sweep, folder: Path) -> SearchHistory | None:
    """Read the history of a search.

    Args:
        folder: the study's folder.

    Returns:
        The history, or None for a sweep without a search.
    """
    return None if sweep.search is None else SearchHistory(sweep, tuple(load_proposal_records(sweep, folder)))


def load_proposal_records(sweep: Sweep, folder: Path) -> list[ProposalRecord]:
    """Read all proposals of a search in the order in which they were made. Creates no files.

    Args:
        sweep: the sweep; without a search it has no proposals.
        folder: the study's folder.

    Raises:
        UsageError: the storage holds a search with other axes, recipe, data or metric.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    search = sweep.search
    if search is None or not is_search_started(search, folder):
        return []
    storage = open_storage(search, folder)
    records = []
    for group in list_groups(sweep):
        try:
            study = optuna.load_study(study_name=format_study_name(sweep, group), storage=storage)
        except KeyError:  # no study of that name yet
            continue
        check_study_matches(study, sweep)
        records += _read_dated_records(study.get_trials(deepcopy=False), sweep, group)
    return [record for _, record in sorted(records, key=lambda pair: (pair[0], pair[1].proposal.key))]


def read_proposal_records(trials: Sequence[optuna.trial.FrozenTrial], sweep: Sweep, group: str) -> list[ProposalRecord]:
    """Convert the trials of one Optuna study to records, in the order of their numbers.

    Trials that only wait to be handed out, and those whose driver died while values were drawn, are left out.
    """
    return [record for _, record in _read_dated_records(trials, sweep, group)]


def _read_dated_records(
    trials: Sequence[optuna.trial.FrozenTrial], sweep: Sweep, group: str
) -> list[tuple[datetime.datetime | None, ProposalRecord]]:
    """Pair each record with the time at which it was proposed."""
    search, records = require_search(sweep), []
    sign = LOSS_SIGNS[search.directions[0]]
    for trial in trials:
        if trial.state.name == "WAITING":
            continue
        try:
            proposal = _read_proposal(trials, trial.number, sweep, group)
        except ValueError:  # the driver died while it was being drawn
            continue
        attributes, state = trial.user_attrs, _read_state(trial)
        values = list(trial.values) if trial.values else None
        if values and state == "PRUNED":
            values = [sign * values[0]]  # the loss at its last rung
        record = ProposalRecord(
            proposal,
            state,
            values,
            rung_losses={
                step: sign * loss
                for step, loss in trial.intermediate_values.items()
                if format_rung_attribute(step) in attributes
            },
            fingerprint=str(attributes.get(FINGERPRINT_ATTRIBUTE, "")),
            retried_number=attributes.get(RETRIED_ATTRIBUTE),
            replaced_number=attributes.get(REPLACED_ATTRIBUTE),
        )
        records.append((trial.datetime_start, record))
    return records


def _read_state(trial: optuna.trial.FrozenTrial) -> ProposalState:
    if DUPLICATE_ATTRIBUTE in trial.user_attrs:
        return "DUPLICATE"
    match trial.state.name:
        case "RUNNING" | "COMPLETE" | "PRUNED" | "FAIL" as state:
            return state
        case other:
            raise ValueError(f"trial {trial.number} in state {other}")


def _read_proposal(trials: Sequence[optuna.trial.FrozenTrial], number: int, sweep: Sweep, group: str) -> Proposal:
    """Read one proposal and its parents.

    Raises:
        ValueError: some of its values were never drawn.
    """
    return build_proposal(trials, number, group, suggest_values(trials[number], sweep, group), sweep)


def build_proposal(
    trials: Sequence[optuna.trial.FrozenTrial],
    number: int,
    group: str,
    values: dict[str, AxisValue],
    sweep: Sweep,
) -> Proposal:
    """Build the proposal of an Optuna trial whose values are known, with the members it continues from."""
    attributes = trials[number].user_attrs
    parent = attributes.get(PARENT_ATTRIBUTE)
    return Proposal(
        group,
        number,
        is_baseline=bool(attributes.get(BASELINE_ATTRIBUTE)),
        values=values,
        is_stopped=_is_stopped_at_rung(attributes),
        parent=None if parent is None else _read_proposal(trials, int(parent), sweep, group),
        branch_step=int(attributes.get(BRANCH_STEP_ATTRIBUTE, 0)),
    )


def format_rung_attribute(resource: int) -> str:
    """Return the user attribute that holds whether a trial was stopped at a rung."""
    return f"{_RUNG_PREFIX}{resource}"


def _is_stopped_at_rung(attributes: Mapping[str, object]) -> bool:
    return any(key.startswith(_RUNG_PREFIX) and stop for key, stop in attributes.items())


def compute_worst_value(search: SearchSpec) -> float:
    """Return the worst possible value of the first metric."""
    return LOSS_SIGNS[search.directions[0]] * float("inf")


def select_finalists(sweep: Sweep, records: Sequence[ProposalRecord]) -> dict[str, list[ProposalRecord]]:
    """Select the proposals to confirm on fresh seeds.

    Returns:
        Group -> its best COMPLETE proposals, at most `confirm.top`, best first. With two metrics: the Pareto front,
        ordered by the first metric. The baseline is appended where it is not among them.
    """
    search = require_search(sweep)
    top = sweep.confirm.top if sweep.confirm else 1
    signs = [LOSS_SIGNS[direction] for direction in search.directions]
    finalists = {}
    for group in list_groups(sweep):
        own = [r for r in records if r.proposal.group == group and r.state == "COMPLETE" and r.values]
        scored = [([sign * v for sign, v in zip(signs, r.values or [], strict=True)], r) for r in own]
        if len(signs) > 1:
            scored = [(score, r) for score, r in scored if not any(_dominates(other, score) for other, _ in scored)]
        ranked = sorted(scored, key=lambda pair: (pair[0], pair[1].proposal.number))
        chosen = [record for _, record in ranked[:top]]
        baselines = [record for record in own if record.proposal.is_baseline and record not in chosen]
        finalists[group] = chosen + baselines
    return finalists


def _dominates(first: list[float], second: list[float]) -> bool:
    """Return whether the first is nowhere worse and somewhere better. Lower is better."""
    return all(a <= b for a, b in zip(first, second, strict=True)) and first != second

"""Optuna's trials as entries of a history: proposals, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeper.config import SearchSpec, Sweep
from sweeper.search.space import Proposal, require_search, suggest_values

if TYPE_CHECKING:
    import datetime

    import optuna


@dataclass(frozen=True)
class ProposalRecord:
    """A proposal in the history, and what became of it."""

    proposal: Proposal
    state: str
    """RUNNING, COMPLETE, PRUNED or FAIL, as Optuna has it; DUPLICATE for a draw that had been made before."""
    values: list[float] | None
    """Of each metric; of a pruned trial, its last loss at a rung."""
    rung_losses: dict[int, float]
    """Resource -> validation loss there."""
    fingerprint: str
    """Of its trial; empty where the driver died before it knew."""
    retried_number: int | None
    """The number of the failed one that it stands for."""
    replaced_number: int | None = None
    """In a population: the number of the member whose place it took."""


def read_proposal_records(
    trials: Sequence[optuna.trial.FrozenTrial], sweep: Sweep, group: str
) -> list[tuple[datetime.datetime | None, ProposalRecord]]:
    """(when it was proposed, entry) of all of a study's trials that were proposed, in the order of their numbers."""
    found, search = [], require_search(sweep)
    for trial in trials:
        if trial.state.name == "WAITING":
            continue
        try:
            proposal = read_proposal(trials, trial.number, sweep, group)
        except ValueError:  # its driver died while it was being drawn
            continue
        attrs = trial.user_attrs
        state = "DUPLICATE" if "duplicate_of" in attrs else trial.state.name
        ended = list(trial.values) if trial.values else None
        if ended and state == "PRUNED":
            ended = [get_loss_sign(search) * ended[0]]  # of the loss at its last rung, whatever is searched for
        seen = trial.intermediate_values.items()
        rungs = {step: get_loss_sign(search) * loss for step, loss in seen if f"stopped at {step}" in attrs}
        fingerprint = str(attrs.get("fingerprint", ""))
        entry = ProposalRecord(
            proposal, state, ended, rungs, fingerprint, attrs.get("retry_of"), attrs.get("instead_of")
        )
        found.append((trial.datetime_start, entry))
    return found


def read_proposal(trials: Sequence[optuna.trial.FrozenTrial], number: int, sweep: Sweep, group: str) -> Proposal:
    """What a trial of Optuna's proposes, with those that it goes on from. Raises ValueError for one half drawn."""
    attrs = trials[number].user_attrs
    values, parent = suggest_values(trials[number], sweep, group), read_parent_proposal(trials, number, sweep, group)
    anchor, at = bool(attrs.get("anchor")), int(attrs.get("at_step", 0))
    return Proposal(group, number, anchor, values, is_stopped_at_rung(attrs), parent, at)


def read_parent_proposal(
    trials: Sequence[optuna.trial.FrozenTrial], number: int, sweep: Sweep, group: str
) -> Proposal | None:
    """In a population: whom a trial goes on from."""
    parent = trials[number].user_attrs.get("goes_on_from")
    return None if parent is None else read_proposal(trials, int(parent), sweep, group)


def is_stopped_at_rung(attrs: Mapping[str, Any]) -> bool:
    """Whether a rung has ended the trial with these attributes."""
    return any(key.startswith("stopped at ") and stop for key, stop in attrs.items())


def get_loss_sign(search: SearchSpec) -> float:
    """Optuna compares at rungs in the direction of the metric; ours are losses, whatever is searched for."""
    return -1.0 if search.directions[0] == "maximize" else 1.0

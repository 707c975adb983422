"""Optuna's trials as entries of a history: proposals, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeper.spec import SearchSpec, Sweep
from sweeper.study.search.space import Proposal, asked_by, suggest

if TYPE_CHECKING:
    import datetime

    import optuna


@dataclass(frozen=True)
class Entry:
    """A proposal in the history, and what became of it."""

    proposal: Proposal
    state: str
    """RUNNING, COMPLETE, PRUNED or FAIL, as Optuna has it; DUPLICATE for a draw that had been made before."""
    values: list[float] | None
    """Of each metric; of a pruned trial, its last loss at a rung."""
    rungs: dict[int, float]
    """Resource -> validation loss there."""
    fingerprint: str
    """Of its trial; empty where the driver died before it knew."""
    retry_of: int | None
    """The number of the failed one that it stands for."""
    instead_of: int | None = None
    """In a population: the number of the member whose place it took."""


def entries_of(
    trials: Sequence[optuna.trial.FrozenTrial], sweep: Sweep, group: str
) -> list[tuple[datetime.datetime | None, Entry]]:
    """(when it was proposed, entry) of all of a study's trials that were proposed, in the order of their numbers."""
    found, search = [], asked_by(sweep)
    for trial in trials:
        if trial.state.name == "WAITING":
            continue
        try:
            proposal = proposal_of(trials, trial.number, sweep, group)
        except ValueError:  # its driver died while it was being drawn
            continue
        attrs = trial.user_attrs
        state = "DUPLICATE" if "duplicate_of" in attrs else trial.state.name
        ended = list(trial.values) if trial.values else None
        if ended and state == "PRUNED":
            ended = [sign_of(search) * ended[0]]  # of the loss at its last rung, whatever is searched for
        seen = trial.intermediate_values.items()
        rungs = {step: sign_of(search) * loss for step, loss in seen if f"stopped at {step}" in attrs}
        fingerprint = str(attrs.get("fingerprint", ""))
        entry = Entry(proposal, state, ended, rungs, fingerprint, attrs.get("retry_of"), attrs.get("instead_of"))
        found.append((trial.datetime_start, entry))
    return found


def proposal_of(trials: Sequence[optuna.trial.FrozenTrial], number: int, sweep: Sweep, group: str) -> Proposal:
    """What a trial of Optuna's proposes, with those that it goes on from. Raises ValueError for one half drawn."""
    attrs = trials[number].user_attrs
    values, parent = suggest(trials[number], sweep, group), parent_of(trials, number, sweep, group)
    anchor, at = bool(attrs.get("anchor")), int(attrs.get("at_step", 0))
    return Proposal(group, number, anchor, values, was_stopped(attrs), parent, at)


def parent_of(trials: Sequence[optuna.trial.FrozenTrial], number: int, sweep: Sweep, group: str) -> Proposal | None:
    """In a population: whom a trial goes on from."""
    parent = trials[number].user_attrs.get("goes_on_from")
    return None if parent is None else proposal_of(trials, int(parent), sweep, group)


def was_stopped(attrs: Mapping[str, Any]) -> bool:
    """Whether a rung has ended the trial with these attributes."""
    return any(key.startswith("stopped at ") and stop for key, stop in attrs.items())


def sign_of(search: SearchSpec) -> float:
    """Optuna compares at rungs in the direction of the metric; ours are losses, whatever is searched for."""
    return -1.0 if search.directions[0] == "maximize" else 1.0

"""Proposals of a search and what became of them, in Optuna's storage. Ray Tune's OptunaSearch draws them.

What the two get wrong together is put right here: an early stop is told as PRUNED, at the resource it reached, and
never as COMPLETE; rungs are in the resource that was spent and lie in the storage, where a restart finds them; the
anchor is stopped by nobody; a proposal whose driver died is handed out again, not drawn again.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.spec import SearchSpec, Sweep
from sweeper.store import cut_torn_line
from sweeper.study.search.entries import entries_of, parent_of, sign_of, was_stopped
from sweeper.study.search.history import REDRAWS, in_a_row
from sweeper.study.search.population import Members, explored
from sweeper.study.search.samplers import pruner_of, sampler_of
from sweeper.study.search.space import (
    Proposal,
    asked_by,
    axes_of,
    first_points,
    groups_of,
    params_of,
    suggest,
    trials_planned,
)
from sweeper.study.search.storage import JOURNAL, check_question, storage_of, study_name
from sweeper.trial import COMPLETE, DIVERGED, PRUNED

if TYPE_CHECKING:
    import optuna

_RUNG = "completed_rung_"
"""What Optuna's pruners note a trial's loss at a rung under."""


class Search:
    """The search of one sweep. Its storage may hold one that was broken off, which then goes on."""

    def __init__(self, sweep: Sweep, folder: Path) -> None:
        import optuna
        from ray.tune.search.optuna import OptunaSearch

        logging.getLogger("ray.tune.search.optuna").setLevel(logging.ERROR)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.sweep, self.search = sweep, asked_by(sweep)
        cut_torn_line(folder / JOURNAL)
        storage = storage_of(self.search, folder)
        self._of: dict[str, Any] = {}
        self._again: list[tuple[str, Any]] = []
        for group in groups_of(sweep):
            found = OptunaSearch(
                space=lambda trial, group=group: suggest(trial, sweep, group, self._reseed(group)),
                metric=self.search.metric,
                mode=_modes(self.search),
                sampler=optuna.samplers.RandomSampler(),  # each proposal gets one of its own
                study_name=study_name(sweep, group),
                storage=storage,
            )
            study = found._ot_study
            check_question(study, sweep, begin=True)
            study.pruner = pruner_of(self.search)
            for values, anchor in first_points(sweep, group):
                study.enqueue_trial(values, user_attrs={"anchor": anchor}, skip_if_exists=True)
            running = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,))
            self._again += [(group, optuna.trial.Trial(study, trial._trial_id)) for trial in running]
            self._of[group] = found

    def next(self) -> Proposal | None:
        """The next proposal: first those that were under way when a driver died; None when all were made, or, of a
        population, until one of its members ends."""
        if self._again:
            return self._proposed(*self._again.pop(0))
        counts = {group: self._made(group) for group in self._of}
        open_groups = [g for g in self._of if self._is_open(g, counts[g]) and not self._drawn_out(g)]
        if not open_groups:
            return None
        group = min(open_groups, key=lambda group: counts[group])
        study = self._of[group]._ot_study
        self._put_forward(group, study)
        study.sampler = sampler_of(self.search, self.sweep, group, len(study.get_trials(deepcopy=False)))
        return self._proposed(group, study.ask())

    def _is_open(self, group: str, made: int) -> bool:
        """Whether there is something to propose now."""
        if self.search.population is None:
            return made < self._limit(group)
        members = self._members(group)
        return members.to_begin > 0 or bool(members.free())

    def _put_forward(self, group: str, study: optuna.Study) -> None:
        """Of a population that has begun: who takes the first place that is free, from whom and with which values."""
        trials = study.get_trials(deepcopy=False)
        members = self._members(group) if self.search.population else None
        waits = any(trial.state.name == "WAITING" for trial in trials)  # a driver died before it was handed out
        if members is None or members.to_begin > 0 or waits:
            return
        place = members.free()[0]
        parent, values = explored(self.sweep, group, place, members, len(trials))
        attrs = {"goes_on_from": parent, "at_step": place.step, "instead_of": place.instead_of}
        study.enqueue_trial(params_of(values, self.sweep), user_attrs=attrs)

    def _members(self, group: str) -> Members:
        trials = self._of[group]._ot_study.get_trials(deepcopy=False)
        return Members(self.sweep, [entry for _, entry in entries_of(trials, self.sweep, group)])

    def named(self, proposal: Proposal, fingerprint: str, first: str | None) -> None:
        """The trial that a proposal is. `first`: the key of an earlier proposal that was the same one; then this one
        is taken back, and does not count."""
        import optuna

        study, trial = self._trial(proposal)
        study._storage.set_trial_user_attr(trial._trial_id, "fingerprint", fingerprint)
        if first is not None:
            study._storage.set_trial_user_attr(trial._trial_id, "duplicate_of", first)
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)

    def decide(self, proposal: Proposal, resource: int, loss: float) -> bool:
        """Whether to stop a trial at a rung, by its validation loss there. Asked again, the answer is the same."""
        import optuna

        if resource <= proposal.at_step:  # the rungs of who it goes on from
            return False
        study, frozen = self._trial(proposal)
        said = frozen.user_attrs.get(f"stopped at {resource}")
        if said is not None or frozen.state.is_finished():
            return bool(said)
        again = resource in frozen.intermediate_values  # a driver died before it had written the answer down
        trial = optuna.trial.Trial(study, frozen._trial_id)
        if not again:
            trial.report(sign_of(self.search) * loss, resource)
        if self.search.population:
            stop = self._members(proposal.group).stops(proposal.number, resource, loss)
        else:
            stop = _pruned_again(study, frozen) if again else bool(trial.should_prune())
        stop = stop and not proposal.anchor
        trial.set_user_attr(f"stopped at {resource}", stop)
        return stop

    def told(self, proposal: Proposal, row: Mapping[str, Any]) -> None:
        """What became of it: a row with `status` and `metrics`. A second telling of the same changes nothing; where a
        failed one was tried again, the new end is one more entry of the history, which says of which."""
        import optuna

        study, trial = self._trial(proposal)
        state, values = outcome_of(row, self.search)
        if not trial.state.is_finished():
            if row["status"] == DIVERGED and not values and not _two(self.search):
                # Below every one that was pruned as far on: a loss from before it blew up would say the opposite.
                step = max([0, *trial.intermediate_values])
                study._storage.set_trial_intermediate_value(trial._trial_id, step + 1, _worst(self.search))
            study._storage.set_trial_user_attr(trial._trial_id, "status", row["status"])
            study.tell(trial.number, values, state=state)
        elif trial.state == optuna.trial.TrialState.FAIL and state != optuna.trial.TrialState.FAIL:
            retried = [t for t in study.get_trials(deepcopy=False) if t.user_attrs.get("retry_of") == trial.number]
            if retried:
                return
            seen = dict(trial.intermediate_values)
            if row["status"] == DIVERGED:
                seen[max([0, *seen]) + 1] = _worst(self.search)
            last = seen[max(seen)] if seen else _worst(self.search)
            study.add_trial(
                optuna.trial.create_trial(
                    state=state,
                    values=values or (None if _two(self.search) else [last]),
                    params=trial.params,
                    distributions=trial.distributions,
                    intermediate_values=None if _two(self.search) else seen,
                    user_attrs=trial.user_attrs | {"retry_of": trial.number, "status": row["status"]},
                )
            )

    def ping(self) -> None:
        """Returns once it is there: its constructor read the storage."""

    def _proposed(self, group: str, trial: optuna.trial.Trial) -> Proposal:
        key = f"{group}#{trial.number}"
        found = self._of[group]
        found._ot_trials[key] = trial
        # A driver may have died between two parameters: those drawn are there, the others are drawn as they would be.
        found._ot_study.sampler = sampler_of(self.search, self.sweep, group, trial.number)
        _ = trial.relative_params  # drawn together, now: not with the stream of the first axis that is lacking
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Define-by-run function")  # a Gaussian process takes seconds
            values = found.suggest(key)
        attrs = trial.user_attrs
        return Proposal(
            group,
            trial.number,
            bool(attrs.get("anchor")),
            axes_of(values, self.sweep, group),
            was_stopped(attrs),
            parent_of(found._ot_study.get_trials(deepcopy=False), trial.number, self.sweep, group),
            int(attrs.get("at_step", 0)),
        )

    def _reseed(self, group: str) -> Callable[[Any, str], None]:
        """What is drawn by itself has a stream of its own: it does not hang on which others a dead driver had drawn."""

        def before(trial: Any, parameter: str) -> None:
            study = self._of[group]._ot_study
            study.sampler = sampler_of(self.search, self.sweep, f"{group} {parameter}", trial.number)

        return before

    def _trial(self, proposal: Proposal) -> tuple[optuna.Study, optuna.trial.FrozenTrial]:
        study = self._of[proposal.group]._ot_study
        return study, study.get_trials(deepcopy=False)[proposal.number]

    def _made(self, group: str) -> int:
        """Proposals of a group that count."""
        import optuna

        trials = self._of[group]._ot_study.get_trials(deepcopy=False)
        attrs = [t.user_attrs for t in trials if t.state != optuna.trial.TrialState.WAITING]
        return sum("duplicate_of" not in a and "retry_of" not in a for a in attrs)

    def _drawn_out(self, group: str) -> bool:
        trials = self._of[group]._ot_study.get_trials(deepcopy=False)
        return in_a_row("duplicate_of" in t.user_attrs for t in reversed(trials)) >= REDRAWS

    def _limit(self, group: str) -> int:
        return trials_planned(self.sweep) // len(self._of)


def _pruned_again(study: optuna.Study, asked: optuna.trial.FrozenTrial) -> bool:
    """What the pruner says of a trial's last report when it is asked once more. It notes rungs and losses in the
    trial's own attributes (`completed_rung_0`, ...), and would count this one twice: it is asked of a copy without."""
    import optuna

    loss = asked.intermediate_values[max(asked.intermediate_values)]
    copied = optuna.create_study(study_name=study.study_name, direction=study.direction, pruner=study.pruner)
    for trial in study.get_trials():
        if trial.number == asked.number:
            trial.system_attrs = {
                k: v for k, v in trial.system_attrs.items() if not (k.startswith(_RUNG) and v == loss)
            }
        copied.add_trial(trial)
    stop = bool(copied.pruner.prune(copied, copied.get_trials(deepcopy=False)[asked.number]))
    for key, value in copied.get_trials(deepcopy=False)[asked.number].system_attrs.items():
        if key.startswith(_RUNG):
            study._storage.set_trial_system_attr(asked._trial_id, key, value)
    return stop


def outcome_of(row: Mapping[str, Any], search: SearchSpec) -> tuple[Any, list[float] | None]:
    """(Optuna's state, values of the metrics) of a trial's row.

    A diverged trial passes nothing and has no loss: with one metric it is PRUNED below all others, since a sampler
    that is told nothing would go there again. Without a defined metric a trial FAILed.
    """
    from optuna.trial import TrialState

    metrics = row.get("metrics") or {}
    status = row["status"]
    values = [metrics.get(name) for name in search.metrics]
    if status == DIVERGED and search.metrics == ["val_pass_rate"]:
        return TrialState.COMPLETE, [0.0]
    if status in (PRUNED, DIVERGED):
        return TrialState.PRUNED, None
    if status == COMPLETE and all(value is not None and not math.isnan(value) for value in values):
        return TrialState.COMPLETE, [float(value) for value in values if value is not None]
    return TrialState.FAIL, None


def _modes(search: SearchSpec) -> Any:
    modes = ["max" if direction == "maximize" else "min" for direction in search.directions]
    return modes if _two(search) else modes[0]


def _two(search: SearchSpec) -> bool:
    return not isinstance(search.metric, str)


def _worst(search: SearchSpec) -> float:
    return -math.inf if search.directions[0] == "maximize" else math.inf

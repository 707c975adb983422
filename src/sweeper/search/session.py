"""Proposals of a search and what became of them, in Optuna's storage. Ray Tune's OptunaSearch draws them.

What the two get wrong together is put right here: an early stop is told as PRUNED, at the resource it reached, and
never as COMPLETE; rungs are in the resource that was spent and lie in the storage, where a restart finds them; the
anchor is stopped by nobody; a proposal whose driver died is handed out again, not drawn again.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.config import SearchSpec, Sweep
from sweeper.search.entries import get_loss_sign, is_stopped_at_rung, read_parent_proposal, read_proposal_records
from sweeper.search.history import MAX_REDRAWS, leading_true
from sweeper.search.pbt import Population, perturb
from sweeper.search.samplers import make_pruner, make_sampler
from sweeper.search.space import (
    Proposal,
    count_planned_trials,
    initial_points,
    require_search,
    search_groups,
    suggest_values,
    to_axis_values,
    to_optuna_params,
)
from sweeper.search.storage import JOURNAL_FILE, check_study_matches, format_study_name, open_storage
from sweeper.storage import truncate_partial_line
from sweeper.training import COMPLETE, DIVERGED, PRUNED, TrialRow

if TYPE_CHECKING:
    import optuna

_RUNG_ATTRIBUTE_PREFIX = "completed_rung_"
"""What Optuna's pruners note a trial's loss at a rung under."""


class SearchSession:
    """The search of one sweep. Its storage may hold one that was broken off, which then goes on."""

    def __init__(self, sweep: Sweep, folder: Path) -> None:
        import optuna
        from ray.tune.search.optuna import OptunaSearch

        logging.getLogger("ray.tune.search.optuna").setLevel(logging.ERROR)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.sweep, self.search_spec = sweep, require_search(sweep)
        truncate_partial_line(folder / JOURNAL_FILE)
        storage = open_storage(self.search_spec, folder)
        self._optuna_searches: dict[str, Any] = {}
        self._interrupted_trials: list[tuple[str, Any]] = []
        for group in search_groups(sweep):
            found = OptunaSearch(
                space=lambda trial, group=group: suggest_values(trial, sweep, group, self._make_reseeder(group)),
                metric=self.search_spec.metric,
                mode=_get_optuna_modes(self.search_spec),
                sampler=optuna.samplers.RandomSampler(),  # each proposal gets one of its own
                study_name=format_study_name(sweep, group),
                storage=storage,
            )
            study = found._ot_study
            check_study_matches(study, sweep, record_if_missing=True)
            study.pruner = make_pruner(self.search_spec)
            for values, anchor in initial_points(sweep, group):
                study.enqueue_trial(values, user_attrs={"anchor": anchor}, skip_if_exists=True)
            running = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,))
            self._interrupted_trials += [(group, optuna.trial.Trial(study, trial._trial_id)) for trial in running]
            self._optuna_searches[group] = found

    def ask(self) -> Proposal | None:
        """The next proposal: first those that were under way when a driver died; None when all were made, or, of a
        population, until one of its members ends."""
        if self._interrupted_trials:
            return self._build_proposal(*self._interrupted_trials.pop(0))
        counts = {group: self._count_proposals(group) for group in self._optuna_searches}
        open_groups = [
            g
            for g in self._optuna_searches
            if self._has_proposal_left(g, counts[g]) and not self._is_space_exhausted(g)
        ]
        if not open_groups:
            return None
        group = min(open_groups, key=lambda group: counts[group])
        study = self._optuna_searches[group]._ot_study
        self._enqueue_offspring(group, study)
        study.sampler = make_sampler(self.search_spec, self.sweep, group, len(study.get_trials(deepcopy=False)))
        return self._build_proposal(group, study.ask())

    def _has_proposal_left(self, group: str, proposal_count: int) -> bool:
        """Whether there is something to propose now."""
        if self.search_spec.pbt_config is None:
            return proposal_count < self._count_planned_proposals(group)
        members = self._load_population(group)
        return members.missing_initial_members > 0 or bool(members.find_vacancies())

    def _enqueue_offspring(self, group: str, study: optuna.Study) -> None:
        """Of a population that has begun: who takes the first place that is free, from whom and with which values."""
        trials = study.get_trials(deepcopy=False)
        members = self._load_population(group) if self.search_spec.pbt_config else None
        waits = any(trial.state.name == "WAITING" for trial in trials)  # a driver died before it was handed out
        if members is None or members.missing_initial_members > 0 or waits:
            return
        place = members.find_vacancies()[0]
        parent, values = perturb(self.sweep, group, place, members, len(trials))
        attrs = {"goes_on_from": parent, "at_step": place.step, "instead_of": place.replaced_number}
        study.enqueue_trial(to_optuna_params(values, self.sweep), user_attrs=attrs)

    def _load_population(self, group: str) -> Population:
        trials = self._optuna_searches[group]._ot_study.get_trials(deepcopy=False)
        return Population(self.sweep, [entry for _, entry in read_proposal_records(trials, self.sweep, group)])

    def attach_trial(self, proposal: Proposal, fingerprint: str, duplicate_key: str | None) -> None:
        """The trial that a proposal is. `first`: the key of an earlier proposal that was the same one; then this one
        is taken back, and does not count."""
        import optuna

        study, trial = self._get_optuna_trial(proposal)
        study._storage.set_trial_user_attr(trial._trial_id, "fingerprint", fingerprint)
        if duplicate_key is not None:
            study._storage.set_trial_user_attr(trial._trial_id, "duplicate_of", duplicate_key)
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)

    def should_prune(self, proposal: Proposal, resource: int, loss: float) -> bool:
        """Whether to stop a trial at a rung, by its validation loss there. Asked again, the answer is the same."""
        import optuna

        if resource <= proposal.branch_step:  # the rungs of who it goes on from
            return False
        study, frozen = self._get_optuna_trial(proposal)
        said = frozen.user_attrs.get(f"stopped at {resource}")
        if said is not None or frozen.state.is_finished():
            return bool(said)
        again = resource in frozen.intermediate_values  # a driver died before it had written the answer down
        trial = optuna.trial.Trial(study, frozen._trial_id)
        if not again:
            trial.report(get_loss_sign(self.search_spec) * loss, resource)
        if self.search_spec.pbt_config:
            stop = self._load_population(proposal.group).should_stop(proposal.number, resource, loss)
        else:
            stop = _repeat_pruning_decision(study, frozen) if again else bool(trial.should_prune())
        stop = stop and not proposal.is_baseline
        trial.set_user_attr(f"stopped at {resource}", stop)
        return stop

    def tell(self, proposal: Proposal, row: TrialRow) -> None:
        """What became of it: its row. A second telling of the same changes nothing; where a
        failed one was tried again, the new end is one more entry of the history, which says of which."""
        import optuna

        study, trial = self._get_optuna_trial(proposal)
        state, values = convert_row_to_optuna(row, self.search_spec)
        if not trial.state.is_finished():
            if row.status == DIVERGED and not values and not _has_two_metrics(self.search_spec):
                # Below every one that was pruned as far on: a loss from before it blew up would say the opposite.
                step = max([0, *trial.intermediate_values])
                study._storage.set_trial_intermediate_value(
                    trial._trial_id, step + 1, _get_worst_value(self.search_spec)
                )
            study._storage.set_trial_user_attr(trial._trial_id, "status", row.status)
            study.tell(trial.number, values, state=state)
        elif trial.state == optuna.trial.TrialState.FAIL and state != optuna.trial.TrialState.FAIL:
            retried = [t for t in study.get_trials(deepcopy=False) if t.user_attrs.get("retry_of") == trial.number]
            if retried:
                return
            seen = dict(trial.intermediate_values)
            if row.status == DIVERGED:
                seen[max([0, *seen]) + 1] = _get_worst_value(self.search_spec)
            last = seen[max(seen)] if seen else _get_worst_value(self.search_spec)
            study.add_trial(
                optuna.trial.create_trial(
                    state=state,
                    values=values or (None if _has_two_metrics(self.search_spec) else [last]),
                    params=trial.params,
                    distributions=trial.distributions,
                    intermediate_values=None if _has_two_metrics(self.search_spec) else seen,
                    user_attrs=trial.user_attrs | {"retry_of": trial.number, "status": row.status},
                )
            )

    def ping(self) -> None:
        """Returns once it is there: its constructor read the storage."""

    def _build_proposal(self, group: str, trial: optuna.trial.Trial) -> Proposal:
        key = f"{group}#{trial.number}"
        found = self._optuna_searches[group]
        found._ot_trials[key] = trial
        # A driver may have died between two parameters: those drawn are there, the others are drawn as they would be.
        found._ot_study.sampler = make_sampler(self.search_spec, self.sweep, group, trial.number)
        _ = trial.relative_params  # drawn together, now: not with the stream of the first axis that is lacking
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Define-by-run function")  # a Gaussian process takes seconds
            values = found.suggest(key)
        attrs = trial.user_attrs
        return Proposal(
            group,
            trial.number,
            bool(attrs.get("anchor")),
            to_axis_values(values, self.sweep, group),
            is_stopped_at_rung(attrs),
            read_parent_proposal(found._ot_study.get_trials(deepcopy=False), trial.number, self.sweep, group),
            int(attrs.get("at_step", 0)),
        )

    def _make_reseeder(self, group: str) -> Callable[[Any, str], None]:
        """What is drawn by itself has a stream of its own: it does not hang on which others a dead driver had drawn."""

        def before(trial: Any, parameter: str) -> None:
            study = self._optuna_searches[group]._ot_study
            study.sampler = make_sampler(self.search_spec, self.sweep, f"{group} {parameter}", trial.number)

        return before

    def _get_optuna_trial(self, proposal: Proposal) -> tuple[optuna.Study, optuna.trial.FrozenTrial]:
        study = self._optuna_searches[proposal.group]._ot_study
        return study, study.get_trials(deepcopy=False)[proposal.number]

    def _count_proposals(self, group: str) -> int:
        """Proposals of a group that count."""
        import optuna

        trials = self._optuna_searches[group]._ot_study.get_trials(deepcopy=False)
        attrs = [t.user_attrs for t in trials if t.state != optuna.trial.TrialState.WAITING]
        return sum("duplicate_of" not in a and "retry_of" not in a for a in attrs)

    def _is_space_exhausted(self, group: str) -> bool:
        trials = self._optuna_searches[group]._ot_study.get_trials(deepcopy=False)
        return leading_true("duplicate_of" in t.user_attrs for t in reversed(trials)) >= MAX_REDRAWS

    def _count_planned_proposals(self, group: str) -> int:
        return count_planned_trials(self.sweep) // len(self._optuna_searches)


def _repeat_pruning_decision(study: optuna.Study, frozen: optuna.trial.FrozenTrial) -> bool:
    """What the pruner says of a trial's last report when it is asked once more. It notes rungs and losses in the
    trial's own attributes (`completed_rung_0`, ...), and would count this one twice: it is asked of a copy without."""
    import optuna

    loss = frozen.intermediate_values[max(frozen.intermediate_values)]
    copied = optuna.create_study(study_name=study.study_name, direction=study.direction, pruner=study.pruner)
    for trial in study.get_trials():
        if trial.number == frozen.number:
            trial.system_attrs = {
                k: v for k, v in trial.system_attrs.items() if not (k.startswith(_RUNG_ATTRIBUTE_PREFIX) and v == loss)
            }
        copied.add_trial(trial)
    stop = bool(copied.pruner.prune(copied, copied.get_trials(deepcopy=False)[frozen.number]))
    for key, value in copied.get_trials(deepcopy=False)[frozen.number].system_attrs.items():
        if key.startswith(_RUNG_ATTRIBUTE_PREFIX):
            study._storage.set_trial_system_attr(frozen._trial_id, key, value)
    return stop


def convert_row_to_optuna(row: TrialRow, search: SearchSpec) -> tuple[Any, list[float] | None]:
    """(Optuna's state, values of the metrics) of a trial's row.

    A diverged trial passes nothing and has no loss: with one metric it is PRUNED below all others, since a sampler
    that is told nothing would go there again. Without a defined metric a trial FAILed.
    """
    from optuna.trial import TrialState

    metrics = row.metrics
    status = row.status
    values = [metrics.get(name) for name in search.metrics]
    if status == DIVERGED and search.metrics == ["val_pass_rate"]:
        return TrialState.COMPLETE, [0.0]
    if status in (PRUNED, DIVERGED):
        return TrialState.PRUNED, None
    if status == COMPLETE and all(value is not None and not math.isnan(value) for value in values):
        return TrialState.COMPLETE, [float(value) for value in values if value is not None]
    return TrialState.FAIL, None


def _get_optuna_modes(search: SearchSpec) -> Any:
    modes = ["max" if direction == "maximize" else "min" for direction in search.directions]
    return modes if _has_two_metrics(search) else modes[0]


def _has_two_metrics(search: SearchSpec) -> bool:
    return not isinstance(search.metric, str)


def _get_worst_value(search: SearchSpec) -> float:
    return -math.inf if search.directions[0] == "maximize" else math.inf

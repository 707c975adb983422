"""A running search: proposals drawn with Optuna's ask-and-tell interface, and kept in its storage.

    session = SearchSession(sweep, folder)
    while (proposal := session.ask()) is not None:
        session.attach_trial(proposal, fingerprint, duplicate_key=None)
        ...  # train; at each rung: session.should_prune(proposal, resource, loss)
        session.tell(proposal, row)

A search can be interrupted at any point and continued by a new session on the same storage:

- A trial whose driver died is handed out again with the values it had. Values that were not drawn yet come from the
  same random streams as in an uninterrupted search.
- A decision at a rung is stored, and repeated when the same trial reaches the same rung again.
- A trial that was stopped early is reported as PRUNED with its last loss at a rung, never as COMPLETE.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from sweeper.config import SearchSpec, Sweep
from sweeper.search.history import (
    BASELINE_ATTRIBUTE,
    BRANCH_STEP_ATTRIBUTE,
    DUPLICATE_ATTRIBUTE,
    FINGERPRINT_ATTRIBUTE,
    LOSS_SIGNS,
    PARENT_ATTRIBUTE,
    REPLACED_ATTRIBUTE,
    RETRIED_ATTRIBUTE,
    STATUS_ATTRIBUTE,
    build_proposal,
    compute_worst_value,
    format_rung_attribute,
    read_proposal_records,
)
from sweeper.search.pbt import Population, perturb
from sweeper.search.pruners import make_pruner
from sweeper.search.remaining import MAX_REDRAWS, count_leading_true
from sweeper.search.samplers import make_sampler
from sweeper.search.space import (
    Proposal,
    count_planned_per_group,
    list_groups,
    list_initial_points,
    require_search,
    suggest_values,
    to_optuna_params,
)
from sweeper.search.storage import JOURNAL_FILE, check_study_matches, format_study_name, open_storage
from sweeper.storage import truncate_partial_line
from sweeper.training import DIVERGED, RowStatus, TrialRow

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage

_RUNG_ATTRIBUTE_PREFIX = "completed_rung_"
"""Prefix of the system attributes in which Optuna's pruners store the value of a trial at each rung."""


class SearchSession:
    """The search of one sweep, which continues what its storage holds.

    Args:
        sweep: the sweep, which has a `search`.
        folder: the study's folder, which holds the journal unless the search names a database.

    Raises:
        UsageError: the storage cannot be opened, or holds a search with other axes, recipe, data or metric.
    """

    def __init__(self, sweep: Sweep, folder: Path) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.sweep, self.search_spec = sweep, require_search(sweep)
        truncate_partial_line(folder / JOURNAL_FILE)
        storage = open_storage(self.search_spec, folder)
        self._studies = {group: self._open_study(group, storage) for group in list_groups(sweep)}
        self._interrupted = [
            (group, trial.number)
            for group, study in self._studies.items()
            for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,))
        ]

    def _open_study(self, group: str, storage: BaseStorage) -> optuna.Study:
        """Create or load the study of a group, and enqueue its initial points."""
        import optuna

        study = optuna.create_study(
            storage=storage,
            sampler=optuna.samplers.RandomSampler(),  # replaced before every proposal
            pruner=make_pruner(self.search_spec),
            study_name=format_study_name(self.sweep, group),
            directions=self.search_spec.directions,
            load_if_exists=True,
        )
        check_study_matches(study, self.sweep, record_if_missing=True)
        for point in list_initial_points(self.sweep, group):
            study.enqueue_trial(point.params, user_attrs={BASELINE_ATTRIBUTE: point.is_baseline}, skip_if_exists=True)
        return study

    def ping(self) -> None:
        """Return at once. In a Ray actor: wait for the constructor."""

    def ask(self) -> Proposal | None:
        """Return the next proposal. Trials that were running when a driver died come first.

        Returns:
            The proposal, or None if nothing can be proposed now. A population may have more proposals once a member
            ends.
        """
        if self._interrupted:
            group, number = self._interrupted.pop(0)
            return self._draw_proposal(group, self._open_trial(group, number))
        counts = {group: self._count_proposals(group) for group in self._studies}
        open_groups = [
            group
            for group, count in counts.items()
            if self._has_proposal_left(group, count) and not self._is_space_exhausted(group)
        ]
        if not open_groups:
            return None
        group = min(open_groups, key=lambda group: counts[group])
        if self.search_spec.pbt_config:
            self._enqueue_offspring(group)
        study = self._studies[group]
        study.sampler = make_sampler(self.sweep, group, len(study.get_trials(deepcopy=False)))
        return self._draw_proposal(group, study.ask())

    def attach_trial(self, proposal: Proposal, fingerprint: str, duplicate_key: str | None) -> None:
        """Record which trial a proposal is.

        Args:
            proposal: a proposal that `ask` returned.
            fingerprint: fingerprint of its trial.
            duplicate_key: key of an earlier proposal with the same trial, or None. A duplicate ends here and does not
                count.
        """
        import optuna

        trial = self._open_trial(proposal.group, proposal.number)
        trial.set_user_attr(FINGERPRINT_ATTRIBUTE, fingerprint)
        if duplicate_key is not None:
            trial.set_user_attr(DUPLICATE_ATTRIBUTE, duplicate_key)
            trial.study.tell(trial, state=optuna.trial.TrialState.FAIL)

    def should_prune(self, proposal: Proposal, resource: int, loss: float) -> bool:
        """Decide whether a trial stops at a rung. The decision is stored, and repeated for the same rung.

        Args:
            proposal: the trial's proposal.
            resource: the rung, in the unit of the search's rungs.
            loss: validation loss of the trial there.
        """
        if resource <= proposal.branch_step:  # a rung that its parent passed
            return False
        frozen = self._read_trial(proposal)
        decision = frozen.user_attrs.get(format_rung_attribute(resource))
        if decision is not None or frozen.state.is_finished():
            return bool(decision)
        is_reported = resource in frozen.intermediate_values  # a driver died before it stored the decision
        trial = self._open_trial(proposal.group, proposal.number)
        if not is_reported:
            trial.report(LOSS_SIGNS[self.search_spec.directions[0]] * loss, resource)
        if self.search_spec.pbt_config:
            stop = self._load_population(proposal.group).should_stop(proposal.number, resource, loss)
        elif is_reported:
            stop = _repeat_pruning_decision(trial.study, frozen)
        else:
            stop = bool(trial.should_prune())  # pruners return NumPy booleans too
        stop = stop and not proposal.is_baseline
        trial.set_user_attr(format_rung_attribute(resource), stop)
        return stop

    def tell(self, proposal: Proposal, row: TrialRow) -> None:
        """Record the outcome of a trial. Repeating it has no effect.

        Where a failed trial was retried, the outcome of the retry is a trial of its own with the number of the first.

        Args:
            proposal: the trial's proposal.
            row: the trial's row, with its status and the metrics of the search.

        Raises:
            ValueError: the trial has not ended.
        """
        import optuna

        frozen = self._read_trial(proposal)
        state, values = convert_outcome(row, self.search_spec)
        if not frozen.state.is_finished():
            trial = self._open_trial(proposal.group, proposal.number)
            if row.status == DIVERGED and not values and not self._has_two_metrics:
                # Worse than all trials that were pruned as late. The last loss before it diverged would rank it among
                # the good ones.
                trial.report(compute_worst_value(self.search_spec), max([0, *frozen.intermediate_values]) + 1)
            trial.set_user_attr(STATUS_ATTRIBUTE, row.status)
            trial.study.tell(trial, values, state=state)
        elif frozen.state == optuna.trial.TrialState.FAIL and state != optuna.trial.TrialState.FAIL:
            self._add_retry(self._studies[proposal.group], frozen, row.status, state, values)

    def _add_retry(
        self,
        study: optuna.Study,
        failed: optuna.trial.FrozenTrial,
        status: RowStatus,
        state: optuna.trial.TrialState,
        values: list[float] | None,
    ) -> None:
        """Add the outcome of a retried trial, unless it is there already."""
        import optuna

        if any(t.user_attrs.get(RETRIED_ATTRIBUTE) == failed.number for t in study.get_trials(deepcopy=False)):
            return
        worst, reported = compute_worst_value(self.search_spec), dict(failed.intermediate_values)
        if status == DIVERGED:
            reported[max([0, *reported]) + 1] = worst
        last = reported[max(reported)] if reported else worst
        study.add_trial(
            optuna.trial.create_trial(
                state=state,
                values=values or (None if self._has_two_metrics else [last]),
                params=failed.params,
                distributions=failed.distributions,
                intermediate_values=None if self._has_two_metrics else reported,
                user_attrs=failed.user_attrs | {RETRIED_ATTRIBUTE: failed.number, STATUS_ATTRIBUTE: status},
            )
        )

    def _draw_proposal(self, group: str, trial: optuna.trial.Trial) -> Proposal:
        """Draw the values of a trial. Those that a dead driver had drawn are kept."""
        study = self._studies[group]
        study.sampler = make_sampler(self.sweep, group, trial.number)
        _ = trial.relative_params  # drawn jointly now, before `_make_reseeder` changes the sampler
        values = suggest_values(trial, self.sweep, group, self._make_reseeder(group))
        return build_proposal(study.get_trials(deepcopy=False), trial.number, group, values, self.sweep)

    def _make_reseeder(self, group: str) -> Callable[[optuna.trial.BaseTrial, str], None]:
        """Give every independently drawn parameter a random stream of its own.

        Its value then does not depend on which other parameters a dead driver had drawn.
        """

        def reseed(trial: optuna.trial.BaseTrial, parameter: str) -> None:
            self._studies[group].sampler = make_sampler(self.sweep, f"{group} {parameter}", trial.number)

        return reseed

    def _has_proposal_left(self, group: str, proposal_count: int) -> bool:
        """Return whether a group has something to propose now."""
        if self.search_spec.pbt_config is None:
            return proposal_count < count_planned_per_group(self.sweep)
        population = self._load_population(group)
        return population.missing_initial_members > 0 or bool(population.find_vacancies())

    def _enqueue_offspring(self, group: str) -> None:
        """Once the initial population is complete: enqueue a member for the first vacancy."""
        study = self._studies[group]
        trials, population = study.get_trials(deepcopy=False), self._load_population(group)
        is_waiting = any(trial.state.name == "WAITING" for trial in trials)  # a driver died before it was handed out
        if population.missing_initial_members > 0 or is_waiting:
            return
        vacancy = population.find_vacancies()[0]
        parent, values = perturb(self.sweep, group, vacancy, population, len(trials))
        attributes = {
            PARENT_ATTRIBUTE: parent,
            BRANCH_STEP_ATTRIBUTE: vacancy.step,
            REPLACED_ATTRIBUTE: vacancy.replaced_number,
        }
        study.enqueue_trial(to_optuna_params(values, self.sweep), user_attrs=attributes)

    def _load_population(self, group: str) -> Population:
        trials = self._studies[group].get_trials(deepcopy=False)
        return Population(self.sweep, read_proposal_records(trials, self.sweep, group))

    def _count_proposals(self, group: str) -> int:
        """Count the proposals of a group, without duplicates and retries."""
        trials = [t for t in self._studies[group].get_trials(deepcopy=False) if t.state.name != "WAITING"]
        return sum(not {DUPLICATE_ATTRIBUTE, RETRIED_ATTRIBUTE} & set(trial.user_attrs) for trial in trials)

    def _is_space_exhausted(self, group: str) -> bool:
        newest_first = reversed(self._studies[group].get_trials(deepcopy=False))
        return count_leading_true(DUPLICATE_ATTRIBUTE in trial.user_attrs for trial in newest_first) >= MAX_REDRAWS

    def _read_trial(self, proposal: Proposal) -> optuna.trial.FrozenTrial:
        return self._studies[proposal.group].get_trials(deepcopy=False)[proposal.number]

    def _open_trial(self, group: str, number: int) -> optuna.trial.Trial:
        """Open a running trial for writing, also one that was started by another process."""
        import optuna

        study = self._studies[group]
        # Optuna has no public way to continue a trial that this process did not start.
        return optuna.trial.Trial(study, study.get_trials(deepcopy=False)[number]._trial_id)

    @property
    def _has_two_metrics(self) -> bool:
        return len(self.search_spec.metrics) > 1


def _repeat_pruning_decision(study: optuna.Study, frozen: optuna.trial.FrozenTrial) -> bool:
    """Decide again at a trial's last report, whose decision was lost when the driver died.

    Optuna's pruners store a trial's rungs and losses in its system attributes (`completed_rung_0`, ...) and would count
    the last report twice. So the pruner decides on a copy of the study without that report's attributes.
    """
    import optuna

    loss = frozen.intermediate_values[max(frozen.intermediate_values)]
    copied = optuna.create_study(study_name=study.study_name, direction=study.direction, pruner=study.pruner)
    for trial in study.get_trials():
        if trial.number == frozen.number:
            trial.system_attrs = {
                key: value
                for key, value in trial.system_attrs.items()
                if not (key.startswith(_RUNG_ATTRIBUTE_PREFIX) and value == loss)
            }
        copied.add_trial(trial)
    stop = bool(copied.pruner.prune(copied, copied.get_trials(deepcopy=False)[frozen.number]))
    for key, value in copied.get_trials(deepcopy=False)[frozen.number].system_attrs.items():
        if key.startswith(_RUNG_ATTRIBUTE_PREFIX):
            # Only the storage itself writes system attributes; pruners do it in the same way.
            study._storage.set_trial_system_attr(frozen._trial_id, key, value)
    return stop


def convert_outcome(row: TrialRow, search: SearchSpec) -> tuple[optuna.trial.TrialState, list[float] | None]:
    """Convert the row of a trial to Optuna's state and values.

    A diverged trial has a validation pass rate of 0 and no loss. It is PRUNED, and with one metric worse than all
    others: a sampler that learns nothing from it would propose its neighborhood again. A trial without a defined
    metric is a FAIL.

    Args:
        row: the row of a trial that has ended.
        search: the search, which names the metrics that count.

    Returns:
        The state, and the value of each metric or None.

    Raises:
        ValueError: the trial has not ended.
    """
    from optuna.trial import TrialState

    match row.status:
        case "COMPLETE":
            values = [value for name in search.metrics if (value := row.metrics.get(name)) is not None]
            if len(values) == len(search.metrics) and not any(math.isnan(value) for value in values):
                return TrialState.COMPLETE, [float(value) for value in values]
            return TrialState.FAIL, None
        case "DIVERGED" if search.metrics == ["val_pass_rate"]:
            return TrialState.COMPLETE, [0.0]
        case "DIVERGED" | "PRUNED":
            return TrialState.PRUNED, None
        case "FAILED":
            return TrialState.FAIL, None
        case "PENDING" | "RUNNING" | "UNREADABLE" | "NOT_NEEDED":
            raise ValueError(f"{row.status} is no outcome of a trial")
        case _:
            assert_never(row.status)

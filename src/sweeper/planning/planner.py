"""Planning of a sweep: fingerprint, size and engine of every trial, and the problems that prevent the run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

from pydantic import ValidationError

from sweeper import data, models, search
from sweeper.config import (
    Branch,
    HardwareSpec,
    Sweep,
    TrialSpec,
    compute_trial_fingerprint,
    expand_sweep,
    make_trial,
)
from sweeper.data import DataSize
from sweeper.errors import StoreError, SweeperError
from sweeper.evaluation import load_evaluation_suite
from sweeper.planning.branching import branch_specs
from sweeper.planning.engine_selection import MemoryFit, select_engine
from sweeper.planning.plan import Plan, PlannedTrial, Role
from sweeper.search import Proposal, ProposalRecord
from sweeper.storage import Store
from sweeper.toolworld import WorldConfig
from sweeper.training.schedule import (
    TrainingSchedule,
    check_decay,
    check_hyperparameter_changes,
    check_warmup,
    count_optimizer_steps,
    make_schedule,
)

T = TypeVar("T")


def plan_sweep(sweep: Sweep, store: Store | None = None, hardware: HardwareSpec | None = None) -> Plan:
    """Plan every trial of a sweep. Missing data or weights become problems of the plan, not exceptions.

    Args:
        sweep: the sweep, or a union of sweeps.
        store: the store, which has the history of a search, the sizes of prepared data, and the hashes of files.
        hardware: the GPU of trials whose runtime names none.
    """
    if sweep.sweeps:
        return _merge_plans(sweep, tuple(plan_sweep(part, store, hardware) for part in sweep.sweeps))
    planner = Planner(sweep, store, hardware)
    if sweep.search is not None:
        if store is not None:
            store.pull_log(store.study_folder(sweep.name) / search.JOURNAL_FILE)
        trials, placeholders = planner.plan_search(), planner.plan_placeholders()
        problems = dict.fromkeys(
            [*planner.problems, *_find_missing_queries(sweep), *_find_unreachable_rungs(sweep, trials)]
        )
        return Plan(sweep, tuple(trials), tuple(problems), placeholders=tuple(placeholders))
    specs = expand_sweep(sweep)
    if sweep.branch_epochs:
        specs = branch_specs(specs, planner.compute_fingerprint)
    trials = [planner.plan_trial(spec) for spec in specs]
    problems = dict.fromkeys([*planner.problems, *_find_missing_queries(sweep), *_find_duplicate_trials(trials)])
    return Plan(sweep, tuple(trials), tuple(problems))


def _find_unreachable_rungs(sweep: Sweep, trials: list[PlannedTrial]) -> list[str]:
    """Find a first rung that no known trial reaches: it would stop no trial."""
    rungs, steps = sweep.search.rungs if sweep.search else None, [trial.planned_steps for trial in trials]
    known = [count for count in steps if count is not None]
    if rungs is None or rungs.unit != "steps" or not known or len(known) < len(steps) or rungs.first < max(known):
        return []
    return [
        f"search.rungs: the first is at step {rungs.first:,}, and trials have {max(known):,} steps: no trial would "
        "be stopped; use a smaller `first`, or scheduler: none"
    ]


def _merge_plans(sweep: Sweep, parts: tuple[Plan, ...]) -> Plan:
    """Merge the plans of a union. Of equal trials the first one stays, with the runtime of its part; an arm of a claim,
    which is evaluated and never stopped early, takes precedence over an explored trial."""
    trials: dict[str, PlannedTrial] = {}
    for trial in sorted((t for part in parts for t in part.trials), key=lambda t: t.role in ("explore", "anchor")):
        trials.setdefault(trial.key, trial)
    problems = dict.fromkeys(problem for part in parts for problem in part.problems)
    placeholders = tuple(trial for part in parts for trial in part.placeholders)
    return Plan(sweep, tuple(trials.values()), tuple(problems), parts, placeholders=placeholders)


def _find_missing_queries(sweep: Sweep) -> list[str]:
    """Describe why the queries of the evaluation cannot be loaded: missing files, or a world with too few queries."""
    problems: list[str] = []
    if (evaluation := sweep.evaluation) is not None:
        _record_problem(problems, lambda: load_evaluation_suite(evaluation, sweep.data))
    return problems


class Planner:
    """Plans the trials of a sweep one by one. Problems that prevent a trial are collected in `problems`."""

    def __init__(self, sweep: Sweep, store: Store | None = None, hardware: HardwareSpec | None = None) -> None:
        self.sweep, self.store, self.hardware = sweep, store, hardware
        self.problems: list[str] = []
        self._resolved_inputs: dict[str, _ResolvedInputs] = {}

    def plan_trial(self, spec: TrialSpec) -> PlannedTrial:
        """Plan one trial. Its fingerprint is empty while its data or weights are missing."""
        inputs = self._get_inputs(spec)
        schedule = _compute_schedule(spec, inputs.size, self.problems)
        steps, flops = _count_steps_and_flops(spec, inputs.size, schedule)
        shared, shared_flops = _count_shared_steps_and_flops(spec, schedule, self.problems)
        if spec.branch is not None:
            steps = None if steps is None or shared is None else steps - shared
            flops = None if flops is None or shared_flops is None else flops - shared_flops
        chosen, fit = _select_engine(spec, self.sweep, inputs.size, self.hardware, self.problems)
        total_steps = math.inf if steps is None else steps + (shared or 0)
        _record_problem(self.problems, lambda: check_hyperparameter_changes(chosen, total_steps))
        architecture = inputs.architecture
        return PlannedTrial(
            self.compute_fingerprint(chosen),
            chosen,
            None if architecture is None else architecture.parameters,
            inputs.data_fingerprint or "",
            fit,
            None if architecture is None else models.count_trainable_parameters(architecture, spec.recipe).total,
            steps,
            flops,
            shared,
            shared_flops,
            evaluation=self.sweep.evaluation,
        )

    def plan_proposal(self, proposal: Proposal) -> PlannedTrial:
        """Plan the trial that a search proposes.

        Raises:
            pydantic.ValidationError: the proposed values are impossible together.
        """
        spec, parent = make_trial(self.sweep, self._resolve_axis_values(proposal)), proposal.parent
        if parent is not None and (
            trunk := self.compute_fingerprint(make_trial(self.sweep, self._resolve_axis_values(parent)))
        ):
            spec = spec.model_copy(update={"branch": Branch(trunk=trunk, step=proposal.branch_step)})
        trial = self.plan_trial(spec)
        evaluation = self.sweep.evaluation
        if evaluation is not None:
            needs_pass_rate = self.sweep.search is not None and "val_pass_rate" in self.sweep.search.metrics
            # Gold answers are those of test queries.
            validation = {"split": "validation", "gold": None}
            evaluation = evaluation.model_copy(update=validation) if needs_pass_rate else None
        role: Role = "anchor" if proposal.is_baseline else "explore"
        return replace(trial, role=role, proposal=proposal, evaluation=evaluation)

    def plan_search(self) -> list[PlannedTrial]:
        """Plan the known trials of a search: baselines, proposals and, once all have ended, their confirmations."""
        records = self._load_proposal_records()
        proposals = [r.proposal for r in records if r.state != "DUPLICATE" and r.retried_number is None]
        known = {proposal.key for proposal in proposals}
        proposals = [p for p in search.build_baseline_proposals(self.sweep) if p.key not in known] + proposals
        trials = [trial for proposal in proposals if (trial := self._plan_proposal_or_none(proposal))]
        if self.sweep.confirm and search.is_exhausted(self.sweep, records):
            trials += self.plan_confirmations(records)
        return trials

    def plan_confirmations(self, records: list[ProposalRecord]) -> list[PlannedTrial]:
        """Plan the best proposals on each of the confirmation seeds."""
        finalists = search.select_finalists(self.sweep, records).values()
        return self._confirm_proposals(record.proposal for best in finalists for record in best)

    def _confirm_proposals(self, proposals: Iterable[Proposal]) -> list[PlannedTrial]:
        """Plan each proposal on each of the confirmation seeds."""
        seeds = self.sweep.confirm.seeds if self.sweep.confirm else []
        trials = []
        for proposal in proposals:
            for seed in seeds:
                trial = self.plan_trial(make_trial(self.sweep, self._resolve_axis_values(proposal) | {"seed": seed}))
                trials.append(replace(trial, role="confirm", proposal=proposal))
        return trials

    def plan_placeholders(self) -> list[PlannedTrial]:
        """Plan random trials in place of those that a search has still to propose and to confirm.

        They make its cost predictable. They are assumed to train to their end: which trials are stopped early is
        unknown in advance.
        """
        records = self._load_proposal_records()
        proposals = search.sample_placeholders(self.sweep, records)
        trials = [trial for proposal in proposals if (trial := self._plan_proposal_or_none(proposal))]
        if self.sweep.confirm and not search.is_exhausted(self.sweep, records):
            is_per_model = bool(search.require_search(self.sweep).equal_per)
            for model in self.sweep.axes["model"] if is_per_model else self.sweep.axes["model"][:1]:
                own = [t for t in trials if t.spec.model.name == model or not is_per_model][: self.sweep.confirm.top]
                baselines = [p for p in search.build_baseline_proposals(self.sweep) if p.group in ("", model)]
                trials += self._confirm_proposals([*(t.proposal for t in own if t.proposal), *baselines])
        return trials

    def _load_proposal_records(self) -> list[ProposalRecord]:
        return search.load_proposal_records(self.sweep, self.store.study_folder(self.sweep.name)) if self.store else []

    def _plan_proposal_or_none(self, proposal: Proposal) -> PlannedTrial | None:
        """Plan a proposal; None if its values are impossible together: the run rejects such a proposal later.

        Missing data or weights remain problems of the plan.
        """
        try:
            spec = make_trial(self.sweep, self._resolve_axis_values(proposal))
        except ValidationError:
            return None
        self._get_inputs(spec)
        before = len(self.problems)
        trial = self.plan_proposal(proposal)
        is_impossible = len(self.problems) > before and not proposal.is_baseline
        if is_impossible:
            del self.problems[before:]
        return None if is_impossible else trial

    def _resolve_axis_values(self, proposal: Proposal) -> dict[str, object]:
        fixed = {axis: values[0] for axis, values in self.sweep.axes.items()}
        changes = {"changes": proposal.changes} if proposal.changes else {}
        return fixed | ({"model": proposal.group} if proposal.group else {}) | proposal.initial_values | changes

    def compute_fingerprint(self, spec: TrialSpec) -> str:
        """Compute the fingerprint of a trial; empty if its data or weights are missing."""
        inputs = self._get_inputs(spec)
        if spec.engine is None and spec.recipe.precision != "fp32":  # `auto`: which one is chosen is identity
            spec, _ = _select_engine(spec, self.sweep, inputs.size, self.hardware, problems=[])
        if inputs.data_fingerprint is None or inputs.weights_fingerprint is None:
            return ""
        return compute_trial_fingerprint(
            spec.recipe,
            spec.seed,
            weights_fingerprint=inputs.weights_fingerprint,
            data_fingerprint=inputs.data_fingerprint,
            branch=spec.branch,
            branch_points=spec.branch_points,
            half_weights=spec.holds_half_weights,
        )

    def _get_inputs(self, spec: TrialSpec) -> _ResolvedInputs:
        key = f"{spec.model.name} {spec.data.model_dump_json()}"
        if key not in self._resolved_inputs:
            self._resolved_inputs[key] = _resolve_inputs(spec, self.problems, self.store)
        return self._resolved_inputs[key]


@dataclass(frozen=True)
class _ResolvedInputs:
    """Inputs of one model on one data set; None for what could not be resolved."""

    data_fingerprint: str | None
    weights_fingerprint: str | None
    architecture: models.Architecture | None
    size: DataSize | None


def _resolve_inputs(spec: TrialSpec, problems: list[str], store: Store | None) -> _ResolvedInputs:
    content = _record_problem(
        problems, lambda: data.fingerprint_data(spec.data, spec.model, store.root if store else None)
    )
    weights = _record_problem(problems, lambda: models.compute_weights_fingerprint(spec.model))
    stretched = _record_problem(problems, lambda: models.resolve_extended_positions(spec.model, spec.data))
    if stretched and weights:
        weights = f"{weights}+interpolated:{stretched}"
    size = _load_size(content, store)
    # A trained tokenizer may find fewer tokens than its limit.
    vocab_size = size.vocab_size if size else spec.data.vocab_size
    architecture = _record_problem(problems, lambda: models.parse_model_architecture(spec.model, vocab_size, stretched))
    return _ResolvedInputs(content, weights, architecture, size)


def _load_size(data_fingerprint: str | None, store: Store | None) -> DataSize | None:
    """Return the size of the prepared data; None where they are not in the store: a run prepares them first."""
    if data_fingerprint is None or store is None:
        return None
    try:
        return data.read_data_manifest(store, data_fingerprint).size
    except StoreError:
        return None


def _select_engine(
    spec: TrialSpec,
    sweep: Sweep,
    size: DataSize | None,
    hardware: HardwareSpec | None,
    problems: list[str],
) -> tuple[TrialSpec, MemoryFit | None]:
    """Select the engine of a trial. A trial that is predicted not to fit its GPU is a problem."""
    vocab_size = size.vocab_size if size else spec.data.vocab_size
    selection = _record_problem(problems, lambda: select_engine(spec, sweep, vocab_size, hardware))
    if selection is None:
        return spec, None
    chosen, fit = selection
    if fit.fits is False:
        problems.append(
            f"runtime of {spec.model.name}: {chosen.runtime.engine} with {chosen.runtime.workers} workers is predicted "
            f"to need {fit.required_gib:.1f} GiB per GPU, of which {fit.available_gib:.1f} are available; engine: auto "
            "chooses one that fits"
        )
    return chosen, fit


def _compute_schedule(spec: TrialSpec, size: DataSize | None, problems: list[str]) -> TrainingSchedule | None:
    """Compute the schedule of a trial whose data are prepared. A budget that cannot be met is a problem, and so is a
    warm-up as long as the run, also of data that are not prepared where their run's steps are known."""
    if size is None:
        if (most := _count_steps_without_data(spec)) is not None:
            _record_problem(problems, lambda: check_warmup(spec, most))
        return None
    schedule = _record_problem(problems, lambda: make_schedule(spec, size))
    if schedule is not None:
        _record_problem(problems, lambda: check_warmup(spec, schedule.total_steps, size.rows))
    return schedule


def _count_steps_without_data(spec: TrialSpec) -> int | None:
    """Return the most optimizer steps that a run can have; None where it depends on data that are not prepared."""
    if not spec.recipe.ends_by_epochs:
        return spec.recipe.max_steps
    if spec.data.source != "toolworld" or not spec.data.fold_steps:
        return None
    # One answer a query, whose steps are one row; some may be too long.
    return count_optimizer_steps(spec.recipe, WorldConfig.from_mapping(spec.data.toolworld).train_queries)


def _count_steps_and_flops(
    spec: TrialSpec, size: DataSize | None, schedule: TrainingSchedule | None
) -> tuple[int | None, float | None]:
    """Return planned optimizer steps and training FLOPs of the whole run; None where unknown."""
    if size is None:
        return spec.recipe.max_steps, None
    if schedule is None:
        return None, None
    return schedule.total_steps, None if math.isnan(schedule.train_flops) else schedule.train_flops


def _count_shared_steps_and_flops(
    spec: TrialSpec, schedule: TrainingSchedule | None, problems: list[str]
) -> tuple[int | None, float | None]:
    """Return the optimizer steps and training FLOPs that a branch leaves to its trunk; None for a trial without one.

    A warm-up that overlaps the decay is a problem.
    """
    steps, before = spec.recipe.max_steps if schedule is None else schedule.total_steps, len(problems)
    if steps is not None:
        _record_problem(problems, lambda: check_decay(spec.recipe, steps))
    if schedule is None or spec.branch is None or len(problems) > before:
        return None, None
    return schedule.start_step, None if math.isnan(schedule.shared_train_flops) else schedule.shared_train_flops


def _record_problem(problems: list[str], resolve: Callable[[], T]) -> T | None:
    """Return the result of a call; None if it raises, with the error among the problems."""
    try:
        return resolve()
    except SweeperError as error:
        problems.append(str(error))
        return None


def _find_duplicate_trials(trials: list[PlannedTrial]) -> list[str]:
    """Find combinations of the axes that are one trial, such as two names of one model: it would count twice."""
    first: dict[str, PlannedTrial] = {}
    problems = []
    for trial in trials:
        if trial.fingerprint and trial.fingerprint in first:
            other = first[trial.fingerprint]
            problems.append(
                f"{trial.spec.model.name} seed {trial.spec.seed} and {other.spec.model.name} seed {other.spec.seed} "
                f"are the same trial ({trial.fingerprint}); remove one of the axis values"
            )
        first[trial.fingerprint] = trial
    return problems

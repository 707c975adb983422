"""A plan -> the same plan with what it will cost: per trial, and in all. Reads the store; starts nothing."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sweeper.config import ZERO_ESTIMATE, Estimate, HardwareSpec, Sweep
from sweeper.errors import SweeperError, UsageError
from sweeper.planning.budget_limits import find_exceeded_limits
from sweeper.planning.calibration import (
    HardwareRates,
    TimingRatio,
    TimingRecord,
    compute_timing_ratios,
    estimate_calibration_factor,
    fit_rates,
)
from sweeper.planning.cost_model import (
    UNKNOWN_COST,
    ZERO_COST,
    Cost,
    EvaluationLoad,
    PlanEstimate,
    Precision,
    Remaining,
    TrialEstimate,
    Workload,
    calibrate_training_seconds,
    compute_disk_usage,
    compute_hardware_flops,
    compute_trial_cost,
    count_devices,
    estimate_evaluation_seconds,
    estimate_training_seconds,
    get_peak_flops,
    sum_costs,
)
from sweeper.planning.makespan import Makespan, choose_default_nodes, simulate_makespan
from sweeper.planning.plan import Plan, PlannedTrial
from sweeper.planning.timing_records import read_timing_records
from sweeper.planning.workload import build_evaluation_load, build_workloads, compute_suite_fingerprints
from sweeper.scheduling import Node
from sweeper.storage import Store
from sweeper.training import FAILED, PRUNED, read_status

ASSUMED = "taken, not measured"


@dataclass
class CostEstimator:
    """Predicts trials, one after the other or many; equal work is reckoned once."""

    hardware: Mapping[str, HardwareSpec]
    """Every kind, by name."""
    timing_records: Sequence[TimingRecord] = ()
    """Of finished trials."""
    gpu_kinds: Sequence[HardwareSpec] = ()
    """The GPUs there are, of which a trial is reckoned on the slowest; without any, those that its runtime names."""
    evaluated_suites: frozenset[str] = frozenset()
    """Fingerprints of the suites that are asked: times of others say nothing of them."""
    _trial_estimates: dict[tuple[Any, ...], TrialEstimate] = field(default_factory=dict)
    _rates: dict[tuple[str, str], tuple[HardwareRates, list[TimingRatio]]] = field(default_factory=dict)
    _workloads: dict[str, Workload] = field(default_factory=dict)
    _evaluation_loads: dict[tuple[int, int], tuple[EvaluationLoad, bool]] = field(default_factory=dict)

    def estimate_trials(
        self, trials: Sequence[PlannedTrial], workloads: Sequence[Workload], remaining: Sequence[Remaining]
    ) -> list[TrialEstimate]:
        """What each trial will cost, of which so much is left to do."""
        for trial, work in zip(trials, workloads, strict=True):
            self._workloads.setdefault(trial.spec.model.name, work)
        return [self._estimate_trial(*row) for row in zip(trials, workloads, remaining, strict=True)]

    def get_evaluation_load(self, trial: PlannedTrial) -> tuple[EvaluationLoad, bool] | None:
        """How its suite is asked, and whether the number of queries is taken."""
        if trial.evaluation is None:
            return None
        place = (id(trial.evaluation), id(trial.spec.data))
        if place not in self._evaluation_loads:
            self._evaluation_loads[place] = build_evaluation_load(trial.evaluation, trial.spec.data)
        return self._evaluation_loads[place]

    def list_hardware_candidates(self, trial: PlannedTrial) -> list[HardwareSpec]:
        """What it may run on; empty where that is not known."""
        runtime = trial.spec.runtime
        if not runtime.gpus:
            return [kind for kind in self.hardware.values() if kind.kind == "cpu"][:1]
        if self.gpu_kinds:
            return list(self.gpu_kinds)
        found = self.hardware.get(runtime.hardware or "")
        return [found] if found else []

    def _estimate_trial(self, trial: PlannedTrial, workload: Workload, remaining: Remaining) -> TrialEstimate:
        spec = trial.spec
        recipe = spec.recipe.precision, spec.recipe.gradient_checkpointing
        key = (spec.model.name, workload, remaining, spec.runtime, *recipe, id(trial.evaluation), id(spec.data))
        if key not in self._trial_estimates:
            priced = [
                self._estimate_on_hardware(kind, trial, workload, remaining)
                for kind in self.list_hardware_candidates(trial)
            ]
            found = (
                max(priced, key=_rank_slowness)
                if priced
                else (ZERO_COST if remaining.is_nothing else UNKNOWN_COST, None, "")
            )
            disk = compute_disk_usage(
                workload.parameters, spec.runtime.checkpoints, evaluated=trial.evaluation is not None
            )
            self._trial_estimates[key] = TrialEstimate(workload, remaining, found[0], disk, found[1], found[2])
        return self._trial_estimates[key]

    def _estimate_on_hardware(
        self, kind: HardwareSpec, trial: PlannedTrial, workload: Workload, remaining: Remaining
    ) -> tuple[Cost, str, str]:
        """On one kind of hardware: its cost, the kind's name, and what that rests on."""
        runtime, basis = trial.spec.runtime, ""
        training = evaluation = ZERO_ESTIMATE
        if remaining.needs_training:
            training, basis = self._estimate_training(kind, trial, workload)
        if remaining.needs_evaluation and (asked := self.get_evaluation_load(trial)) is not None:
            evaluation = self._estimate_evaluation(kind, trial, workload, asked[0])
        return compute_trial_cost(runtime, kind, training, evaluation), kind.name, basis

    def _estimate_training(self, kind: HardwareSpec, trial: PlannedTrial, workload: Workload) -> tuple[Estimate, str]:
        recipe, count = trial.spec.recipe, count_devices(trial.spec.runtime)
        flops = compute_hardware_flops(workload, gradient_checkpointing=recipe.gradient_checkpointing)
        rates, ratios = self._fit_hardware_rates(kind, recipe.precision)
        factor = estimate_calibration_factor(trial.spec.model.name, trial.parameters, ratios, flops)
        if factor is None:
            return estimate_training_seconds(
                flops, workload.steps, kind, precision=recipe.precision, devices=count
            ), ASSUMED
        of = "" if factor.model == trial.spec.model.name else f" of {factor.model}"
        basis = f"measured on {factor.trials} trial{'s' * (factor.trials != 1)}{of}"
        return calibrate_training_seconds(flops, workload.steps, rates, factor, count), basis

    def _estimate_evaluation(
        self, kind: HardwareSpec, trial: PlannedTrial, workload: Workload, load: EvaluationLoad
    ) -> Estimate:
        """Taken, times what finished evaluations of this suite say against it."""
        runtime = trial.spec.runtime
        count = count_devices(runtime) / runtime.workers
        taken = estimate_evaluation_seconds(workload, load, kind, count)
        ratios = []
        for row in self.timing_records:
            known = self._workloads.get(row.model)
            if (
                row.hardware == kind.name
                and row.suite in self.evaluated_suites
                and known is not None
                and row.eval_seconds > 0
            ):
                each = estimate_evaluation_seconds(known, load, kind, count).expected + kind.startup_seconds
                ratios.append(TimingRatio(row.model, row.parameters, row.eval_seconds / each, row.flops))
        flops = compute_hardware_flops(workload, gradient_checkpointing=trial.spec.recipe.gradient_checkpointing)
        factor = estimate_calibration_factor(trial.spec.model.name, trial.parameters, ratios, flops)
        if factor is None:
            return taken
        expected = taken.expected + kind.startup_seconds
        return Estimate(expected * factor.low, expected * factor.expected, expected * factor.high)

    def _fit_hardware_rates(self, kind: HardwareSpec, precision: Precision) -> tuple[HardwareRates, list[TimingRatio]]:
        place = (kind.name, precision)
        if place not in self._rates:
            rows = [row for row in self.timing_records if (row.hardware, row.precision) == place]
            peak = get_peak_flops(kind, precision)
            prior = HardwareRates(kind.step_seconds.expected, 1 / (peak * kind.utilisation.expected))
            rates = fit_rates(rows, prior)
            self._rates[place] = (rates, compute_timing_ratios(rows, rates))
        return self._rates[place]


def retarget_hardware(sweep: Sweep, kind: HardwareSpec) -> Sweep:
    """The sweep planned for another GPU than its runtimes name. Raises UsageError for a CPU in place of one."""
    if kind.kind != "gpu" and any(runtime.gpus for runtime in sweep.runtime.values()):
        raise UsageError(
            "--hardware", requested=kind.name, found="a sweep whose trials ask for GPUs", hint="name a GPU"
        )
    if kind.kind == "gpu" and not sweep.sweeps and not any(runtime.gpus for runtime in sweep.runtime.values()):
        raise UsageError(
            "--hardware", requested=kind.name, found="a sweep whose trials ask for no GPU", hint="leave it out"
        )
    runtime = {
        name: given.model_copy(update={"hardware": kind.name}) if given.gpus else given
        for name, given in sweep.runtime.items()
    }
    parts = tuple(retarget_hardware(part, kind) for part in sweep.sweeps)
    hardware = {**sweep.hardware, kind.name: kind}
    return sweep.model_copy(update={"runtime": runtime, "hardware": hardware, "sweeps": parts})


def estimate_plan(
    plan: Plan,
    store: Store,
    hardware: Mapping[str, HardwareSpec],
    *,
    gpu_kinds: Sequence[HardwareSpec] = (),
    nodes: Sequence[Node] | None = None,
) -> tuple[Plan, Makespan]:
    """The plan with `predicted` of each trial and `estimate` of all, and its wall time on `nodes` (else on
    `machines_for`). A plan that exceeds its sweep's budget has a problem more.

    The plan's stand-ins count in the estimate.
    """
    trials = (*plan.trials, *plan.placeholders)
    suites = _list_suites(trials)
    asked = zip(trials, suites, strict=True)
    store.pull_results(
        {trial.fingerprint: suite or None for trial, suite in asked if trial.fingerprint}, plan.sweep.name
    )
    begun = {entry.name for entry in os.scandir(folder)} if (folder := store.root / "trials").is_dir() else set()
    left = [
        _find_remaining(trial, suite, store)
        if trial.fingerprint in begun
        else Remaining(needs_evaluation=suite is not None)
        for trial, suite in zip(trials, suites, strict=True)
    ]
    pricer = CostEstimator(
        hardware={**hardware, **plan.sweep.hardware},
        timing_records=read_timing_records(store, hardware.values()),
        gpu_kinds=gpu_kinds,
        evaluated_suites=frozenset(suite for suite in suites if suite),
    )
    predicted = pricer.estimate_trials(trials, build_workloads(trials, store), left)
    priced = tuple(replace(trial, estimate=found) for trial, found in zip(trials, predicted, strict=True))
    pending = [trial for trial, found in zip(priced, left, strict=True) if not found.is_nothing]
    seconds = [found.cost.seconds for found in predicted if not found.remaining.is_nothing]
    wall = simulate_makespan(pending, seconds, nodes or choose_default_nodes(pending, os.cpu_count() or 1))
    wall = replace(wall, reasons=tuple(_explain_unknown_cost(pending, pricer))) if not wall.seconds.is_known else wall
    estimate = summarize_estimates(priced, wall, pricer)
    exceeded = find_exceeded_limits(plan.sweep.budget, estimate.get_limited_figures())
    problems = dict.fromkeys([*plan.problems, *exceeded])
    own = priced[: len(plan.trials)]
    return replace(plan, trials=own, problems=tuple(problems), estimate=estimate), wall


def summarize_estimates(trials: Sequence[PlannedTrial], makespan: Makespan, estimator: CostEstimator) -> PlanEstimate:
    """Sum the estimates of trials."""
    found = [trial.estimate for trial in trials if trial.estimate is not None]
    trained = [row for row in found if row.remaining.needs_training]
    cost = sum_costs(row.cost for row in found)
    at_once = makespan.schedule.peak_concurrency if makespan.schedule else 1
    writing = sorted((row.disk_usage.peak_bytes for row in trained), reverse=True)[:at_once]
    memory = [
        trial.memory_fit.required_gib
        for trial in trials
        if trial.memory_fit and trial.memory_fit.required_gib is not None
    ]
    return PlanEstimate(
        cost=cost,
        wall_hours=makespan.seconds.scale(1 / 3600),
        steps=math.fsum(row.workload.steps for row in trained),
        tokens=math.fsum(row.workload.tokens for row in trained),
        flops=math.fsum(row.workload.train_flops for row in trained),
        reused=sum(row.remaining.is_nothing for row in found),
        reused_training=sum(not row.remaining.needs_training and row.remaining.needs_evaluation for row in found),
        memory_gib_peak=max(memory, default=math.nan),
        checkpoint_bytes=max((row.disk_usage.checkpoint_bytes for row in trained), default=0.0),
        disk_bytes_while_training=math.fsum(writing),
        disk_bytes_final=math.fsum(row.disk_usage.final_bytes for row in trained),
        basis=tuple(_describe_basis(trials, estimator)),
        unknown=(*makespan.reasons, *makespan.problems),
    )


def restore_first_estimates(document: dict[str, Any], first_document: dict[str, Any] | None) -> dict[str, Any]:
    """The document of a plan, with what an earlier plan of the same study predicted in place of its own: a report
    compares with what was said before the first trial started. Trials that are new keep their own prediction.
    """
    if first_document is None:
        return document
    said = {row["fingerprint"]: row for row in first_document.get("trials", ()) if row.get("fingerprint")}
    rows = []
    for row in document["trials"]:
        old = said.get(row["fingerprint"], {})
        rows.append(row | {key: old[key] for key in old if key.startswith("predicted_") or key == "reused"})
    # What a search has proposed since then was foreseen by stand-ins.
    listed = [
        {row["fingerprint"] for row in found if not row.get("role")} for found in (document["trials"], said.values())
    ]
    same = listed[0] == listed[1]
    whole = ("cost", "wall_hours", "wall_hours_range", "reused", "rests_on") if same else ()
    return document | {key: first_document[key] for key in whole if key in first_document} | {"trials": rows}


def _find_remaining(trial: PlannedTrial, suite: str | None, store: Store) -> Remaining:
    status = read_status(store.record_path(trial.fingerprint))
    pruned = status == PRUNED
    if pruned and trial.may_be_pruned:
        return Remaining(needs_training=False, needs_evaluation=False)
    trained = status is not None and status != FAILED and not pruned
    if suite is None:
        return Remaining(needs_training=not trained, needs_evaluation=False)
    summary = store.evaluation_folder(trial.fingerprint, suite) / "summary.json"
    return Remaining(needs_training=not trained, needs_evaluation=not (trained and summary.exists()))


def _list_suites(trials: Sequence[PlannedTrial]) -> list[str | None]:
    try:
        return compute_suite_fingerprints(trials)
    except SweeperError:  # missing queries: the plan lists them as a problem
        return ["" for _ in trials]


def _rank_slowness(candidate: tuple[Cost, str, str]) -> tuple[bool, float]:
    """What is not known is slower than all that is."""
    seconds = candidate[0].seconds.expected
    return math.isnan(seconds), seconds


def _describe_basis(trials: Sequence[PlannedTrial], estimator: CostEstimator) -> list[str]:
    """What the figures are made from, one sentence each."""
    said: Counter[str] = Counter()
    for trial in trials:
        found = trial.estimate
        if found is None or found.remaining.is_nothing or found.hardware is None:
            continue
        kind = estimator.hardware.get(found.hardware) or next(
            g for g in estimator.gpu_kinds if g.name == found.hardware
        )
        if found.remaining.needs_training:
            share = f"{kind.utilisation.expected:.0%} of the peak of {kind.name}, {ASSUMED}"
            of = found.basis if found.basis != ASSUMED else share
            said[f"{trial.spec.model.name} on {kind.name}: {of}"] += 1
    lines = list(said)
    pending = [trial for trial in trials if trial.estimate and not trial.estimate.remaining.is_nothing]
    assumed = {t.spec.data.name: t.spec.data for t in pending if t.estimate and t.estimate.workload.is_assumed}
    for name, spec in assumed.items():
        size = f"{spec.assumed.examples:,} examples" if spec.assumed and spec.assumed.examples else "its own queries"
        length = spec.assumed.mean_tokens if spec.assumed else None
        mean = f"{length:g} tokens each" if length else f"{spec.max_length:,} tokens each (the longest there can be)"
        lines.append(f"data {name} are not prepared: {size} of {mean} are assumed")
    if any(asked[1] for trial in pending if (asked := estimator.get_evaluation_load(trial)) is not None):
        lines.append("the test queries are not here: as many as StableToolBench's are assumed")
    return lines


def _explain_unknown_cost(pending: Sequence[PlannedTrial], estimator: CostEstimator) -> list[str]:
    """Why there are no seconds, each thing once."""
    reasons: dict[str, None] = {}
    for trial in pending:
        found, recipe = trial.estimate, trial.spec.recipe
        if found is None or found.cost.seconds.is_known:
            continue
        kinds = estimator.list_hardware_candidates(trial)
        if not kinds:
            reasons["what GPU it is: --hardware NAME, runtime.hardware, or a --cluster whose machines are known"] = None
        if math.isnan(found.workload.train_flops):
            reasons["data not prepared, or the model's FLOPs are not known: `sweeper data prepare …` first"] = None
        for kind in kinds:
            if recipe.precision not in kind.tflops:
                reasons[f"{kind.name} has no `tflops` of {recipe.precision}"] = None
    return list(reasons)

"""Estimated cost of a plan, per trial and in total. Reads the store; starts nothing."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias, assert_never

from sweeper.config import ZERO_ESTIMATE, Estimate, HardwareSpec, Runtime, Sweep, read_optimizer_traits
from sweeper.errors import SweeperError, UsageError
from sweeper.planning.budget import find_exceeded_limits
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
from sweeper.storage import JsonObject, Store, read_json
from sweeper.training import FAILED, PRUNED, read_status

ASSUMED = "assumed, not measured"

_TrialKey: TypeAlias = tuple[str, Workload, int | None, Remaining, Runtime, Precision, bool, str, int, int]
"""Trials with equal keys have equal estimates."""


@dataclass
class CostEstimator:
    """Estimates the cost of trials. Equal workloads are estimated once."""

    hardware: Mapping[str, HardwareSpec]
    """All known hardware by name."""
    timing_records: Sequence[TimingRecord] = ()
    """Times of finished trials."""
    gpu_kinds: Sequence[HardwareSpec] = ()
    """GPUs of the cluster; a trial is estimated on the slowest. Empty: on the GPU that its runtime names."""
    evaluated_suites: frozenset[str] = frozenset()
    """Fingerprints of the evaluated suites. Evaluation times of other suites are ignored."""
    _trial_estimates: dict[_TrialKey, TrialEstimate] = field(default_factory=dict)
    _rates: dict[tuple[str, str], tuple[HardwareRates, list[TimingRatio]]] = field(default_factory=dict)
    _workloads: dict[str, Workload] = field(default_factory=dict)
    _evaluation_loads: dict[tuple[int, int], tuple[EvaluationLoad, bool]] = field(default_factory=dict)

    def estimate_trials(
        self, trials: Sequence[PlannedTrial], workloads: Sequence[Workload], remaining: Sequence[Remaining]
    ) -> list[TrialEstimate]:
        """Estimate trials.

        Args:
            trials: the trials.
            workloads: the workload of each.
            remaining: the stages of each that the store does not have.
        """
        for trial, work in zip(trials, workloads, strict=True):
            self._workloads.setdefault(trial.spec.model.name, work)
        return [self._estimate_trial(*row) for row in zip(trials, workloads, remaining, strict=True)]

    def get_evaluation_load(self, trial: PlannedTrial) -> tuple[EvaluationLoad, bool] | None:
        """Return the load of its evaluation, and whether the number of queries is assumed."""
        if trial.evaluation is None:
            return None
        place = (id(trial.evaluation), id(trial.spec.data))
        if place not in self._evaluation_loads:
            self._evaluation_loads[place] = build_evaluation_load(trial.evaluation, trial.spec.data)
        return self._evaluation_loads[place]

    def list_hardware_candidates(self, trial: PlannedTrial) -> list[HardwareSpec]:
        """List the hardware that a trial may run on; empty if unknown."""
        runtime = trial.spec.runtime
        if not runtime.gpus:
            return [kind for kind in self.hardware.values() if kind.kind == "cpu"][:1]
        if self.gpu_kinds:
            return list(self.gpu_kinds)
        gpu = self.hardware.get(runtime.hardware or "")
        return [gpu] if gpu else []

    def _estimate_trial(self, trial: PlannedTrial, workload: Workload, remaining: Remaining) -> TrialEstimate:
        spec = trial.spec
        recipe = spec.recipe.precision, spec.recipe.gradient_checkpointing, spec.recipe.optim
        trainable = trial.trainable_parameters
        key = (
            spec.model.name,
            workload,
            trainable,
            remaining,
            spec.runtime,
            *recipe,
            id(trial.evaluation),
            id(spec.data),
        )
        if key not in self._trial_estimates:
            candidates = [
                self._estimate_on_hardware(kind, trial, workload, remaining)
                for kind in self.list_hardware_candidates(trial)
            ]
            cost, hardware, basis = (
                max(candidates, key=_rank_slowness)
                if candidates
                else (ZERO_COST if remaining.is_nothing else UNKNOWN_COST, None, "")
            )
            disk = compute_disk_usage(
                workload.parameters,
                spec.runtime.checkpoints,
                optimizer_bytes=read_optimizer_traits(spec.recipe.optim).state_bytes * (trainable or math.nan),
                evaluated=trial.evaluation is not None,
            )
            self._trial_estimates[key] = TrialEstimate(workload, remaining, cost, disk, hardware, basis)
        return self._trial_estimates[key]

    def _estimate_on_hardware(
        self, kind: HardwareSpec, trial: PlannedTrial, workload: Workload, remaining: Remaining
    ) -> tuple[Cost, str, str]:
        """Return the cost on one kind of hardware, its name, and what the training time is based on."""
        runtime, basis = trial.spec.runtime, ""
        training = evaluation = ZERO_ESTIMATE
        if remaining.needs_training:
            training, basis = self._estimate_training(kind, trial, workload)
        if remaining.needs_evaluation and (load := self.get_evaluation_load(trial)) is not None:
            evaluation = self._estimate_evaluation(kind, trial, workload, load[0])
        return compute_trial_cost(runtime, kind, training, evaluation), kind.name, basis

    def _estimate_training(self, kind: HardwareSpec, trial: PlannedTrial, workload: Workload) -> tuple[Estimate, str]:
        recipe, count = trial.spec.recipe, count_devices(trial.spec.runtime)
        flops = compute_hardware_flops(workload, gradient_checkpointing=recipe.gradient_checkpointing)
        rates, ratios = self._fit_hardware_rates(kind, recipe.precision)
        factor = estimate_calibration_factor(trial.spec.model.name, trial.parameters, ratios, flops)
        if factor is None:
            assumed = estimate_training_seconds(flops, workload.steps, kind, precision=recipe.precision, devices=count)
            return assumed, ASSUMED
        other_model = "" if factor.model == trial.spec.model.name else f" of {factor.model}"
        basis = f"measured on {factor.trials} trial{'s' * (factor.trials != 1)}{other_model}"
        return calibrate_training_seconds(flops, workload.steps, rates, factor, count), basis

    def _estimate_evaluation(
        self, kind: HardwareSpec, trial: PlannedTrial, workload: Workload, load: EvaluationLoad
    ) -> Estimate:
        """Estimate the evaluation, calibrated on finished evaluations of the same suite."""
        runtime = trial.spec.runtime
        count = count_devices(runtime) / runtime.workers
        assumed = estimate_evaluation_seconds(workload, load, kind, count)
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
            return assumed
        expected = assumed.expected + kind.startup_seconds
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
    """Return the sweep with another GPU in place of those that its runtimes name.

    Raises:
        UsageError: the sweep uses GPUs and `kind` is a CPU, or it uses none.
    """
    uses_gpus = any(runtime.gpus for runtime in sweep.runtime.values())
    match kind.kind:
        case "cpu":
            if uses_gpus:
                found = "a sweep whose trials use GPUs"
                raise UsageError("--hardware", requested=kind.name, found=found, hint="name a GPU")
        case "gpu":
            if not uses_gpus and not sweep.sweeps:
                found = "a sweep whose trials use no GPU"
                raise UsageError("--hardware", requested=kind.name, found=found, hint="leave it out")
        case _:
            assert_never(kind.kind)
    runtimes = {
        name: runtime.model_copy(update={"hardware": kind.name}) if runtime.gpus else runtime
        for name, runtime in sweep.runtime.items()
    }
    parts = tuple(retarget_hardware(part, kind) for part in sweep.sweeps)
    hardware = {**sweep.hardware, kind.name: kind}
    return sweep.model_copy(update={"runtime": runtimes, "hardware": hardware, "sweeps": parts})


def estimate_plan(
    plan: Plan,
    store: Store,
    hardware: Mapping[str, HardwareSpec],
    *,
    gpu_kinds: Sequence[HardwareSpec] = (),
    nodes: Sequence[Node] | None = None,
) -> tuple[Plan, Makespan]:
    """Estimate the cost of a plan, including the placeholders of a search.

    Args:
        plan: the plan.
        store: the store; results of its remote side are pulled.
        hardware: known hardware by name.
        gpu_kinds: GPUs of the cluster, if one is given.
        nodes: machines of the cluster; None: `choose_default_nodes`.

    Returns:
        The plan with estimates, and its wall time. A limit of the sweep's budget that it exceeds is added to its
        problems.
    """
    trials = (*plan.trials, *plan.placeholders)
    suites = _list_suites(trials)
    wanted = {
        trial.fingerprint: suite or None for trial, suite in zip(trials, suites, strict=True) if trial.fingerprint
    }
    store.pull_results(wanted, plan.sweep.name)
    started = {entry.name for entry in os.scandir(folder)} if (folder := store.root / "trials").is_dir() else set()
    remaining = [
        _find_remaining(trial, suite, store)
        if trial.fingerprint in started
        else Remaining(needs_evaluation=suite is not None)
        for trial, suite in zip(trials, suites, strict=True)
    ]
    estimator = CostEstimator(
        hardware={**hardware, **plan.sweep.hardware},
        timing_records=read_timing_records(store, hardware.values()),
        gpu_kinds=gpu_kinds,
        evaluated_suites=frozenset(suite for suite in suites if suite),
    )
    estimates = estimator.estimate_trials(trials, build_workloads(trials, store), remaining)
    estimated = tuple(replace(trial, estimate=estimate) for trial, estimate in zip(trials, estimates, strict=True))
    pending = [trial for trial, stages in zip(estimated, remaining, strict=True) if not stages.is_nothing]
    seconds = [estimate.cost.seconds for estimate in estimates if not estimate.remaining.is_nothing]
    makespan = simulate_makespan(pending, seconds, nodes or choose_default_nodes(pending, os.cpu_count() or 1))
    if not makespan.seconds.is_known:
        makespan = replace(makespan, reasons=tuple(_explain_unknown_cost(pending, estimator)))
    total = summarize_estimates(estimated, makespan, estimator)
    # A study that ends when its claims are decided may need less than its whole plan: its budget ends it if not.
    ends_early = plan.sweep.until == "decided" and any(claim.looks for claim in plan.sweep.claims)
    exceeded = find_exceeded_limits(None if ends_early else plan.sweep.budget, total.get_limited_figures())
    problems = dict.fromkeys([*plan.problems, *exceeded])
    own = estimated[: len(plan.trials)]
    return replace(plan, trials=own, problems=tuple(problems), estimate=total), makespan


def summarize_estimates(trials: Sequence[PlannedTrial], makespan: Makespan, estimator: CostEstimator) -> PlanEstimate:
    """Sum the estimates of trials."""
    estimates = [trial.estimate for trial in trials if trial.estimate is not None]
    trained = [row for row in estimates if row.remaining.needs_training]
    cost = sum_costs(row.cost for row in estimates)
    concurrency = makespan.schedule.peak_concurrency if makespan.schedule else 1
    writing = sorted((row.disk_usage.peak_bytes for row in trained), reverse=True)[:concurrency]
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
        reused=sum(row.remaining.is_nothing for row in estimates),
        reused_training=sum(not row.remaining.needs_training and row.remaining.needs_evaluation for row in estimates),
        memory_gib_peak=max(memory, default=math.nan),
        checkpoint_bytes=max((row.disk_usage.checkpoint_bytes for row in trained), default=0.0),
        disk_bytes_while_training=math.fsum(writing),
        disk_bytes_final=math.fsum(row.disk_usage.final_bytes for row in trained),
        basis=tuple(_describe_basis(trials, estimator)),
        unknown=(*makespan.reasons, *makespan.problems),
    )


def restore_first_estimates(document: JsonObject, first_document: JsonObject | None) -> JsonObject:
    """Put the estimates of a study's first plan into the document of a later plan.

    A report compares the measured cost with what was predicted before the first trial started. New trials keep their
    own estimates.

    Args:
        document: document of the later plan.
        first_document: document of the first plan; None if there is none.
    """
    if first_document is None:
        return document
    first_rows = {row["fingerprint"]: row for row in first_document.get("trials", ()) if row.get("fingerprint")}
    rows = []
    for row in document["trials"]:
        first = first_rows.get(row["fingerprint"], {})
        rows.append(row | {key: first[key] for key in first if key.startswith("predicted_") or key == "reused"})
    # Trials of a search do not count: placeholders stood for those that it has proposed since then.
    now, before = (
        {row["fingerprint"] for row in trials if not row.get("role")}
        for trials in (document["trials"], first_rows.values())
    )
    totals = ("cost", "wall_hours", "wall_hours_range", "reused", "rests_on") if now == before else ()
    return document | {key: first_document[key] for key in totals if key in first_document} | {"trials": rows}


def _find_remaining(trial: PlannedTrial, suite: str | None, store: Store) -> Remaining:
    status = read_status(store.record_path(trial.fingerprint))
    pruned = status == PRUNED
    if pruned and trial.may_be_pruned:
        return Remaining(needs_training=False, needs_evaluation=False)
    trained = status is not None and status != FAILED and not pruned
    if suite is None:
        return Remaining(needs_training=not trained, needs_evaluation=False)
    folder = store.evaluation_folder(trial.fingerprint, suite)
    is_evaluated = (folder / "summary.json").exists() or cannot_be_evaluated(status, folder)
    return Remaining(needs_training=not trained, needs_evaluation=not (trained and is_evaluated))


def cannot_be_evaluated(status: str | None, folder: Path) -> bool:
    """Return whether a trial diverged to weights that are no numbers: it passes nothing, and is not evaluated again.

    Args:
        status: of its record.
        folder: of its evaluation.
    """
    path = folder / "failure.json"
    return status == "DIVERGED" and path.exists() and read_json(path).get("kind") == "diverged"


def _list_suites(trials: Sequence[PlannedTrial]) -> list[str | None]:
    try:
        return compute_suite_fingerprints(trials)
    except SweeperError:  # missing queries: the plan lists them as a problem
        return ["" for _ in trials]


def _rank_slowness(candidate: tuple[Cost, str, str]) -> tuple[bool, float]:
    """Rank a candidate by its seconds; unknown seconds rank as slowest."""
    seconds = candidate[0].seconds.expected
    return math.isnan(seconds), seconds


def _describe_basis(trials: Sequence[PlannedTrial], estimator: CostEstimator) -> list[str]:
    """Describe what the figures are based on, one sentence each."""
    lines: list[str] = []
    for trial in trials:
        estimate = trial.estimate
        if estimate is None or not estimate.remaining.needs_training or estimate.hardware is None:
            continue
        kind = estimator.hardware.get(estimate.hardware) or next(
            gpu for gpu in estimator.gpu_kinds if gpu.name == estimate.hardware
        )
        share = f"{kind.utilisation.expected:.0%} of the peak of {kind.name}, {ASSUMED}"
        basis = share if estimate.basis == ASSUMED else estimate.basis
        lines.append(f"{trial.spec.model.name} on {kind.name}: {basis}")
    lines = list(dict.fromkeys(lines))
    pending = [trial for trial in trials if trial.estimate and not trial.estimate.remaining.is_nothing]
    assumed = {t.spec.data.name: t.spec.data for t in pending if t.estimate and t.estimate.workload.is_assumed}
    for name, spec in assumed.items():
        size = f"{spec.assumed.examples:,} examples" if spec.assumed and spec.assumed.examples else "its own queries"
        length = spec.assumed.mean_tokens if spec.assumed else None
        mean = f"{length:g} tokens each" if length else f"{spec.max_length:,} tokens each (the maximum)"
        lines.append(f"data {name} are not prepared: {size} of {mean} are assumed")
    if any(load[1] for trial in pending if (load := estimator.get_evaluation_load(trial)) is not None):
        lines.append("the test queries are missing: as many as StableToolBench has are assumed")
    return lines


def _explain_unknown_cost(pending: Sequence[PlannedTrial], estimator: CostEstimator) -> list[str]:
    """Explain why the time of trials is unknown, each reason once."""
    reasons: list[str] = []
    for trial in pending:
        estimate, precision = trial.estimate, trial.spec.recipe.precision
        if estimate is None or estimate.cost.seconds.is_known:
            continue
        kinds = estimator.list_hardware_candidates(trial)
        if not kinds:
            reasons.append(
                "unknown GPU: set --hardware NAME, runtime.hardware, or a --cluster whose machines are known"
            )
        if math.isnan(estimate.workload.train_flops):
            reasons.append(
                "data not prepared, or the FLOPs of the model are unknown: run `sweeper data prepare …` first"
            )
        reasons += [f"{kind.name} lists no `tflops` for {precision}" for kind in kinds if precision not in kind.tflops]
    return list(dict.fromkeys(reasons))

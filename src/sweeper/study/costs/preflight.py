"""A plan -> the same plan with what it will cost: per trial, and in all. Reads the store; starts nothing."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sweeper.errors import SweeperError, UsageError
from sweeper.spec import HardwareSpec, Sweep
from sweeper.store import Store
from sweeper.study.collect import suites_of
from sweeper.study.costs.budget import over_budget
from sweeper.study.costs.calibration import Measured, Rates, Ratio, factor_of, fit_rates, ratios_of
from sweeper.study.costs.measured import read_measured
from sweeper.study.costs.trial import (
    FREE,
    NOT_KNOWN,
    ZERO,
    Amount,
    Asked,
    Cost,
    Left,
    Predicted,
    Work,
    amounts_json,
    cost_of,
    devices,
    disk_of,
    evaluation_seconds,
    hardware_flops,
    measured_training_seconds,
    sum_of,
    training_seconds,
)
from sweeper.study.costs.work import asked_of, works_of
from sweeper.study.placing.forecast import Wall, machines_for, wall_of
from sweeper.study.placing.queue import Node
from sweeper.study.plan import Plan, PlannedTrial
from sweeper.trial import FAILED, PRUNED, read_status

TAKEN = "taken, not measured"


@dataclass
class Pricer:
    """Predicts trials, one after the other or many; equal work is reckoned once."""

    hardware: Mapping[str, HardwareSpec]
    """Every kind, by name."""
    rows: Sequence[Measured] = ()
    """Of finished trials."""
    gpus: Sequence[HardwareSpec] = ()
    """The GPUs there are, of which a trial is reckoned on the slowest; without any, those that its runtime names."""
    suites: frozenset[str] = frozenset()
    """Fingerprints of the suites that are asked: times of others say nothing of them."""
    _known: dict[tuple[Any, ...], Predicted] = field(default_factory=dict)
    _rates: dict[tuple[str, str], tuple[Rates, list[Ratio]]] = field(default_factory=dict)
    _works: dict[str, Work] = field(default_factory=dict)
    _asked: dict[tuple[int, int], tuple[Asked, bool]] = field(default_factory=dict)

    def predict(self, trials: Sequence[PlannedTrial], works: Sequence[Work], left: Sequence[Left]) -> list[Predicted]:
        """What each trial will cost, of which so much is left to do."""
        for trial, work in zip(trials, works, strict=True):
            self._works.setdefault(trial.spec.model.name, work)
        return [self._predicted(*row) for row in zip(trials, works, left, strict=True)]

    def asked(self, trial: PlannedTrial) -> tuple[Asked, bool] | None:
        """How its suite is asked, and whether the number of queries is taken."""
        if trial.evaluation is None:
            return None
        place = (id(trial.evaluation), id(trial.spec.data))
        if place not in self._asked:
            self._asked[place] = asked_of(trial.evaluation, trial.spec.data)
        return self._asked[place]

    def kinds(self, trial: PlannedTrial) -> list[HardwareSpec]:
        """What it may run on; empty where that is not known."""
        runtime = trial.spec.runtime
        if not runtime.gpus:
            return [kind for kind in self.hardware.values() if kind.kind == "cpu"][:1]
        if self.gpus:
            return list(self.gpus)
        found = self.hardware.get(runtime.hardware or "")
        return [found] if found else []

    def _predicted(self, trial: PlannedTrial, work: Work, left: Left) -> Predicted:
        spec = trial.spec
        recipe = spec.recipe.precision, spec.recipe.gradient_checkpointing
        key = (spec.model.name, work, left, spec.runtime, *recipe, id(trial.evaluation), id(spec.data))
        if key not in self._known:
            priced = [self._on(kind, trial, work, left) for kind in self.kinds(trial)]
            found = max(priced, key=_slowness) if priced else (FREE if left.nothing else NOT_KNOWN, None, "")
            disk = disk_of(work.parameters, spec.runtime.checkpoints, evaluated=trial.evaluation is not None)
            self._known[key] = Predicted(work, left, found[0], disk, found[1], found[2])
        return self._known[key]

    def _on(self, kind: HardwareSpec, trial: PlannedTrial, work: Work, left: Left) -> tuple[Cost, str, str]:
        """On one kind of hardware: its cost, the kind's name, and what that rests on."""
        runtime, basis = trial.spec.runtime, ""
        training = evaluation = ZERO
        if left.training:
            training, basis = self._training(kind, trial, work)
        if left.evaluation and (asked := self.asked(trial)) is not None:
            evaluation = self._evaluation(kind, trial, work, asked[0])
        return cost_of(runtime, kind, training, evaluation), kind.name, basis

    def _training(self, kind: HardwareSpec, trial: PlannedTrial, work: Work) -> tuple[Amount, str]:
        recipe, count = trial.spec.recipe, devices(trial.spec.runtime)
        flops = hardware_flops(work, gradient_checkpointing=recipe.gradient_checkpointing)
        rates, ratios = self._fitted(kind, recipe.precision)
        factor = factor_of(trial.spec.model.name, trial.parameters, ratios, flops)
        if factor is None:
            return training_seconds(flops, work.steps, kind, precision=recipe.precision, devices=count), TAKEN
        of = "" if factor.model == trial.spec.model.name else f" of {factor.model}"
        basis = f"measured on {factor.trials} trial{'s' * (factor.trials != 1)}{of}"
        return measured_training_seconds(flops, work.steps, rates, factor, count), basis

    def _evaluation(self, kind: HardwareSpec, trial: PlannedTrial, work: Work, asked: Asked) -> Amount:
        """Taken, times what finished evaluations of this suite say against it."""
        runtime = trial.spec.runtime
        count = devices(runtime) / runtime.workers
        taken = evaluation_seconds(work, asked, kind, count)
        ratios = []
        for row in self.rows:
            known = self._works.get(row.model)
            if row.hardware == kind.name and row.suite in self.suites and known is not None and row.eval_seconds > 0:
                each = evaluation_seconds(known, asked, kind, count).expected + kind.startup_seconds
                ratios.append(Ratio(row.model, row.parameters, row.eval_seconds / each, row.flops))
        flops = hardware_flops(work, gradient_checkpointing=trial.spec.recipe.gradient_checkpointing)
        factor = factor_of(trial.spec.model.name, trial.parameters, ratios, flops)
        if factor is None:
            return taken
        expected = taken.expected + kind.startup_seconds
        return Amount(expected * factor.low, expected * factor.expected, expected * factor.high)

    def _fitted(self, kind: HardwareSpec, precision: str) -> tuple[Rates, list[Ratio]]:
        place = (kind.name, precision)
        if place not in self._rates:
            rows = [row for row in self.rows if (row.hardware, row.precision) == place]
            peak = next((value * 1e12 for name, value in kind.tflops.items() if name == precision), math.nan)
            prior = Rates(kind.step_seconds.expected, 1 / (peak * kind.utilisation.expected))
            rates = fit_rates(rows, prior)
            self._rates[place] = (rates, ratios_of(rows, rates))
        return self._rates[place]


def on_hardware(sweep: Sweep, kind: HardwareSpec) -> Sweep:
    """The sweep planned for another GPU than its runtimes name. Raises UsageError for a CPU in place of one."""
    if kind.kind != "gpu" and any(runtime.gpus for runtime in sweep.runtime.values()):
        raise UsageError("--hardware", asked=kind.name, found="a sweep whose trials ask for GPUs", do="name a GPU")
    if kind.kind == "gpu" and not sweep.sweeps and not any(runtime.gpus for runtime in sweep.runtime.values()):
        raise UsageError("--hardware", asked=kind.name, found="a sweep whose trials ask for no GPU", do="leave it out")
    runtime = {
        name: given.model_copy(update={"hardware": kind.name}) if given.gpus else given
        for name, given in sweep.runtime.items()
    }
    parts = tuple(on_hardware(part, kind) for part in sweep.sweeps)
    hardware = {**sweep.hardware, kind.name: kind}
    return sweep.model_copy(update={"runtime": runtime, "hardware": hardware, "sweeps": parts})


def price(
    plan: Plan,
    store: Store,
    hardware: Mapping[str, HardwareSpec],
    *,
    gpus: Sequence[HardwareSpec] = (),
    nodes: Sequence[Node] | None = None,
) -> tuple[Plan, Wall]:
    """The plan with `predicted` of each trial and `estimate` of all, and its wall time on `nodes` (else on
    `machines_for`). A plan that exceeds its sweep's budget has a problem more.

    The plan's stand-ins count in the estimate.
    """
    trials = (*plan.trials, *plan.stand_ins)
    suites = _suites(replace(plan, trials=trials))
    asked = zip(trials, suites, strict=True)
    store.refresh({trial.fingerprint: suite or None for trial, suite in asked if trial.fingerprint}, plan.sweep.name)
    begun = {entry.name for entry in os.scandir(folder)} if (folder := store.root / "trials").is_dir() else set()
    left = [
        _left(trial, suite, store) if trial.fingerprint in begun else Left(evaluation=suite is not None)
        for trial, suite in zip(trials, suites, strict=True)
    ]
    pricer = Pricer(
        hardware={**hardware, **plan.sweep.hardware},
        rows=read_measured(store, hardware.values()),
        gpus=gpus,
        suites=frozenset(suite for suite in suites if suite),
    )
    predicted = pricer.predict(trials, works_of(trials, store), left)
    priced = tuple(replace(trial, predicted=found) for trial, found in zip(trials, predicted, strict=True))
    pending = [trial for trial, found in zip(priced, left, strict=True) if not found.nothing]
    seconds = [found.cost.seconds for found in predicted if not found.left.nothing]
    wall = wall_of(pending, seconds, nodes or machines_for(pending, os.cpu_count() or 1))
    wall = replace(wall, reasons=tuple(_reasons(pending, pricer))) if not wall.seconds.known else wall
    estimate = estimate_of(priced, wall, pricer)
    limits = {**estimate["cost"], "wall_hours": estimate["wall_hours"]}
    problems = dict.fromkeys([*plan.problems, *over_budget(plan.sweep.budget, limits)])
    own = priced[: len(plan.trials)]
    return replace(plan, trials=own, problems=tuple(problems), estimate=estimate), wall


def estimate_of(trials: Sequence[PlannedTrial], wall: Wall, pricer: Pricer) -> dict[str, Any]:
    """What `plan --json` adds to its document: all figures are of what is left to do. NaN where not known."""
    found = [trial.predicted for trial in trials if trial.predicted is not None]
    trained = [row for row in found if row.left.training]
    cost = sum_of(row.cost for row in found)
    at_once = wall.schedule.peak if wall.schedule else 1
    writing = sorted((row.disk.while_training for row in trained), reverse=True)[:at_once]
    memory = [trial.fit.predicted for trial in trials if trial.fit and trial.fit.predicted is not None]
    hours = wall.seconds.times(1 / 3600)
    return {
        "cost": amounts_json(cost),
        "wall_hours": hours.expected,
        "wall_hours_range": [hours.low, hours.high],
        "steps": math.fsum(row.work.steps for row in trained),
        "tokens": math.fsum(row.work.tokens for row in trained),
        "flops": math.fsum(row.work.train_flops for row in trained),
        "reused": sum(row.left.nothing for row in found),
        "reused_training": sum(not row.left.training and row.left.evaluation for row in found),
        "energy_kwh": cost.kwh.expected,
        "energy_kwh_range": [cost.kwh.low, cost.kwh.high],
        "memory_gib_peak": max(memory, default=math.nan),
        "checkpoint_bytes": max((row.disk.checkpoint for row in trained), default=0.0),
        "disk_bytes_while_training": math.fsum(writing),
        "disk_bytes_kept": math.fsum(row.disk.kept for row in trained),
        "rests_on": _rests_on(trials, pricer),
        "unknown": [*wall.reasons, *wall.problems],
    }


def first_predictions(now: dict[str, Any], before: dict[str, Any] | None) -> dict[str, Any]:
    """The document of a plan, with what an earlier plan of the same study predicted in place of its own: a report
    compares with what was said before the first trial started. Trials that are new keep their own prediction.
    """
    if before is None:
        return now
    said = {row["fingerprint"]: row for row in before.get("trials", ()) if row.get("fingerprint")}
    rows = []
    for row in now["trials"]:
        old = said.get(row["fingerprint"], {})
        rows.append(row | {key: old[key] for key in old if key.startswith("predicted_") or key == "reused"})
    # What a search has proposed since then was foreseen by stand-ins.
    listed = [{row["fingerprint"] for row in found if not row.get("role")} for found in (now["trials"], said.values())]
    same = listed[0] == listed[1]
    whole = ("cost", "wall_hours", "wall_hours_range", "reused", "rests_on") if same else ()
    return now | {key: before[key] for key in whole if key in before} | {"trials": rows}


def _left(trial: PlannedTrial, suite: str | None, store: Store) -> Left:
    status = read_status(store.record(trial.fingerprint))
    pruned = status == PRUNED
    if pruned and trial.may_be_pruned:
        return Left(training=False, evaluation=False)
    trained = status is not None and status != FAILED and not pruned
    if suite is None:
        return Left(training=not trained, evaluation=False)
    summary = store.evaluation(trial.fingerprint, suite) / "summary.json"
    return Left(training=not trained, evaluation=not (trained and summary.exists()))


def _suites(plan: Plan) -> list[str | None]:
    try:
        return suites_of(plan)
    except SweeperError:  # queries that are not here: the plan's problems say so
        return ["" for _ in plan.trials]


def _slowness(found: tuple[Cost, str, str]) -> tuple[bool, float]:
    """What is not known is slower than all that is."""
    seconds = found[0].seconds.expected
    return math.isnan(seconds), seconds


def _rests_on(trials: Sequence[PlannedTrial], pricer: Pricer) -> list[str]:
    """What the figures are made from, one sentence each."""
    said: Counter[str] = Counter()
    for trial in trials:
        found = trial.predicted
        if found is None or found.left.nothing or found.hardware is None:
            continue
        kind = pricer.hardware.get(found.hardware) or next(g for g in pricer.gpus if g.name == found.hardware)
        if found.left.training:
            share = f"{kind.utilisation.expected:.0%} of the peak of {kind.name}, {TAKEN}"
            of = found.basis if found.basis != TAKEN else share
            said[f"{trial.spec.model.name} on {kind.name}: {of}"] += 1
    lines = list(said)
    pending = [trial for trial in trials if trial.predicted and not trial.predicted.left.nothing]
    assumed = {t.spec.data.name: t.spec.data for t in pending if t.predicted and t.predicted.work.assumed}
    for name, spec in assumed.items():
        size = f"{spec.assumed.examples:,} examples" if spec.assumed and spec.assumed.examples else "its own queries"
        length = spec.assumed.mean_tokens if spec.assumed else None
        mean = f"{length:g} tokens each" if length else f"{spec.max_length:,} tokens each (the longest there can be)"
        lines.append(f"data {name} are not prepared: {size} of {mean} are assumed")
    if any(asked[1] for trial in pending if (asked := pricer.asked(trial)) is not None):
        lines.append("the test queries are not here: as many as StableToolBench's are assumed")
    return lines


def _reasons(pending: Sequence[PlannedTrial], pricer: Pricer) -> list[str]:
    """Why there are no seconds, each thing once."""
    reasons: dict[str, None] = {}
    for trial in pending:
        found, recipe = trial.predicted, trial.spec.recipe
        if found is None or found.cost.seconds.known:
            continue
        kinds = pricer.kinds(trial)
        if not kinds:
            reasons["what GPU it is: --hardware NAME, runtime.hardware, or a --cluster whose machines are known"] = None
        if math.isnan(found.work.train_flops):
            reasons["data not prepared, or the model's FLOPs are not known: `sweeper data prepare …` first"] = None
        for kind in kinds:
            if recipe.precision not in kind.tflops:
                reasons[f"{kind.name} has no `tflops` of {recipe.precision}"] = None
    return list(reasons)

"""Searches over known functions, the source of `tests/pinned/proposals.json`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from sweeper.config import Sweep, load_sweep
from sweeper.search import Proposal, SearchSession, open_storage, require_search
from sweeper.training import TrialRow

SWEEP = """
name: pinned
question: Which proposals does this search make?
recipe: {extends: miniature, learning_rate: %s}
data: toolworld
evaluation: %s
axes:
  model: [%s]
  seed: [0]
  %s
search: {%s}
"""
NUMERIC_AXES = "learning_rate: {loguniform: [1.0e-4, 1.0]}\n  max_grad_norm: {loguniform: [0.01, 10]}"
CONDITIONAL_AXES = """learning_rate: {loguniform: [1.0e-4, 1.0]}
  max_grad_norm: {loguniform: [0.01, 10], or_null: true}
  lr_scheduler_type: [linear, cosine]
  weight_decay: {uniform: [0, 0.1]}
  warmup_steps: {int_uniform: [1, 30], when: {lr_scheduler_type: [linear]}}"""
INTEGER_AXES = "warmup_steps: {int_loguniform: [1, 30]}\n  weight_decay: [0.0, 0.01]"
RUNG_STEPS = (3, 6, 12)
LAST_STEP = 24


@dataclass(frozen=True)
class Scenario:
    """One search: its sweep, and the conditions under which it runs."""

    axes: str
    search: str
    models: str = "opt-tiny-32"
    concurrency: int = 1
    """Trials under way at once."""
    restart_every: int = 0
    """The driver dies after this many proposals, before it has reported the last; 0: never."""
    evaluation: str = "null"
    rate: str = "1.0e-2"
    """The recipe's learning rate."""


SCENARIOS = {
    "random": Scenario(NUMERIC_AXES, "algorithm: random, trials: 10"),
    "random without the baseline": Scenario(INTEGER_AXES, "algorithm: random, trials: 8, anchor: false, seed: 5"),
    "random, conditional axes": Scenario(CONDITIONAL_AXES, "algorithm: random, trials: 12, seed: 2"),
    "random, two models": Scenario(CONDITIONAL_AXES, "algorithm: random, trials: 9", "opt-tiny-32, opt-tiny-64"),
    "random, two metrics": Scenario(NUMERIC_AXES, "algorithm: random, trials: 8, metric: [val_loss, tokens]"),
    "grid": Scenario("learning_rate: [0.01, 0.1]\n  max_grad_norm: [null, 0.3, 1]", "algorithm: grid"),
    "grid, two models": Scenario(
        "learning_rate: [0.01, 0.1]\n  max_grad_norm: [null, 0.3]",
        "algorithm: grid, equal_per: model",
        "opt-tiny-32, opt-tiny-64",
        restart_every=3,
    ),
    "tpe": Scenario(NUMERIC_AXES, "algorithm: tpe, trials: 14, sampler: {n_startup_trials: 4}"),
    "tpe, three at once": Scenario(
        NUMERIC_AXES, "algorithm: tpe, trials: 14, sampler: {n_startup_trials: 4}", concurrency=3
    ),
    "tpe, conditional axes, restarts": Scenario(
        CONDITIONAL_AXES, "algorithm: tpe, trials: 14, seed: 1, sampler: {n_startup_trials: 4}", restart_every=3
    ),
    "tpe, univariate": Scenario(
        CONDITIONAL_AXES, "algorithm: tpe, trials: 10, sampler: {n_startup_trials: 3, multivariate: false}"
    ),
    "tpe, each model": Scenario(
        NUMERIC_AXES,
        "algorithm: tpe, trials: 16, equal_per: model, sampler: {n_startup_trials: 3}",
        "opt-tiny-32, opt-tiny-64",
        concurrency=2,
        restart_every=5,
    ),
    "tpe, two metrics": Scenario(
        NUMERIC_AXES,
        "algorithm: tpe, trials: 12, metric: [val_loss, train_flops], sampler: {n_startup_trials: 3}",
    ),
    "tpe, maximized metric, asha": Scenario(
        NUMERIC_AXES,
        "algorithm: tpe, trials: 14, metric: val_pass_rate, sampler: {n_startup_trials: 3}, scheduler: asha, "
        "rungs: {first: 3, reduction_factor: 2}",
        evaluation="toolworld",
    ),
    "gp": Scenario(NUMERIC_AXES, "algorithm: gp, trials: 9, sampler: {n_startup_trials: 4}"),
    "gp, restarts": Scenario(NUMERIC_AXES, "algorithm: gp, trials: 9, sampler: {n_startup_trials: 4}", restart_every=2),
    "gp, conditional axes": Scenario(CONDITIONAL_AXES, "algorithm: gp, trials: 8, sampler: {n_startup_trials: 3}"),
    "cma-es": Scenario(NUMERIC_AXES, "algorithm: cma-es, trials: 16, sampler: {n_startup_trials: 3, popsize: 4}"),
    "cma-es, asha, restarts": Scenario(
        NUMERIC_AXES,
        "algorithm: cma-es, trials: 16, sampler: {popsize: 4, consider_pruned_trials: true}, scheduler: asha, "
        "rungs: {first: 3, reduction_factor: 2}",
        restart_every=4,
    ),
    "nsga2": Scenario(
        NUMERIC_AXES,
        "algorithm: nsga2, trials: 20, metric: [val_loss, train_flops], sampler: {population_size: 5}",
        restart_every=7,
    ),
    **{
        f"{scheduler}, three at once, restarts": Scenario(
            NUMERIC_AXES,
            f"algorithm: random, trials: 20, scheduler: {scheduler}, "
            f"rungs: {{first: 3{'' if scheduler == 'median' else ', reduction_factor: 2'}}}",
            concurrency=3,
            restart_every=4,
        )
        for scheduler in ("asha", "hyperband", "median")
    },
    "tpe, hyperband": Scenario(
        NUMERIC_AXES,
        "algorithm: tpe, trials: 16, sampler: {n_startup_trials: 4}, scheduler: hyperband, "
        "rungs: {first: 3, reduction_factor: 2}",
    ),
    "pbt": Scenario(
        CONDITIONAL_AXES,
        "algorithm: random, trials: 14, scheduler: pbt, rungs: {first: 3}, pbt: {population: 6}",
        concurrency=6,
    ),
    "pbt, each model, restarts": Scenario(
        NUMERIC_AXES,
        "algorithm: random, trials: 20, equal_per: model, scheduler: pbt, rungs: {first: 3}, pbt: {population: 4}",
        "opt-tiny-32, opt-tiny-64",
        concurrency=8,
        restart_every=5,
    ),
}


def load_scenario(scenario: Scenario, folder: Path) -> Sweep:
    """Write the sweep file of a scenario and load it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "pinned.yaml"
    text = SWEEP % (scenario.rate, scenario.evaluation, scenario.models, scenario.axes, scenario.search)
    path.write_text(text)
    return load_sweep(path)


def loss_at(values: dict[str, Any], step: int) -> float:
    """A loss that falls with the steps; its end depends on every value."""
    rate, clip = math.log10(values.get("learning_rate", 0.01)), math.log10(values.get("max_grad_norm") or 10.0)
    final = (rate + 2) ** 2 + 0.3 * (clip + 0.52) ** 2 + 0.01 * values.get("warmup_steps", 7)
    final += {"linear": 0.0, "cosine": 0.2, None: 0.0}[values.get("lr_scheduler_type")]
    return final + 5 * values.get("weight_decay", 0.0) + 6 * math.exp(-6 * step / LAST_STEP)


def play(scenario: Scenario, folder: Path) -> list[dict[str, Any]]:
    """Run a search to its end; some trials diverge, and some fail and are retried.

    Returns:
        Per proposal in the order they were handed out: its key, whether it is the baseline, values and changes.
    """
    sweep = load_scenario(scenario, folder)
    search, handed_out, seen = SearchSession(sweep, folder), list[dict[str, Any]](), dict[str, str]()
    has_rungs = require_search(sweep).rungs is not None
    running: list[tuple[Proposal, int]] = []
    known_keys: set[str] = set()
    while True:
        while len(running) < scenario.concurrency and (proposal := search.ask()) is not None:
            handed_out.append(
                {
                    "key": proposal.key,
                    "baseline": proposal.is_baseline,
                    "stopped": proposal.is_stopped,
                    "values": dict(sorted(proposal.values.items())),
                    "changes": proposal.changes,
                }
            )
            name = f"{proposal.group} {sorted(proposal.values.items())} {proposal.changes}"
            first = seen.setdefault(name, proposal.key)
            search.attach_trial(proposal, f"trial of {first}", None if first == proposal.key else first)
            if first == proposal.key:
                running.append((proposal, proposal.branch_step))
            is_new = proposal.key not in known_keys
            known_keys.add(proposal.key)
            if is_new and scenario.restart_every and len(known_keys) % scenario.restart_every == 0:
                search, running = SearchSession(sweep, folder), []  # those under way are handed out again
        if not running:
            return handed_out
        proposal, step = running.pop(0)
        next_step = next((rung for rung in (*RUNG_STEPS, LAST_STEP) if rung > step), LAST_STEP)
        value = loss_at(proposal.values, next_step)
        metrics = {"val_loss": value, "val_pass_rate": 1 / (1 + value), "tokens": 1 / value, "train_flops": 2 / value}
        if next_step < LAST_STEP:
            stops = has_rungs and search.should_prune(proposal, next_step, value)
            if stops:
                search.tell(proposal, TrialRow("", "PRUNED", {"rung_loss": value}))
            else:
                running.append((proposal, next_step))
        elif proposal.number % 7 == 6:
            search.tell(proposal, TrialRow("", "DIVERGED", metrics))
        elif proposal.number % 5 == 4:
            search.tell(proposal, TrialRow("", "FAILED", {}))
            search.tell(proposal, TrialRow("", "COMPLETE", metrics))
        else:
            search.tell(proposal, TrialRow("", "COMPLETE", metrics))


def read_outcome(scenario: Scenario, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Read Optuna's trials of a search that was played, by the name of their study."""
    sweep = load_scenario(scenario, folder)
    storage = open_storage(require_search(sweep), folder)
    return {
        name: [
            {
                "number": trial.number,
                "state": trial.state.name,
                "params": trial.params,
                "values": trial.values,
                "intermediate": {str(step): value for step, value in trial.intermediate_values.items()},
                "attributes": trial.user_attrs,
            }
            for trial in optuna.load_study(study_name=name, storage=storage).trials
        ]
        for name in sorted(optuna.get_all_study_names(storage))
    }

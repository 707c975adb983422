"""`branch_epochs` of a sweep, checked: arms can branch only from a run that takes the same steps as they do."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper.config.sweep import Sweep, expand_sweep
from sweeper.config.yaml_lines import Problem, YamlFile

_REQUESTED = "branch_epochs: true"


def check_branches(sweep: Sweep, source: YamlFile) -> None:
    """Check that the arms of `num_train_epochs` can be branches of the longest one.

    Two arms take the same optimizer steps until the shorter one decays only under `warmup_stable_decay`, and branching
    is tested with one worker only.

    Raises:
        ConfigError: a sweep that cannot branch.
    """
    if sweep.branch_epochs:
        source.raise_first(_find_problems(sweep))


def _find_problems(sweep: Sweep) -> Iterator[Problem]:
    axis, switch, epochs = ("axes", "num_train_epochs"), ("branch_epochs",), sweep.axes.get("num_train_epochs", [])
    if sweep.search is not None:
        yield Problem(("search",), _REQUESTED, "a search, whose trials are trained separately", "remove one of the two")
    if len(epochs) < 2:
        found = "no axis `num_train_epochs` with several values"
        yield Problem(axis if epochs else switch, _REQUESTED, found, "add values to it")
    for i, value in enumerate(epochs):
        if value != int(value):
            found = f"{value} epochs: branches end after whole epochs"
            yield Problem((*axis, i), _REQUESTED, found, "whole numbers")
    for recipe in (spec.recipe for spec in expand_sweep(sweep)):
        if recipe.lr_scheduler_type != "warmup_stable_decay":
            yield Problem(
                switch,
                _REQUESTED,
                f"lr_scheduler_type: {recipe.lr_scheduler_type}, whose learning rates depend on the length of the run "
                "from its first step",
                "lr_scheduler_type: warmup_stable_decay, with a decay_fraction",
            )
        if not recipe.ends_by_epochs:
            found = "runs that end by max_steps or train_flops_budget, not by epochs"
            yield Problem(switch, _REQUESTED, found, "set both to null")
    for engine in sweep.engines.values():
        if engine.distributed:
            yield Problem(
                ("runtime",) if sweep.runtime else switch,
                _REQUESTED,
                f"the engine {engine.name} with several workers: branching supports one worker",
                "engine: single, or branch_epochs: false",
            )

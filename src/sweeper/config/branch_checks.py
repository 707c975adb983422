"""`branch_epochs` of a sweep file, checked while the lines are known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap

from sweeper.config.sweep import Sweep, expand_sweep
from sweeper.config.yaml_lines import format_location
from sweeper.errors import ConfigError


def check_branches(sweep: Sweep, node: CommentedMap, path: Path) -> None:
    """Arms go on from a longer one only where both take the same steps until the shorter one decays. Raises ConfigError
    where they would not, or where it has not been tried."""
    if not sweep.branch_epochs:
        return
    for keys, found, do in _list_branching_problems(sweep):
        raise ConfigError(format_location(path, node, keys), requested="branch_epochs: true", found=found, hint=do)


def _list_branching_problems(sweep: Sweep) -> Iterator[tuple[list[Any], str, str]]:
    """(keys that lead to the line, what stands in the way, what to do)."""
    axis, epochs = ["axes", "num_train_epochs"], sweep.axes.get("num_train_epochs", [])
    if sweep.search is not None:
        yield ["search"], "a search, whose trials are each trained alone", "leave out one of the two"
    if len(epochs) < 2:
        yield axis if epochs else ["branch_epochs"], "no axis `num_train_epochs` with several values", "give it some"
    for i, value in enumerate(epochs):
        if value != int(value):
            yield [*axis, i], f"{value} epochs: branches end with whole epochs", "whole numbers"
    for recipe in (spec.recipe for spec in expand_sweep(sweep)):
        if recipe.lr_scheduler_type != "warmup_stable_decay":
            yield (
                ["branch_epochs"],
                f"lr_scheduler_type: {recipe.lr_scheduler_type}, under which a run's steps hang on its length from the "
                "start",
                "lr_scheduler_type: warmup_stable_decay, with a decay_fraction",
            )
        if not recipe.ends_by_epochs:
            yield (
                ["branch_epochs"],
                "runs that end by max_steps or train_flops_budget, not by epochs",
                "leave those null",
            )
    for engine in sweep.engines.values():
        if engine.distributed:
            yield (
                ["runtime"] if sweep.runtime else ["branch_epochs"],
                f"the engine {engine.name}, by which several workers train one model: branching is tried with one",
                "engine: single, or branch_epochs: false",
            )

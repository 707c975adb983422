from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweeper.config import parse_sweep, read_yaml_as_dict
from sweeper.errors import ConfigError

LOOKING = read_yaml_as_dict(Path(__file__).resolve().parents[1] / "pinned/looking.yaml")


def parse(axes: dict[str, Any] | None = None, **changes: Any) -> Any:
    return parse_sweep(LOOKING | changes | {"axes": LOOKING["axes"] | (axes or {})})


def test_axes_are_split_into_fixed_and_searched() -> None:
    sweep = parse({"weight_decay": [0.01], "warmup_steps": [2, 5]})
    assert set(sweep.axes) == {"model", "seed", "weight_decay"}
    assert set(sweep.searched) == {"learning_rate", "max_grad_norm", "warmup_steps"}
    assert sweep.searched["warmup_steps"].choice == [2, 5], "a list of several values is a choice"


@pytest.mark.parametrize(
    ("axes", "changes", "message"),
    [
        ({"seed": [0, 1]}, {}, "a search explores with one seed"),
        ({}, {"search": None}, "no `search` block"),
        ({"learning_rate": {"loguniform": [0.5, 0.9]}}, {}, "is outside the searched values"),
        ({"learning_rate": {"loguniform": [1e-3, 1e-1], "when": {"optim": ["x"]}}}, {}, "not another searched axis"),
        ({"fit": ["strict", "truncate"]}, {}, "different validation rows for each value"),
        ({}, {"confirm": {"top": 1, "seeds": [0]}}, "what chose a trial cannot confirm it"),
        ({}, {"confirm": {"top": 1, "seeds": [1, 1]}}, "a seed twice"),
        ({}, {"confirm": None, "claims": ["single-epoch"]}, "a search without `confirm`"),
        ({"learning_rate": {"uniform": [-1.0, 1.0]}}, {}, "greater than 0"),
    ],
    ids=["seeds", "no search", "baseline", "when", "data axis", "explored", "twice", "claims", "bound"],
)
def test_search_that_cannot_work_is_refused(axes: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    parse()
    with pytest.raises(ConfigError, match=message):
        parse(axes, **changes)


def test_grid_counts_its_own_trials() -> None:
    search = {"algorithm": "grid"}
    axes = {"learning_rate": [0.01, 0.1], "max_grad_norm": [0.3, 1.0, None]}
    assert parse(axes, search=search).search.trials is None
    with pytest.raises(ConfigError, match="a grid of 6 points"):
        parse(axes, search=search | {"trials": 5})
    with pytest.raises(ConfigError, match="learning_rate is a range, which has no grid"):
        parse({"max_grad_norm": [0.3, 1.0]}, search=search)


def test_chain_of_conditions_is_refused() -> None:
    axes = {
        "lr_scheduler_type": ["linear", "cosine"],
        "warmup_steps": {"choice": [5, 6], "when": {"lr_scheduler_type": ["linear"]}},
        "weight_decay": {"choice": [0.01, 0.1], "when": {"warmup_steps": [5]}},
    }
    with pytest.raises(ConfigError, match="warmup_steps has a `when` of its own"):
        parse(axes)


def test_condition_on_a_value_that_never_occurs_is_refused() -> None:
    axes = {
        "lr_scheduler_type": ["linear", "cosine"],
        "warmup_steps": {"choice": [5, 6], "when": {"lr_scheduler_type": ["constant"]}},
    }
    with pytest.raises(ConfigError, match="a value that lr_scheduler_type never has"):
        parse(axes)

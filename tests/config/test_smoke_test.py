"""Smoke tests: the same design with toy models; every shipped sweep has one."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.config import Sweep, load_sweep, read_yaml_as_dict
from sweeper.config.smoke_test import SmokeTestConfig, make_smoke_test
from sweeper.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted((ROOT / "sweeps").glob("*.yaml"))
TOYS = SmokeTestConfig(
    models={"opt-125m": "s", "opt-350m": "m", "opt-1.3b": "l"},
    recipes={"canonical": "miniature"},
    data={"extends": "toolworld"},
    evaluation="toolworld",
    runtime={"default": {"cpus": 1}},
    seeds=2,
    scale={"learning_rate": 200, "warmup_steps": 0.2, "train_flops_budget": 1e-6},
)


def sweep(**more: Any) -> dict[str, Any]:
    return {
        "name": "q",
        "question": "What?",
        "recipe": "canonical",
        "data": {"extends": "toolbench", "path": "/far"},
        "evaluation": "toolbench",
        "axes": {"model": ["opt-125m", "opt-350m"], "learning_rate": [5e-5, 1e-4], "seed": [0, 1, 2, 3]},
        "runtime": {"opt-350m": {"gpus": 1}},
        "budget": {"usd": 9},
    } | more


def test_smoke_test_replaces_resources_and_keeps_the_design() -> None:
    given = sweep()
    before = copy.deepcopy(given)
    toy = make_smoke_test(given, TOYS)
    assert given == before, "pure"
    assert toy["name"] == "q-rehearsal"
    assert "smoke test" in toy["question"]
    assert (toy["recipe"], toy["data"], toy["evaluation"]) == ("miniature", {"extends": "toolworld"}, "toolworld")
    assert toy["axes"] == {"model": ["s", "m"], "learning_rate": [0.01, 0.02], "seed": [0, 1]}
    assert toy["runtime"] == {"default": {"cpus": 1}}
    assert "budget" not in toy
    assert toy["accept_underpowered"] is True
    assert make_smoke_test(sweep(evaluation=None), TOYS)["evaluation"] is None


def test_smoke_test_makes_claims_about_the_toys_on_the_kept_seeds() -> None:
    claim = {
        "id": "c",
        "text": "It is so.",
        "axis": "model",
        "candidate": "opt-350m",
        "against": ["opt-125m"],
        "where": {"learning_rate": 5e-5, "max_grad_norm": None},
        "price_per_hour": {"opt-350m": 1, "opt-125m": 0.5},
        "train_flops": 5e17,
        "selection_seeds": [2, 3],
        "confirmation_seeds": [1],
    }
    toy = make_smoke_test(sweep(claims=[claim]), TOYS)
    (found,) = toy["claims"]
    assert found["text"].startswith("Smoke test")
    assert (found["candidate"], found["against"], found["price_per_hour"]) == ("m", ["s"], {"m": 1.0, "s": 1.0})
    assert found["where"] == {"learning_rate": 0.01, "max_grad_norm": None}
    assert found["train_flops"] == 5e11
    assert toy["axes"]["seed"] == [0, 1, 2], "one selects, two are left to compare on"
    assert (found["selection_seeds"], found["confirmation_seeds"]) == ([2], [1])


def test_smoke_test_scales_searched_ranges() -> None:
    axes = {
        "model": ["opt-350m"],
        "seed": [0],
        "learning_rate": {"loguniform": [1e-6, 1e-3]},
        "warmup_steps": {"int_uniform": [0, 500]},
        "max_grad_norm": {"uniform": [0.1, 1.0], "or_null": True, "when": {"learning_rate": [5e-5]}},
    }
    found = make_smoke_test(sweep(axes=axes), TOYS)["axes"]
    assert found["learning_rate"] == {"loguniform": [0.0002, 0.2]}
    assert found["warmup_steps"] == {"int_uniform": [0, 100]}
    assert found["max_grad_norm"] == {"uniform": [0.1, 1.0], "or_null": True, "when": {"learning_rate": [0.01]}}


def test_smoke_test_keeps_and_scales_own_fields_of_a_recipe() -> None:
    toy = make_smoke_test(sweep(recipe={"extends": "canonical", "learning_rate": 1e-5, "weight_decay": 0.1}), TOYS)
    assert toy["recipe"] == {"extends": "miniature", "learning_rate": 0.002, "weight_decay": 0.1}


def test_smoke_test_does_not_scale_a_toy_recipe() -> None:
    toys = sweep(recipe="miniature", axes={"model": ["m"], "learning_rate": [0.01], "seed": [0]})
    assert make_smoke_test(toys, TOYS)["axes"]["learning_rate"] == [0.01]


def test_smoke_test_applies_the_sweeps_own_block_last() -> None:
    own = {"axes": {"learning_rate": {"uniform": [1, 2]}, "seed": [7]}, "data": {"fit": "truncate"}, "claims": []}
    toy = make_smoke_test(sweep(rehearsal=own), TOYS)
    assert toy["axes"] == {"model": ["s", "m"], "learning_rate": {"uniform": [1, 2]}, "seed": [7]}
    assert toy["data"] == {"extends": "toolworld", "fit": "truncate"}
    assert toy["claims"] == []
    assert "rehearsal" not in toy


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"axes": {"model": ["opt-2.7b"], "seed": [0]}}, "opt-2.7b"),
        ({"recipe": "unheard-of"}, "unheard-of"),
        ({"recipe": {"learning_rate": 1}}, "extend"),
        ({"axes": {"model": ["opt-350m", "m"], "seed": [0]}}, "the same toy model"),
    ],
)
def test_smoke_test_refuses_what_has_no_replacement(more: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make_smoke_test(sweep(**more), TOYS)


@given(st.floats(1e-7, 1e-2), st.lists(st.integers(0, 50), min_size=1, max_size=9, unique=True))
def test_smoke_test_keeps_the_order_of_values_and_seeds(rate: float, seeds: list[int]) -> None:
    axes = make_smoke_test(sweep(axes={"model": ["opt-350m"], "learning_rate": [rate, 2 * rate], "seed": seeds}), TOYS)[
        "axes"
    ]
    assert axes["seed"] == seeds[:2]
    assert axes["learning_rate"] == pytest.approx([200 * rate, 400 * rate], rel=1e-5)


def load_smoke_test(path: Path, *overrides: str) -> Sweep:
    return load_sweep(path, overrides, smoke_test=True)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_every_shipped_sweep_has_a_smoke_test_without_requirements(path: Path) -> None:
    toy = load_smoke_test(path)
    assert toy.name == f"{path.stem}-rehearsal"
    assert toy.uses_toy_models, "its report says that it is a toy"
    for part in toy.sweeps or [toy]:
        assert part.data.source == "toolworld"
        assert part.evaluation is None or part.evaluation.environment == "toolworld"
        assert all(runtime.gpus == 0 for runtime in part.runtime.values())
    # The claims are those of the sweep, but where its own block says otherwise.
    overridden = "claims" in read_yaml_as_dict(path).get("rehearsal", {})
    if not toy.sweeps and not overridden:
        assert [claim.id for claim in toy.claims] == [claim.id for claim in load_sweep(path).claims]
    assert all("Smoke test" in claim.text for claim in toy.claims)


def test_overrides_apply_to_the_smoke_test() -> None:
    toy = load_smoke_test(ROOT / "sweeps/scaling.yaml", "axes.seed=[5]", "data.toolworld.train_queries=40", "name=mine")
    assert (toy.axes["seed"], toy.data.toolworld["train_queries"], toy.name) == ([5], 40, "mine")


def test_smoke_test_keeps_the_lines_of_mistakes(tmp_path: Path) -> None:
    text = (ROOT / "sweeps/stability.yaml").read_text()
    path = tmp_path / "wrong.yaml"
    path.write_text(text.replace("candidate: 5.0e-5", "candidate: 7.0e-5"))
    line = 1 + next(n for n, found in enumerate(text.splitlines()) if "extends: stability" in found)
    with pytest.raises(ConfigError) as caught:
        load_smoke_test(path)
    assert caught.value.where == f"{path}:{line}"
    assert "0.014" in str(caught.value)

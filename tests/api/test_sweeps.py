from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sweeper.api import list_sweeps, load_sweep
from sweeper.config import load_sweep as load_sweep_file
from sweeper.config import read_yaml_as_dict
from sweeper.errors import ConfigError, UsageError

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests/pinned/tiny.yaml"


def test_name_path_and_mapping_give_the_same_sweep() -> None:
    from_file = load_sweep_file(TINY)
    assert load_sweep(TINY) == load_sweep(str(TINY)) == load_sweep(read_yaml_as_dict(TINY)) == from_file
    assert load_sweep("quickstart") == load_sweep(ROOT / "sweeps/quickstart.yaml")


def test_mapping_is_not_changed() -> None:
    content = read_yaml_as_dict(TINY)
    load_sweep(content, {"axes.seed": [7], "recipe.learning_rate": 1e-5})
    assert content == read_yaml_as_dict(TINY)


def test_values_of_numpy_and_python_are_those_of_yaml() -> None:
    axes = {"model": ("opt-tiny-32",), "num_train_epochs": np.array([1, 2]), "seed": range(2)}
    assert load_sweep(read_yaml_as_dict(TINY) | {"axes": axes}) == load_sweep(TINY)
    assert load_sweep(TINY, {"axes.seed": np.arange(2)}) == load_sweep(TINY, "axes.seed=[0, 1]")
    with pytest.raises(UsageError, match=r"override axes\.seed"):
        load_sweep(TINY, {"axes.seed": object()})


def test_value_that_contains_itself_is_refused() -> None:
    content = read_yaml_as_dict(TINY)
    content["recipe"] = content
    with pytest.raises(ConfigError, match="contains itself"):
        load_sweep(content)


@pytest.mark.parametrize("key", ["axes.seed", "recipe.learning_rate", "claims", "data.toolworld", "runtime"])
def test_overrides_by_key_equal_texts(key: str) -> None:
    value, text = {
        "axes.seed": ([0, 5], "[0, 5]"),
        "recipe.learning_rate": (1e-5, "1.0e-5"),
        "claims": ([], "[]"),
        "data.toolworld": ({"train_queries": 50}, "{train_queries: 50}"),
        "runtime": (None, "null"),
    }[key]
    assert load_sweep(TINY, {key: value}) == load_sweep(TINY, [f"{key}={text}"])


def test_smoke_test_of_a_mapping_uses_toy_models() -> None:
    sweep = load_sweep(read_yaml_as_dict(ROOT / "sweeps/epochs.yaml"), smoke_test=True)
    assert sweep.uses_toy_models
    assert sweep == load_sweep("epochs", smoke_test=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"axs": {}}, r"(?s)sweep\n.*axs.*did you mean `axes`"),
        ({"axes": {"model": ["opt-tiny-32"], "seed": [0], "learning_rat": [1]}}, r"(?s)sweep\n.*learning_rat"),
        ({"recipe": "miniatur"}, r"(?s)sweep\n.*did you mean `miniature`"),
        ({"recipe": {"extends": "miniature", "learning_rate": "fast"}}, r"(?s)sweep\n.*recipe\.learning_rate"),
    ],
    ids=["key", "axis", "recipe", "value"],
)
def test_mistake_in_a_mapping_names_the_key(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_sweep(read_yaml_as_dict(TINY) | change)


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean `quickstart`"):
        load_sweep("quickstrat")


def test_listed_sweeps_can_be_loaded_by_name() -> None:
    names = list_sweeps()
    assert names == sorted(names)
    assert {path.stem for path in (ROOT / "sweeps").glob("*.yaml")} <= set(names)

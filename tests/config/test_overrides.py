"""`--set key=value`."""

from __future__ import annotations

import pytest
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from sweeper.config.overrides import parse_override
from sweeper.errors import UsageError


def apply(text: str, *overrides: str) -> CommentedMap:
    node: CommentedMap = YAML(typ="rt").load(text)
    for override in overrides:
        parse_override(override).apply(node)
    return node


def test_parse_override_reads_yaml_values() -> None:
    override = parse_override("axes.learning_rate=[5e-5, null]")
    assert (override.key, override.section, override.is_nested) == ("axes.learning_rate", "axes", True)
    assert override.value == [5e-5, None]
    assert not parse_override("claims=[]").is_nested


@pytest.mark.parametrize("text", ["axes", "=1", "axes.seed=["])
def test_parse_override_refuses_what_is_no_assignment(text: str) -> None:
    with pytest.raises(UsageError, match="--set"):
        parse_override(text)


def test_override_replaces_and_adds_values() -> None:
    assert apply("name: a\naxes: {seed: [0]}", "name=b", "axes.seed=[1]", "axes.model=[m]") == {
        "name": "b",
        "axes": {"seed": [1], "model": ["m"]},
    }


def test_override_of_a_key_with_dots_finds_the_existing_one() -> None:
    node = apply("runtime: {opt-1.3b: {cpus: 1}}", "runtime.opt-1.3b.engine=ddp")
    assert node == {"runtime": {"opt-1.3b": {"cpus": 1, "engine": "ddp"}}}


def test_override_of_a_key_with_dots_makes_a_missing_mapping() -> None:
    assert apply("name: a", "runtime.opt-1.3b.engine=ddp")["runtime"] == {"opt-1.3b": {"engine": "ddp"}}


def test_override_below_a_scalar_is_refused() -> None:
    with pytest.raises(UsageError, match="`name` is not a mapping"):
        apply("name: a", "name.x=1")


def test_overridden_value_has_no_line() -> None:
    node = apply("name: a\nbudget: {usd: 1}", "budget.usd=2")
    assert "usd" not in node["budget"].lc.data

"""YAML values and the lines they came from."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field, model_validator

from sweeper.config import read_yaml_as_dict, write_yaml
from sweeper.config.base import FrozenConfig
from sweeper.config.overrides import parse_override
from sweeper.config.yaml_lines import Problem, YamlFile, parse_yaml_value
from sweeper.errors import ConfigError, UsageError

TEXT = "# a comment\nname: a\naxes:\n  seed: [0,\n    1]\n  model:\n    - x\n    - y\n"


@pytest.fixture
def source(tmp_path: Path) -> YamlFile:
    path = tmp_path / "sweep.yaml"
    path.write_text(TEXT)
    return YamlFile.read(path)


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (["name"], 2),
        (["axes", "seed"], 4),
        (["axes", "seed", 1], 5),
        (["axes", "model", 1], 8),
        (["axes", "clip", 0], 3),
        ([], 1),
        (["nothing"], 1),
    ],
)
def test_locate_gives_the_line_of_the_deepest_existing_value(
    source: YamlFile, keys: list[str | int], line: int
) -> None:
    assert source.locate(keys) == f"{source.path}:{line}"


def test_locate_names_an_override_as_such(source: YamlFile) -> None:
    parse_override("axes.seed=[2]").apply(source.node)
    assert source.locate(["axes", "seed", 0]) == f"--set (over {source.path})"
    assert source.locate(["axes", "model"]) == f"{source.path}:6"


def test_raise_first_raises_the_first_problem_with_its_line(source: YamlFile) -> None:
    source.raise_first([])
    with pytest.raises(ConfigError) as failure:
        source.raise_first([Problem(["axes", "seed"], "seed", "wrong", "fix it"), Problem(["name"], "name", "wrong")])
    error = failure.value
    assert (error.where, error.requested, error.found, error.hint) == (f"{source.path}:4", "seed", "wrong", "fix it")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "an empty file, not a mapping"),
        ("# nothing", "an empty file, not a mapping"),
        ("- a", "a list, not a mapping"),
        ("a", "a single value, not a mapping"),
        ("a: " + "[" * 5000, "nested too deeply"),
    ],
)
def test_read_names_what_is_no_mapping(tmp_path: Path, text: str, found: str) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=found):
        YamlFile.read(path)


class Inner(FrozenConfig):
    first: int


class Named(FrozenConfig):
    name: str
    inner: Inner | None = None
    count: int = Field(default=1, gt=0)
    url: str = ""

    @model_validator(mode="after")
    def _check_url(self) -> Named:
        if ":" in self.url:
            raise ValueError("a URL with a password")
        return self


@pytest.mark.parametrize(
    ("text", "line", "requested", "found"),
    [
        ("name: a\ncuont: 2", 2, "cuont", "unknown key `cuont`"),
        ("count: 2", 1, "name", "Field required"),
        ("name: a\n\ncount: 0", 3, "count", "Input should be greater than 0 (given: 0)"),
        ("name: a\nurl: me:secret", 1, "the file", "a URL with a password"),
    ],
)
def test_validate_reports_the_line_of_the_first_mistake(
    tmp_path: Path, text: str, line: int, requested: str, found: str
) -> None:
    path = tmp_path / "named.yaml"
    path.write_text(text)
    file = YamlFile.read(path)
    with pytest.raises(ConfigError) as failure:
        file.validate(Named, file.node)
    error = failure.value
    assert (error.where, error.requested, error.found) == (f"{path}:{line}", requested, found)
    assert error.hint == ("did you mean `count`? known: count, inner, name, url" if "cuont" in text else "")


@pytest.mark.parametrize(
    ("text", "requested", "hint"),
    [
        ("nmae: a", "nmae", "did you mean `name`? known: count, inner, name, url"),
        ("name: a\ninner: {frist: 1}", "inner.frist", "did you mean `first`? known: first"),
    ],
)
def test_misspelled_key_is_reported_before_the_missing_one(
    tmp_path: Path, text: str, requested: str, hint: str
) -> None:
    path = tmp_path / "named.yaml"
    path.write_text(text)
    file = YamlFile.read(path)
    with pytest.raises(ConfigError) as failure:
        file.validate(Named, file.node)
    assert (failure.value.requested, failure.value.hint) == (requested, hint)


def test_write_yaml_and_read_yaml_as_dict_round_trip(tmp_path: Path) -> None:
    document = {"name": "ä", "axes": {"seed": [0, 1], "clip": [None, 0.3]}, "on": True}
    write_yaml(tmp_path / "sweep.yaml", document)
    assert read_yaml_as_dict(tmp_path / "sweep.yaml") == document


def test_parse_yaml_value_follows_yaml_1_2() -> None:
    assert [parse_yaml_value(text) for text in ("5e-5", "no", "null", "[1, x]")] == [5e-5, "no", None, [1, "x"]]
    for text in ("[", "2020-13-45", "!!int x"):
        with pytest.raises(UsageError):
            parse_yaml_value(text)

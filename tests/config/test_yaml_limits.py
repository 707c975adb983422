"""YAML within the limits keeps its values and lines; what exceeds one is refused in time that grows with its size."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from sweeper.config.yaml_limits import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_VALUES,
    YamlLimitError,
    check_size,
    copy_within_limits,
    read_limited_text,
    shorten,
)
from sweeper.config.yaml_lines import find_line, write_yaml
from sweeper.errors import ConfigError

TEXT = "a: [1,\n  2]\nb:\n  - x: 1\n  - &q {z: true}\nc: {<<: *q,\n  y: 2.5}\nd: *q\n"


def test_copy_keeps_values_and_lines() -> None:
    parsed = YAML(typ="rt").load(TEXT)
    copied = copy_within_limits(parsed)
    assert copied == parsed == YAML(typ="safe", pure=True).load(TEXT)
    for keys in (["a"], ["a", 1], ["b", 1, "z"], ["c", "y"], ["d"], ["e"]):
        assert find_line(copied, keys) == find_line(parsed, keys)


def test_copy_is_independent_of_the_original_and_its_aliases() -> None:
    parsed = YAML(typ="rt").load(TEXT)
    copied = copy_within_limits(parsed)
    copied["d"]["z"] = 9
    copied["a"].append(3)
    copied.lc.data.pop("a")
    assert (copied["b"][1]["z"], parsed["d"]["z"], list(parsed["a"]), "a" in parsed.lc.data) == (
        True,
        True,
        [1, 2],
        True,
    )


def test_values_are_counted_as_what_aliases_stand_for() -> None:
    shared: Any = ["x"] * 1_000
    copy_within_limits([shared] * 190)
    for document in ([shared] * 1_000, {"a": "x" * 64 * MAX_VALUES}, ["y" * 6_400] * 2_000):
        with pytest.raises(YamlLimitError, match="more than 200,000 values"):
            copy_within_limits(document)


def test_nesting_and_values_that_contain_themselves_are_refused() -> None:
    nested: Any = 1
    for _ in range(MAX_DEPTH):
        nested = [nested]
    assert copy_within_limits(nested) == nested
    endless: list[Any] = []
    endless.append(endless)
    for document in ([nested], endless):
        with pytest.raises(YamlLimitError, match="nested more than 64 deep"):
            copy_within_limits(document)


def test_copying_a_long_list_takes_time_in_proportion() -> None:
    parsed = YAML(typ="rt").load(f"a: {list(range(4_000))}")
    started = time.monotonic()
    for _ in range(25):
        copy_within_limits(parsed)
    assert time.monotonic() - started < 5, "copy.deepcopy took 40 seconds for one of 8,000"


def test_larger_files_are_refused_in_both_directions(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("x" * MAX_BYTES)
    assert len(read_limited_text(path)) == MAX_BYTES
    path.write_text("x" * (MAX_BYTES + 1))
    with pytest.raises(YamlLimitError):
        read_limited_text(path)
    with pytest.raises(YamlLimitError, match="larger than 1,048,576 bytes"):
        check_size(MAX_BYTES + 1)
    with pytest.raises(ConfigError, match="larger than"):
        write_yaml(tmp_path / "y.yaml", {"a": "x" * MAX_BYTES})
    assert not (tmp_path / "y.yaml").exists()


def test_shorten_says_how_long_a_text_is() -> None:
    assert shorten("x" * 300) == "x" * 300
    assert shorten("x" * 4_000) == "x" * 300 + "… (4,000 characters)"

"""Folders and JSON texts of other people."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.storage import JsonTextError, NestingLimit, list_files, parse_json, replace_surrogates


def test_hidden_and_special_files_are_left_out_and_counted(tmp_path: Path) -> None:
    for name in ("a.json", "deep/b.json", ".c.json", ".ipynb_checkpoints/d.json", "__MACOSX/deep/e.json", "f.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    os.mkfifo(tmp_path / "g.json")
    (tmp_path / "h.json").symlink_to(tmp_path / "nowhere")
    (tmp_path / "deep" / "loop").symlink_to(tmp_path)
    (tmp_path / "i.json").symlink_to("i.json")
    (tmp_path / "j.json").symlink_to("/dev/zero")
    found = list_files(tmp_path, "*.json")
    assert [path.relative_to(tmp_path).as_posix() for path in found.files] == ["a.json", "deep/b.json"]
    assert found.describe_left_out() == "left out of the folder: 3 hidden, 4 that are no regular files"
    assert list_files(tmp_path / "deep", "*.json").n_hidden == 3  # once, through the link


def test_folder_that_is_hidden_itself_is_read(tmp_path: Path) -> None:
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "a.json").write_text("{}")
    found = list_files(tmp_path / ".cache", "*.json")
    assert (len(found.files), found.describe_left_out()) == (1, "")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ('{"a": 1}'.encode("utf-16"), "UTF-16 text"),
        ('{"a": 1}'.encode("utf-32"), "UTF-32 text"),
        ('{"a": "é"}'.encode("latin-1"), "not UTF-8: byte 7 is 0xe9"),
        (b"[" * 100_000, "nested too deep"),
        (b'{"a":' * 100_000, "nested too deep"),
        (b"[" + b"9" * 5_000 + b"]", "too many digits"),
        (b'{"a": 1', "not JSON"),
        (b"", "not JSON"),
        (b'{"a": 1, "b": 2, "a": 3}', "'a' occurs twice"),
    ],
)
def test_text_that_is_no_json_is_described(content: bytes, found: str) -> None:
    with pytest.raises(JsonTextError, match=found):
        parse_json(content, unique_keys=True)


def test_byte_order_mark_is_no_part_of_the_text() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": 1}').value == {"a": 1}


def test_repeated_keys_matter_in_the_outermost_object_only() -> None:
    assert parse_json(b'{"a": {"b": 1, "b": 2}}', unique_keys=True).value == {"a": {"b": 2}}
    assert parse_json(b'{"a": {"b": 1, "b": 2}, "a": 3}').value == {"a": 3}
    with pytest.raises(JsonTextError, match="'a' occurs twice"):
        parse_json(b'{"a": {"b": 1, "b": 2}, "a": 3}', unique_keys=True)


def test_halves_of_characters_are_replaced_and_counted() -> None:
    parsed = parse_json(b'{"half \\ud83d": ["\\uDE00", "whole \\ud83d\\ude00"]}')
    assert parsed.value == {"half \ufffd": ["\ufffd", "whole 😀"]}
    assert parsed.n_replaced == 2
    assert parse_json(b'["\\\\ud83d"]').value == ["\\ud83d"]


@given(st.text(alphabet=st.characters(codec=None, categories=("Cs", "L", "P"))))
def test_what_is_left_can_be_written(text: str) -> None:
    replaced, count = replace_surrogates(text)
    replaced.encode()
    assert count == sum("\ud800" <= character <= "\udfff" for character in text)


@given(st.binary(max_size=60))
def test_any_bytes_are_parsed_or_refused(content: bytes) -> None:
    try:
        parse_json(content, unique_keys=True)
    except JsonTextError as error:
        assert str(error)


def test_nesting_limit_ignores_strings_and_block_boundaries() -> None:
    content = json.dumps([{"a": '[[[{ \\" ]', "b": [[1], {"c": "\\"}]}] * 50).encode()
    for size in (1, 2, 7, len(content)):
        limit, deepest = NestingLimit(), 0
        for start in range(0, len(content), size):
            limit.check(content[start : start + size])
            deepest = max(deepest, limit.depth)
        assert limit.depth == 0
        assert size > 1 or deepest == 4


@pytest.mark.parametrize("level", [b"[", b'{"a":', b'{"a": [', b'{"[": "]", "b":'])
def test_nesting_limit_refuses_deep_nesting_and_endless_strings(level: bytes) -> None:
    with pytest.raises(JsonTextError, match="nested too deep"):
        NestingLimit().check(level * 501)
    limit = NestingLimit()
    with pytest.raises(JsonTextError, match="a string of over 16 MiB"):
        for block in [b'["', *[b"a" * (1 << 20)] * 17]:
            limit.check(block)

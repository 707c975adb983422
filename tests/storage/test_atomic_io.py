"""Strict JSON and atomic files."""

from __future__ import annotations

import json
import math
import os
import threading
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from sweeper.errors import StoreError
from sweeper.storage import read_json, to_strict_json, truncate_partial_line, write_bytes, write_json


def test_to_strict_json_writes_undefined_numbers_as_null() -> None:
    numbers = [math.nan, math.inf, -math.inf, np.float64("nan"), np.float32("inf")]
    assert to_strict_json({"numbers": numbers}) == {"numbers": [None] * 5}


def test_to_strict_json_converts_numpy_to_plain_python() -> None:
    document = {
        "array": np.array([[1.0, math.nan]]),
        "flag": np.bool_(True),
        "count": np.int64(3),
        "half": np.float32(0.5),
    }
    plain = to_strict_json(document)
    assert plain == {"array": [[1.0, None]], "flag": True, "count": 3, "half": 0.5}
    assert [type(plain[key]) for key in ("flag", "count", "half")] == [bool, int, float]
    assert type(to_strict_json({"value": np.float64(0.5)})["value"]) is float


def test_to_strict_json_makes_keys_text_and_tuples_lists() -> None:
    assert to_strict_json({1: (1, 2), 0.5: ()}) == {"1": [1, 2], "0.5": []}


def test_to_strict_json_writes_paths_and_dates_as_text() -> None:
    assert to_strict_json({"values": [Path("a/b"), date(2026, 1, 2)]}) == {"values": ["a/b", "2026-01-02"]}


def test_to_strict_json_refuses_what_has_no_json_form() -> None:
    with pytest.raises(TypeError, match="set has no JSON form"):
        to_strict_json({"values": {1, 2}})


def test_write_json_and_read_json_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "record.json"
    write_json(path, {"metric": math.nan, "name": "ä"})
    assert read_json(path) == {"metric": None, "name": "ä"}
    assert json.loads(path.read_text(), parse_constant=pytest.fail)
    assert [file.name for file in path.parent.iterdir()] == ["record.json"]


@pytest.mark.parametrize("content", [b"{", b"[1]", b"null", b"\xff"])
def test_read_json_refuses_what_is_no_object(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "record.json"
    write_bytes(path, content)
    with pytest.raises(StoreError) as failure:
        read_json(path)
    assert str(path) in str(failure.value)


def test_write_bytes_leaves_the_old_file_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def fail(_: int) -> None:
        raise OSError("disk is gone")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk is gone"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("content", "whole"), [(b"1\n2\nhal", b"1\n2\n"), (b"1\n", b"1\n"), (b"hal", b""), (b"", b"")])
def test_truncate_partial_line_keeps_whole_lines(tmp_path: Path, content: bytes, whole: bytes) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(content)
    truncate_partial_line(path)
    assert path.read_bytes() == whole
    truncate_partial_line(tmp_path / "missing.jsonl")


def test_write_bytes_writes_the_target_of_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    write_bytes(link, b"new")
    assert link.is_symlink() and target.read_bytes() == b"new"


def test_write_bytes_never_replaces_a_pipe_or_a_folder(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    write_bytes(pipe, b"new")
    reader.join(timeout=10)
    assert received == [b"new"] and pipe.is_fifo()
    with pytest.raises(IsADirectoryError):
        write_bytes(tmp_path, b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]

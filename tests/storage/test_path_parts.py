from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.errors import UsageError
from sweeper.storage import join_within, make_path_part
from sweeper.storage.path_parts import MAX_PART_CHARACTERS


@given(st.text(max_size=400))
def test_part_is_one_visible_name(name: str) -> None:
    part = make_path_part(name)
    assert part and len(part) <= MAX_PART_CHARACTERS and part.isascii() and part.isprintable()
    assert Path(part).name == part and not part.startswith(".")


@given(st.text(max_size=300), st.text(max_size=300))
def test_different_names_stay_different(first: str, second: str) -> None:
    assert (make_path_part(first) == make_path_part(second)) == (first == second)


@pytest.mark.parametrize("name", ["G1_instruction", "12345_CoT@1.json", "opt-1.3b", "a+b"])
def test_ordinary_names_stay(name: str) -> None:
    assert make_path_part(name) == name


@pytest.mark.parametrize("name", ["..", "../../etc/passwd", "/etc/passwd", "a\x00b", "\ud800", "x" * 5000])
def test_joined_path_lies_within(name: str, tmp_path: Path) -> None:
    path = join_within(tmp_path, name, name)
    assert path.resolve().is_relative_to(tmp_path) and len(path.relative_to(tmp_path).parts) == 2


def test_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/raw").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="a link out of"):
        join_within(tmp_path / "out", "raw", "file")

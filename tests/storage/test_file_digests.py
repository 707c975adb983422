"""Digests of files: written once, checked when read."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.errors import StoreError
from sweeper.storage import check_files, digest_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"0123456789")
    (tmp_path / "model" / ".hidden").write_bytes(b"no")
    (tmp_path / "history.parquet").write_bytes(b"history")
    return tmp_path


def test_digests_name_visible_files(folder: Path) -> None:
    digests = digest_files(folder, ["*.parquet", "model/**/*", "*.parquet"])
    assert list(digests) == ["history.parquet", "model/weights"]
    assert digests["model/weights"][0] == 10
    check_files(folder, digests)
    check_files(folder, {}, "")


@pytest.mark.parametrize(
    ("content", "found"), [(b"012345678", "9 bytes instead of 10"), (b"0123456798", "another SHA-256")]
)
def test_changed_file_is_refused(folder: Path, content: bytes, found: str) -> None:
    digests = digest_files(folder, ["model/**/*", "*.parquet"])
    check_files(folder, digests)
    (folder / "model" / "weights").write_bytes(content)
    with pytest.raises(StoreError, match=found):
        check_files(folder, digests)
    check_files(folder, digests, "history")


def test_missing_file_is_refused(folder: Path) -> None:
    digests = digest_files(folder, ["*.parquet"])
    (folder / "history.parquet").unlink()
    with pytest.raises(StoreError, match="cannot be read"):
        check_files(folder, digests)

"""Storage outages: what counts as one, and waiting until the store is back."""

from __future__ import annotations

import errno
import shutil
import threading
from pathlib import Path

import pytest

from sweeper.errors import StorageUnavailableError
from sweeper.storage import Store, availability
from sweeper.storage.availability import (
    MARKER_FILE,
    find_storage_fault,
    is_disk_full,
    mark_store,
    wait_for_store,
    wait_until_writable,
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return mark_store(Store(tmp_path / "store"))


def test_mark_store_writes_the_marker_of_a_local_store_only(tmp_path: Path) -> None:
    assert not Store(tmp_path).is_marked
    assert mark_store(Store(tmp_path / "store")).is_marked
    assert (tmp_path / "store" / MARKER_FILE).exists()
    remote = Store(tmp_path / "copy", "memory://marked/store")
    assert mark_store(remote) == remote
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EROFS])
def test_find_storage_fault_finds_errnos_of_storage_behind_other_errors(store: Store, number: int) -> None:
    try:
        try:
            raise OSError(number, "text", "weights.bin")
        except OSError as error:
            raise RuntimeError("saving failed") from error
    except RuntimeError as failure:
        assert find_storage_fault(failure, store).endswith(": weights.bin")


@pytest.mark.parametrize(
    "message", ["PytorchStreamWriter failed writing file", "I/O error: No space left on device (os error 28)"]
)
def test_find_storage_fault_finds_messages_of_writers_without_errno(store: Store, message: str) -> None:
    fault = find_storage_fault(RuntimeError(f"{message}\nstack"), store)
    assert message in fault and "stack" not in fault
    assert find_storage_fault(StorageUnavailableError("s3://b", found="gone"), store) == "gone"


@pytest.mark.parametrize("error", [OSError(errno.ENOENT, "text", "f"), ValueError("NaN"), KeyError("[Errno 28]")])
def test_find_storage_fault_ignores_other_errors(store: Store, error: Exception) -> None:
    assert find_storage_fault(error, store) == ""


def test_find_storage_fault_blames_a_marked_store_that_is_missing(store: Store, tmp_path: Path) -> None:
    assert find_storage_fault(ValueError("NaN"), Store(tmp_path / "never")) == "", "not marked"
    shutil.rmtree(store.root)
    store.root.mkdir()  # an empty mount point
    assert "is it unmounted?" in find_storage_fault(ValueError("NaN"), store)


def test_is_disk_full_tells_a_full_disk_from_other_faults(store: Store) -> None:
    full = find_storage_fault(OSError(errno.ENOSPC, "text", "f"), store)
    assert is_disk_full(full)
    assert is_disk_full("write failed (os error 28)")
    assert not is_disk_full(find_storage_fault(OSError(errno.EIO, "text", "f"), store))


def test_wait_until_writable_leaves_no_file(store: Store) -> None:
    assert wait_until_writable(store, timeout_seconds=0)
    assert [path.name for path in store.root.iterdir()] == [MARKER_FILE]


def test_wait_until_writable_waits_for_the_marker(store: Store) -> None:
    marker = store.root / MARKER_FILE
    marker.unlink()
    assert not wait_until_writable(store, timeout_seconds=0)
    threading.Timer(0.2, marker.touch).start()
    assert wait_until_writable(store, timeout_seconds=60)


def test_wait_for_store_raises_when_a_marked_store_stays_absent(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    wait_for_store(store)
    (store.root / MARKER_FILE).unlink()
    monkeypatch.setattr(availability, "wait_until_writable", lambda store: wait_until_writable(store, 0))
    with pytest.raises(StorageUnavailableError, match="mount it, then run again"):
        wait_for_store(store)

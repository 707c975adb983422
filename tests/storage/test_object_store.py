"""Requests to a storage driver: retries, digests, multipart uploads, and outages of a real server."""

from __future__ import annotations

import base64
import os
import threading
import time
from pathlib import Path

import pytest
from machines import Machines, Server, contents, finish

from sweeper.errors import StorageUnavailableError
from sweeper.storage import Store, read_json, write_bytes
from sweeper.storage import object_store as remote

pytestmark = pytest.mark.usefixtures("quick_retries")


def test_remote_store_retries_until_storage_is_back(far_machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = 0
    put = remote.RemoteStore._upload_batch

    def away(self: remote.RemoteStore, files: dict[str, Path]) -> None:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise ConnectionResetError("gone for lunch")
        put(self, files)

    monkeypatch.setattr(remote.RemoteStore, "_upload_batch", away)
    finish(far_machines.here, "a")
    far_machines.there.pull(far_machines.there.trial_folder("a"))
    assert contents(far_machines.there.trial_folder("a")) == contents(far_machines.here.trial_folder("a"))
    monkeypatch.setattr(remote, "RETRY_SECONDS", 0.1)
    tries = -1000
    write_bytes(far_machines.here.trial_folder("b") / "x", b"x")
    with pytest.raises(StorageUnavailableError, match="gone for lunch"):
        far_machines.here.push(far_machines.here.trial_folder("b"))


def test_remote_store_does_not_retry_on_a_full_local_disk(
    far_machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(far_machines.here, "a")
    fs, _ = remote._connect_filesystem(str(far_machines.here.url), os.getpid())
    monkeypatch.setattr(fs, "get", lambda *names: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    started = time.monotonic()
    with pytest.raises(OSError, match="No space left"):
        far_machines.there.pull(far_machines.there.trial_folder("a"))
    assert time.monotonic() - started < 5


def test_remote_file_reads_the_md5_of_each_storages_metadata() -> None:
    digest = "900150983cd24fb0d6963f7d28e17f72"
    raw = bytes.fromhex(digest)
    for found in (
        {"ETag": f'"{digest}"'},
        {"md5Hash": base64.b64encode(raw).decode()},
        {"content_settings": {"content_md5": bytearray(raw)}},
    ):
        assert remote.RemoteFile.from_listing({"size": 3, **found}).md5 == digest
    assert remote.RemoteFile.from_listing({"size": 3, "ETag": f'"{digest}-2"'}).md5 is None
    assert remote.RemoteFile.from_listing({"size": 3, "updated": "2026-01-01T00:00:00Z"}).modified_at == 1767225600


@pytest.mark.slow
def test_remote_store_survives_a_server_outage_of_seconds(s3: Server, s3_url: str, tmp_path: Path) -> None:
    here, there = Store(tmp_path / "here", s3_url), Store(tmp_path / "there", s3_url)
    for number in range(20):
        write_bytes(here.trial_folder("a") / "model" / f"{number}.bin", os.urandom(1000))
    with here.lock_folder(here.trial_folder("a")) as hold:
        s3.pause()
        threading.Timer(10, s3.go_on).start()
        began = time.monotonic()
        here.push(here.trial_folder("a"))
        assert time.monotonic() - began > 9
        hold.check_lease()
        here.publish(here.record_path("a"), {"status": "COMPLETE"})
    there.pull(there.trial_folder("a"))
    assert len(list((there.trial_folder("a") / "model").iterdir())) == 20
    assert read_json(there.record_path("a")) == {"status": "COMPLETE"}


@pytest.mark.slow
def test_remote_store_multipart_upload_round_trips(s3_url: str, s3: Server, tmp_path: Path) -> None:
    here, there = Store(tmp_path / "here", s3_url), Store(tmp_path / "there", s3_url)
    content = os.urandom(60 << 20)
    write_bytes(here.trial_folder("a") / "model" / "model.safetensors", content)
    here.push(here.trial_folder("a"))
    path = there.trial_folder("a") / "model" / "model.safetensors"
    there.pull(there.trial_folder("a"))
    assert path.read_bytes() == content
    before = len(s3.requests())
    here.push(here.trial_folder("a"))
    there.pull(there.trial_folder("a"))
    assert len(s3.requests()) - before <= 2, "known as the same by size and time"

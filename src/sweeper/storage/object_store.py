"""Files behind a URL, through fsspec. Every call is retried while the storage is unavailable for a short time."""

from __future__ import annotations

import base64
import datetime
import errno
import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from sweeper.errors import StorageUnavailableError, StoreError, UsageError

T = TypeVar("T")

RETRY_SECONDS = 120.0
"""Time for which a call with a transient failure is retried, in addition to the driver's own retries."""
INITIAL_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 0.5, 15.0
"""The wait between two attempts doubles, from the first value to the second."""
COMMIT_FILES = frozenset({"record.json", "summary.json", "failure.json", "manifest.json", "sweeper-complete"})
"""Files that mark their folder as complete: uploaded and downloaded last, and valid only while the URL has them."""
MD5_COMPARISON_MAX_BYTES = 1 << 20
"""Files up to this size are compared by their MD5, and always transferred if the storage lists none, because a file
that is rewritten at once keeps its size and time. Larger files are compared by size and time."""
MAX_BATCH_FILES, MAX_BATCH_BYTES = 64, 64 << 20
"""Upper limits of one upload call, which is repeated as a whole when it fails."""

_OBJECT_STORE_SCHEMES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "oci", "r2", "memory"})
"""Storages whose objects appear complete or not at all. Elsewhere, files are written under another name and renamed."""
_BUCKET_SCHEMES = _OBJECT_STORE_SCHEMES - {"memory"}
_DRIVER_PACKAGES = frozenset(
    {"botocore", "aiobotocore", "aiohttp", "gcsfs", "google", "azure", "requests", "urllib3", "fsspec"}
)
_PERMANENT_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENAMETOOLONG})
_INSTALL_HINTS = {"s3": "pip install 'sweeper[s3]'", "s3a": "pip install 'sweeper[s3]'"}


@dataclass(frozen=True)
class RemoteFile:
    """A file as the storage lists it."""

    size: int
    """Bytes."""
    modified_at: float | None
    """Seconds since the epoch by the storage's clock; None if it lists none."""
    md5: str | None
    """Hex digits; None if it lists none."""

    @classmethod
    def from_listing(cls, details: Mapping[str, Any]) -> RemoteFile:
        """Read the details that an fsspec driver lists; every driver names them differently."""
        names = ("LastModified", "mtime", "last_modified", "updated", "created")
        changed = next((details[name] for name in names if details.get(name)), None)
        return cls(int(details.get("size") or 0), _to_epoch_seconds(changed), _extract_md5(details))

    def matches_file(self, path: Path) -> bool:
        """Tell whether a local file equals this one, by MD5 or by size and time (`MD5_COMPARISON_MAX_BYTES`)."""
        try:
            stat = path.stat()
            if stat.st_size != self.size:
                return False
            if self.size <= MD5_COMPARISON_MAX_BYTES:
                return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == self.md5
        except OSError:
            return False
        return self.modified_at is not None and abs(stat.st_mtime - self.modified_at) < 0.001

    def apply_modification_time(self, path: Path) -> None:
        """Set a local file's time to this one's, so that later comparisons recognize it as equal."""
        if self.modified_at is not None:
            os.utime(path, (self.modified_at, self.modified_at))


def _extract_md5(details: Mapping[str, Any]) -> str | None:
    """Return the hex MD5 in a listing of S3 (except multipart objects), Google or Azure."""
    etag = str(details.get("ETag", "")).strip('"')
    if len(etag) == 32 and all(letter in "0123456789abcdef" for letter in etag):
        return etag
    settings = details.get("content_settings")
    raw = settings.get("content_md5") if isinstance(settings, Mapping) else None
    if isinstance(google := details.get("md5Hash"), str):
        raw = base64.b64decode(google)
    return bytes(raw).hex() if raw else None


def _to_epoch_seconds(timestamp: Any) -> float | None:
    if isinstance(timestamp, str):
        timestamp = datetime.datetime.fromisoformat(timestamp)
    return timestamp.timestamp() if isinstance(timestamp, datetime.datetime) else timestamp


@dataclass(frozen=True)
class RemoteStore:
    """The files under a URL. Keys are paths relative to it, with slashes."""

    url: str

    @property
    def scheme(self) -> str:
        """The part before `://`, in lower case."""
        return self.url.split("://", 1)[0].lower()

    def check_access(self) -> None:
        """Check that the URL can be listed.

        Raises:
            UsageError: its driver is missing or unknown.
            StoreError: no bucket, or no permission.
            StorageUnavailableError: it cannot be reached.
        """
        fs, base = self._open_filesystem()

        def list_top() -> None:
            try:
                fs.ls(base)
            except FileNotFoundError:
                bucket = base.split("/")[0]
                if self.scheme in _BUCKET_SCHEMES and not fs.exists(bucket):
                    raise StoreError(
                        "--storage",
                        requested=self.url,
                        found=f"no bucket {bucket}, or no permission to list it",
                        hint="create the bucket first, or use another",
                    ) from None

        self._with_retries("a listing", list_top, retry_seconds=0)

    def list_files(self, folder: str, retry_seconds: float | None = None) -> dict[str, RemoteFile]:
        """List every file below a folder, by key; none if the folder does not exist."""
        fs, base = self._open_filesystem()

        def find() -> dict[str, Any]:
            fs.invalidate_cache()
            try:
                return dict(fs.find(f"{base}/{folder}", detail=True))
            except FileNotFoundError:
                return {}

        listing = self._with_retries(f"the files of {folder}", find, retry_seconds)
        prefix_length = len(base.strip("/")) + 1
        return {
            name.strip("/")[prefix_length:]: RemoteFile.from_listing(info) for name, info in listing.items() if info
        }

    def read(self, key: str) -> bytes | None:
        """Return the content of a file, or None if it does not exist."""
        fs, base = self._open_filesystem()
        try:
            return self._with_retries(key, lambda: bytes(fs.cat_file(f"{base}/{key}")))
        except FileNotFoundError:
            return None

    def write(self, key: str, content: bytes, retry_seconds: float | None = None) -> None:
        """Write a small file atomically."""
        fs, base = self._open_filesystem()

        def put() -> None:
            target = f"{base}/{key}"
            if self.scheme in _OBJECT_STORE_SCHEMES:
                fs.pipe_file(target, content)
            else:
                with _write_then_rename(fs, target) as temporary:
                    fs.pipe_file(temporary, content)

        self._with_retries(key, put, retry_seconds)

    def create_exclusively(self, key: str, content: bytes) -> bool:
        """Write a file unless it exists. Of several concurrent callers, exactly one succeeds.

        Args:
            key: path of the file.
            content: must be unique to the caller, so that a retry after a lost response recognizes its own file.

        Returns:
            Whether this caller created the file.
        """
        fs, base = self._open_filesystem()
        path = f"{base}/{key}"

        def put() -> None:
            if self.scheme in _OBJECT_STORE_SCHEMES:
                fs.pipe_file(path, content, mode="create")
                return
            fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
            with fs.open(path, "xb") as file:
                file.write(content)

        try:
            self._with_retries(key, put)
        except FileExistsError:
            return self.read(key) == content
        return True

    def upload(self, files: Mapping[str, Path]) -> None:
        """Upload files by key, commit files after all others."""
        for batch in _split_into_batches(files):
            self._with_retries(", ".join(list(batch)[:3]), lambda batch=batch: self._upload_batch(batch))  # type: ignore[misc]

    def _upload_batch(self, files: Mapping[str, Path]) -> None:
        fs, base = self._open_filesystem()
        try:
            if self.scheme in _OBJECT_STORE_SCHEMES:
                fs.put([str(path) for path in files.values()], [f"{base}/{key}" for key in files])
                return
            for key, path in files.items():
                with _write_then_rename(fs, f"{base}/{key}") as temporary:
                    fs.put_file(str(path), temporary)
        except FileNotFoundError as error:
            raise StoreError(
                self.url,
                requested=f"upload of {', '.join(files)}",
                found=str(error),
                hint="check that the bucket exists",
            ) from error

    def download(self, entries: Mapping[str, RemoteFile], destinations: Mapping[str, Path]) -> None:
        """Download files by key, each atomically, commit files after all others.

        Raises:
            FileNotFoundError: a file was deleted since it was listed.
        """
        fs, base = self._open_filesystem()
        for group in _split_commit_files(list(entries)):
            targets = {key: destinations[key] for key in group}
            temporary = {key: path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}") for key, path in targets.items()}
            for folder in {path.parent for path in targets.values()}:
                folder.mkdir(parents=True, exist_ok=True)
            sources, targets_here = [f"{base}/{key}" for key in group], [str(path) for path in temporary.values()]
            try:
                if group:
                    self._with_retries(f"{len(group)} files", lambda s=sources, p=targets_here: fs.get(s, p))  # type: ignore[misc]
                for key, path in temporary.items():
                    entries[key].apply_modification_time(path)
                    path.replace(targets[key])
            finally:
                for path in temporary.values():
                    path.unlink(missing_ok=True)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete files, commit files first, so that a partly deleted folder does not look complete."""
        fs, base = self._open_filesystem()
        for group in reversed(_split_commit_files(list(keys))):
            if group:
                paths = [f"{base}/{key}" for key in group]
                self._with_retries("deletion of files", partial(_delete_existing, fs, paths))

    def _open_filesystem(self) -> tuple[Any, str]:
        return _connect_filesystem(self.url, os.getpid())

    def _with_retries(self, requested: str, call: Callable[[], T], retry_seconds: float | None = None) -> T:
        started, wait = time.monotonic(), INITIAL_BACKOFF_SECONDS
        while True:
            try:
                return call()
            except Exception as error:
                found = f"{type(error).__name__}: {error}"
                if "Credential" in type(error).__name__ or isinstance(error, PermissionError):
                    raise StoreError(
                        self.url,
                        requested=requested,
                        found=found,
                        hint="give credentials with this permission, as the driver documents",
                    ) from error
                if not _is_transient(error):
                    raise
                if time.monotonic() - started + wait > (RETRY_SECONDS if retry_seconds is None else retry_seconds):
                    raise StorageUnavailableError(
                        self.url,
                        requested=requested,
                        found=found,
                        hint="check that it can be reached, then run the command again: it resumes",
                    ) from error
            time.sleep(wait)
            wait = min(2 * wait, MAX_BACKOFF_SECONDS)


@contextmanager
def _write_then_rename(fs: Any, target: str) -> Iterator[str]:
    """Yield a temporary name, and rename it to the target afterwards."""
    folder, name = target.rsplit("/", 1)
    temporary = f"{folder}/.{name}.{uuid.uuid4().hex[:8]}"
    fs.makedirs(folder, exist_ok=True)
    yield temporary
    fs.mv(temporary, target)


@cache
def _connect_filesystem(url: str, process: int) -> tuple[Any, str]:
    """Open the file system of a URL, once per process, since connections do not survive a fork."""
    from fsspec.core import url_to_fs

    scheme = url.split("://", 1)[0].lower()
    # This cache replaces fsspec's own caches of file systems and listings.
    options = {"use_listings_cache": False, "skip_instance_cache": True} if scheme in _BUCKET_SCHEMES else {}
    try:
        fs, base = url_to_fs(url, **options)
    except ImportError as error:
        raise UsageError(
            "--storage",
            requested=url,
            found=f"no driver for {scheme}://: {error}",
            hint=_INSTALL_HINTS.get(scheme, f"install the fsspec driver of {scheme}://"),
        ) from error
    except ValueError as error:
        raise UsageError(
            "--storage", requested=url, found=str(error), hint="give a local folder, or a URL like s3://bucket/folder"
        ) from error
    return fs, str(base).rstrip("/")


def _is_transient(error: Exception) -> bool:
    """Tell whether a retry can succeed: failures of network and server, not of the local disk or the request."""
    if isinstance(error, FileNotFoundError | FileExistsError | IsADirectoryError | NotADirectoryError):
        return False
    if "ParamValidation" in type(error).__name__ or (isinstance(error, OSError) and error.errno in _PERMANENT_ERRNOS):
        return False
    return isinstance(error, OSError) or type(error).__module__.split(".")[0] in _DRIVER_PACKAGES


def _delete_existing(fs: Any, paths: list[str]) -> None:
    try:
        fs.rm(paths)
    except FileNotFoundError:  # one of them does not exist: delete the others one by one
        for path in paths:
            if fs.exists(path):
                fs.rm(path)


def _split_commit_files(keys: list[str]) -> list[list[str]]:
    last = [key for key in keys if PurePosixPath(key).name in COMMIT_FILES]
    return [[key for key in keys if key not in set(last)], last]


def _split_into_batches(files: Mapping[str, Path]) -> Iterator[dict[str, Path]]:
    for group in _split_commit_files(list(files)):
        batch: dict[str, Path] = {}
        size = 0
        for key in group:
            length = files[key].stat().st_size
            if batch and (len(batch) == MAX_BATCH_FILES or size + length > MAX_BATCH_BYTES):
                yield batch
                batch, size = {}, 0
            batch[key], size = files[key], size + length
        if batch:
            yield batch

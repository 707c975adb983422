"""The store: its folders, its locks, and their transfer to and from a URL."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import unquote, urlsplit

from filelock import FileLock, Timeout

from sweeper.errors import StoreError, UsageError, has_secret
from sweeper.storage.atomic_io import write_json
from sweeper.storage.lease import Lease, Lock, LockHeldError, check_lease_generation, find_leased_folders
from sweeper.storage.object_store import COMMIT_FILES, RemoteFile, RemoteStore

MAX_SEPARATE_LISTINGS = 32
"""Up to this many trials have their folders listed separately, in parallel; for more, all of `trials/` is listed."""
LOCK_FILE = ".lock"


@dataclass(frozen=True)
class Store:
    """The on-disk layout of everything that is kept; all other copies of it are mirrors.

        data/<fingerprint>/
        trials/<fingerprint>/[evaluation/<suite>/]
        studies/<sweep name>/

    With a `url`, the files there are authoritative, and `root` is this machine's working copy: call `pull` before
    reading, `push` or `publish` after writing. Without one, these methods do nothing. A store survives pickling; on
    another machine it stands for that machine's working copy under the same path.
    """

    root: Path
    url: str | None = None
    is_marked: bool = False
    """Whether the marker file was written (`availability.mark_store`), so that an absent store is recognized."""

    @classmethod
    def from_location(cls, location: str | Path) -> Store:
        """Open the store at a local folder, or behind any URL that fsspec has a driver for.

        Raises:
            UsageError: not a folder or a supported URL.
            StoreError: the URL cannot be reached or used.
        """
        text = str(location)
        if not text:
            raise UsageError("--storage", found="an empty name", hint="give a folder")
        scheme, separator, rest = text.partition("://")
        if separator and scheme.lower() not in ("file", "local"):
            return cls._open_url(text.rstrip("/"))
        root = Path(unquote(urlsplit(text).path) if separator else rest or text).expanduser().resolve()
        if root.exists() and not root.is_dir():
            raise UsageError("--storage", requested=text, found="a file", hint="give a folder")
        return cls(root)

    @classmethod
    def _open_url(cls, url: str) -> Store:
        if has_secret(url):
            raise UsageError(
                "--storage",
                requested=url,
                found="a secret in the URL, which is displayed and stored",
                hint="give credentials in the environment, as the driver documents",
            )
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise UsageError("--storage", requested=url, found=str(error)) from error
        if not (parts.netloc or parts.path):
            raise UsageError("--storage", requested=url, found="no bucket or path", hint="s3://bucket/folder")
        RemoteStore(url).check_access()
        return cls(_locate_working_copy(url), url)

    @property
    def location(self) -> str:
        """The URL or folder, as users give it."""
        return self.url or str(self.root)

    def data_folder(self, fingerprint: str) -> Path:
        """Folder of tokenized data."""
        return self.root / "data" / fingerprint

    def trial_folder(self, fingerprint: str) -> Path:
        """Folder of a trial."""
        return self.root / "trials" / fingerprint

    def record_path(self, fingerprint: str) -> Path:
        """Path of a trial's record. It is written last: a trial without it is unfinished."""
        return self.trial_folder(fingerprint) / "record.json"

    def evaluation_folder(self, fingerprint: str, suite: str) -> Path:
        """Folder of a trial's evaluation on a suite."""
        return self.trial_folder(fingerprint) / "evaluation" / suite

    def branch_point_folder(self, trunk: str, step: int) -> Path:
        """Folder of a checkpoint that a trial keeps for arms that continue it."""
        return self.branch_points_folder(trunk) / f"checkpoint-{step}"

    def branch_points_folder(self, trunk: str) -> Path:
        """Folder of all checkpoints that a trial keeps for such arms."""
        return self.trial_folder(trunk) / "branches"

    def study_folder(self, name: str) -> Path:
        """Folder of a study."""
        return self.root / "studies" / name

    @contextmanager
    def lock_folder(self, folder: Path, timeout: float | None = None) -> Iterator[Lock]:
        """Lock a folder against all processes of this machine and, with a URL, of all machines.

        Args:
            folder: a folder of the store.
            timeout: seconds to wait for another holder; None waits without limit.

        Raises:
            LockHeldError: another process still holds the lock after the timeout.
            LeaseLostError: at the end, if another machine took the lease over meanwhile; `Lock.check_lease` detects it
                earlier.
        """
        folder.mkdir(parents=True, exist_ok=True)
        local_lock = FileLock(folder / LOCK_FILE)
        try:
            local_lock.acquire(timeout=-1 if timeout is None else timeout)
        except Timeout:
            raise LockHeldError(
                str(folder), found="another process is working on it", hint="wait until it ends"
            ) from None
        except (NotImplementedError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            raise StoreError(
                str(folder),
                found=f"a file system without locks: {error}",
                hint="mount it with locks, or use another folder",
            ) from error
        try:
            if self.url is None:
                yield Lock()
                return
            lease = Lease(RemoteStore(self.url), self._make_key(folder))
            lease.acquire(timeout)
            with lease:
                yield lease
        finally:
            local_lock.release()

    def check_folder_lease(self, folder: Path, generation: int | None) -> None:
        """Check, on behalf of the process that holds a folder's lock, that its lease was not taken over.

        Args:
            folder: the locked folder.
            generation: `Lock.generation` of the holder.

        Raises:
            LeaseLostError: another machine took it over.
        """
        if self.url is not None and generation is not None:
            check_lease_generation(RemoteStore(self.url), self._make_key(folder), generation)

    def is_locked(self, folder: Path) -> bool:
        """Tell whether a live process holds the lock of a folder."""
        if self.url is not None:
            key = self._make_key(folder)
            return key in find_leased_folders(RemoteStore(self.url).list_files(f"{key}/.lease"))
        if not (folder / LOCK_FILE).exists():
            return False
        try:
            with FileLock(folder / LOCK_FILE, timeout=0):  # the operating system drops the locks of dead processes
                return False
        except Timeout:
            return True

    def pull(self, folder: Path, patterns: Sequence[str] = ()) -> None:
        """Download the files of a folder that differ from the working copy's.

        Commit files (`COMMIT_FILES`) that are missing behind the URL are deleted here, since they are no longer true.

        Args:
            folder: a folder of the working copy.
            patterns: names to download, such as `*.json` (without subfolders) or `model/*` (with them); all by default.

        Raises:
            StoreError: files keep disappearing during the download.
        """
        if self.url is None:
            return
        for may_retry in (True, True, False):
            listing = RemoteStore(self.url).list_files(self._make_key(folder))
            wanted = {
                key: entry
                for key, entry in listing.items()
                if _matches_patterns(self._strip_folder(key, folder), patterns)
            }
            try:
                self._download_changed(wanted)
                break
            except FileNotFoundError as error:  # deleted since it was listed
                if not may_retry:
                    raise StoreError(self.location, requested=self._make_key(folder), found=str(error)) from error
        for path in folder.rglob("*.json") if folder.is_dir() else ():
            if (
                path.name in COMMIT_FILES
                and _matches_patterns(path.relative_to(folder).as_posix(), patterns)
                and self._make_key(path) not in listing
            ):
                path.unlink(missing_ok=True)

    def pull_log(self, path: Path) -> None:
        """Download a file that only grows, if the one behind the URL is longer."""
        if self.url is None:
            return
        key = self._make_key(path)
        entry = RemoteStore(self.url).list_files(self._make_key(path.parent)).get(key)
        if entry is not None and (not path.exists() or path.stat().st_size < entry.size):
            self._download_changed({key: entry})

    def push(self, path: Path, *, destination: Path | None = None, patterns: Sequence[str] = ()) -> None:
        """Upload the new files of a folder, commit files after all others. Hidden files are not uploaded.

        Args:
            path: a folder of the working copy, or a file.
            destination: where it goes, if it has another name here.
            patterns: names to upload, as for `pull`.
        """
        if self.url is None or not path.exists():
            return
        remote, target = RemoteStore(self.url), self._make_key(destination or path)
        if path.is_file():
            remote.upload({target: path})
            return
        files = {
            f"{target}/{relative}": file
            for file in sorted(path.rglob("*"))
            if file.is_file() and _matches_patterns(relative := file.relative_to(path).as_posix(), patterns)
        }
        listing = remote.list_files(target)
        new = {key: file for key, file in files.items() if key not in listing or not listing[key].matches_file(file)}
        if not new:
            return
        times = {key: file.stat().st_mtime_ns for key, file in new.items()}
        remote.upload(new)
        for key, entry in remote.list_files(target).items():
            if key in new and new[key].stat().st_mtime_ns == times[key] and new[key].stat().st_size == entry.size:
                entry.apply_modification_time(new[key])

    def publish(self, path: Path, document: Mapping[str, object]) -> None:
        """Write a JSON file that marks its folder as complete: behind the URL first, then here.

        So a process that dies in between leaves nothing here that others cannot see.
        """
        if self.url is not None:
            temporary = path.with_name(f".{path.name}.publishing")
            write_json(temporary, document)
            try:
                RemoteStore(self.url).write(self._make_key(path), temporary.read_bytes())
            finally:
                temporary.unlink()
        write_json(path, document)

    def list_subfolders(self, folder: Path) -> list[str]:
        """List the names of a folder's subfolders, behind the URL where there is one."""
        if self.url is None:
            return sorted(path.name for path in folder.glob("*") if path.is_dir())
        keys = (self._strip_folder(key, folder) for key in RemoteStore(self.url).list_files(self._make_key(folder)))
        return sorted({name.split("/")[0] for name in keys if "/" in name})

    def delete(self, path: Path) -> None:
        """Delete a file or folder, here and behind the URL."""
        self.delete_remotely(path)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    def delete_remotely(self, path: Path) -> None:
        """Delete a file or folder behind the URL only."""
        if self.url is not None:
            remote, key = RemoteStore(self.url), self._make_key(path)
            # An empty folder is not a file: storages with real folders would refuse to delete it as one.
            remote.delete(remote.list_files(key) or ([] if path.is_dir() else [key]))

    def pull_results(self, evaluations: Mapping[str, str | None], study: str | None = None) -> LockSnapshot:
        """Download everything that a status or report reads, in few requests; no models.

        Args:
            evaluations: fingerprint of each trial -> fingerprint of its suite, or None.
            study: name of a study whose files are also needed.

        Returns:
            Which folders are locked.

        Raises:
            StoreError: a file changed during the download.
        """
        if study is not None:
            self.pull(self.study_folder(study), patterns=["*.json", "*.yaml"])
        if self.url is None:
            return LockSnapshot(self, None)
        remote = RemoteStore(self.url)
        if len(evaluations) <= MAX_SEPARATE_LISTINGS:
            with ThreadPoolExecutor(8) as pool:
                listings = list(pool.map(lambda fingerprint: remote.list_files(f"trials/{fingerprint}"), evaluations))
        else:
            listings = [remote.list_files("trials")]
        listing = {key: entry for part in listings for key, entry in part.items()}
        wanted = set(_list_result_keys(evaluations))
        try:
            self._download_changed({key: entry for key, entry in listing.items() if key in wanted})
        except FileNotFoundError as error:
            raise StoreError(
                self.location, found=f"changed during the download: {error}", hint="run the command again"
            ) from error
        for key in wanted - listing.keys():
            path = self.root / key
            if path.name in COMMIT_FILES:
                path.unlink(missing_ok=True)
        return LockSnapshot(self, find_leased_folders(listing))

    def _download_changed(self, entries: Mapping[str, RemoteFile]) -> None:
        stale = {key: entry for key, entry in entries.items() if not entry.matches_file(self.root / key)}
        if stale and self.url is not None:
            RemoteStore(self.url).download(stale, {key: self.root / key for key in stale})

    def _make_key(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _strip_folder(self, key: str, folder: Path) -> str:
        return key[len(self._make_key(folder)) + 1 :]


@dataclass(frozen=True)
class LockSnapshot:
    """Which folders are locked: as of the last download, or, for a local store, now."""

    store: Store
    locked_folders: set[str] | None

    def is_locked(self, folder: Path) -> bool:
        """Tell whether a live process holds the lock of a folder."""
        if self.locked_folders is None:
            return self.store.is_locked(folder)
        return folder.relative_to(self.store.root).as_posix() in self.locked_folders


def _list_result_keys(evaluations: Mapping[str, str | None]) -> Iterator[str]:
    for fingerprint, suite in evaluations.items():
        yield from (f"trials/{fingerprint}/{name}" for name in ("record.json", "history.parquet"))
        if suite is not None:
            names = ("summary.json", "outcomes.parquet", "failure.json")
            yield from (f"trials/{fingerprint}/evaluation/{suite}/{name}" for name in names)


def _matches_patterns(relative: str, patterns: Sequence[str]) -> bool:
    """Tell whether a file is transferred: never a hidden one; patterns without a slash match only the folder itself."""
    parts = relative.split("/")
    if any(part.startswith(".") for part in parts):
        return False
    return not patterns or any(fnmatchcase(relative, each) and ("/" in each or len(parts) == 1) for each in patterns)


def _locate_working_copy(url: str) -> Path:
    """Return the working copy's folder. The same bucket name at two servers means two folders."""
    server = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    short = hashlib.sha256(f"{url} {server if url.startswith('s3') else ''}".encode()).hexdigest()[:12]
    return Path(os.environ.get("SWEEPER_CACHE") or "~/.cache/sweeper").expanduser().resolve() / short

"""Where things lie: a folder, or a URL with a working copy here. Written atomically, or not at all."""

from sweeper.storage.atomic_io import (
    link_or_copy,
    read_json,
    to_strict_json,
    truncate_partial_line,
    write_bytes,
    write_json,
)
from sweeper.storage.checkpoint_uploader import CheckpointUploader
from sweeper.storage.lease import LeaseLostError, Lock, LockHeldError
from sweeper.storage.store import LockSnapshot, Store

__all__ = [
    "CheckpointUploader",
    "LeaseLostError",
    "Lock",
    "LockHeldError",
    "LockSnapshot",
    "Store",
    "link_or_copy",
    "read_json",
    "to_strict_json",
    "truncate_partial_line",
    "write_bytes",
    "write_json",
]

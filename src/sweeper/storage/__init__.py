"""The store: a local folder, or a URL with a local working copy. Files are written atomically.

store = Store.from_location("s3://bucket/sweeps")
with store.lock_folder(store.trial_folder(fingerprint)):
    ...
    store.push(store.trial_folder(fingerprint))
    store.publish(store.record_path(fingerprint), record)
"""

from sweeper.storage.atomic_io import (
    Json,
    JsonObject,
    dump_json,
    link_or_copy,
    read_json,
    to_strict_json,
    truncate_partial_line,
    write_bytes,
    write_json,
)
from sweeper.storage.checkpoint_uploader import CheckpointUploader
from sweeper.storage.file_digests import FileDigests, check_files, check_log, digest_files
from sweeper.storage.lease import LeaseLostError, Lock, LockHeldError
from sweeper.storage.path_parts import join_within, make_path_part
from sweeper.storage.store import LockSnapshot, Store
from sweeper.storage.untrusted_files import (
    FoundFiles,
    JsonTextError,
    NestingLimit,
    ParsedJson,
    decode_text,
    list_files,
    parse_json,
    replace_surrogates,
)

__all__ = [
    "CheckpointUploader",
    "FileDigests",
    "FoundFiles",
    "Json",
    "JsonObject",
    "JsonTextError",
    "LeaseLostError",
    "Lock",
    "LockHeldError",
    "LockSnapshot",
    "NestingLimit",
    "ParsedJson",
    "Store",
    "check_files",
    "check_log",
    "decode_text",
    "digest_files",
    "dump_json",
    "join_within",
    "link_or_copy",
    "list_files",
    "make_path_part",
    "parse_json",
    "read_json",
    "replace_surrogates",
    "to_strict_json",
    "truncate_partial_line",
    "write_bytes",
    "write_json",
]

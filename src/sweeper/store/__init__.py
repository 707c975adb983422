"""Where things lie: a folder, or a URL with a working copy here. Written atomically, or not at all."""

from sweeper.store.files import cut_torn_line, link_or_copy, read_json, without_nan, write_bytes, write_json
from sweeper.store.layout import Snapshot, Store
from sweeper.store.lease import HeldError, Hold, LeaseLostError
from sweeper.store.uploads import Uploads

__all__ = [
    "HeldError",
    "Hold",
    "LeaseLostError",
    "Snapshot",
    "Store",
    "Uploads",
    "cut_torn_line",
    "link_or_copy",
    "read_json",
    "without_nan",
    "write_bytes",
    "write_json",
]

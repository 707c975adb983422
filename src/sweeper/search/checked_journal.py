"""Optuna's journal file, with a checksum in every line."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from typing import Any

from optuna.storages.journal import JournalFileBackend

from sweeper.errors import StoreError

CHECKSUM = "crc32"
"""Key of a line's checksum. Optuna ignores keys that it does not know, so its dashboard reads the file too."""


class CheckedJournal(JournalFileBackend):
    """The journal backend of Optuna, which refuses lines that are not what was written."""

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append lines."""
        super().append_logs([log | {CHECKSUM: _compute_checksum(log)} for log in logs])

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        """Read the lines from a number on. Those of version 0.1.0 have no checksum.

        Raises:
            StoreError: a line is not what was written.
        """
        number = log_number_from
        try:
            for log in super().read_logs(log_number_from):
                if not isinstance(log, dict) or (CHECKSUM in log and log.pop(CHECKSUM) != _compute_checksum(log)):
                    raise self._make_error(number, "a line that is not what was written")
                yield log
                number += 1
        except ValueError as error:  # of the parser; a torn last line is no error
            raise self._make_error(number, "a line that is not JSON") from error

    def _make_error(self, number: int, found: str) -> StoreError:
        hint = "restore the file from a copy, or start a new search with --set name=NAME"
        return StoreError(f"{self._file_path}:{number + 1}", found=f"damaged or edited: {found}", hint=hint)


def _compute_checksum(log: dict[str, Any]) -> int:
    # Of the line as it is read: JSON turns keys that are numbers into texts, which sort otherwise.
    as_read = json.loads(json.dumps(log))
    return zlib.crc32(json.dumps(as_read, sort_keys=True).encode())

"""What a test needs beside Python packages: skipped without it, and a failure in CI."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def report_missing(message: str) -> NoReturn:
    """Skip the test for a missing part, or fail it in CI, where nothing may be missing."""
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)

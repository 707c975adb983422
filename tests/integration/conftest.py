"""A sweep file of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import TINY


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path

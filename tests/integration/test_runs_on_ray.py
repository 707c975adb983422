"""Ctrl-C as a user types it, on a Ray of its own. tests/recovery/ kills what can be killed there."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import broken_off

pytestmark = [pytest.mark.slow, pytest.mark.ray]


def test_ctrl_c_leaves_a_study_to_go_on_with(tmp_path: Path, tiny: Path) -> None:
    broken_off(tiny, tmp_path / "store", "ray")

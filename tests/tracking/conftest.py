"""Fixtures: the programs of Debian's prometheus package."""

from __future__ import annotations

import shutil

import pytest
from parts import report_missing


def _program(name: str) -> str:
    found = shutil.which(name)
    if not found:
        report_missing(f"no {name} on PATH: monitoring needs a real Prometheus (apt-get install prometheus)")
    return found


@pytest.fixture(scope="session")
def promtool() -> str:
    """Path of promtool."""
    return _program("promtool")


@pytest.fixture(scope="session")
def prometheus_program() -> str:
    """Path of the Prometheus server."""
    return _program("prometheus")

"""Prometheus, as Debian packages it; everything else these tests need is the project's own."""

from __future__ import annotations

import os
import shutil

import pytest


def _program(name: str) -> str:
    found = shutil.which(name)
    if not found:
        message = f"no {name} on PATH: monitoring was not tried with a real Prometheus (apt-get install prometheus)"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return found


@pytest.fixture(scope="session")
def promtool() -> str:
    """Prometheus' checker."""
    return _program("promtool")


@pytest.fixture(scope="session")
def prometheus_program() -> str:
    """The server."""
    return _program("prometheus")

"""The registry of backends."""

from __future__ import annotations

from sweeper.execution.backends.base import BACKENDS


def test_backends_lists_names_without_importing_them() -> None:
    assert BACKENDS.names == ("inline", "ray")

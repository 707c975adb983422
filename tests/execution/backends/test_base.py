"""The registry of backends, and which of them submit jobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.errors import UsageError
from sweeper.execution.backends.base import BACKENDS, SweepSubmission

SUBMISSION = SweepSubmission("quickstart", "a relative path")


def test_backends_lists_names_without_importing_them() -> None:
    assert {"inline", "ray"} <= set(BACKENDS.names)
    assert "base" not in BACKENDS.names


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "ray://127.0.0.1:1"])
def test_only_ray_submits_jobs(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[3])
    inline, ray = BACKENDS.load("inline"), BACKENDS.load("ray")
    with pytest.raises(UsageError, match="--backend inline, which runs trials in this process"):
        inline.submit(SUBMISSION, address)
    with pytest.raises(UsageError, match="--storage"):  # nothing is sent with a folder that the job cannot see
        ray.submit(SUBMISSION, address)


def test_ray_runs_the_driver_here_for_the_address_of_a_head() -> None:
    assert BACKENDS.load("ray").submit(SUBMISSION, "auto") is None

"""Sinks of a trial: selection by name, and failures that must not fail the trial."""

from __future__ import annotations

import typing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sweeper.errors import UsageError
from sweeper.storage import Store
from sweeper.tracking import TRACKERS, MetricSink, Tracker, TrialLogger
from sweeper.tracking.sinks.base import SinkType
from sweeper.training import TrainingProgress

TRIAL: Any = SimpleNamespace(
    fingerprint="a1",
    spec=SimpleNamespace(model=SimpleNamespace(name="m"), seed=0, runtime=SimpleNamespace(gpus=0, workers=1)),
)


class Recorder(MetricSink):
    def __init__(self, fail: bool = False) -> None:
        self.fail, self.calls = fail, list[str]()

    def log(self, progress: TrainingProgress) -> None:
        self.calls.append("log")
        if self.fail:
            raise RuntimeError("disk full")

    def finish(self, row: Any, record: Any) -> None:
        self.calls.append("finish")

    def close(self) -> None:
        self.calls.append("close")


def test_trackers_are_the_files_of_the_folder() -> None:
    assert TRACKERS.names == ("none", "wandb")


def test_tracker_rejects_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none, wandb"):
        Tracker("mlflow", "s", Store(tmp_path))


def test_failing_sink_is_disabled_and_others_continue(capsys: pytest.CaptureFixture[str]) -> None:
    bad, good = Recorder(fail=True), Recorder()
    logger = TrialLogger([bad, good])
    logger.log(TrainingProgress(1, 2))
    logger.finish(typing.cast(Any, None), typing.cast(Any, None))
    assert (bad.calls, good.calls) == (["log"], ["log", "finish"])
    assert "Recorder: disabled after an error: disk full" in capsys.readouterr().err


def test_open_trial_opens_and_closes_the_selected_sink(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = Recorder()
    monkeypatch.setattr("sweeper.tracking.sinks.wandb.SINK", SinkType(lambda *arguments: sink))
    with Tracker("wandb", "s", Store(tmp_path)).open_trial(TRIAL) as logger:
        logger.log(TrainingProgress(1, 2))
    assert sink.calls == ["log", "close"]


def test_sink_that_cannot_open_does_not_fail_the_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def open_sink(*arguments: object) -> None:
        raise RuntimeError("no login")

    monkeypatch.setattr("sweeper.tracking.sinks.wandb.SINK", SinkType(open_sink))
    with Tracker("wandb", "s", Store(tmp_path)).open_trial(TRIAL) as logger:
        logger.log(TrainingProgress(1, 2))
    assert "wandb: trial a1 is not tracked: no login" in capsys.readouterr().err

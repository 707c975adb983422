"""W&B runs: one per trial whatever surrounds it, and offline where no server answers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from ports import reserve_refusing_port
from small_studies import load_small_sweep

from sweeper.errors import UsageError
from sweeper.planning.planner import plan_sweep
from sweeper.storage import Store
from sweeper.tracking import Tracker
from sweeper.tracking.sinks import wandb as sink


@pytest.mark.slow
def test_run_of_a_sweep_agent_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SWEEP_ID", "abcd1234")
    monkeypatch.setenv("WANDB_RUN_ID", "agentrun")
    monkeypatch.setenv("WANDB_MODE", "offline")
    trial = plan_sweep(load_small_sweep()).trials[0]
    run = sink.SINK.open("mine", Store(tmp_path), trial, False)
    try:
        assert run._run.id == f"mine-{trial.fingerprint}"
        assert run._run.project == "sweeper"
        assert run._run.sweep_id is None
    finally:
        run.close()
    assert sink.os.environ["WANDB_RUN_ID"] == "agentrun"


def test_run_with_another_id_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = SimpleNamespace(id="agentrun", finish=lambda: None)
    monkeypatch.setattr("wandb.init", lambda **settings: other)
    with pytest.raises(UsageError, match="agentrun"):
        sink.SINK.open("mine", Store(tmp_path), plan_sweep(load_small_sweep()).trials[0], False)


def test_server_that_does_not_answer_makes_runs_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{reserve_refusing_port()}")
    tracker = Tracker("wandb", "mine", Store(tmp_path)).check_server()
    assert "runs are recorded offline" in tracker.outage
    modes: list[str] = []
    other = SimpleNamespace(id="another", finish=lambda: None)
    monkeypatch.setattr("wandb.init", lambda **settings: modes.append(settings["mode"]) or other)
    trial = plan_sweep(load_small_sweep()).trials[0]
    for asked in (Tracker("wandb", "mine", Store(tmp_path)), tracker):
        with asked.open_trial(trial):
            pass
    assert modes == ["online", "offline"]
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert sink.find_outage() == ""

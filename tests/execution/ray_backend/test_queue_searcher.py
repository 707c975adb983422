"""The trial queue as a search algorithm of Tune, without a cluster."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from small_studies import load_small_sweep

from sweeper.execution.budget_tracker import BudgetTracker
from sweeper.execution.progress import ProgressDisplay
from sweeper.execution.ray_backend import queue_searcher
from sweeper.execution.ray_backend.queue_searcher import LOST_WORKER_RETRIES, MAX_SAME_FAILURES, RayQueueSearcher
from sweeper.execution.trial_source import FixedTrials
from sweeper.planning.planner import plan_sweep
from sweeper.scheduling import Node
from sweeper.storage import Store
from sweeper.training import Failure, TrainingProgress, TrialProgress, TrialRow, read_record


def make_searcher(
    store: Store, monkeypatch: pytest.MonkeyPatch, nodes: list[Node], *overrides: str
) -> tuple[RayQueueSearcher, io.StringIO]:
    """Make a searcher over the nodes, without a cluster."""
    output = io.StringIO()
    plan = plan_sweep(load_small_sweep(*overrides))
    display = ProgressDisplay(Console(file=output, width=200))
    display.start_study(plan, plan.trials, store)
    monkeypatch.setattr(queue_searcher, "list_ray_nodes", lambda: nodes)
    monkeypatch.setattr(queue_searcher, "request_resources", lambda bundles: None)
    source = FixedTrials(plan.trials, BudgetTracker(plan.sweep, store))
    return RayQueueSearcher(source, nodes, store, display), output


def suggest(searcher: RayQueueSearcher, trial_id: str) -> queue_searcher.TuneConfig:
    config = searcher.suggest(trial_id)
    assert isinstance(config, dict)
    return config


def test_suggest_returns_trials_as_long_as_they_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searcher, _ = make_searcher(Store(tmp_path), monkeypatch, [Node("n", 2, 0)], "axes.seed=[0,1,2]")
    configs = [suggest(searcher, "a"), suggest(searcher, "b")]
    assert all(config["nodes"] == ("n",) and config["pinned"] for config in configs)
    assert searcher.suggest("c") is None
    searcher.on_trial_result("a", {"row": TrialRow(configs[0]["fingerprint"], "COMPLETE")})
    last = suggest(searcher, "c")
    assert len({config["fingerprint"] for config in (*configs, last)}) == 3
    for trial_id, config in (("b", configs[1]), ("c", last)):
        searcher.on_trial_result(trial_id, {"row": TrialRow(config["fingerprint"], "COMPLETE")})
    assert searcher.suggest("d") == "FINISHED"


def test_on_trial_complete_requeues_until_a_trial_makes_no_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    searcher, output = make_searcher(store, monkeypatch, [Node("n", 1, 0)], "axes.seed=[0]")
    for attempt in range(LOST_WORKER_RETRIES + 1):
        config = suggest(searcher, f"slow-{attempt}")
        progress = TrialProgress("training", TrainingProgress(attempt + 1, 100))
        searcher.on_trial_result(f"slow-{attempt}", {"progress": progress})
        searcher.on_trial_complete(f"slow-{attempt}", error=True)
    assert output.getvalue().count("it resumes from its checkpoint") == LOST_WORKER_RETRIES + 1
    for attempt in range(LOST_WORKER_RETRIES):
        config = suggest(searcher, f"stuck-{attempt}")
        searcher.on_trial_complete(f"stuck-{attempt}", error=True)
    assert searcher.suggest("end") == "FINISHED"
    record = read_record(store.record_path(config["fingerprint"]))
    assert record is not None
    assert record.failure is not None
    assert "times without progress" in record.failure.message
    assert searcher.format_summary() == f"{2 * LOST_WORKER_RETRIES + 1} workers lost"


def test_suggest_stops_the_study_after_equal_failures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = list(range(MAX_SAME_FAILURES + 1))
    searcher, output = make_searcher(Store(tmp_path), monkeypatch, [Node("n", 1, 0)], f"axes.seed={seeds}")
    for number in range(MAX_SAME_FAILURES):
        config = suggest(searcher, str(number))
        failure = Failure(kind="bug", message="broken", traceback="")
        searcher.on_trial_result(str(number), {"row": TrialRow.failed(config["fingerprint"], failure)})
    assert searcher.suggest("next") == "FINISHED"
    assert "trials all failed with broken" in output.getvalue()


def test_suggest_fails_trials_that_never_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    searcher, _ = make_searcher(store, monkeypatch, [Node("n", 0.5, 0)], "axes.seed=[0]")
    assert searcher.suggest("a") is None
    monkeypatch.setattr(queue_searcher, "NO_NODE_TIMEOUT_SECONDS", 0.0)
    assert searcher.suggest("a") == "FINISHED"
    (fingerprint,) = searcher.trials
    record = read_record(store.record_path(fingerprint))
    assert record is not None
    assert record.failure is not None
    assert "no node had 1 CPU" in record.failure.message


def test_refresh_nodes_lists_trials_stranded_on_a_lost_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [Node("n", 1, 0)]
    searcher, output = make_searcher(Store(tmp_path), monkeypatch, nodes, "axes.seed=[0]")
    config = suggest(searcher, "a")
    nodes[:] = [Node("m", 1, 0)]
    searcher.refresh_nodes(force=True)
    assert searcher.stranded_trial_ids == {"a"}
    searcher.on_trial_complete("a")
    assert "its node was lost" in output.getvalue()
    assert suggest(searcher, "b") | {"nodes": config["nodes"]} == config
    assert searcher.format_summary() == "", "a trial that had not started lost no worker"

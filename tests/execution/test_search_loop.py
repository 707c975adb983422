"""Searches with real training: resumed after a killed driver, pruned, stopped at a budget, retried."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import warm
from searches import make_sweep

from sweeper.config import load_sweep
from sweeper.errors import DataError
from sweeper.execution.failures import record_failure
from sweeper.execution.search_loop import is_search_complete, is_unrunnable, plan_search_data
from sweeper.planning.planner import plan_sweep
from sweeper.search import SearchSession, load_proposal_records
from sweeper.storage import Store
from sweeper.training import TrialRow

SWEEP = """
name: looking
question: Which learning rate and clipping?
recipe: {extends: miniature, warmup_steps: 5}
data: {extends: toolworld, toolworld: {seed: 1, train_queries: 160, validation_queries: 30, test_queries_per_subset: 3}}
evaluation: toolworld
axes:
  model: [opt-tiny-32]
  seed: [0]
  learning_rate: {loguniform: [1.0e-3, 1.0e-1]}
  max_grad_norm: {loguniform: [0.03, 3], or_null: true}
search:
  algorithm: tpe
  trials: 6
  sampler: {n_startup_trials: 3}
  scheduler: asha
  rungs: {unit: steps, first: 6, reduction_factor: 2}
confirm: {top: 1, seeds: [1, 2]}
"""


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    path = tmp_path / "looking.yaml"
    path.write_text(SWEEP)
    return path


def sweeper(*arguments: str | Path, fails: int = 0) -> str:
    done = warm.sweeper(*arguments, code=fails)
    return done.stdout + done.stderr


def run(sweep: Path, store: Path, *more: str, fails: int = 0, backend: str = "inline") -> str:
    given = ["--backend", backend, "--tracking", "none", "--storage", str(store), *more]
    return sweeper("run", sweep, *given, fails=fails)


def read_history(sweep: Path, store: Path) -> list[tuple[Any, ...]]:
    records = load_proposal_records(load_sweep(sweep), store / "studies" / "looking")
    return [(r.proposal, r.proposal.values, r.state, r.values, r.rung_losses) for r in records]


@pytest.mark.slow
def test_search_killed_with_sigkill_resumes_with_the_same_history(tmp_path: Path, sweep: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run(sweep, whole)
    for told in (1, 3):  # once while the first proposals run, once between
        process = warm.start("run", sweep, "--backend", "inline", "--tracking", "none", "--storage", broken)
        deadline = time.monotonic() + 200
        while len([e for e in read_history(sweep, broken) if e[2] != "RUNNING"]) < told and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.1 * told)
        process.send_signal(signal.SIGKILL)
        process.wait()
    run(sweep, broken)
    assert read_history(sweep, broken) == read_history(sweep, whole)
    assert len({tuple(values.items()) for _, values, *_ in read_history(sweep, broken)}) == 6
    assert not [state for _, _, state, *_ in read_history(sweep, broken) if state == "RUNNING"]
    said = json.loads(sweeper("search", "history", "looking", "--storage", broken, "--json"))
    assert [row["anchor"] for row in said["trials"]] == [True] + [False] * 5
    rows = json.loads(sweeper("status", "looking", "--storage", broken, "--json"))["trials"]
    assert [row["role"] for row in rows].count("confirm") == 4  # the best and the recipe, on two seeds each
    for row in rows:
        tried = row["metrics"].get("pass_rate") is not None
        assert tried == (row["role"] == "confirm"), "test queries are for the confirmed alone"
    document = json.loads(sweeper("report", "looking", "--storage", broken, "--json"))
    assert document["study"]["planned"] == 10
    assert [arm["runs_done"] for arm in document["arms"]] == [2, 2]
    for finalist in document["exploration"]["finalists"]:
        assert finalist["shrinkage"] == pytest.approx(finalist["confirmed"] - finalist["explored"])
    page = (broken / "studies" / "looking" / "report.html").read_text()
    assert 'id="exploration"' in page and "Explored scores enter no claim" in page


@pytest.mark.slow
def test_pruned_trial_is_trained_to_its_end_for_another_sweep(tmp_path: Path, sweep: Path) -> None:
    store = tmp_path / "store"
    run(sweep, store)
    pruned = [
        proposed
        for proposed in load_proposal_records(load_sweep(sweep), store / "studies" / "looking")
        if proposed.state == "PRUNED"
    ]
    assert pruned
    record = store / "trials" / pruned[0].fingerprint / "record.json"
    stopped = json.loads(record.read_text())
    assert stopped["status"] == "PRUNED"
    assert stopped["metrics"]["steps"] in (6, 12)
    assert not (record.parent / "model").exists()
    values = {key: json.dumps(value) for key, value in pruned[0].proposal.values.items()}
    plain = ["--set", "search=null", "--set", "confirm=null", "--set", "name=plain", "--set", "evaluation=null"]
    plain += [part for key, value in values.items() for part in ("--set", f"axes.{key}=[{value}]")]
    assert json.loads(sweeper("plan", sweep, *plain, "--storage", store, "--json"))["reused"] == 0
    run(sweep, store, *plain)
    ended = json.loads(record.read_text())
    assert ended["status"] == "COMPLETE"
    assert ended["metrics"]["steps"] == 20
    history_of_it = pd.read_parquet(record.parent / "history.parquet")
    assert history_of_it["step"].max() == 20
    run(sweep, store)  # the search, for which it was pruned, has its history
    assert [e for e in read_history(sweep, store) if e[2] == "PRUNED"]


@pytest.mark.slow
def test_study_stops_at_its_budget_and_resumes_with_a_larger_one(tmp_path: Path, sweep: Path) -> None:
    store = tmp_path / "store"
    said = run(sweep, store, "--set", "budget={cpu_hours: 1.0e-9}", fails=2)
    assert "budget.cpu_hours: the plan is expected to need" in said
    # Enough by the plan, were it not for what was spent before.
    folder = store / "studies" / "looking"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spent.json").write_text(json.dumps({"gpu_hours": 0, "cpu_hours": 0.999, "usd": 0, "wall_hours": 1}))
    said = run(sweep, store, "--set", "budget={cpu_hours: 1}", fails=1)
    assert "budget.cpu_hours" in said and "run again to resume" in said
    before = read_history(sweep, store)
    assert len(before) < 6
    spent = json.loads((folder / "spent.json").read_text())
    assert 0.999 <= spent["cpu_hours"] <= 1.01
    run(sweep, store, "--set", "budget={cpu_hours: 9}")
    assert [entry[1] for entry in read_history(sweep, store)][: len(before)] == [entry[1] for entry in before]
    assert len(read_history(sweep, store)) == 6


@pytest.mark.slow
def test_invalid_proposal_fails_and_lost_trial_is_retrained(tmp_path: Path, sweep: Path) -> None:
    """Runs have 20 steps: a longer warm-up is no trial."""
    store = tmp_path / "store"
    wide = ["--set", "axes.warmup_steps={int_uniform: [1, 60]}", "--set", "search.seed=1"]
    wide += ["--set", "search.algorithm=random", "--set", "search.sampler={}"]
    run(sweep, store, *wide)
    history = json.loads(sweeper("search", "history", "looking", "--storage", store, "--json"))["trials"]
    failed = [row for row in history if row["state"] == "FAIL"]
    assert failed and all(row["axes"]["warmup_steps"] >= 20 for row in failed)
    assert {row["state"] for row in history if row["axes"]["warmup_steps"] < 20} <= {"COMPLETE", "PRUNED"}
    record = store / "trials" / history[0]["fingerprint"] / "record.json"
    shutil.rmtree(record.parent)
    run(sweep, store, *wide)
    assert json.loads(record.read_text())["status"] == "COMPLETE"
    assert json.loads(sweeper("search", "history", "looking", "--storage", store, "--json"))["trials"] == history


@pytest.mark.ray
@pytest.mark.slow
def test_search_on_ray_shares_one_session_among_all_workers(tmp_path: Path, sweep: Path) -> None:
    store = tmp_path / "store"
    more = ("--set", "search.trials=8", "--set", "confirm.seeds=[1]")
    run(sweep, store, *more, backend="ray")
    records = load_proposal_records(load_sweep(sweep), store / "studies" / "looking")
    assert len(records) == 8
    assert {proposed.state for proposed in records} == {"COMPLETE", "PRUNED"}
    assert records[0].proposal.is_baseline and records[0].state == "COMPLETE"
    for proposed in records:
        record = json.loads((store / "trials" / proposed.fingerprint / "record.json").read_text())
        assert record["status"] == proposed.state
        at = record["metrics"]["steps"]
        assert max(proposed.rung_losses) == (at if proposed.state == "PRUNED" else 12)
    rows = json.loads(sweeper("status", sweep, *more, "--storage", store, "--json"))["trials"]
    confirmed = [row for row in rows if row["role"] == "confirm"]
    assert [row["status"] for row in confirmed] == ["COMPLETE"] * 2
    assert os.environ.get("RAY_ADDRESS") is None


@pytest.mark.slow
def test_workers_of_one_trial_are_stopped_together(tmp_path: Path, sweep: Path) -> None:
    store = tmp_path / "store"
    short = ("algorithm: tpe\n  trials: 6\n  sampler: {n_startup_trials: 3}", "algorithm: random\n  trials: 2")
    sweep.write_text(SWEEP.replace(*short).replace("[1.0e-3, 1.0e-1]", "[1.0e-5, 1.0e-2]"))
    several = ["--set", "runtime={default: {engine: ddp, workers: 2, cpus: 1}}"]
    several += ["--set", "confirm=null", "--set", "evaluation=null"]
    run(sweep, store, *several)
    alone = tmp_path / "alone"
    run(sweep, alone, *several, "--set", "runtime={default: {engine: single, cpus: 1}}")
    first, second = read_history(sweep, store), read_history(sweep, alone)
    assert [(e[0], e[2]) for e in first] == [(e[0], e[2]) for e in second]
    assert [e[2] for e in first] == ["COMPLETE", "PRUNED"]
    for (*_, one), (*_, other) in zip(first, second, strict=True):
        assert one == pytest.approx(other, rel=1e-3)


def test_plan_search_data_plans_a_trial_for_every_data_set_of_a_search(tmp_path: Path) -> None:
    sweep = make_sweep(
        tmp_path,
        axes="fit: {choice: [strict, truncate]}\n  learning_rate: {loguniform: [1.0e-4, 1.0]}",
        search="algorithm: random, trials: 4, metric: val_pass_rate, scheduler: none",
        evaluation="toolworld",
    )
    trials = plan_search_data([sweep], Store(tmp_path / "store"))
    assert {trial.spec.data.fit for trial in trials} == {"strict", "truncate"}
    assert len({trial.data_fingerprint for trial in trials}) == len(trials) == 2


def test_is_unrunnable_only_for_explored_trials_with_bad_input(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    trial = plan_sweep(make_sweep(tmp_path), store).trials[0]
    record_failure(trial, store, DataError("data", found="impossible values"))
    assert is_unrunnable(replace(trial, role="explore"), store)
    assert not is_unrunnable(trial, store)
    store.delete(store.trial_folder(trial.fingerprint))
    record_failure(trial, store, RuntimeError("a bug"))
    assert not is_unrunnable(replace(trial, role="explore"), store)


def test_is_search_complete_only_once_all_trials_have_ended(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    sweep = make_sweep(tmp_path, search="algorithm: random, trials: 2")
    session = SearchSession(sweep, store.study_folder(sweep.name))
    while (proposal := session.ask()) is not None:
        assert not is_search_complete(sweep, store)
        session.attach_trial(proposal, f"f{proposal.number}", duplicate_key=None)
        session.tell(proposal, TrialRow(f"f{proposal.number}", "COMPLETE", {"val_loss": 1.0}))
    assert is_search_complete(sweep, store)

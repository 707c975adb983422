"""Searches with real training: what a dead driver leaves, early stops that another sweep wants to the end, budgets."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import warm

from sweeper.config import load_sweep
from sweeper.search import load_proposal_records

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


def entries(sweep: Path, store: Path) -> list[tuple[Any, ...]]:
    found = load_proposal_records(load_sweep(sweep), store / "studies" / "looking")
    return [(e.proposal, e.proposal.values, e.state, e.values, e.rung_losses) for e in found]


@pytest.mark.slow
def test_search_killed_with_sigkill_resumes_with_the_same_history(tmp_path: Path, sweep: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run(sweep, whole)
    for told in (1, 3):  # once while the first proposals run, once between
        process = warm.start("run", sweep, "--backend", "inline", "--tracking", "none", "--storage", broken)
        deadline = time.monotonic() + 200
        while len([e for e in entries(sweep, broken) if e[2] != "RUNNING"]) < told and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.1 * told)
        process.send_signal(signal.SIGKILL)
        process.wait()
    run(sweep, broken)
    assert entries(sweep, broken) == entries(sweep, whole)
    assert len({tuple(values.items()) for _, values, *_ in entries(sweep, broken)}) == 6
    assert not [state for _, _, state, *_ in entries(sweep, broken) if state == "RUNNING"]
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
    for found in document["exploration"]["finalists"]:
        assert found["shrinkage"] == pytest.approx(found["confirmed"] - found["explored"])
    page = (broken / "studies" / "looking" / "report.html").read_text()
    assert 'id="exploration"' in page and "Explored scores enter no claim" in page


@pytest.mark.slow
def test_pruned_trial_is_trained_to_its_end_for_another_sweep(tmp_path: Path, sweep: Path) -> None:
    store = tmp_path / "store"
    run(sweep, store)
    pruned = [
        entry
        for entry in load_proposal_records(load_sweep(sweep), store / "studies" / "looking")
        if entry.state == "PRUNED"
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
    assert [e for e in entries(sweep, store) if e[2] == "PRUNED"]


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
    before = entries(sweep, store)
    assert len(before) < 6
    spent = json.loads((folder / "spent.json").read_text())
    assert 0.999 <= spent["cpu_hours"] <= 1.01
    run(sweep, store, "--set", "budget={cpu_hours: 9}")
    assert [entry[1] for entry in entries(sweep, store)][: len(before)] == [entry[1] for entry in before]
    assert len(entries(sweep, store)) == 6


@pytest.mark.slow
def test_invalid_proposal_fails_and_lost_trial_is_retrained(tmp_path: Path, sweep: Path) -> None:
    """Runs have 20 steps: a longer warm-up is no trial."""
    store = tmp_path / "store"
    wide = ["--set", "axes.warmup_steps={int_uniform: [1, 60]}", "--set", "search.seed=1"]
    wide += ["--set", "search.algorithm=random", "--set", "search.sampler={}"]
    run(sweep, store, *wide)
    found = json.loads(sweeper("search", "history", "looking", "--storage", store, "--json"))["trials"]
    failed = [row for row in found if row["state"] == "FAIL"]
    assert failed and all(row["axes"]["warmup_steps"] >= 20 for row in failed)
    assert {row["state"] for row in found if row["axes"]["warmup_steps"] < 20} <= {"COMPLETE", "PRUNED"}
    record = store / "trials" / found[0]["fingerprint"] / "record.json"
    shutil.rmtree(record.parent)
    run(sweep, store, *wide)
    assert json.loads(record.read_text())["status"] == "COMPLETE"
    assert json.loads(sweeper("search", "history", "looking", "--storage", store, "--json"))["trials"] == found


@pytest.mark.ray
@pytest.mark.slow
def test_search_on_ray_shares_one_session_among_all_workers(tmp_path: Path, sweep: Path) -> None:
    store = tmp_path / "store"
    more = ("--set", "search.trials=8", "--set", "confirm.seeds=[1]")
    run(sweep, store, *more, backend="ray")
    found = load_proposal_records(load_sweep(sweep), store / "studies" / "looking")
    assert len(found) == 8
    assert {entry.state for entry in found} == {"COMPLETE", "PRUNED"}
    assert found[0].proposal.is_baseline and found[0].state == "COMPLETE"
    for entry in found:
        record = json.loads((store / "trials" / entry.fingerprint / "record.json").read_text())
        assert record["status"] == entry.state
        at = record["metrics"]["steps"]
        assert max(entry.rung_losses) == (at if entry.state == "PRUNED" else 12)
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
    first, second = entries(sweep, store), entries(sweep, alone)
    assert [(e[0], e[2]) for e in first] == [(e[0], e[2]) for e in second]
    assert [e[2] for e in first] == ["COMPLETE", "PRUNED"]
    for (*_, one), (*_, other) in zip(first, second, strict=True):
        assert one == pytest.approx(other, rel=1e-3)

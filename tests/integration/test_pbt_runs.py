"""Population based training with real trials: killed twice and resumed to its confirmed report."""

from __future__ import annotations

import json
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
name: population
question: Which schedule of learning rate and clipping?
recipe: {extends: miniature, warmup_steps: 2}
data: {extends: toolworld, toolworld: {seed: 1, train_queries: 160, validation_queries: 30, test_queries_per_subset: 3}}
evaluation: toolworld
axes:
  model: [opt-tiny-32]
  seed: [0]
  learning_rate: {loguniform: [1.0e-3, 1.0e-1]}
  max_grad_norm: {loguniform: [0.03, 3], or_null: true}
  warmup_steps: {int_uniform: [2, 4]}
search: {algorithm: random, trials: 6, scheduler: pbt, rungs: {first: 4}, pbt: {population: 4}}
confirm: {top: 2, seeds: [1]}
"""


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    path = tmp_path / "population.yaml"
    path.write_text(SWEEP)
    return path


def sweeper(*arguments: str | Path) -> str:
    done = warm.sweeper(*arguments)
    return done.stdout + done.stderr


def run(sweep: Path, store: Path, *more: str) -> str:
    return sweeper("run", sweep, "--backend", "inline", "--tracking", "none", "--storage", store, *more)


def read_history(sweep: Path, store: Path) -> list[tuple[Any, ...]]:
    records = load_proposal_records(load_sweep(sweep), store / "studies" / "population")
    return [(r.proposal, r.proposal.values, r.proposal.changes, r.state, r.values, r.rung_losses) for r in records]


def load_record(store: Path, fingerprint: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((store / "trials" / fingerprint / "record.json").read_text())
    return record


@pytest.mark.slow
def test_population_killed_with_sigkill_ends_in_the_same_confirmed_report(tmp_path: Path, sweep: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    said = run(sweep, whole)
    assert "trained from the start" not in said
    for told in (1, 4):  # once in the first population, once while one goes on from another
        process = warm.start("run", sweep, "--backend", "inline", "--tracking", "none", "--storage", broken)
        deadline = time.monotonic() + 200
        while len([e for e in read_history(sweep, broken) if e[3] != "RUNNING"]) < told and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
    run(sweep, broken)
    assert read_history(sweep, broken) == read_history(sweep, whole)

    found = load_proposal_records(load_sweep(sweep), whole / "studies" / "population")
    children = [entry for entry in found if entry.proposal.parent]
    assert children
    for entry in children:
        record = load_record(whole, entry.fingerprint)
        assert record["metrics"]["branched_from_step"] == entry.proposal.branch_step
        assert record["metrics"]["own_train_seconds"] < record["metrics"]["train_seconds"]
        for change in entry.proposal.changes:
            for name in set(change) - {"step"}:
                applied = record["applied"][f"{name} from step {change['step']}"]
                assert applied == (change[name] if change[name] is None else pytest.approx(change[name]))
        parent = (entry.proposal.parent or entry.proposal).number
        assert entry.proposal.branch_step in {entry.proposal.number: entry for entry in found}[parent].rung_losses
    stopped = [entry for entry in found if entry.proposal.is_stopped]
    assert {entry.state for entry in stopped} == {"PRUNED"}
    assert len(children) == len(stopped)
    assert not list(whole.glob("trials/*/branches/*")), "they have served"

    rows = json.loads(sweeper("status", "population", "--storage", broken, "--json"))["trials"]
    confirmed = [row for row in rows if row["role"] == "confirm"]
    assert {row["status"] for row in confirmed} == {"COMPLETE"}
    assert all(row["metrics"].get("branched_from_step") is None for row in confirmed), "trained from the start"
    shown = json.loads(sweeper("search", "history", "population", "--storage", broken, "--json"))["trials"]
    assert [row["goes_on_from"] is not None for row in shown] == [bool(e.proposal.parent) for e in found]
    assert " from " in sweeper("search", "history", "population", "--storage", broken)
    document = json.loads(sweeper("report", "population", "--storage", broken, "--json"))
    assert document["exploration"]["population"] == {"went_on": len(children), "from_start": 0}
    by_proposal = {row["proposal"]: row for row in shown}
    for finalist in document["exploration"]["finalists"]:
        told = by_proposal[finalist["proposal"]]
        assert (finalist["changes"], finalist["axes"]) == (told["changes"], told["begins_with"])
        arm = [row for row in confirmed if row["proposal"] == finalist["proposal"]]
        assert {json.dumps(row.get("changes") or []) for row in arm} == {json.dumps(finalist["changes"])}
    page = (broken / "studies" / "population" / "report.html").read_text()
    assert "continued others" in page
    assert any(finalist["changes"] for finalist in document["exploration"]["finalists"])
    assert "from step" in page


@pytest.mark.slow
def test_member_without_its_parents_checkpoint_is_trained_from_the_start_and_counted(
    tmp_path: Path, sweep: Path
) -> None:
    store = tmp_path / "store"
    alone = ["--set", "confirm=null", "--set", "evaluation=null"]
    run(sweep, store, *alone)
    before = read_history(sweep, store)
    child = next(
        e for e in load_proposal_records(load_sweep(sweep), store / "studies" / "population") if e.proposal.parent
    )
    record = store / "trials" / child.fingerprint / "record.json"
    curve = pd.read_parquet(record.parent / "history.parquet")
    record.unlink()  # lost with what it had; the points of its parent were cleared with the search's end
    said = run(sweep, store, *alone)
    line = next(line for line in said.splitlines() if "trained from the start" in line)
    assert line.endswith(f"which was missing or damaged: {child.fingerprint}")
    assert json.loads(record.read_text())["metrics"]["branched_from_step"] == 0
    pd.testing.assert_frame_equal(pd.read_parquet(record.parent / "history.parquet"), curve, check_exact=True)
    assert read_history(sweep, store) == before


@pytest.mark.slow
def test_plan_estimates_the_rest_of_the_population(tmp_path: Path, sweep: Path) -> None:
    plan = json.loads(sweeper("plan", sweep, "--storage", tmp_path / "store", "--json"))
    assert plan["to_come"]["explore"] == 3, "the anchor is there already; who goes on trains what another has left"

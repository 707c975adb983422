"""Studies that go on until their claims are decided, and what reports say of looks."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest
from commands import TINY, document, sweeper
from warm import start

pytestmark = pytest.mark.slow

LOOKS = TINY.replace("seed: [0]", "seed: [0, 1, 2, 3]").replace("name: tiny", "name: looks")
CLAIMS = """
until: decided
claims:
  - {extends: pass-rate, where: {model: opt-tiny-32, num_train_epochs: 1}, looks: [2, 4], spend: [0.025, 0.025]}
  - {extends: single-epoch, where: {model: opt-tiny-64}, looks: [2, 3, 4], spend: [0.01, 0.02, 0.02]}
"""
INLINE = ("--backend", "inline", "--tracking", "none")


def write(folder: Path, claims: str = CLAIMS) -> Path:
    path = folder / "looks.yaml"
    path.write_text(LOOKS.replace("claims: [single-epoch]\n", "") + claims)
    return path


def read_statuses(store: Path) -> dict[str, int]:
    rows = document("status", "looks", "--storage", str(store))["trials"]
    statuses = [row["status"] for row in rows]
    return {status: statuses.count(status) for status in sorted(set(statuses))}


def read_claims(store: Path) -> dict[str, Any]:
    report = document("report", "looks", "--storage", str(store))
    assert not report["study"]["partial"]
    return {claim["id"]: claim for claim in report["claims"]}


def test_killed_and_run_again_goes_on_in_the_same_look(tmp_path: Path) -> None:
    """A pass rate of 0 % refutes at the first look; too few queries leave the other claim open to the last."""
    path, whole, cut = write(tmp_path), tmp_path / "whole", tmp_path / "cut"
    printed = sweeper("run", str(path), "--storage", str(whole), *INLINE).stderr
    assert "16 trials, 0 finished before, 8 to run, 8 only if claims stay open" in printed
    assert printed.count("open claims need 2 more trials") == 2
    assert printed.count("no claim needs more trials") == 1
    assert read_statuses(whole) == {"COMPLETE": 12, "NOT_NEEDED": 4}
    claims = read_claims(whole)
    assert (claims["pass-rate"]["verdict"], claims["pass-rate"]["look"]["number"]) == ("refuted", 1)
    assert claims["pass-rate"]["looks_registered"] == [2, 4] and claims["pass-rate"]["looks_taken"] == [2]
    assert claims["single-epoch"]["verdict"] == "inconclusive" and claims["single-epoch"]["looks_taken"] == [2, 3, 4]
    assert claims["single-epoch"]["look"]["level"] == 0.02 and claims["single-epoch"]["n_seeds"] == 4
    assert not any(claim["unregistered_looks"] for claim in claims.values())

    process = start("run", path, "--storage", str(cut), *INLINE)
    deadline = time.monotonic() + 300
    while len(list(cut.glob("trials/*/record.json"))) < 9:  # in the second look
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = sweeper("run", str(path), "--storage", str(cut), *INLINE).stderr
    assert "only if claims stay open" in again
    assert read_statuses(cut) == {"COMPLETE": 12, "NOT_NEEDED": 4}
    third = sweeper("run", str(path), "--storage", str(cut), *INLINE).stderr
    assert "12 finished before, 0 to run" in third
    for name, claim in read_claims(cut).items():
        for key in ("verdict", "estimate", "interval", "p_adjusted", "look"):
            assert claim[key] == claims[name][key], (name, key)
    # Without `until`, the rest is trained; claims that were decided stay as they were.
    sweeper("run", str(path), "--storage", str(cut), *INLINE, "--until", "complete")
    assert read_statuses(cut) == {"COMPLETE": 16}
    assert read_claims(cut)["pass-rate"]["look"]["number"] == 1


def test_seeds_added_until_the_verdict_changes_are_named(tmp_path: Path) -> None:
    claims = "claims: [{extends: pass-rate, where: {model: opt-tiny-32, num_train_epochs: 1}}]\n"
    path, store = write(tmp_path, claims), tmp_path / "store"
    said = []
    for count in (2, 3):
        seeds = f"axes.seed={list(range(count))}"
        few = ("--set", seeds, "--set", "axes.model=[opt-tiny-32]", "--set", "axes.num_train_epochs=[1]")
        sweeper("run", str(path), "--storage", str(store), *INLINE, *few)
        said.append(sweeper("report", "looks", "--storage", str(store)).stdout)
        sweeper("report", "looks", "--storage", str(store))
    assert "without registering it" not in said[0]
    assert "Looked at 2 times, on 2 and 3 seeds" in " ".join(said[1].split())
    claim = read_claims(store)["pass-rate"]
    assert claim["looks_taken"] == [2, 3] and claim["look"] is None
    assert "does not hold" in Path(store, "studies", "looks", "report.html").read_text()


def test_the_budget_ends_a_study_whose_claims_are_open(tmp_path: Path) -> None:
    """The plan may exceed the budget, since the claims may be decided before. A damaged ledger stops reports alone."""
    path, store = write(tmp_path), tmp_path / "store"
    few = ("--set", "axes.model=[opt-tiny-32, opt-tiny-64]", "--set", "budget={cpu_hours: 1.0e-9}")
    stopped = sweeper("run", str(path), "--storage", str(store), *INLINE, *few, code=None)
    assert stopped.returncode != 0 and "trials are unfinished" in stopped.stderr and "Traceback" not in stopped.stderr
    sweeper("run", str(path), "--storage", str(store), *INLINE, "--set", "axes.seed=[0,1]")
    read_claims(store)
    ledger = store / "studies" / "looks" / "looks.json"
    ledger.write_text("{")
    assert read_statuses(store) == {"COMPLETE": 8}
    assert "looks.json" in sweeper("report", "looks", "--storage", str(store), code=1).stderr


def test_until_decided_needs_looks(tmp_path: Path) -> None:
    path = write(tmp_path, "claims: [single-epoch]\n")
    failed = sweeper("run", str(path), "--storage", str(tmp_path / "store"), "--until", "decided", code=2)
    assert "no claim with `looks`" in failed.stderr

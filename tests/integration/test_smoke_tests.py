"""Every shipped sweep is planned as a rehearsal with nothing in the way; one is rehearsed to its report by commands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import warm

from sweeper.config import load_sweep
from sweeper.planning.planner import plan_sweep

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("path", sorted((ROOT / "sweeps").glob("*.yaml")), ids=lambda p: p.stem)
def test_nothing_stands_in_the_way_of_a_rehearsal(path: Path) -> None:
    plan = plan_sweep(load_sweep(path, smoke_test=True))
    assert plan.problems == ()
    assert plan.trials
    for trial in plan.trials:
        assert len(trial.fingerprint) == 16
        assert trial.spec.runtime.gpus == 0
        assert (trial.parameters or 0) < 1_000_000


@pytest.mark.slow
@pytest.mark.ray
def test_scaling_is_rehearsed_to_its_report(tmp_path: Path) -> None:
    """On Ray, with the sizes, seeds and claims of the real one; the data are cut to what shows that it works."""
    small = "data.toolworld={seed: 1, train_queries: 80, validation_queries: 6, test_queries_per_subset: 1}"
    command = [sys.executable, "-m", "sweeper", "run", "scaling", "--smoke-test", "--tracking", "none"]
    command += ["--storage", str(tmp_path), "--set", small, "--set", "recipe.warmup_steps=2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "studies" / "scaling-rehearsal"
    document = json.loads((folder / "report.json").read_text())
    assert "no evidence about OPT" in document["study"]["caveat"]
    assert document["study"]["statuses"] == {"COMPLETE": 6}
    assert {trial["model"] for trial in document["trials"]} == {"opt-tiny-32", "opt-tiny-64", "opt-tiny-96"}
    assert [claim["id"] for claim in document["claims"]] == ["sweet-spot", "small-is-cheaper"]
    page = (folder / "report.html").read_text()
    assert document["study"]["caveat"] in page
    assert "smoke test with toy models" in page
    assert str(folder / "report.html") in done.stdout
    command = [sys.executable, "-m", "sweeper", "report", "scaling-rehearsal", "--storage", str(tmp_path), "--json"]
    again = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT, check=True)
    assert json.loads(again.stdout)["claims"] == document["claims"]


@pytest.mark.slow
def test_search_is_rehearsed_to_its_report(tmp_path: Path) -> None:
    """An equal search for each size, the best and the recipe again on fresh seeds, a verdict on these alone."""
    small = "data.toolworld={seed: 1, train_queries: 80, validation_queries: 6, test_queries_per_subset: 1}"
    command = ["run", "search", "--smoke-test", "--tracking", "none", "--backend", "inline"]
    command += ["--storage", str(tmp_path), "--set", small, "--set", "axes.warmup_steps={int_uniform: [1, 4]}"]
    command += ["--set", "recipe.warmup_steps=2", "--set", "search.trials=9", "--set", "confirm.seeds=[1]"]
    command += ["--set", "search.rungs={unit: tokens, first: 3000, reduction_factor: 2}"]
    command += ["--set", "search.sampler={n_startup_trials: 2}"]
    warm.sweeper(*command)
    document = json.loads((tmp_path / "studies" / "search-rehearsal" / "report.json").read_text())
    assert "no evidence about OPT" in document["study"]["caveat"]
    explored = [trial for trial in document["trials"] if trial["role"] in ("explore", "anchor")]
    assert sorted(trial["model"] for trial in explored) == sorted(["opt-tiny-32", "opt-tiny-64", "opt-tiny-96"] * 3)
    assert [trial["status"] for trial in explored if trial["role"] == "anchor"] == ["COMPLETE"] * 3
    finalists = document["exploration"]["finalists"]
    assert {found["model"] for found in finalists} == {"opt-tiny-32", "opt-tiny-64", "opt-tiny-96"}
    [claim] = document["claims"]
    assert claim["protocol"] == "searched"
    assert claim["n_seeds"] == 1
    assert len(document["arms"]) == len(finalists), "arms are what was confirmed"

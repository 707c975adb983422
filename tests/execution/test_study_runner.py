"""Running a study: refused before anything is written, and run to its report."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console
from small_studies import load_small_sweep, run_inline

from sweeper.config import find_sweep, load_sweep
from sweeper.errors import UsageError
from sweeper.execution.progress import ProgressDisplay
from sweeper.execution.study_runner import run_study
from sweeper.planning.planner import plan_sweep
from sweeper.results.study_tables import collect_study
from sweeper.storage import Store

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_run_study_evaluates_every_length_policy(tmp_path: Path) -> None:
    from sweeper.report import build_study_report

    store = Store(tmp_path)
    plan = plan_sweep(load_small_sweep("axes.seed=[0]", "axes.fit=[strict, keep-target]", "data.max_length=80"))
    shown = run_inline(plan, store)
    assert "fit keep-target" in shown
    tables = collect_study(plan, store)
    strict, cut = (row.data["fit"] for row in tables.trials)
    assert strict["dropped"]["too-long"] > 0 == strict["prompts_cut"]
    assert cut["prompts_cut"] > 0
    document = build_study_report(tables)
    assert [arm["fit"] for arm in document["arms"]] == ["strict", "keep-target"]
    assert document["leakage"]["test"]["queries"] == 6
    assert all(arm["without_leaked"]["n_queries"] <= 6 for arm in document["arms"])


def test_run_study_starts_nothing_if_two_arms_are_one_trial(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    original = (ROOT / "configs/models/opt-tiny-32.yaml").read_text()
    (tmp_path / "configs/models/twin.yaml").write_text(original.replace("name: opt-tiny-32", "name: twin"))
    (tmp_path / "q.yaml").write_text((ROOT / "sweeps/quickstart.yaml").read_text())
    sweep = load_small_sweep("axes.model=[opt-tiny-32, twin]", path=tmp_path / "q.yaml")
    plan = plan_sweep(sweep)
    assert "same trial" in plan.problems[0]
    with pytest.raises(UsageError, match="nothing was started"):
        run_inline(plan, Store(tmp_path / "store"))
    assert not (tmp_path / "store").exists()


def test_run_study_rejects_an_unknown_backend_before_it_writes(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    plan = plan_sweep(load_sweep(find_sweep("quickstart"), ["claims=[]"]))
    display = ProgressDisplay(Console(file=io.StringIO()))
    with pytest.raises(UsageError, match="inline, ray"):
        run_study(plan, store, backend="slurm", address=None, tracking="none", display=display)
    assert not (tmp_path / "store").exists()

"""What claims are decided from, and the trials that a study needs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from sweeper.config import find_sweep, load_sweep
from sweeper.planning.planner import plan_sweep
from sweeper.results.study_evidence import (
    build_trial_table,
    find_leading_judge,
    list_claim_axes,
    list_needed_trials,
    read_query_clusters,
)
from sweeper.training import TrialRow

SWEEP = """
name: looks
question: How many seeds?
recipe: miniature
data: toolworld
evaluation: toolworld
axes: {model: [opt-tiny-32, opt-tiny-64], num_train_epochs: [1, 3], seed: [0, 1, 2, 3]}
accept_underpowered: true
until: decided
claims:
  - {extends: single-epoch, where: {model: opt-tiny-32}, looks: [2, 4]}
"""


def plan_rows(folder: Path, *overrides: str) -> tuple[object, list[TrialRow]]:
    path = folder / "looks.yaml"
    path.write_text(SWEEP)
    plan = plan_sweep(load_sweep(path, list(overrides)), None)
    return plan.sweep, [
        TrialRow(trial.fingerprint or f"t{k}", "PENDING", planned=trial.to_row() | {"fingerprint": f"t{k}"})
        for k, trial in enumerate(plan.trials)
    ]


@pytest.mark.parametrize(("overrides", "count"), [((), 8), (("until=complete",), 16)], ids=["decided", "complete"])
def test_the_first_look_needs_its_seeds_of_every_arm(tmp_path: Path, overrides: tuple[str, ...], count: int) -> None:
    sweep, rows = plan_rows(tmp_path, *overrides)
    needed = list_needed_trials(sweep, rows, pd.DataFrame(), {})  # type: ignore[arg-type]
    assert len(needed) == count
    if count == 8:
        seeds = {row.planned["seed"] for row in rows if row.fingerprint in needed}
        assert seeds == {0, 1}, "arms that no claim is about are trained on the seeds of the first look"


def test_trial_table_keeps_what_values_are(tmp_path: Path) -> None:
    _, rows = plan_rows(tmp_path)
    table = build_trial_table(rows)
    assert len(table) == 16 and isinstance(table["seed"].iloc[0], int) and table["val_loss"].isna().all()
    assert list_claim_axes(["model", "num_train_epochs", "seed", "other"], table)[:2] == ["model", "num_train_epochs"]
    assert "seed" not in list_claim_axes(["seed"], table)


def test_the_first_judge_leads() -> None:
    assert find_leading_judge(pd.DataFrame()) is None
    assert find_leading_judge(pd.DataFrame({"judge": ["b", "a"]})) == "b"


def test_queries_are_named_by_what_they_are_about() -> None:
    generalises = ["claims=[{extends: generalises, where: {model: opt-tiny-64, num_train_epochs: 1}}]"]
    clusters = read_query_clusters(load_sweep(find_sweep("quickstart"), generalises))
    assert clusters is not None and len(clusters["tool"]) == len(clusters["category"]) == 180
    assert 2 < len(set(clusters["category"].values())) < len(set(clusters["tool"].values())) <= 180
    assert all(clusters["tool"].values())
    assert read_query_clusters(load_sweep(find_sweep("quickstart"))) is None, "no claim asks"


def test_queries_that_cannot_be_read_are_about_nothing_known(tmp_path: Path) -> None:
    generalises = ["claims=[{extends: generalises, where: {model: opt-tiny-64, num_train_epochs: 1}}]"]
    sweep = load_sweep(find_sweep("quickstart"), generalises)
    assert sweep.evaluation is not None
    gone = sweep.evaluation.model_copy(update={"queries": str(tmp_path / "gone")})
    assert read_query_clusters(sweep.model_copy(update={"evaluation": gone})) is None

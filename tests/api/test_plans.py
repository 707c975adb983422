from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeper.api import load_sweep, plan
from sweeper.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests/pinned/tiny.yaml"
STORE = ROOT / "tests/pinned/store"


def test_plan_has_one_row_per_trial() -> None:
    planned = plan(load_sweep(TINY), storage=None)
    assert planned.trials[["model", "num_train_epochs", "seed"]].values.tolist() == [
        ["opt-tiny-32", epochs, seed] for epochs in (1, 2) for seed in (0, 1)
    ]
    assert planned.trials["fingerprint"].is_unique
    assert planned.axes == ["model", "num_train_epochs", "seed"]
    assert planned.problems == ()
    assert repr(planned) == "SweepPlan('tiny': 4 trials, 0 problems)"


def test_plan_takes_what_load_sweep_takes() -> None:
    assert plan(TINY, storage=None).trials.equals(plan(load_sweep(TINY), storage=None).trials)


def test_cost_counts_what_the_store_has(tmp_path: Path) -> None:
    assert plan(load_sweep(TINY), storage=None).cost is None
    new, finished = (plan(load_sweep(TINY), storage) for storage in (tmp_path, STORE))
    assert new.cost is not None and finished.cost is not None
    assert (new.cost.reused, finished.cost.reused) == (0, 4)
    assert new.cost.cost.cpu_hours.expected > finished.cost.cost.cpu_hours.expected == 0


def test_claims_have_their_detectable_effect() -> None:
    planned = plan(load_sweep(TINY), storage=None)
    assert planned.claims["id"].tolist() == ["single-epoch"]
    assert planned.claims.loc[0, "seeds"] == 2
    assert list(planned.underpowered) == ["single-epoch"]
    assert planned.list_claims()[0]["id"] == "single-epoch"


def test_document_joins_claims_and_their_power() -> None:
    document = plan(load_sweep(TINY), storage=None).to_document()
    assert {"id", "axis", "detectable_effect"} <= set(document["claims"][0])
    assert "cluster" not in document


def test_cluster_file_adds_a_forecast(tmp_path: Path) -> None:
    cluster = next((ROOT / "cluster/aws").glob("*.yaml"))
    planned = plan(load_sweep("scaling"), tmp_path, cluster=cluster)
    assert planned.forecast is not None
    assert planned.to_document()["cluster"]["nodes"] >= 1


def test_missing_data_are_problems_and_no_exception(tmp_path: Path) -> None:
    planned = plan(load_sweep("scaling"), tmp_path)
    assert planned.problems
    assert len(planned.trials) == len(planned.to_document()["trials"])


def test_hardware_must_be_in_the_cluster(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--hardware"):
        plan(load_sweep("scaling"), tmp_path, hardware="no-such-gpu")


def test_simulation_takes_a_mapping_or_a_file(tmp_path: Path) -> None:
    planned = plan(load_sweep(TINY, {"axes.seed": list(range(6))}), storage=None)
    truth = {"arms": [{"rate": 0.2, "where": {"num_train_epochs": 1}}, {"rate": 0.8, "where": {"num_train_epochs": 2}}]}
    truth |= {"queries": 600, "seed_sd": 0.01}
    shares: list[float] = []
    document = planned.simulate(truth, studies=10, on_progress=shares.append)
    assert document["claims"][0]["verdicts"]["refuted"] == 1.0, "a second epoch gains 60 points"
    assert shares[-1] == 1.0
    path = tmp_path / "truth.yaml"
    path.write_text(json.dumps(truth))
    assert planned.simulate(path, studies=10) == document


def test_combined_sweep_cannot_be_simulated() -> None:
    with pytest.raises(UsageError, match="a union of sweeps"):
        plan(load_sweep("paper"), storage=None).simulate({"arms": []})

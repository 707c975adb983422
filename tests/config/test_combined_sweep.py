"""A sweep of sweeps: what its file may say, and what its parts have to share."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.config import load_sweep, write_yaml
from sweeper.errors import ConfigError, UsageError
from sweeper.planning.planner import plan_sweep

PART = """
name: {name}
question: Does it hold?
recipe: miniature
data: toolworld
evaluation: toolworld
axes: {axes}
claims: [single-epoch]
"""
UNION = "name: both\nquestion: Do they?\nsweeps: [one, two]\n"


@pytest.fixture
def union(tmp_path: Path) -> Path:
    axes = "{model: [opt-tiny-32], num_train_epochs: [1, 2], seed: [0, 1]}"
    (tmp_path / "one.yaml").write_text(PART.format(name="one", axes=axes))
    axes = "{model: [opt-tiny-32, opt-tiny-64], num_train_epochs: [1, 3], learning_rate: [0.01, 0.02], seed: [0]}"
    (tmp_path / "two.yaml").write_text(PART.format(name="two", axes=axes))
    path = tmp_path / "both.yaml"
    path.write_text(UNION)
    return path


def test_combined_sweep_merges_axes_and_prefixes_claims(union: Path) -> None:
    both = load_sweep(union)
    assert [part.name for part in both.sweeps] == ["one", "two"]
    assert both.axes == {
        "model": ["opt-tiny-32", "opt-tiny-64"],
        "num_train_epochs": [1, 2, 3],
        "seed": [0, 1],
        "learning_rate": [0.01, 0.02],
    }
    assert [claim.id for claim in both.claims] == ["one/single-epoch", "two/single-epoch"]
    assert set(both.models) == {"opt-tiny-32", "opt-tiny-64"}
    write_yaml(union.parent / "sweep.yaml", both.model_dump(mode="json"))
    assert load_sweep(union.parent / "sweep.yaml") == both, "as a study's folder keeps it"
    with pytest.raises(UsageError, match="as it was run"):
        load_sweep(union.parent / "sweep.yaml", ["axes.seed=[1]"])


def test_combined_sweep_passes_overrides_to_its_sweeps(union: Path) -> None:
    both = load_sweep(union, ["axes.seed=[4]", "name=mine", "data.max_length=128"])
    assert both.name == "mine"
    assert [part.axes["seed"] for part in both.sweeps] == [[4], [4]]
    assert {part.data.max_length for part in [both, *both.sweeps]} == {128}


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("[one, two]", "[one, two]\nrecipe: miniature", 4, "a key beside `sweeps`"),
        ("[one, two]", "[one, tow]", 3, "no such file"),
        ("[one, two]", "[one, one]", 3, "one twice"),
        ("[one, two]", "one", 3, "not a list of sweeps"),
        ("[one, two]", "[one, both]", 3, "a combined sweep itself"),
        ("[one, two]", "[one, other]", 3, "different `data`"),
    ],
)
def test_combined_sweep_refuses_conflicting_sweeps(union: Path, old: str, new: str, line: int, says: str) -> None:
    other = (union.parent / "one.yaml").read_text().replace("name: one", "name: other")
    other = other.replace("data: toolworld", "data: {extends: toolworld, fit: truncate}")
    (union.parent / "other.yaml").write_text(other)
    union.write_text(UNION.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load_sweep(union)
    assert says in str(caught.value)
    assert caught.value.where == f"{union}:{line}"


def test_combined_sweep_shares_a_searchs_baseline_with_another_arm(union: Path) -> None:
    other = "name: search\nquestion: Which?\nrecipe: miniature\ndata: toolworld\nevaluation: toolworld\n"
    other += "axes: {model: [opt-tiny-32], learning_rate: {loguniform: [0.001, 0.1]}, seed: [0]}\n"
    (union.parent / "search.yaml").write_text(other + "search: {algorithm: random, trials: 3}\n")
    union.write_text(UNION.replace("[one, two]", "[search, one]"))
    plan = plan_sweep(load_sweep(union))
    anchors = [trial for trial in plan.parts[0].trials if trial.role == "anchor"]
    assert len(anchors) == 1 and anchors[0].evaluation is None
    [same] = [trial for trial in plan.trials if trial.fingerprint == anchors[0].fingerprint]
    assert same.role == "" and same.evaluation is not None, "the arm of a claim is evaluated"
    assert len(plan.placeholders) == 2


def test_combined_sweep_trains_all_of_its_trials(union: Path) -> None:
    (union.parent / "one.yaml").write_text((union.parent / "one.yaml").read_text() + "until: decided\n")
    with pytest.raises(ConfigError, match="until: decided in one") as error:
        load_sweep(union)
    assert "--set until=complete" in str(error.value)
    assert load_sweep(union, ["until=complete"]).until == "complete"

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sweeper.config import load_sweep
from sweeper.errors import StoreError, UsageError
from sweeper.execution.study_identity import check_study_identity
from sweeper.storage import Store

PINNED = Path(__file__).resolve().parents[1] / "pinned"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(Path(shutil.copytree(PINNED / "store", tmp_path / "store")))


def check(store: Store, *overrides: str, name: str = "tiny") -> None:
    check_study_identity(load_sweep(PINNED / f"{name}.yaml", overrides), store)


@pytest.mark.parametrize(
    "override",
    ["axes.seed=[0, 1, 2]", "axes.num_train_epochs=[1, 2, 3]", "axes.model=[opt-tiny-32, opt-tiny-64]", "claims=[]"],
)
def test_added_values_and_other_claims_extend_the_study(store: Store, override: str) -> None:
    check(store)
    check(store, override)
    check(store, "runtime={default: {engine: single, cpus: 2}}", "budget={wall_hours: 1}")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("recipe.learning_rate=0.5", r"recipe\.learning_rate 0\.5, was 0\.01"),
        ("data.toolworld={train_queries: 97}", r"data\.toolworld\.train_queries 97, was 96"),
        ("evaluation.max_steps=3", r"evaluation\.max_steps 3, was 5"),
        ("axes.seed=[0]", r"axes\.seed without 1"),
        ("axes.weight_decay=[0.0, 0.1]", r"axes\.weight_decay .*was none"),
    ],
)
def test_another_sweep_of_the_name_is_refused(store: Store, override: str, message: str) -> None:
    with pytest.raises(UsageError, match=rf"(?s){message}.*--set name=tiny-2"):
        check(store, override)


def test_another_search_is_refused(store: Store) -> None:
    check(store, "search.trials=5", "confirm.seeds=[1, 2]", name="looking")
    with pytest.raises(UsageError, match=r"search\.seed 1, was 0"):
        check(store, "search.seed=1", name="looking")


def test_study_without_results_may_be_replaced(store: Store) -> None:
    shutil.rmtree(store.root / "trials")
    check(store, "recipe.learning_rate=0.5")


def test_sweep_that_cannot_be_read_is_an_error(store: Store) -> None:
    (store.study_folder("tiny") / "sweep.yaml").write_text("name: tiny\n")
    with pytest.raises(StoreError, match="--set name=NAME"):
        check(store)


def test_seeds_of_a_study_with_looks_keep_their_order(store: Store) -> None:
    """A look is on the first seeds: others in their place would be a look that no claim registered."""
    looks = "claims=[{extends: pass-rate, looks: [2, 3], where: {model: opt-tiny-32, num_train_epochs: 1}}]"
    check(store, "axes.seed=[1, 0]")
    check(store, looks, "axes.seed=[0, 1, 2]")
    with pytest.raises(UsageError, match=r"axes\.seed \[1, 0\], was \[0, 1\]: looks are on the first seeds"):
        check(store, looks, "axes.seed=[1, 0]")

"""Where a search is stored, and which searches may share a study."""

from __future__ import annotations

from pathlib import Path

import pytest
from searches import ASHA, NUMERIC_AXES, POPULATION, make_population_sweep, make_sweep, run_search, surface

from sweeper.errors import UsageError
from sweeper.search import SearchSession, load_proposal_records


def test_open_storage_uses_the_database_of_the_search(tmp_path: Path) -> None:
    search = f"algorithm: random, trials: 3, storage: 'sqlite:///{tmp_path}/search.db'"
    sweep = make_sweep(tmp_path, search=search)
    run_search(sweep, tmp_path / "study", surface)
    assert [entry.state for entry in load_proposal_records(sweep, tmp_path / "elsewhere")] == ["COMPLETE"] * 3
    assert not (tmp_path / "study" / "optuna.journal").exists()


@pytest.mark.parametrize("change", ["recipe", "searched", "metric", "rungs"])
def test_check_study_matches_refuses_a_changed_search(tmp_path: Path, change: str) -> None:
    run_search(make_sweep(tmp_path, search="algorithm: random, trials: 3"), tmp_path, surface)
    more = make_sweep(tmp_path, search="algorithm: random, trials: 5")
    run_search(more, tmp_path, surface)  # the number of trials may change
    assert len(load_proposal_records(more, tmp_path)) == 5
    changed = {
        "recipe": {"recipe": "learning_rate: 1.0e-2, num_train_epochs: 5"},
        "searched": {"axes": NUMERIC_AXES + "\n  weight_decay: [0.01, 0.1]"},
        "metric": {"search": "algorithm: random, trials: 5, metric: best_val_loss"},
        "rungs": {"search": ASHA},
    }[change]
    other = make_sweep(tmp_path, **changed)
    for open_other in (lambda: load_proposal_records(other, tmp_path), lambda: SearchSession(other, tmp_path)):
        with pytest.raises(UsageError, match=f"other {change}"):
            open_other()


def test_check_study_matches_refuses_another_population(tmp_path: Path) -> None:
    SearchSession(make_population_sweep(tmp_path), tmp_path)
    with pytest.raises(UsageError, match="other rungs"):
        SearchSession(make_population_sweep(tmp_path, POPULATION.replace("population: 4", "population: 5")), tmp_path)

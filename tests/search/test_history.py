"""The history of a search: its document, and the finalists chosen from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from searches import ask_population, make_outcome, make_population_sweep, make_sweep, run_search, surface

from sweeper.config import Sweep
from sweeper.search import SearchSession, load_proposal_records, load_search_history, select_finalists
from sweeper.training import TrialRow


def read_trials(sweep: Sweep, folder: Path) -> list[dict[str, Any]]:
    history = load_search_history(sweep, folder)
    assert history is not None
    trials: Any = history.to_document()["trials"]
    return list(trials)


def test_load_search_history_is_none_without_a_search(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path).model_copy(update={"search": None})
    assert load_search_history(sweep, tmp_path) is None
    assert load_proposal_records(sweep, tmp_path) == []


def test_load_proposal_records_creates_no_files(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path)
    assert load_proposal_records(sweep, tmp_path / "study") == []
    assert not (tmp_path / "study").exists()


def test_select_finalists_returns_the_pareto_front_of_two_metrics(tmp_path: Path) -> None:
    search_block = "algorithm: nsga2, trials: 30, metric: [val_loss, train_flops], sampler: {population_size: 6}"
    sweep = make_sweep(tmp_path, search=search_block, more="confirm: {top: 50, seeds: [1]}")
    search = SearchSession(sweep, tmp_path)
    while (proposal := search.ask()) is not None:
        rate, clip = proposal.values["learning_rate"], proposal.values["max_grad_norm"]
        search.tell(proposal, TrialRow("", "COMPLETE", {"val_loss": rate + 1 / clip, "train_flops": clip}))
    front = [
        entry.values
        for entry in select_finalists(sweep, load_proposal_records(sweep, tmp_path))[""]
        if not entry.proposal.is_baseline
    ]
    assert front
    for one in front:
        assert one and not any(o and o != one and o[0] <= one[0] and o[1] <= one[1] for o in front)


def test_to_document_lists_the_search_and_its_proposals(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, search="algorithm: random, trials: 3")
    empty = load_search_history(sweep, tmp_path / "none")
    assert empty is not None
    assert empty.to_document() == {
        "study": "looking",
        "algorithm": "random",
        "scheduler": "none",
        "metrics": ["val_loss"],
        "directions": ["minimize"],
        "planned": 3,
        "trials": [],
    }
    run_search(sweep, tmp_path, surface)
    trials = read_trials(sweep, tmp_path)
    assert [trial["proposal"] for trial in trials] == ["#0", "#1", "#2"]
    assert [trial["anchor"] for trial in trials] == [True, False, False]


def test_to_document_has_the_lineage_of_a_population(tmp_path: Path) -> None:
    sweep = make_population_sweep(tmp_path)
    search, answers = ask_population(sweep, tmp_path)
    search.tell(answers[3][0], make_outcome(4.0, "PRUNED"))
    child = search.ask()
    assert child
    trials = read_trials(sweep, tmp_path)
    row = trials[4]
    assert (row["goes_on_from"], row["at_step"], row["changes"]) == ("#1", 10, child.changes)
    assert (row["axes"], row["begins_with"]) == (child.values, child.initial_values)
    assert trials[0]["goes_on_from"] is None

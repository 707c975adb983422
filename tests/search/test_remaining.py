"""What a search has still to propose."""

from __future__ import annotations

from pathlib import Path

from searches import ask_population, make_outcome, make_population_sweep, make_sweep

from sweeper.search import SearchSession, is_exhausted, load_proposal_records, sample_placeholders
from sweeper.search.remaining import MAX_REDRAWS
from sweeper.training import TrialRow


def test_sample_placeholders_stand_for_the_population_and_its_vacancies(tmp_path: Path) -> None:
    sweep = make_population_sweep(tmp_path)
    assert len(sample_placeholders(sweep, [])) == 3, "and the anchor, which the plan has already"
    search, answers = ask_population(sweep, tmp_path)
    search.tell(answers[3][0], make_outcome(4.0, "PRUNED"))
    to_come = sample_placeholders(sweep, load_proposal_records(sweep, tmp_path))
    assert [(p.branch_step, p.parent is not None) for p in to_come] == [(10, True)]


def test_sample_placeholders_draws_the_same_at_every_call(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, search="algorithm: random, trials: 6")
    first, second = sample_placeholders(sweep, []), sample_placeholders(sweep, [])
    assert len(first) == 5, "the plan lists the baseline itself"
    assert [proposal.values for proposal in first] == [proposal.values for proposal in second]


def test_is_exhausted_once_every_proposal_has_ended(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, search="algorithm: random, trials: 2")
    search = SearchSession(sweep, tmp_path)
    for _ in range(2):
        assert not is_exhausted(sweep, load_proposal_records(sweep, tmp_path))
        proposal = search.ask()
        assert proposal
        assert not is_exhausted(sweep, load_proposal_records(sweep, tmp_path)), "one is running"
        search.tell(proposal, make_outcome(1.0))
    records = load_proposal_records(sweep, tmp_path)
    assert is_exhausted(sweep, records)
    assert sample_placeholders(sweep, records) == []


def test_is_exhausted_counts_no_retry_as_a_proposal(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, search="algorithm: random, trials: 2")
    search = SearchSession(sweep, tmp_path)
    proposal = search.ask()
    assert proposal
    search.tell(proposal, TrialRow("", "FAILED", {}))
    search.tell(proposal, make_outcome(1.0))
    records = load_proposal_records(sweep, tmp_path)
    assert len(records) == 2
    assert not is_exhausted(sweep, records)


def test_is_exhausted_after_too_many_duplicates_in_a_row(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, "max_grad_norm: [0.1, 0.3]", "algorithm: random, trials: 3")
    search, made = SearchSession(sweep, tmp_path), dict[str, str]()
    while (proposal := search.ask()) is not None:
        first = made.setdefault(str(proposal.values), proposal.key)
        search.attach_trial(proposal, str(proposal.values), None if first == proposal.key else first)
        if first == proposal.key:
            search.tell(proposal, make_outcome(1.0))
    records = load_proposal_records(sweep, tmp_path)
    assert [record.state for record in records].count("COMPLETE") == 2
    assert [record.state for record in records[-MAX_REDRAWS:]] == ["DUPLICATE"] * MAX_REDRAWS
    assert is_exhausted(sweep, records)

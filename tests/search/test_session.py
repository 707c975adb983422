"""A search without training: known functions take the place of trials."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import Trial
from searches import ASHA, NUMERIC_AXES, curve, make_outcome, make_sweep, run_search, surface

from sweeper.search import SearchSession, convert_outcome, is_exhausted, load_proposal_records, select_finalists
from sweeper.training import TrialRow


def test_tell_records_an_early_stop_as_pruned_with_its_last_loss(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, search=ASHA)
    search, folder = SearchSession(sweep, tmp_path), tmp_path
    first, second = search.ask(), search.ask()
    assert first and first.is_baseline and second and not second.is_baseline
    assert not search.should_prune(first, 10, 1.0)
    assert search.should_prune(second, 10, 2.0)
    search.tell(second, TrialRow("", "PRUNED", {"rung_loss": 2.0}))
    pruned = load_proposal_records(sweep, folder)[1]
    assert (pruned.state, pruned.values, pruned.rung_losses) == ("PRUNED", [2.0], {10: 2.0})


def test_should_prune_never_stops_the_baseline(tmp_path: Path) -> None:
    search = SearchSession(make_sweep(tmp_path, search=ASHA), tmp_path)
    anchor, *others = [search.ask() for _ in range(4)]
    assert anchor and anchor.is_baseline and anchor.values == {"learning_rate": 0.01, "max_grad_norm": 0.3}
    assert not any(search.should_prune(other, 10, 1.0) for other in others[:1] if other)
    assert not search.should_prune(anchor, 10, 9.0)
    assert not search.should_prune(anchor, 20, 9.0)


def test_should_prune_repeats_its_decision_after_a_restart(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, search=ASHA)
    before = SearchSession(sweep, tmp_path)
    decisions = {}
    for loss in (3.0, 1.0, 2.0):
        proposal = before.ask()
        assert proposal
        decisions[proposal] = loss, before.should_prune(proposal, 10, loss)
    after = SearchSession(sweep, tmp_path)  # the driver died and came back
    assert {p: (loss, after.should_prune(p, 10, loss)) for p, (loss, _) in decisions.items()} == decisions
    again = [after.ask() for _ in range(3)]
    assert again == list(decisions)
    fresh = after.ask()
    assert fresh
    assert after.should_prune(fresh, 10, 2.5)  # among the best half of four stand 1 and 2


@pytest.mark.slow
@pytest.mark.parametrize("before", ["should_prune", "set_user_attr"])  # the pruner's own notes, and our answer
@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "median"])
def test_should_prune_decides_the_same_if_the_driver_died_before_storing_it(
    tmp_path: Path, scheduler: str, before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rungs = "rungs: {first: 3}" if scheduler == "median" else "rungs: {first: 3, reduction_factor: 2}"
    sweep = make_sweep(tmp_path, search=f"algorithm: random, trials: 24, scheduler: {scheduler}, {rungs}")
    stopped = Counter[bool]()

    def dies(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    def whole(folder: Path, broken: bool) -> list[tuple[Any, ...]]:
        search = SearchSession(sweep, folder)
        while (proposal := search.ask()) is not None:
            final, stop = surface(proposal.values), False
            for step in (3, 6, 12, 24):
                if broken:
                    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                        patch.setattr(Trial, before, dies)
                        search.should_prune(proposal, step, curve(final, step))
                    search = SearchSession(sweep, folder)
                    assert search.ask() == proposal
                stop = search.should_prune(proposal, step, curve(final, step))
                stopped[stop] += broken
                if stop:
                    break
            search.tell(proposal, make_outcome(final, "PRUNED" if stop else "COMPLETE"))
        return [
            (e.proposal, e.proposal.values, e.state, e.values, e.rung_losses)
            for e in load_proposal_records(sweep, folder)
        ]

    assert whole(tmp_path / "broken", True) == whole(tmp_path / "whole", False)
    assert stopped[True] >= 5
    assert stopped[False] >= 5


def test_session_continues_a_journal_with_a_truncated_line(tmp_path: Path) -> None:
    """A SIGKILL in the middle of a write leaves what lay before the page's end."""
    sweep = make_sweep(tmp_path, search="algorithm: random, trials: 6")
    run_search(sweep, tmp_path / "whole", surface)
    want = [
        (e.proposal, e.proposal.values, e.values, e.state) for e in load_proposal_records(sweep, tmp_path / "whole")
    ]
    lines = (tmp_path / "whole" / "optuna.journal").read_bytes().splitlines(keepends=True)
    for kept in range(1, len(lines), 3):
        folder = tmp_path / f"torn {kept}"
        folder.mkdir()
        (folder / "optuna.journal").write_bytes(b"".join(lines[:kept]) + lines[kept][: len(lines[kept]) // 2])
        load_proposal_records(sweep, folder)  # who only looks can read what is whole
        run_search(sweep, folder, surface)
        assert [
            (e.proposal, e.proposal.values, e.values, e.state) for e in load_proposal_records(sweep, folder)
        ] == want


def test_interrupted_search_has_the_history_of_an_uninterrupted_one(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, search="algorithm: tpe, trials: 16, seed: 3, sampler: {n_startup_trials: 5}")
    run_search(sweep, tmp_path / "whole", surface)
    folder, n_told = tmp_path / "broken", 0
    while not is_exhausted(sweep, load_proposal_records(sweep, folder)):
        search = SearchSession(sweep, folder)
        for _ in range(3):  # the driver dies after three proposals, and does not tell the third
            proposal = search.ask()
            if proposal is None:
                break
            if _ < 2 or n_told == 15:
                search.tell(proposal, make_outcome(surface(proposal.values)))
                n_told += 1
    whole, broken = load_proposal_records(sweep, tmp_path / "whole"), load_proposal_records(sweep, folder)
    assert [(e.proposal, e.proposal.values, e.values, e.state) for e in broken] == [
        (e.proposal, e.proposal.values, e.values, e.state) for e in whole
    ]
    assert len({tuple(e.proposal.values.items()) for e in broken}) == 16


CONDITIONAL_AXES = """learning_rate: {loguniform: [1.0e-4, 1.0]}
  max_grad_norm: {loguniform: [0.01, 10], or_null: true}
  lr_scheduler_type: [linear, cosine]
  warmup_steps: {int_uniform: [1, 30], when: {lr_scheduler_type: [linear]}}"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "axes"),
    [(algorithm, NUMERIC_AXES) for algorithm in ("random", "tpe", "gp", "cma-es")]
    + [(algorithm, CONDITIONAL_AXES) for algorithm in ("random", "tpe", "gp")],
)
def test_ask_completes_a_half_drawn_trial_with_the_same_values(tmp_path: Path, algorithm: str, axes: str) -> None:
    options = "" if algorithm == "random" else ", sampler: {n_startup_trials: 3}"
    sweep = make_sweep(tmp_path, axes, f"algorithm: {algorithm}, trials: 9{options}")

    def loss(values: dict[str, Any]) -> float:
        return surface(values | {"max_grad_norm": values["max_grad_norm"] or 10.0})

    def begun(folder: Path) -> SearchSession:
        """A search of which some proposals have ended."""
        search = SearchSession(sweep, folder)
        for _ in range(number):
            proposal = search.ask()
            assert proposal
            search.tell(proposal, make_outcome(loss(proposal.values)))
        return search

    broken_off = 0
    run_search(sweep, tmp_path / "whole", loss)
    whole = SearchSession(sweep, tmp_path / "whole")._studies[""].trials
    for number in (1, 4, 5, 6, 7):
        drawn = whole[number]
        for known in range(1, len(drawn.params)):
            study = begun(tmp_path / f"broken at {number} {known}")._studies[""]
            trial = study.ask()
            for name in list(drawn.params)[:known]:
                how = drawn.distributions[name]
                internal = how.to_internal_repr(drawn.params[name])
                study._storage.set_trial_param(trial._trial_id, name, internal, how)
            again = SearchSession(sweep, tmp_path / f"broken at {number} {known}").ask()
            assert again and again.number == number
            assert again.values == load_proposal_records(sweep, tmp_path / "whole")[number].proposal.values, (
                number,
                known,
            )
            broken_off += 1
    assert broken_off >= 5


def test_attach_trial_ends_a_duplicate_without_counting_it(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, "max_grad_norm: [0.1, 0.3]", "algorithm: random, trials: 2, anchor: false, seed: 1")
    search, seen = SearchSession(sweep, tmp_path), dict[str, str]()
    while (proposal := search.ask()) is not None:
        name = str(proposal.values)
        first = seen.setdefault(name, proposal.key)
        search.attach_trial(proposal, name, None if first == proposal.key else first)
        if first == proposal.key:
            search.tell(proposal, make_outcome(1.0))
    assert len(seen) == 2
    states = [entry.state for entry in load_proposal_records(sweep, tmp_path)]
    assert states.count("COMPLETE") == 2
    assert is_exhausted(sweep, load_proposal_records(sweep, tmp_path))


def test_tell_adds_the_retry_of_a_failed_trial_once(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, search="algorithm: random, trials: 2")
    search = SearchSession(sweep, tmp_path)
    proposal = search.ask()
    assert proposal
    search.tell(proposal, TrialRow("", "FAILED", {}))
    again = SearchSession(sweep, tmp_path)
    again.tell(proposal, make_outcome(0.5))
    again.tell(proposal, make_outcome(0.5))
    entries = load_proposal_records(sweep, tmp_path)
    assert [(e.state, e.retried_number, e.values) for e in entries] == [("FAIL", None, None), ("COMPLETE", 0, [0.5])]
    assert again.ask() is not None
    assert again.ask() is None  # a retry is no proposal


def test_tell_records_a_divergence_as_the_worst_value(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, search="algorithm: random, trials: 3")
    search = SearchSession(sweep, tmp_path)
    proposal = search.ask()
    assert proposal
    search.tell(proposal, TrialRow("", "DIVERGED", {"val_loss": 2.0}))
    entry = load_proposal_records(sweep, tmp_path)[0]
    assert (entry.state, entry.values, entry.rung_losses) == ("PRUNED", [math.inf], {})


def test_tell_records_a_retry_that_diverged_as_the_worst_value(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, search=ASHA)
    search = SearchSession(sweep, tmp_path)
    proposal = search.ask()
    assert proposal
    search.should_prune(proposal, 10, 0.1)
    search.tell(proposal, TrialRow("", "FAILED", {}))
    search.tell(proposal, TrialRow("", "DIVERGED", {}))
    assert load_proposal_records(sweep, tmp_path)[1].values == [math.inf]


def test_tell_accepts_a_divergence_with_two_metrics(tmp_path: Path) -> None:
    options = "algorithm: tpe, trials: 12, metric: [val_loss, train_flops], sampler: {n_startup_trials: 3}"
    sweep = make_sweep(tmp_path, search=options)
    search, count = SearchSession(sweep, tmp_path), 0
    while (proposal := search.ask()) is not None:
        count += 1
        metrics = {"val_loss": surface(proposal.values), "train_flops": 1.0}
        search.tell(proposal, TrialRow("", "DIVERGED" if count % 3 == 0 else "COMPLETE", metrics))
    assert [entry.state for entry in load_proposal_records(sweep, tmp_path)].count("PRUNED") == 4


def test_convert_outcome_fails_a_trial_without_a_defined_metric(tmp_path: Path) -> None:
    search = make_sweep(tmp_path).search
    assert search
    assert convert_outcome(make_outcome(math.nan), search)[0].name == "FAIL"
    assert convert_outcome(make_outcome(0.5), search) == (convert_outcome(make_outcome(0.1), search)[0], [0.5])


def test_equal_per_model_gives_every_model_as_many_trials(tmp_path: Path) -> None:
    options = "algorithm: tpe, trials: 24, equal_per: model, sampler: {n_startup_trials: 4}"
    sweep = make_sweep(tmp_path, search=options, models="opt-tiny-32, opt-tiny-64")
    run_search(sweep, tmp_path, surface)
    entries = load_proposal_records(sweep, tmp_path)
    groups = [entry.proposal.group for entry in entries]
    assert groups.count("opt-tiny-32") == groups.count("opt-tiny-64") == 12
    assert [entry.proposal.is_baseline for entry in entries].count(True) == 2
    best = select_finalists(sweep, entries)
    assert set(best) == {"opt-tiny-32", "opt-tiny-64"}
    assert all(own[-1].proposal.is_baseline for own in best.values())


def test_ask_restores_whether_a_trial_was_stopped(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path, search=ASHA)
    search = SearchSession(sweep, tmp_path)
    proposals = [search.ask() for _ in range(3)]
    answers = [search.should_prune(p, 10, loss) for p, loss in zip(proposals, (1.0, 2.0, 0.5), strict=True) if p]
    again = [SearchSession(sweep, tmp_path).ask() for _ in range(1)] + [
        entry.proposal for entry in load_proposal_records(sweep, tmp_path)
    ]
    assert answers == [False, True, False]
    assert [p.is_stopped for p in again if p] == [False, False, True, False]


def test_maximized_metric_is_pruned_by_loss_and_ranked_by_the_metric(tmp_path: Path) -> None:
    options = (
        "algorithm: random, trials: 3, metric: val_pass_rate, scheduler: asha, rungs: {first: 10, reduction_factor: 2}"
    )
    sweep = make_sweep(tmp_path, search=options, evaluation="toolworld")
    search = SearchSession(sweep, tmp_path)
    first, second, third = search.ask(), search.ask(), search.ask()
    assert first and second and third
    assert not search.should_prune(first, 10, 1.0)
    assert search.should_prune(second, 10, 3.0)  # the higher loss, although Optuna maximizes
    assert not search.should_prune(third, 10, 0.5)
    for proposal, rate in ((first, 0.2), (third, 0.7)):
        search.tell(proposal, TrialRow("", "COMPLETE", {"val_pass_rate": rate}))
    search.tell(second, TrialRow("", "PRUNED", {}))
    entries = load_proposal_records(sweep, tmp_path)
    assert entries[1].rung_losses == {10: 3.0}
    assert [entry.proposal.number for entry in select_finalists(sweep, entries)[""]] == [2, 0]


def test_convert_outcome_rejects_an_unknown_status(tmp_path: Path) -> None:
    search = make_sweep(tmp_path).search
    assert search
    with pytest.raises(ValueError, match="PENDING is no outcome"):
        convert_outcome(make_outcome(1.0, "PENDING"), search)

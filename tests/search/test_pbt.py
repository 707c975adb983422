"""Population based training without training: known functions of a schedule stand in for trials."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from sweeper.config import Sweep, load_sweep
from sweeper.errors import ConfigError, UsageError
from sweeper.search import (
    Proposal,
    ProposalRecord,
    SearchSession,
    build_search_document,
    is_exhausted,
    load_search_history,
    sample_placeholders,
    select_finalists,
)
from sweeper.training import RowStatus, TrialRow

BASE = """
name: population
question: Which schedule?
recipe: {extends: miniature, learning_rate: 0.1, %s}
data: toolworld
evaluation: null
axes:
  model: [%s]
  seed: [0]
  %s
search: {%s}
%s
"""
LIVE = "learning_rate: {loguniform: [1.0e-3, 1.0]}"
FOUR = "algorithm: random, trials: 8, scheduler: pbt, rungs: {first: 10}, pbt: {population: 4}"
FEW_OR_ALL_SEEDS = pytest.mark.parametrize(("seeds", "wins"), [(8, 7), pytest.param(20, 17, marks=pytest.mark.long)])
"""Of two equal searches, one wins at least `wins` times with probability 0.035 over 8 seeds and 0.0013 over 20."""


def sweep_of(
    tmp_path: Path, search: str = FOUR, axes: str = LIVE, models: str = "opt-tiny-32", recipe: str = "", more: str = ""
) -> Sweep:
    path = tmp_path / "population.yaml"
    path.write_text(BASE % (recipe, models, axes, search, more))
    return load_sweep(path)


def ended(value: float, status: RowStatus = "COMPLETE") -> TrialRow:
    return TrialRow("", status, {"val_loss": value})


def error_after(error: float, rate: float, steps: range) -> float:
    """A surface whose best rate falls from 0.3 to 0.01 during a run: each step takes off up to a twentieth of the
    error, the less the farther the rate is from the one that is best then. No constant rate is near it for long, and
    what is best now never costs anything later: that is where a population, which is greedy, can show what it does."""
    for step in steps:
        best = 0.3 * 0.03 ** (step / STEPS)
        error *= 1 - 0.05 * math.exp(-2 * math.log(rate / best) ** 2)
    return error


START, STEPS, EVERY = 1.0, 200, 20


class Simulated:
    """Members that train all at once, each to its next rung in turn."""

    def __init__(self, sweep: Sweep, folder: Path) -> None:
        self.search = SearchSession(sweep, folder)
        self.errors: dict[tuple[int, int], float] = {}
        """(member, rung) -> its error there: its checkpoints."""
        self.trained, self.best = 0, math.inf

    def run(self) -> float:
        """Until nothing is left to propose: the best error of those that got to the end."""
        running: list[tuple[Proposal, int, float]] = []
        while True:
            while (proposal := self.search.ask()) is not None:
                parent, at = proposal.parent, proposal.branch_step
                running.append((proposal, at, self.errors[parent.number, at] if parent else START))
            if not running:
                return self.best
            proposal, step, error = running.pop(0)
            error, step = error_after(error, proposal.values["learning_rate"], range(step, step + EVERY)), step + EVERY
            self.trained += EVERY
            self.errors[proposal.number, step] = error
            if step == STEPS:
                self.best = min(self.best, error)
                self.search.tell(proposal, ended(error))
            elif self.search.should_prune(proposal, step, error):
                self.search.tell(proposal, ended(error, "PRUNED"))
            else:
                running.append((proposal, step, error))


@pytest.mark.slow
@FEW_OR_ALL_SEEDS
def test_a_population_beats_random_search_at_equal_steps(tmp_path: Path, seeds: int, wins: int) -> None:
    assert stats.binom.sf(wins - 1, seeds, 0.5) < 0.036
    won = 0
    for seed in range(seeds):
        asked = f"algorithm: random, anchor: false, seed: {seed}, trials: "
        rule = "60, scheduler: pbt, rungs: {first: 20}, pbt: {population: 8}"
        population = Simulated(sweep_of(tmp_path, asked + rule), tmp_path / f"population{seed}")
        found = population.run()
        alone = math.ceil(population.trained / STEPS)
        assert 8 <= alone <= 10, "who goes on trains what the one before has left, and at most a rung more"
        search, best = SearchSession(sweep_of(tmp_path, f"{asked}{alone}"), tmp_path / f"random{seed}"), math.inf
        while (proposal := search.ask()) is not None:
            best = min(best, error_after(START, proposal.values["learning_rate"], range(STEPS)))
            search.tell(proposal, ended(best))
        won += found < best
    assert won >= wins


def first_four(
    sweep: Sweep, folder: Path, losses: tuple[float, ...] = (2.0, 1.0, 3.0, 4.0)
) -> tuple[SearchSession, list[Any]]:
    """A population of four at its first rung; the answers it got there."""
    search = SearchSession(sweep, folder)
    members = [search.ask() for _ in losses]
    return search, [(p, search.should_prune(p, 10, loss)) for p, loss in zip(members, losses, strict=True) if p]


def test_the_worst_gives_way_to_one_that_goes_on_from_the_best(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path)
    search, answers = first_four(sweep, tmp_path)
    assert [stopped for _, stopped in answers] == [False, False, False, True]
    assert search.ask() is None, "its place is free once it has ended"
    search.tell(answers[3][0], ended(4.0, "PRUNED"))
    child = search.ask()
    assert child is not None
    assert child.parent is not None
    assert (child.parent.number, child.branch_step) == (1, 10)
    rate = child.parent.values["learning_rate"]
    assert child.initial_values == {"learning_rate": rate}
    assert child.changes == [{"step": 10, "learning_rate": child.values["learning_rate"]}]
    assert search.ask() is None
    assert not search.should_prune(child, 10, 9.0), "that rung is its parent's"
    entries = load_search_history(sweep, tmp_path)
    assert [(e.state, e.values) for e in entries if e.proposal.is_stopped] == [("PRUNED", [4.0])]
    assert entries[4].rung_losses == {}
    assert entries[4].replaced_number == 3
    assert not is_exhausted(sweep, entries)


def test_the_first_have_nobody_to_be_held_against_and_the_anchor_stays(tmp_path: Path) -> None:
    search = SearchSession(sweep_of(tmp_path), tmp_path)
    members = [p for _ in range(4) if (p := search.ask())]
    assert members[0].is_baseline
    assert not any(search.should_prune(p, 10, loss) for p, loss in zip(members, (9.0, 5.0, 7.0, 1.0), strict=True))
    assert search.should_prune(members[1], 20, 1.0) is search.should_prune(members[1], 20, 1.0) is False


def test_who_came_first_to_a_rung_is_held_against_the_others_at_the_one_before(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path)
    search, answers = first_four(sweep, tmp_path, (4.0, 9.0, 2.0, 1.0))
    assert not any(stopped for _, stopped in answers), "the worst had passed before"
    member = answers[1][0]
    assert search.should_prune(member, 20, 0.1), "alone there, and the worst of four at the rung before"
    search.tell(member, ended(0.1, "PRUNED"))
    child = search.ask()
    assert child
    assert child.parent
    assert (child.parent.number, child.branch_step) == (3, 10), "at 20 there are too few to go on from"


def test_without_a_successor_nobody_gives_way(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, FOUR.replace("trials: 8", "trials: 5"))
    search, answers = first_four(sweep, tmp_path)
    assert answers[3][1]
    for i, loss in enumerate((1.0, 2.0, 3.0)):
        assert not search.should_prune(answers[i][0], 20, loss)
        search.tell(answers[i][0], ended(loss))
    search.tell(answers[3][0], ended(4.0, "PRUNED"))
    child = search.ask()
    assert child
    assert not search.should_prune(child, 20, 9.0), "all five are proposed"
    search.tell(child, ended(0.5))
    assert search.ask() is None
    entries = load_search_history(sweep, tmp_path)
    assert is_exhausted(sweep, entries)
    assert [e.proposal.number for e in select_finalists(sweep, entries)[""]] == [4, 0]


def test_a_member_that_diverged_after_a_rung_is_replaced_and_one_before_it_is_not(tmp_path: Path) -> None:
    search, answers = first_four(sweep_of(tmp_path, FOUR.replace("trials: 8", "trials: 6")), tmp_path)
    search.tell(answers[1][0], TrialRow("", "DIVERGED", {}))
    assert search.ask() is None, "who was best there has diverged: nobody to go on from"
    again = SearchSession(sweep_of(tmp_path, "seed: 1, " + FOUR), tmp_path / "other")
    members = [p for _ in range(4) if (p := again.ask())]
    again.tell(members[3], TrialRow("", "DIVERGED", {}))
    assert again.ask() is None
    for member, loss in zip(members[:3], (3.0, 2.0, 1.0), strict=True):
        assert not again.should_prune(member, 10, loss), "three have no quarter"


def histories_of(tmp_path: Path, name: str, *, dies: bool) -> list[ProposalRecord]:
    """One by one, as the inline backend does; `dies`: the driver is lost after every step of it, told or not."""
    asked = FOUR.replace("trials: 8", "trials: 20").replace("population: 4", "population: 8")
    sweep, folder = sweep_of(tmp_path, asked), tmp_path / name
    errors: dict[tuple[int, int], float] = {}
    search = SearchSession(sweep, folder)

    def maybe_lost() -> None:
        nonlocal search
        if dies:
            search = SearchSession(sweep, folder)

    while (proposal := search.ask()) is not None:
        maybe_lost()
        if dies:
            proposal = search.ask()  # handed out again
            assert proposal is not None
        parent, step = proposal.parent, proposal.branch_step
        error = errors[parent.number, step] if parent else START
        status = "COMPLETE"
        while step < STEPS and status == "COMPLETE":
            error, step = error_after(error, proposal.values["learning_rate"], range(step, step + EVERY)), step + EVERY
            errors[proposal.number, step] = error
            if step < STEPS and search.should_prune(proposal, step, error):
                status = "PRUNED"
            maybe_lost()
        if dies and status == "PRUNED":
            again = search.ask()
            assert again is not None
            assert again.is_stopped
        search.tell(proposal, ended(error, status))
        maybe_lost()
    return load_search_history(sweep, folder)


def test_a_driver_that_died_at_every_step_has_the_same_history(tmp_path: Path) -> None:
    whole, broken = (histories_of(tmp_path, name, dies=name == "broken") for name in ("whole", "broken"))
    assert len(whole) > 10

    def told(entries: list[ProposalRecord]) -> list[Any]:
        return [(e.proposal, e.proposal.values, e.proposal.changes, e.state, e.values, e.rung_losses) for e in entries]

    assert told(whole) == told(broken)
    assert [e.proposal.changes for e in whole if e.proposal.parent]


def test_a_successor_that_was_put_forward_and_not_handed_out_is_handed_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = sweep_of(tmp_path)
    search, answers = first_four(sweep, tmp_path)
    search.tell(answers[3][0], ended(4.0, "PRUNED"))
    monkeypatch.setattr(search._optuna_searches[""]._ot_study, "ask", lambda: pytest.fail("killed"))
    with pytest.raises(pytest.fail.Exception):
        search.ask()
    assert not is_exhausted(sweep, load_search_history(sweep, tmp_path))
    after = SearchSession(sweep, tmp_path)
    handed = [after.ask() for _ in range(5)]
    assert [p.number for p in handed if p] == [0, 1, 2, 4], "first those under way"
    assert handed[3] and handed[3].parent


def test_values_stay_in_their_axes_and_what_is_not_live_is_the_parents(tmp_path: Path) -> None:
    axes = (
        "learning_rate: {loguniform: [0.09, 0.11]}\n  max_grad_norm: {loguniform: [0.1, 1], or_null: true}\n"
        "  weight_decay: [0.0, 0.01, 0.1]\n  warmup_steps: {int_uniform: [5, 50]}"
    )
    asked = "algorithm: random, trials: 60, scheduler: pbt, rungs: {first: 20}, pbt: {population: 8}"
    sweep = sweep_of(tmp_path, asked, axes)
    search, running = SearchSession(sweep, tmp_path), list[tuple[Proposal, int]]()
    while True:
        while (proposal := search.ask()) is not None:
            running.append((proposal, proposal.branch_step))
        if not running:
            break
        proposal, step = running.pop(0)
        loss = proposal.number % 7 + 1 / (step + 1)
        if step == 100:
            search.tell(proposal, ended(loss))
        elif search.should_prune(proposal, step + 10, loss):
            search.tell(proposal, ended(loss, "PRUNED"))
        else:
            running.append((proposal, step + 10))
    children = [e.proposal for e in load_search_history(sweep, tmp_path) if e.proposal.parent]
    assert len(children) > 10
    seen = dict[str, set[Any]]()
    for child in children:
        parent = child.parent
        assert parent is not None
        assert child.values["warmup_steps"] == parent.values["warmup_steps"]
        assert child.values != parent.values
        for axis, value in child.values.items():
            assert sweep.searched[axis].contains_value(value)
            seen.setdefault(axis, set()).add(value)
        steps = [change["step"] for change in child.changes]
        assert steps == sorted(set(steps))
        assert not any("warmup_steps" in change for change in child.changes)
    assert len(seen["weight_decay"]) > 1
    assert {value is None for value in seen["max_grad_norm"]} == {True, False}


def test_every_model_has_a_population_of_its_own(tmp_path: Path) -> None:
    asked = FOUR.replace("trials: 8", "trials: 16, equal_per: model")
    sweep = sweep_of(tmp_path, asked, models="opt-tiny-32, opt-tiny-64")
    search = SearchSession(sweep, tmp_path)
    members = [p for _ in range(8) if (p := search.ask())]
    assert sorted(p.key for p in members) == sorted(
        f"{model}#{i}" for model in ("opt-tiny-32", "opt-tiny-64") for i in range(4)
    )
    stopped = [p for p in members if search.should_prune(p, 10, float(p.number))]
    for member in stopped:
        search.tell(member, ended(1.0, "PRUNED"))
    children = [p for _ in stopped if (p := search.ask())]
    assert sorted(p.group for p in children) == ["opt-tiny-32", "opt-tiny-64"]
    assert all(p.parent and p.parent.group == p.group for p in children)


def test_what_is_to_come_is_the_population_and_what_those_that_gave_way_have_left(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path)
    assert len(sample_placeholders(sweep, [])) == 3, "and the anchor, which the plan has already"
    search, answers = first_four(sweep, tmp_path)
    search.tell(answers[3][0], ended(4.0, "PRUNED"))
    to_come = sample_placeholders(sweep, load_search_history(sweep, tmp_path))
    assert [(p.branch_step, p.parent is not None) for p in to_come] == [(10, True)]


def test_the_document_says_who_went_on_from_whom(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path)
    search, answers = first_four(sweep, tmp_path)
    search.tell(answers[3][0], ended(4.0, "PRUNED"))
    child = search.ask()
    assert child
    document = build_search_document(sweep, tmp_path)
    assert document
    row = document["trials"][4]
    assert (row["goes_on_from"], row["at_step"], row["changes"]) == ("#1", 10, child.changes)
    assert (row["axes"], row["begins_with"]) == (child.values, child.initial_values)
    assert document["trials"][0]["goes_on_from"] is None


def test_another_rule_is_another_question(tmp_path: Path) -> None:
    SearchSession(sweep_of(tmp_path), tmp_path)
    with pytest.raises(UsageError, match="another rungs"):
        SearchSession(sweep_of(tmp_path, FOUR.replace("population: 4", "population: 5")), tmp_path)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"search": FOUR.replace("random", "tpe")}, "a population is drawn at random"),
        ({"search": FOUR.replace("trials: 8", "trials: 3")}, "for a population of 4"),
        ({"search": FOUR.replace("population: 4", "population: 3")}, "is nobody"),
        ({"search": FOUR.replace("population: 4", "factors: [1]")}, "makes nothing"),
        ({"search": FOUR.replace("population: 4", "quantile: 0.6")}, "less than or equal to 0.5"),
        ({"search": FOUR.replace("first: 10", "first: 1, unit: epochs")}, "changes at optimiser steps"),
        ({"search": FOUR.replace("scheduler: pbt", "scheduler: median")}, "has no effect"),
        ({"search": FOUR.replace("rungs: {first: 10}, ", "")}, "needs `rungs`"),
        ({"search": FOUR + ", metric: [val_loss, train_flops]"}, "compares by one metric"),
        ({"axes": "warmup_steps: {int_uniform: [5, 50]}"}, "no searched axis that can change"),
        ({"models": "opt-tiny-32, opt-tiny-64"}, "weights of one do not fit"),
        (
            {"models": "opt-tiny-32, opt-tiny-64", "search": FOUR.replace("trials: 8", "trials: 6, equal_per: model")},
            "for 2 populations of 4",
        ),
        (
            {"axes": f"{LIVE}\n  warmup_steps: {{choice: [20], when: {{learning_rate: [0.1]}}}}"},
            "which changes during a run",
        ),
        ({"recipe": "changes: [{step: 5, learning_rate: 0.2}]"}, "has `changes` already"),
        ({"more": "runtime: {default: {engine: ddp, workers: 2}}"}, "several workers train one model"),
        ({"more": "branch_epochs: true"}, "branch_epochs"),
    ],
)
def test_what_makes_no_population_is_refused_with_the_reason(
    tmp_path: Path, change: dict[str, str], found: str
) -> None:
    with pytest.raises(ConfigError) as error:
        sweep_of(tmp_path, **change)
    assert found in str(error.value)
    assert "population.yaml" in str(error.value)

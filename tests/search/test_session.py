"""A search without training: known functions stand in for trials, so that what it does is held against the truth."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import Trial
from scipy import stats

from sweeper.config import Sweep, load_sweep
from sweeper.errors import ConfigError, UsageError
from sweeper.search import (
    Proposal,
    SearchSession,
    build_search_document,
    convert_row_to_optuna,
    is_exhausted,
    load_search_history,
    select_finalists,
)
from sweeper.training import RowStatus, TrialRow

BASE = """
name: looking
question: What is best?
recipe: {extends: miniature, %s}
data: toolworld
evaluation: null
axes:
  model: [%s]
  seed: [0]
  %s
search: {%s}
%s
"""
TWO = "learning_rate: {loguniform: [1.0e-4, 1.0]}\n  max_grad_norm: {loguniform: [0.01, 10]}"
FEW_OR_ALL_SEEDS = pytest.mark.parametrize(("seeds", "wins"), [(8, 7), pytest.param(20, 17, marks=pytest.mark.long)])
"""Of two equal searches, one wins at least `wins` times with probability 0.035 over 8 seeds and 0.0013 over 20."""


def sweep_of(
    tmp_path: Path,
    axes: str = TWO,
    search: str = "algorithm: random, trials: 20",
    models: str = "opt-tiny-32",
    recipe: str = "learning_rate: 1.0e-2",
    more: str = "",
) -> Sweep:
    path = tmp_path / "looking.yaml"
    path.write_text(BASE % (recipe, models, axes, search, more))
    return load_sweep(path)


def ended(value: float, status: RowStatus = "COMPLETE") -> TrialRow:
    return TrialRow("", status, {"val_loss": value})


def look(sweep: Sweep, folder: Path, loss: Callable[[dict[str, Any]], float]) -> float:
    """Run the whole search one by one; the best loss."""
    search, best = SearchSession(sweep, folder), math.inf
    while (proposal := search.ask()) is not None:
        value = loss(proposal.values)
        search.tell(proposal, ended(value))
        best = min(best, value)
    return best


def branin(values: dict[str, Any]) -> float:
    """Branin's function (Dixon & Szegö 1978), minimum 0.397887; its square is -5..10 by 0..15."""
    x, y = values["learning_rate"] - 5.001, values["weight_decay"]
    return (
        (y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6) ** 2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10
    )


def surface(values: dict[str, Any]) -> float:
    """Best at learning rate 1e-2, clipping 0.3: a bowl in the logarithms, with a ridge of divergence above 0.3."""
    rate, clip = math.log10(values["learning_rate"]), math.log10(values["max_grad_norm"])
    return (rate + 2) ** 2 + 0.3 * (clip - math.log10(0.3)) ** 2 + 0.2 * (rate + 2) * (clip + 0.52) + 5 * (rate > -0.5)


def beats_random(tmp_path: Path, axes: str, recipe: str, loss: Callable[[dict[str, Any]], float], seeds: int) -> int:
    wins = 0
    for seed in range(seeds):
        best = {}
        for algorithm, sampler in (("tpe", "{n_startup_trials: 20}"), ("random", "{}")):
            asked = f"algorithm: {algorithm}, trials: 100, seed: {seed}, anchor: false, sampler: {sampler}"
            best[algorithm] = look(
                sweep_of(tmp_path, axes, asked, recipe=recipe), tmp_path / f"{algorithm}{seed}", loss
            )
        wins += best["tpe"] < best["random"]
    return wins


@pytest.mark.slow
@FEW_OR_ALL_SEEDS
@pytest.mark.parametrize(
    ("axes", "recipe", "loss"),
    [
        ("learning_rate: {uniform: [0.001, 15.001]}\n  weight_decay: {uniform: [0, 15]}", "learning_rate: 1", branin),
        (TWO, "learning_rate: 1.0e-2", surface),
    ],
    ids=["branin", "learning rate x clipping"],
)
def test_tpe_beats_random_search_at_equal_trials(
    tmp_path: Path, axes: str, recipe: str, loss: Callable[[dict[str, Any]], float], seeds: int, wins: int
) -> None:
    assert stats.binom.sf(wins - 1, seeds, 0.5) < 0.036
    assert beats_random(tmp_path, axes, recipe, loss, seeds) >= wins


STEPS = 81


def curve(final: float, step: int) -> float:
    """A loss that falls from 6 to its end; good ones are ahead early, though not in every case."""
    return final + (6 - final) * math.exp(-6 * step / STEPS)


def spent_until(sweep: Sweep, folder: Path, target: float) -> tuple[int, float]:
    """(Steps trained until a trial reached the target, or all of them; the best)."""
    search, spent, best = SearchSession(sweep, folder), 0, math.inf
    while (proposal := search.ask()) is not None and best > target:
        final = surface(proposal.values)
        rungs = [step for step in (3, 9, 27) if sweep.search and sweep.search.rungs]
        stopped = next((step for step in rungs if search.should_prune(proposal, step, curve(final, step))), None)
        spent += stopped or STEPS
        search.tell(proposal, ended(curve(final, STEPS), "PRUNED" if stopped else "COMPLETE"))
        if not stopped:
            best = min(best, curve(final, STEPS))
    return spent, best


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [6, pytest.param(20, marks=pytest.mark.long)])
def test_asha_needs_at_most_half_the_steps_for_the_same_best_value(tmp_path: Path, seeds: int) -> None:
    """Over seeds of random search: the steps until the best of 40 full trials is reached (or given up)."""
    without = with_asha = missed = 0
    for seed in range(seeds):
        plain = sweep_of(tmp_path, search=f"algorithm: random, trials: 40, seed: {seed}, anchor: false")
        spent, best = spent_until(plain, tmp_path / f"none{seed}", -math.inf)
        without += spent
        halved = f"algorithm: random, trials: 40, seed: {seed}, anchor: false, scheduler: asha, rungs: {{first: 3}}"
        spent, found = spent_until(sweep_of(tmp_path, search=halved), tmp_path / f"asha{seed}", best)
        missed += found > best
        with_asha += spent if found <= best else 40 * STEPS
    assert with_asha <= 0.5 * without, (with_asha / without, missed)


ASHA = "algorithm: random, trials: 12, scheduler: asha, rungs: {first: 10, reduction_factor: 2}"


def test_an_early_stop_is_pruned_at_what_it_reached_and_never_complete(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, search=ASHA)
    search, folder = SearchSession(sweep, tmp_path), tmp_path
    first, second = search.ask(), search.ask()
    assert first and first.is_baseline and second and not second.is_baseline
    assert not search.should_prune(first, 10, 1.0)
    assert search.should_prune(second, 10, 2.0)
    search.tell(second, TrialRow("", "PRUNED", {"rung_loss": 2.0}))
    pruned = load_search_history(sweep, folder)[1]
    assert (pruned.state, pruned.values, pruned.rung_losses) == ("PRUNED", [2.0], {10: 2.0})


def test_the_anchor_is_stopped_by_nobody_and_the_others_are_held_against_it(tmp_path: Path) -> None:
    search = SearchSession(sweep_of(tmp_path, search=ASHA), tmp_path)
    anchor, *others = [search.ask() for _ in range(4)]
    assert anchor and anchor.is_baseline and anchor.values == {"learning_rate": 0.01, "max_grad_norm": 0.3}
    assert not any(search.should_prune(other, 10, 1.0) for other in others[:1] if other)
    assert not search.should_prune(anchor, 10, 9.0)
    assert not search.should_prune(anchor, 20, 9.0)


def test_rungs_outlive_the_driver_and_the_same_question_has_one_answer(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, search=ASHA)
    before = SearchSession(sweep, tmp_path)
    told = {}
    for loss in (3.0, 1.0, 2.0):
        proposal = before.ask()
        assert proposal
        told[proposal] = loss, before.should_prune(proposal, 10, loss)
    after = SearchSession(sweep, tmp_path)  # the driver died and came back
    assert {p: (loss, after.should_prune(p, 10, loss)) for p, (loss, _) in told.items()} == told
    again = [after.ask() for _ in range(3)]
    assert again == list(told)
    fresh = after.ask()
    assert fresh
    assert after.should_prune(fresh, 10, 2.5)  # among the best half of four stand 1 and 2


@pytest.mark.parametrize("before", ["should_prune", "set_user_attr"])  # the pruner's own notes, and our answer
@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "median"])
def test_a_driver_that_died_before_it_had_written_a_decision_down_decides_the_same(
    tmp_path: Path, scheduler: str, before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rungs = "rungs: {first: 3}" if scheduler == "median" else "rungs: {first: 3, reduction_factor: 2}"
    sweep = sweep_of(tmp_path, search=f"algorithm: random, trials: 24, scheduler: {scheduler}, {rungs}")
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
            search.tell(proposal, ended(final, "PRUNED" if stop else "COMPLETE"))
        return [
            (e.proposal, e.proposal.values, e.state, e.values, e.rung_losses)
            for e in load_search_history(sweep, folder)
        ]

    assert whole(tmp_path / "broken", True) == whole(tmp_path / "whole", False)
    assert stopped[True] >= 5
    assert stopped[False] >= 5


def test_a_journal_with_a_half_written_line_goes_on(tmp_path: Path) -> None:
    """A SIGKILL in the middle of a write leaves what lay before the page's end."""
    sweep = sweep_of(tmp_path, search="algorithm: random, trials: 6")
    look(sweep, tmp_path / "whole", surface)
    want = [(e.proposal, e.proposal.values, e.values, e.state) for e in load_search_history(sweep, tmp_path / "whole")]
    lines = (tmp_path / "whole" / "optuna.journal").read_bytes().splitlines(keepends=True)
    for kept in range(1, len(lines), 3):
        folder = tmp_path / f"torn {kept}"
        folder.mkdir()
        (folder / "optuna.journal").write_bytes(b"".join(lines[:kept]) + lines[kept][: len(lines[kept]) // 2])
        load_search_history(sweep, folder)  # who only looks can read what is whole
        look(sweep, folder, surface)
        assert [(e.proposal, e.proposal.values, e.values, e.state) for e in load_search_history(sweep, folder)] == want


def test_a_search_that_was_broken_off_has_the_history_of_one_that_was_not(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, search="algorithm: tpe, trials: 16, seed: 3, sampler: {n_startup_trials: 5}")
    look(sweep, tmp_path / "whole", surface)
    folder, told = tmp_path / "broken", 0
    while not is_exhausted(sweep, load_search_history(sweep, folder)):
        search = SearchSession(sweep, folder)
        for _ in range(3):  # the driver dies after three proposals, the third of which it was told nothing of
            proposal = search.ask()
            if proposal is None:
                break
            if _ < 2 or told == 15:
                search.tell(proposal, ended(surface(proposal.values)))
                told += 1
    whole, broken = load_search_history(sweep, tmp_path / "whole"), load_search_history(sweep, folder)
    assert [(e.proposal, e.proposal.values, e.values, e.state) for e in broken] == [
        (e.proposal, e.proposal.values, e.values, e.state) for e in whole
    ]
    assert len({tuple(e.proposal.values.items()) for e in broken}) == 16


EITHER = """learning_rate: {loguniform: [1.0e-4, 1.0]}
  max_grad_norm: {loguniform: [0.01, 10], or_null: true}
  lr_scheduler_type: [linear, cosine]
  warmup_steps: {int_uniform: [1, 30], when: {lr_scheduler_type: [linear]}}"""


@pytest.mark.parametrize(
    ("algorithm", "axes"),
    [(algorithm, TWO) for algorithm in ("random", "tpe", "gp", "cma-es")]
    + [(algorithm, EITHER) for algorithm in ("random", "tpe", "gp")],
)
def test_a_driver_that_died_between_two_parameters_draws_the_rest_as_it_would_have(
    tmp_path: Path, algorithm: str, axes: str
) -> None:
    options = "" if algorithm == "random" else ", sampler: {n_startup_trials: 3}"
    sweep = sweep_of(tmp_path, axes, f"algorithm: {algorithm}, trials: 9{options}")

    def loss(values: dict[str, Any]) -> float:
        return surface(values | {"max_grad_norm": values["max_grad_norm"] or 10.0})

    def begun(folder: Path) -> SearchSession:
        """A search of which some proposals have ended."""
        search = SearchSession(sweep, folder)
        for _ in range(number):
            proposal = search.ask()
            assert proposal
            search.tell(proposal, ended(loss(proposal.values)))
        return search

    broken_off = 0
    look(sweep, tmp_path / "whole", loss)
    whole = SearchSession(sweep, tmp_path / "whole")._optuna_searches[""]._ot_study.trials
    for number in (1, 4, 5, 6, 7):
        drawn = whole[number]
        for known in range(1, len(drawn.params)):
            study = begun(tmp_path / f"broken at {number} {known}")._optuna_searches[""]._ot_study
            trial = study.ask()
            for name in list(drawn.params)[:known]:
                how = drawn.distributions[name]
                internal = how.to_internal_repr(drawn.params[name])
                study._storage.set_trial_param(trial._trial_id, name, internal, how)
            again = SearchSession(sweep, tmp_path / f"broken at {number} {known}").ask()
            assert again and again.number == number
            assert again.values == load_search_history(sweep, tmp_path / "whole")[number].proposal.values, (
                number,
                known,
            )
            broken_off += 1
    assert broken_off >= 5


def test_a_draw_made_before_is_taken_back_and_does_not_count(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, "max_grad_norm: [0.1, 0.3]", "algorithm: random, trials: 2, anchor: false, seed: 1")
    search, seen = SearchSession(sweep, tmp_path), dict[str, str]()
    while (proposal := search.ask()) is not None:
        name = str(proposal.values)
        first = seen.setdefault(name, proposal.key)
        search.attach_trial(proposal, name, None if first == proposal.key else first)
        if first == proposal.key:
            search.tell(proposal, ended(1.0))
    assert len(seen) == 2
    states = [entry.state for entry in load_search_history(sweep, tmp_path)]
    assert states.count("COMPLETE") == 2
    assert is_exhausted(sweep, load_search_history(sweep, tmp_path))


def test_a_failed_trial_that_is_tried_again_is_one_more_entry_that_says_of_which(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, search="algorithm: random, trials: 2")
    search = SearchSession(sweep, tmp_path)
    proposal = search.ask()
    assert proposal
    search.tell(proposal, TrialRow("", "FAILED", {}))
    again = SearchSession(sweep, tmp_path)
    again.tell(proposal, ended(0.5))
    again.tell(proposal, ended(0.5))
    entries = load_search_history(sweep, tmp_path)
    assert [(e.state, e.retried_number, e.values) for e in entries] == [("FAIL", None, None), ("COMPLETE", 0, [0.5])]
    assert again.ask() is not None
    assert again.ask() is None  # a retry is no proposal


def test_a_diverged_trial_is_known_to_be_bad(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, search="algorithm: random, trials: 3")
    search = SearchSession(sweep, tmp_path)
    proposal = search.ask()
    assert proposal
    search.tell(proposal, TrialRow("", "DIVERGED", {"val_loss": 2.0}))
    entry = load_search_history(sweep, tmp_path)[0]
    assert (entry.state, entry.values, entry.rung_losses) == ("PRUNED", [math.inf], {})


def test_an_end_without_the_metric_is_a_failure_and_not_a_number(tmp_path: Path) -> None:
    search = sweep_of(tmp_path).search
    assert search
    assert convert_row_to_optuna(ended(math.nan), search)[0].name == "FAIL"
    assert convert_row_to_optuna(ended(0.5), search) == (convert_row_to_optuna(ended(0.1), search)[0], [0.5])


def test_every_model_gets_as_many_trials(tmp_path: Path) -> None:
    asked = "algorithm: tpe, trials: 24, equal_per: model, sampler: {n_startup_trials: 4}"
    sweep = sweep_of(tmp_path, search=asked, models="opt-tiny-32, opt-tiny-64")
    look(sweep, tmp_path, surface)
    entries = load_search_history(sweep, tmp_path)
    groups = [entry.proposal.group for entry in entries]
    assert groups.count("opt-tiny-32") == groups.count("opt-tiny-64") == 12
    assert [entry.proposal.is_baseline for entry in entries].count(True) == 2
    best = select_finalists(sweep, entries)
    assert set(best) == {"opt-tiny-32", "opt-tiny-64"}
    assert all(own[-1].proposal.is_baseline for own in best.values())


def test_what_is_off_has_no_value_and_what_does_not_apply_is_not_searched(tmp_path: Path) -> None:
    axes = (
        "max_grad_norm: {loguniform: [0.1, 1], or_null: true}\n  lr_scheduler_type: [linear, constant]\n"
        "  warmup_steps: {int_uniform: [1, 30], when: {lr_scheduler_type: [linear]}}"
    )
    sweep = sweep_of(tmp_path, axes, "algorithm: random, trials: 60")
    look(sweep, tmp_path, lambda values: 1.0)
    entries = load_search_history(sweep, tmp_path)
    assert {entry.proposal.values["max_grad_norm"] is None for entry in entries} == {True, False}
    for entry in entries:
        values = entry.proposal.values
        assert ("warmup_steps" in values) == (values["lr_scheduler_type"] == "linear")
    assert entries[0].proposal.values == {"max_grad_norm": 0.3, "lr_scheduler_type": "linear", "warmup_steps": 20}


def test_a_grid_is_every_combination_once(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, "learning_rate: [0.01, 0.1]\n  max_grad_norm: [null, 0.3, 1]", "algorithm: grid")
    look(sweep, tmp_path, lambda values: values["learning_rate"])
    points = [tuple(entry.proposal.values.values()) for entry in load_search_history(sweep, tmp_path)]
    assert len(points) == len(set(points)) == 6


@pytest.mark.parametrize("algorithm", ["gp", "cma-es"])
def test_other_samplers_go_on_where_they_were(tmp_path: Path, algorithm: str) -> None:
    asked = f"algorithm: {algorithm}, trials: 9, sampler: {{n_startup_trials: 4}}"
    sweep = sweep_of(tmp_path, search=asked)
    look(sweep, tmp_path / "whole", surface)
    first = SearchSession(sweep, tmp_path / "broken")
    for _ in range(6):
        proposal = first.ask()
        assert proposal
        first.tell(proposal, ended(surface(proposal.values)))
    look(sweep, tmp_path / "broken", surface)
    values = [
        [entry.values for entry in load_search_history(sweep, tmp_path / folder)] for folder in ("whole", "broken")
    ]
    assert values[0] == values[1]


def test_two_metrics_end_in_a_front(tmp_path: Path) -> None:
    asked = "algorithm: nsga2, trials: 30, metric: [val_loss, train_flops], sampler: {population_size: 6}"
    sweep = sweep_of(tmp_path, search=asked, more="confirm: {top: 50, seeds: [1]}")
    search = SearchSession(sweep, tmp_path)
    while (proposal := search.ask()) is not None:
        rate, clip = proposal.values["learning_rate"], proposal.values["max_grad_norm"]
        search.tell(proposal, TrialRow("", "COMPLETE", {"val_loss": rate + 1 / clip, "train_flops": clip}))
    front = [
        entry.values
        for entry in select_finalists(sweep, load_search_history(sweep, tmp_path))[""]
        if not entry.proposal.is_baseline
    ]
    assert front
    for one in front:
        assert one and not any(o and o != one and o[0] <= one[0] and o[1] <= one[1] for o in front)


def test_a_database_holds_a_search_too(tmp_path: Path) -> None:
    asked = f"algorithm: random, trials: 3, storage: 'sqlite:///{tmp_path}/search.db'"
    sweep = sweep_of(tmp_path, search=asked)
    look(sweep, tmp_path / "study", surface)
    assert [entry.state for entry in load_search_history(sweep, tmp_path / "elsewhere")] == ["COMPLETE"] * 3
    assert not (tmp_path / "study" / "optuna.journal").exists()


def test_the_history_is_a_plain_document(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, search="algorithm: random, trials: 3")
    assert build_search_document(sweep, tmp_path / "none") == {
        "study": "looking",
        "algorithm": "random",
        "scheduler": "none",
        "metrics": ["val_loss"],
        "directions": ["minimize"],
        "planned": 3,
        "trials": [],
    }
    look(sweep, tmp_path, surface)
    document = build_search_document(sweep, tmp_path)
    assert document
    assert [trial["proposal"] for trial in document["trials"]] == ["#0", "#1", "#2"]
    assert [trial["anchor"] for trial in document["trials"]] == [True, False, False]


def test_proposals_are_told_apart_by_group_and_number() -> None:
    one = Proposal("opt-tiny-32", 3, False, {"learning_rate": 1.0})
    assert one == Proposal("opt-tiny-32", 3, False, {}) and one.key == "opt-tiny-32#3"


@pytest.mark.parametrize(
    ("axes", "search", "more", "found"),
    [
        (TWO, "algorithm: grid", "", "learning_rate is a range"),
        ("max_grad_norm: [0.1, 0.3]", "algorithm: grid, sampler: {n_startup_trials: 3}", "", "no options"),
        ("max_grad_norm: [0.1, 0.3]", "algorithm: grid, trials: 7", "", "a grid of 2 points"),
        (TWO, "algorithm: tpe, trials: 5", "", "all of them at random"),
        (TWO, "algorithm: tpe, trials: 40, sampler: {startup: 3}", "", "does not know startup"),
        (TWO, "algorithm: tpe", "", "needs `trials`"),
        (TWO, "algorithm: annealing, trials: 5", "", "Input should be 'grid'"),
        (TWO, "algorithm: random, trials: 5, metric: pass_rate", "", "a test metric"),
        (TWO, "algorithm: random, trials: 5, metric: val_pass_rate", "", "no validation queries"),
        (TWO, "algorithm: random, trials: 5, metric: train_flops", "", "alone is a cost"),
        (TWO, "algorithm: gp, trials: 50, metric: [val_loss, train_flops]", "", "knows one metric"),
        (TWO, "algorithm: nsga2, trials: 80", "", "is for two metrics"),
        (TWO, "algorithm: nsga2, trials: 40, metric: [val_loss, tokens]", "", "population_size 50"),
        (TWO, "algorithm: random, trials: 9, scheduler: asha", "", "needs `rungs`"),
        (TWO, "algorithm: random, trials: 9, rungs: {first: 3}", "", "without a scheduler"),
        (
            "num_train_epochs: [1, 2]",
            "algorithm: random, trials: 2, scheduler: asha, rungs: {unit: epochs, first: 1}",
            "",
            "`num_train_epochs` is searched",
        ),
        ("max_grad_norm: [0.1, 0.3]", "algorithm: cma-es, trials: 9", "", "not a number on a scale"),
        ("max_length: {int_uniform: [128, 256]}", "algorithm: random, trials: 2", "", "max_length as a range"),
        (TWO, "algorithm: tpe, trials: 40, sampler: {n_startup_trials: many}", "", "should be a whole number"),
        (
            "adam_beta1: [0.9, 0.8]\n  warmup_steps: {choice: [5], when: {adam_beta1: [0.9]}}",
            "algorithm: random, trials: 4",
            "",
            "its warmup_steps 20 is outside",
        ),
        ("fit: [strict, truncate]", "algorithm: random, trials: 2", "", "do not rank them"),
        ("learning_rate: {loguniform: [0.5, 1]}", "algorithm: random, trials: 9", "", "outside the searched values"),
        ("learning_rate: {loguniform: [1, 0.5]}", "algorithm: random, trials: 9", "", "should be below the second"),
        ("learning_rate: {lognormal: [1, 0.5]}", "algorithm: random, trials: 9", "", "unknown key `lognormal`"),
        ("learning_rate: {uniform: [-1, 1]}", "algorithm: random, trials: 9", "", "greater than 0"),
        ("learning_rate: [0.01]", "algorithm: random, trials: 9", "", "nothing to search"),
        (TWO, "algorithm: random, trials: 9", "confirm: {top: 1, seeds: [0, 1]}", "[0] explored"),
        (TWO, "algorithm: random, trials: 9", "claims: [pass-rate]", "without `confirm`"),
        (TWO, "algorithm: random, trials: 9, storage: 'postgresql://me:secret@host/db'", "", "it holds a password"),
    ],
)
def test_a_search_that_contradicts_itself_is_refused_with_the_reason(
    tmp_path: Path, axes: str, search: str, more: str, found: str
) -> None:
    with pytest.raises(ConfigError) as error:
        sweep_of(tmp_path, axes, search, more=more)
    assert found in str(error.value)
    assert "looking.yaml" in str(error.value)
    assert "secret" not in str(error.value)


def test_every_model_begins_with_the_recipe(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="begins with the recipe"):
        sweep_of(tmp_path, search="algorithm: random, trials: 1", models="opt-tiny-32, opt-tiny-64")


@pytest.mark.parametrize("change", ["recipe", "searched", "metric", "rungs"])
def test_a_changed_question_does_not_get_the_answers_to_the_old_one(tmp_path: Path, change: str) -> None:
    look(sweep_of(tmp_path, search="algorithm: random, trials: 3"), tmp_path, surface)
    more = sweep_of(tmp_path, search="algorithm: random, trials: 5")
    look(more, tmp_path, surface)  # more trials are the same question
    assert len(load_search_history(more, tmp_path)) == 5
    changed = {
        "recipe": {"recipe": "learning_rate: 1.0e-2, num_train_epochs: 5"},
        "searched": {"axes": TWO + "\n  weight_decay: [0.01, 0.1]"},
        "metric": {"search": "algorithm: random, trials: 5, metric: best_val_loss"},
        "rungs": {"search": ASHA},
    }[change]
    other = sweep_of(tmp_path, **changed)
    for ask in (lambda: load_search_history(other, tmp_path), lambda: SearchSession(other, tmp_path)):
        with pytest.raises(UsageError, match=f"another {change}"):
            ask()


def test_two_metrics_live_with_a_divergence(tmp_path: Path) -> None:
    asked = "algorithm: tpe, trials: 12, metric: [val_loss, train_flops], sampler: {n_startup_trials: 3}"
    sweep = sweep_of(tmp_path, search=asked)
    search, count = SearchSession(sweep, tmp_path), 0
    while (proposal := search.ask()) is not None:
        count += 1
        metrics = {"val_loss": surface(proposal.values), "train_flops": 1.0}
        search.tell(proposal, TrialRow("", "DIVERGED" if count % 3 == 0 else "COMPLETE", metrics))
    assert [entry.state for entry in load_search_history(sweep, tmp_path)].count("PRUNED") == 4


def test_a_failed_trial_that_diverges_when_it_is_tried_again_is_known_to_be_bad(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, search=ASHA)
    search = SearchSession(sweep, tmp_path)
    proposal = search.ask()
    assert proposal
    search.should_prune(proposal, 10, 0.1)
    search.tell(proposal, TrialRow("", "FAILED", {}))
    search.tell(proposal, TrialRow("", "DIVERGED", {}))
    assert load_search_history(sweep, tmp_path)[1].values == [math.inf]


def test_who_was_stopped_is_known_after_a_restart(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, search=ASHA)
    search = SearchSession(sweep, tmp_path)
    proposals = [search.ask() for _ in range(3)]
    answers = [search.should_prune(p, 10, loss) for p, loss in zip(proposals, (1.0, 2.0, 0.5), strict=True) if p]
    again = [SearchSession(sweep, tmp_path).ask() for _ in range(1)] + [
        entry.proposal for entry in load_search_history(sweep, tmp_path)
    ]
    assert answers == [False, True, False]
    assert [p.is_stopped for p in again if p] == [False, False, True, False]


def test_models_that_cannot_have_equally_many_trials_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot have equally many"):
        sweep_of(tmp_path, search="algorithm: random, trials: 9, equal_per: model", models="opt-tiny-32, opt-tiny-64")


def curves(sweep: Sweep, folder: Path) -> list[str]:
    """Run a search of trials whose rungs are at 10, 20 and 40 of 80 steps; what the history says of their ends."""
    search = SearchSession(sweep, folder)
    rungs = (10, 20, 40)
    while (proposal := search.ask()) is not None:
        loss = surface(proposal.values)
        stopped = next((step for step in rungs if search.should_prune(proposal, step, loss + 1 / step)), None)
        search.tell(proposal, ended(loss, "PRUNED" if stopped else "COMPLETE"))
    return [entry.state for entry in load_search_history(sweep, folder)]


@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "median"])
def test_every_scheduler_stops_some_and_lets_the_best_go_on(tmp_path: Path, scheduler: str) -> None:
    asked = f"algorithm: random, trials: 40, scheduler: {scheduler}, rungs: {{first: 10, reduction_factor: 2}}"
    sweep = sweep_of(tmp_path, search=asked)
    states = curves(sweep, tmp_path)
    assert states[0] == "COMPLETE"
    assert 5 <= states.count("PRUNED") <= 38
    best = min(load_search_history(sweep, tmp_path), key=lambda entry: surface(entry.proposal.values))
    assert best.state == "COMPLETE"


def test_a_search_for_a_rate_is_stopped_by_loss_and_ranked_by_the_rate(tmp_path: Path) -> None:
    asked = (
        "algorithm: random, trials: 3, metric: val_pass_rate, scheduler: asha, rungs: {first: 10, reduction_factor: 2}"
    )
    path = tmp_path / "looking.yaml"
    path.write_text((BASE % ("learning_rate: 0.01", "opt-tiny-32", TWO, asked, "")).replace("null", "toolworld"))
    sweep = load_sweep(path)
    search = SearchSession(sweep, tmp_path)
    first, second, third = search.ask(), search.ask(), search.ask()
    assert first and second and third
    assert not search.should_prune(first, 10, 1.0)
    assert search.should_prune(second, 10, 3.0)  # the higher loss, although Optuna maximises
    assert not search.should_prune(third, 10, 0.5)
    for proposal, rate in ((first, 0.2), (third, 0.7)):
        search.tell(proposal, TrialRow("", "COMPLETE", {"val_pass_rate": rate}))
    search.tell(second, TrialRow("", "PRUNED", {}))
    entries = load_search_history(sweep, tmp_path)
    assert entries[1].rung_losses == {10: 3.0}
    assert [entry.proposal.number for entry in select_finalists(sweep, entries)[""]] == [2, 0]

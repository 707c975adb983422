"""Every kind of claim, in every word, on tables whose truth is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from claim_tables import asked, run, seeds, tables
from statsmodels.stats.multitest import multipletests

from sweeper.claims import interval_estimates as ev
from sweeper.claims import run_intervals
from sweeper.claims.kinds.stabilises import compute_spike_share, compute_tail_share
from sweeper.claims.robustness import compute_definition_matrices, find_solvable_queries
from sweeper.claims.tables import StudyTables
from sweeper.claims.verdict import Verdict, decide_claim, decide_claims, select_judge_outcomes
from sweeper.config import Claim
from sweeper.errors import DataError
from sweeper.statistics import build_pass_matrix, estimate_paired_difference
from sweeper.statistics import score_stabletoolbench as definition_of_stabletoolbench
from sweeper.statistics import score_strict as definition_of_strict
from sweeper.statistics import score_tooleval as definition_of_tooleval
from sweeper.statistics.paired import match_runs


def claim(kind: str, **fields: Any) -> Claim:
    base: dict[str, Any] = {"id": kind, "text": "It is so.", "kind": kind, "margin": 0.05}
    return Claim.model_validate(base | fields)


REACHES = claim("reaches", reference=0.7, direction="at-least")
SPOT = claim("best-of", axis="model", candidate="middle")
ONCE = claim("no-gain-beyond", axis="num_train_epochs", candidate=1, overfitting=True)
STABLE = claim("stabilises", metric="divergence_rate", axis="max_grad_norm", candidate=0.3, against=[None], margin=0.2)
GENERAL = claim("generalises", direction="at-least")
JUDGES = claim("judge-independent", metric="agreement", reference=0.6)
CHEAP = claim("cheaper", metric="cost_per_solved", axis="model", candidate="small", against=["large"], reference=0.5)


def decided(asks: Claim, runs: list[dict[str, Any]], queries: int = 600, **more: Any) -> Verdict:
    trials, outcomes = tables(runs, queries)
    return decide_claim(asks, StudyTables(trials, outcomes), **({"with_robustness_checks": False} | more))


def sizes(small: Any, middle: Any, large: Any, count: int = 3, **fields: Any) -> list[dict[str, Any]]:
    rates = {"small": small, "middle": middle, "large": large}
    return [each for model, rate in rates.items() for each in seeds(count, rate, model=model, **fields)]


# --- reaches


@pytest.mark.parametrize(
    ("direction", "rate", "word"),
    [
        ("at-least", 0.75, "supported"),
        ("at-least", 0.5, "refuted"),
        ("at-least", 0.66, "inconclusive"),
        ("at-most", 0.6, "supported"),
        ("at-most", 0.9, "refuted"),
        ("at-most", 0.74, "inconclusive"),
        ("about", 0.7, "supported"),
        ("about", 0.9, "refuted"),
        ("about", 0.5, "refuted"),
        ("about", 0.74, "inconclusive"),
        ("at-least", 1.0, "supported"),
        ("at-least", 0.0, "refuted"),
    ],
)
def test_reaches(direction: str, rate: float, word: str) -> None:
    found = decided(REACHES.model_copy(update={"direction": direction}), seeds(3, rate), queries=1200)
    assert found.label == word
    assert found.estimate == pytest.approx(rate - 0.7)
    assert found.interval.low <= found.estimate <= found.interval.high
    assert (found.n_queries, found.n_seeds, found.n) == (1200, 3, 3600)


def test_reaches_is_about_one_arm() -> None:
    both = seeds(2, 0.9) + seeds(2, 0.9, num_train_epochs=3.0)
    mixed = decided(REACHES, both)
    assert mixed.label == "inconclusive" and "more than one arm: num_train_epochs" in mixed.reason
    one = REACHES.model_copy(update={"where": {"num_train_epochs": 3.0}})
    assert decided(one, both).label == "supported"
    named = REACHES.model_copy(update={"axis": "num_train_epochs", "candidate": 3.0})
    assert decided(named, both).label == "supported"
    assert decided(REACHES.model_copy(update={"where": {"num_train_epochs": 5.0}}), both).label == "inconclusive"


def test_seeds_that_scatter_widen_the_interval_of_a_rate() -> None:
    steady, scattered = decided(REACHES, seeds(3, 0.8)), decided(REACHES, seeds(3, [0.6, 0.8, 1.0]))
    assert steady.estimate == pytest.approx(scattered.estimate)
    assert steady.label == "supported" and scattered.label == "inconclusive"


# --- best-of


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rates", "words"),
    [
        ((0.5, 0.8, 0.8), ("supported", "inconclusive", "supported")),
        ((0.5, 0.8, 0.5), ("supported", "supported", "supported")),
        ((0.5, 0.8, 0.95), ("refuted", "refuted", "refuted")),
        ((0.77, 0.8, 0.8), ("supported", "inconclusive", "refuted")),
        ((0.8, 0.8, 0.8), ("inconclusive", "inconclusive", "refuted")),
        ((0.9, 0.7, 0.5), ("refuted", "refuted", "refuted")),
    ],
)
def test_best_of_in_its_three_readings(rates: tuple[float, ...], words: tuple[str, ...]) -> None:
    names = ("beats-smaller", "interior", "smallest-non-inferior")
    for name, word in zip(names, words, strict=True):
        found = decided(SPOT.model_copy(update={"reading": name}), sizes(*rates), queries=900)
        assert (found.interpretation, found.label) == (name, word), name
        beside = {reading.name: reading.verdict for reading in found.other_interpretations}
        assert beside == {n: w for n, w in zip(names, words, strict=True) if n != name}


# --- no-gain-beyond


def test_overfitting_is_reported_and_does_not_decide() -> None:
    once, thrice = seeds(3, 0.6, val_loss=1.0), seeds(3, 0.6, num_train_epochs=3.0)
    for k, each in enumerate(thrice):
        each["val_loss"] = 1.2 + 0.01 * k
    found = decided(ONCE, once + thrice)
    loss = next(c for c in found.comparisons if c.metric.name == "val_loss")
    assert found.label == "supported" and not loss.is_deciding and loss.is_established
    assert loss.estimate.estimate == pytest.approx(0.21) and loss.unit == "nats" and loss.estimate.n == 3
    falls = [each | {"val_loss": 2 - each["val_loss"]} for each in thrice]
    again = decided(ONCE, once + falls)
    assert again.label == "supported"
    assert not next(c for c in again.comparisons if c.metric.name == "val_loss").is_established


# --- stabilises


def clipping(diverged: int, of: int = 10, clipped: int = 0, scatter: float = 0.0) -> list[dict[str, Any]]:
    """`of` seeds with clipping and without it; some of each diverge."""
    runs = []
    for clip, gone in ((0.3, clipped), (math.nan, diverged)):
        for k in range(of):
            status = "DIVERGED" if k < gone else "COMPLETE"
            rate = 0.7 + (scatter * (-1) ** k if clip == 0.3 else 0.0)
            runs.append(run(rate, seed=k, max_grad_norm=clip, status=status))
    return runs


def test_stabilises() -> None:
    assert decided(STABLE, clipping(9)).label == "supported"
    assert decided(STABLE, clipping(0, of=40)).label == "refuted", "nothing diverges with or without"
    assert decided(STABLE, clipping(0)).label == "inconclusive", "ten runs cannot say that none does"
    assert decided(STABLE, clipping(0, clipped=9)).label == "refuted"
    unsteady = decided(STABLE.model_copy(update={"margin": 0.02}), clipping(30, of=30, scatter=0.3))
    assert unsteady.label == "refuted" and "spread" in unsteady.reason
    open_ = decided(STABLE, clipping(4))
    shares = next(c for c in open_.comparisons if c.metric.name == "divergence_rate")
    assert open_.label == "inconclusive" and shares.estimate.estimate == pytest.approx(0.4)


def test_a_share_of_diverged_runs_has_mcnemars_exact_sign() -> None:
    from scipy import stats

    for up, down, n in [(6, 0, 10), (5, 0, 10), (8, 1, 12), (9, 1, 12), (0, 0, 5)]:
        first = np.asarray([1.0] * up + [0.0] * (n - up))
        second = np.asarray([0.0] * up + [1.0] * down + [0.0] * (n - up - down))
        found = run_intervals.estimate_share_difference(first, second, list(range(n)), 0).estimate_at_level(0.05)
        exact = stats.binomtest(up, up + down).pvalue if up + down else 1.0
        assert (found.low > 0) == (exact < 0.05)
        assert found.low <= (up - down) / n <= found.high


def test_spikes_and_gradient_tails_stand_beside_stability() -> None:
    runs = clipping(9)
    trials, outcomes = tables(runs)
    steps = np.arange(1, 101)
    calm = pd.DataFrame({"step": steps, "loss": 1.0, "grad_norm": 0.1, "val_loss": np.nan})
    wild = calm.assign(grad_norm=np.where(steps % 2, 0.1, 5.0), loss=np.where(steps % 20, 1.0, 3.0))
    histories = {
        name: calm if clip == 0.3 else wild
        for name, clip in zip(trials["fingerprint"], trials["max_grad_norm"], strict=True)
    }
    found = decide_claim(STABLE, StudyTables(trials, outcomes, histories=histories))
    by_metric = {c.metric.name: c for c in found.comparisons}
    assert by_metric["gradient_tail"].estimate.estimate == pytest.approx(0.5)
    assert by_metric["loss_spikes"].estimate.estimate == pytest.approx(5 / 90)
    assert not by_metric["loss_spikes"].is_deciding and found.label == "supported"
    assert "no histories" in decided(STABLE, runs).reason


def test_a_spike_is_a_jump_or_a_loss_that_is_no_number() -> None:
    flat = pd.DataFrame({"step": range(30), "loss": 2.0, "grad_norm": 1.0})
    assert compute_spike_share(flat) == 0.0
    flat.loc[20, "loss"] = np.nan
    assert compute_spike_share(flat) == pytest.approx(1 / 20)
    assert math.isnan(compute_spike_share(flat.head(5)))
    assert compute_tail_share(flat, 0.5) == 1.0 and math.isnan(compute_tail_share(flat, math.nan))


def test_stability_of_the_validation_loss_needs_no_outcomes() -> None:
    runs = clipping(9)
    for k, each in enumerate(runs):
        each["val_loss"] = 1 + 0.001 * (k % 10) if each["status"] == "COMPLETE" else math.nan
    runs += [run(seed=20 + k, max_grad_norm=math.nan, val_loss=1 + 0.001 * k) for k in range(9)]
    runs += [run(seed=20 + k, max_grad_norm=0.3, val_loss=1 + 0.001 * k) for k in range(9)]
    trials, _ = tables(runs)
    asks = STABLE.model_copy(update={"spread_of": "val_loss"})
    found = decide_claim(asks, StudyTables(trials, pd.DataFrame()))
    assert found.label == "supported" and {c.unit for c in found.comparisons} == {"points", "nats"}


# --- generalises


@pytest.mark.parametrize(
    ("unseen", "direction", "word"),
    [
        (0.8, "at-least", "supported"),
        (0.5, "at-least", "refuted"),
        (0.76, "at-least", "inconclusive"),
        (0.95, "at-least", "supported"),
        (0.95, "about", "refuted"),
        (0.8, "about", "supported"),
    ],
)
def test_generalises(unseen: float, direction: str, word: str) -> None:
    rate = {"_instruction": 0.8, "_tool": unseen, "_category": unseen}
    found = decided(GENERAL.model_copy(update={"direction": direction}), seeds(3, rate), queries=6000)
    assert found.label == word and found.estimate == pytest.approx(unseen - 0.8, abs=0.002)


def test_generalises_names_the_subsets_it_misses() -> None:
    trials, outcomes = tables(seeds(3, 0.8))
    seen = outcomes[outcomes["subset"].str.endswith("_instruction")]
    found = decide_claim(GENERAL, StudyTables(trials, seen))
    assert found.label == "inconclusive" and "no unseen" in found.reason
    odd = outcomes.assign(subset=outcomes["subset"].str.replace("G3_instruction", "G3_other"))
    assert "G3_other" in decide_claim(GENERAL, StudyTables(trials, odd)).reason


def test_two_samples_cover_as_a_two_sample_t_test_does() -> None:
    """One seed's worth of queries, no seed effect: the standard error is that of two independent samples."""
    rng = np.random.default_rng(4)
    matrix = pd.DataFrame({"a": rng.integers(0, 2, 400).astype(float)}).assign(b=lambda t: t["a"])
    first = np.arange(400) < 150
    found = ev.estimate_two_sample_difference(matrix, [(0, "a"), (1, "b")], first, ~first).estimate_at_level(0.05)
    x, y = matrix["a"][first], matrix["a"][~first]
    half = 1.96 * math.sqrt(x.var() / len(x) + y.var() / len(y))
    assert found.high - found.low == pytest.approx(2 * half, rel=0.02)


@pytest.mark.parametrize("drift", [0.0, 0.2])
def test_two_samples_cover_the_truth_with_few_seeds(drift: float) -> None:
    """Three seeds, each better on one side by chance; what it adds to both sides alike is no spread of the gap."""
    rng, studies = np.random.default_rng(6), 150
    first = np.arange(60) < 20
    covered = 0
    for _ in range(studies):
        seeds_gap, common = rng.normal(0, drift, (1, 3)), rng.normal(0, 0.1, (1, 3))
        values = 0.5 + rng.normal(0, 0.05, (60, 1)) + rng.normal(0, 0.05, (60, 3)) + common + seeds_gap * first[:, None]
        found = ev.estimate_two_sample_difference(
            pd.DataFrame(values, columns=[*"abc"]), list(enumerate("abc")), first, ~first
        ).estimate_at_level(0.05)
        covered += found.low <= 0 <= found.high
    assert covered / studies > 0.95 - 3 * math.sqrt(0.95 * 0.05 / studies)


# --- judge-independent


def judged(flip: float, lenient: bool = False, rates: tuple[float, ...] = (0.3, 0.7, 0.3)) -> Any:
    """A second judge that differs on a share of the answers: at random, or always in favour."""
    trials, outcomes = tables(sizes(*rates), 300)
    rng = np.random.default_rng(1)
    other = outcomes.assign(judge="llm")
    turn = rng.random(len(other)) < flip
    other.loc[turn, "passed"] = 1.0 if lenient else 1 - other.loc[turn, "passed"]
    return trials, pd.concat([outcomes, other], ignore_index=True)


def over_judges(trials: pd.DataFrame, outcomes: pd.DataFrame, claims: list[Claim]) -> Verdict:
    return decide_claims(claims, StudyTables(trials, outcomes), judge="oracle")[-1]


@pytest.mark.slow
def test_judge_independent() -> None:
    alike = over_judges(*judged(0.02), [SPOT, JUDGES])
    assert alike.label == "supported" and "of which 1 decided" in alike.reason
    assert alike.labels_by_judge == {"oracle": {"best-of": "supported"}, "llm": {"best-of": "supported"}}
    assert over_judges(*judged(0.5), [SPOT, JUDGES]).label == "refuted"
    lenient = over_judges(*judged(0.2, lenient=True), [SPOT, JUDGES])
    assert lenient.label == "refuted" and "judge llm" in lenient.reason, "AC1 may hold while the score moves"


@pytest.mark.slow
def test_a_verdict_that_turns_with_the_judge_refutes() -> None:
    trials, outcomes = tables(sizes(0.46, 0.54, 0.46), 1200)
    turned = trials["model"].map({"small": 0.54, "middle": 0.46, "large": 0.54})
    other = asked(dict(zip(trials["fingerprint"], turned, strict=True)), 1200, "llm")
    found = over_judges(trials, pd.concat([outcomes, other], ignore_index=True), [SPOT, JUDGES])
    assert found.label == "refuted" and "reverses with the judge" in found.reason


def test_one_judge_decides_nothing_about_judges() -> None:
    trials, outcomes = tables(sizes(0.5, 0.8, 0.5))
    found = decide_claim(JUDGES, StudyTables(trials, outcomes))
    assert found.label == "inconclusive" and "one judge only (oracle)" in found.reason
    assert decide_claim(JUDGES, StudyTables(trials, pd.DataFrame())).label == "inconclusive"


def test_judges_do_not_agree_on_what_they_never_saw() -> None:
    """Diverged runs are zeros for every judge; agreement on them is none."""
    trials, outcomes = judged(0.5)
    first = trials["fingerprint"].iloc[:3]
    gone = trials.assign(status=trials["status"].where(~trials["fingerprint"].isin(first), "DIVERGED"))
    found = over_judges(gone, outcomes[~outcomes["fingerprint"].isin(first)], [JUDGES])
    agreement = found.comparisons[0]
    assert agreement.metric.name == "agreement" and abs(agreement.estimate.estimate) < 0.2
    assert agreement.estimate.n_runs == 6


def test_several_judges_need_one_to_decide_by() -> None:
    trials, outcomes = judged(0.02)
    with pytest.raises(DataError, match="one judge"):
        decide_claim(SPOT, StudyTables(trials, outcomes))
    with pytest.raises(DataError, match="nobody"):
        select_judge_outcomes(outcomes, "nobody")


# --- cheaper


@pytest.mark.parametrize(
    ("small", "seconds", "word"),
    [(0.6, 20.0, "supported"), (0.6, 110.0, "refuted"), (0.6, 50.0, "inconclusive"), (0.4, 10.0, "refuted")],
)
def test_cheaper(small: float, seconds: float, word: str) -> None:
    runs = sizes(small, 0.6, 0.6)
    for each in runs:
        if each["model"] == "small":
            each |= {"train_seconds": seconds, "eval_seconds": seconds}
    found = decided(CHEAP, runs)
    ratio = next(c for c in found.comparisons if c.metric.name == "cost_per_solved")
    assert found.label == word
    assert ratio.estimate.estimate == pytest.approx(seconds / 100 * 0.6 / small)
    assert ratio.estimate.low <= ratio.estimate.estimate <= ratio.estimate.high


def test_cost_has_a_price_hardware_and_a_lifetime() -> None:
    runs = sizes(0.6, 0.6, 0.6)
    for each in runs:
        each["gpus"] = 1 if each["model"] == "small" else 4
    unfair = decided(CHEAP, runs)
    assert unfair.label == "inconclusive" and "different hardware (gpus)" in unfair.reason
    priced = CHEAP.model_copy(update={"price_per_hour": {"small": 1.0, "large": 4.0}})
    found = decided(priced, runs)
    assert found.label == "supported" and found.comparisons[0].estimate.estimate == pytest.approx(0.25)
    for each in runs:
        each |= {"gpus": 1, "train_seconds": 900.0 if each["model"] == "large" else 100.0}
    long = CHEAP.model_copy(update={"amortised_over": 60_000_000})
    assert decided(CHEAP, runs).comparisons[0].estimate.estimate == pytest.approx(0.2)
    assert decided(long, runs).comparisons[0].estimate.estimate == pytest.approx(1.0, abs=1e-3)


def test_what_solves_nothing_has_no_price() -> None:
    nothing = decided(CHEAP, sizes(0.0, 0.6, 0.6))
    assert nothing.label == "refuted", "its quality is not comparable"
    none = decided(CHEAP, sizes(0.0, 0.0, 0.0))
    assert none.label == "inconclusive" and "solves nothing" in none.reason
    unknown = decided(CHEAP, sizes(0.6, 0.6, 0.6, eval_seconds=math.nan))
    assert unknown.label == "inconclusive" and "eval_seconds" in unknown.reason


# --- protocols


TUNED = SPOT.model_copy(
    update={"id": "tuned", "protocol": "tuned", "tuned_axis": "learning_rate", "selection_seeds": [0, 1]}
)


def tuned_runs(count: int = 5) -> list[dict[str, Any]]:
    """Each size has its own best learning rate; at any common one the middle looks best or worst by accident."""
    best = {"small": 0.1, "middle": 0.01, "large": 0.001}
    top = {"small": 0.4, "middle": 0.7, "large": 0.7}
    runs = []
    for model, right in best.items():
        for rate in (0.1, 0.01, 0.001):
            steps = abs(math.log10(rate / right))
            fields = {"model": model, "learning_rate": rate, "val_loss": 1 + steps}
            runs += seeds(count, top[model] - 0.15 * steps, **fields)
    return runs


def test_tuned_compares_each_arm_at_its_own_value_on_fresh_seeds() -> None:
    found = decided(TUNED, tuned_runs())
    assert found.label == "supported" and found.protocol == "tuned"
    assert {c.arm: c.value for c in found.choices} == {"small": 0.1, "middle": 0.01, "large": 0.001}
    assert found.n_seeds == 3, "seeds 0 and 1 chose"
    assert [c.estimate.estimate for c in found.comparisons] == pytest.approx([0.3, 0.0], abs=0.01)
    assert "edge of the values tried" in found.reason and "Tuned on seeds 0, 1" in found.reason


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"selection_seeds": [0, 1], "confirmation_seeds": [1, 2]}, "both select and confirm"),
        ({"selection_seeds": [0, 1, 2, 3, 4]}, "seeds that did not select"),
        ({"selection_seeds": [7]}, "no run of the selection seeds"),
    ],
)
def test_what_chose_cannot_confirm(change: dict[str, Any], says: str) -> None:
    found = decided(TUNED.model_copy(update=change), tuned_runs())
    assert found.label == "inconclusive" and says in found.reason
    assert {reading.verdict for reading in found.other_interpretations} == {"inconclusive"}


def test_tuning_that_is_not_whole_or_not_fair_decides_nothing() -> None:
    runs = tuned_runs()
    lost = [each | {"status": "FAILED"} if k == 0 else each for k, each in enumerate(runs)]
    assert "selection runs have no result" in decided(TUNED, lost).reason
    fewer = [each for each in runs if (each["model"], each["learning_rate"]) != ("small", 0.001)]
    assert "different numbers of values" in decided(TUNED, fewer).reason
    blind = [each | {"val_loss": math.nan} for each in runs]
    assert "no validation loss" in decided(TUNED, blind).reason
    wild = [each | {"status": "DIVERGED"} if each["learning_rate"] == 0.1 else each for each in runs]
    assert {c.arm: c.value for c in decided(TUNED, wild).choices}["small"] == 0.01
    pruned = [
        each | {"status": "PRUNED"}
        if (each["model"], each["learning_rate"], each["seed"]) == ("large", 0.001, 3)
        else each
        for each in runs
    ]
    assert "PRUNED" in decided(TUNED, pruned).reason
    # A run that was neither chosen nor chose is nobody's denominator.
    beside = [
        each | {"status": "PRUNED"}
        if (each["model"], each["learning_rate"], each["seed"]) == ("large", 0.1, 3)
        else each
        for each in runs
    ]
    assert decided(TUNED, beside).label == "supported"


EQUAL = SPOT.model_copy(update={"id": "equal", "protocol": "equal-compute"})


def compute_runs(off: float = 1.0) -> list[dict[str, Any]]:
    runs = []
    for model, size in (("small", 1), ("middle", 2), ("large", 4)):
        for epochs in (1.0, 2.0, 4.0):
            flops = 1e9 * size * epochs * (off if model == "large" else 1)
            rate = {"small": 0.5, "middle": 0.8, "large": 0.6}[model] if size * epochs == 4 else 0.2
            runs += seeds(3, rate, model=model, num_train_epochs=epochs, train_flops=flops)
    return runs


def test_equal_compute_pairs_runs_of_one_budget() -> None:
    found = decided(EQUAL, compute_runs(1.04))
    assert found.label == "supported"
    assert {c.arm: c.value for c in found.choices} == {"small": 4.0, "middle": 2.0, "large": 1.0}
    assert decided(EQUAL, compute_runs(1.2)).label == "inconclusive"
    assert "within 5 %" in decided(EQUAL, compute_runs(1.2)).reason
    given = decided(EQUAL.model_copy(update={"train_flops": 2e9}), compute_runs())
    assert "large" in given.reason and given.label == "inconclusive", "the large one cannot train so little"
    blind = [each | {"train_flops": None} for each in compute_runs()]
    assert "FLOPs are known" in decided(EQUAL, blind).reason


# --- together: survivors, one seed, p, Holm, sensitivity, needed


EVERY = {
    "reaches": (REACHES, sizes(0.8, 0.8, 0.8)[:3]),
    "best-of": (SPOT, sizes(0.5, 0.8, 0.8)),
    "no-gain-beyond": (ONCE, seeds(3, 0.6) + seeds(3, 0.6, num_train_epochs=3.0)),
    "stabilises": (STABLE, clipping(9)),
    "generalises": (GENERAL, seeds(3, {"_instruction": 0.6, "_tool": 0.9, "_category": 0.9})),
    "cheaper": (CHEAP.model_copy(update={"reference": 2.0}), sizes(0.6, 0.6, 0.6)),
}


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("status", ["PRUNED", "FAILED", "PENDING"])
def test_no_kind_is_supported_on_the_survivors(kind: str, status: str) -> None:
    asks, runs = EVERY[kind]
    lost = [each | {"status": status} if k == 0 else each for k, each in enumerate(runs)]
    found = decided(asks, lost)
    assert found.label == "inconclusive" and status in found.reason and math.isnan(found.p)
    assert (
        found.required_sample_size is not None
        and found.required_sample_size.seeds is None
        and "without a result" in found.required_sample_size.reason
    )


@pytest.mark.parametrize("kind", EVERY)
def test_no_kind_survives_one_seed_one_query_or_nothing(kind: str) -> None:
    asks, runs = EVERY[kind]
    one = decided(asks, [each for each in runs if each["seed"] == 0])
    assert one.label == "inconclusive" and math.isnan(one.p)
    if kind != "stabilises":
        # Six queries, one of each subset: then one.
        assert decided(asks, runs, queries=6).label == "inconclusive"
        trials, outcomes = tables(runs)
        single = outcomes[outcomes["query_id"] == "1"]
        assert decide_claim(asks, StudyTables(trials, single)).label == "inconclusive"
    unscored = tables(runs)[1].assign(passed=math.nan)
    found = decide_claim(asks, StudyTables(tables(runs)[0], unscored))
    assert found.label == "inconclusive"
    assert decide_claim(asks, StudyTables(tables(runs)[0], pd.DataFrame())).label == "inconclusive"


@pytest.mark.parametrize("kind", EVERY)
def test_duplicated_outcomes_are_an_error(kind: str) -> None:
    asks, runs = EVERY[kind]
    trials, outcomes = tables(runs)
    with pytest.raises(DataError, match="duplicate"):
        decide_claim(asks, StudyTables(trials, pd.concat([outcomes, outcomes.tail(1)])))


def test_unequal_query_sets_are_compared_where_they_meet_and_the_rest_is_counted() -> None:
    trials, outcomes = tables(sizes(0.5, 0.8, 0.8))
    large = trials.loc[trials["model"] == "large", "fingerprint"]
    short = outcomes[~(outcomes["fingerprint"].isin(large) & (outcomes["query_id"].astype(int) >= 500))]
    found = decide_claim(SPOT, StudyTables(trials, short))
    against = next(c for c in found.comparisons if c.first == "large")
    assert against.estimate.n_queries == 500 and against.estimate.exclusions.queries == 100
    assert "100 queries not scored" in found.reason


def test_evidence_is_what_paired_difference_gives() -> None:
    trials, outcomes = tables(sizes(0.5, [0.6, 0.8, 0.9], 0.8))
    matrix, pairing = build_pass_matrix(trials, outcomes), match_runs(trials, "model", "middle", "small")
    for alpha in (0.05, 0.01):
        mine = ev.estimate_pass_rate_difference(matrix, pairing).estimate_at_level(alpha)
        theirs = estimate_paired_difference(matrix, pairing, alpha=alpha)
        for name in ("estimate", "low", "high", "n", "n_queries", "n_seeds", "exclusions"):
            assert getattr(mine, name) == getattr(theirs, name), name


@pytest.mark.parametrize("kind", EVERY)
def test_p_is_the_level_at_which_the_claim_is_just_shown(kind: str) -> None:
    asks, runs = EVERY[kind]
    found = decided(asks, runs)
    assert found.label == "supported" and 0 < found.p <= asks.alpha
    assert found.p == max(c.p for c in found.comparisons if c.is_deciding)
    if 1e-6 < found.p < 0.9:
        above, below = (asks.model_copy(update={"alpha": found.p * factor}) for factor in (1.01, 0.99))
        assert decided(above, runs).label == "supported"
        assert decided(below, runs).label != "supported"


@pytest.mark.slow
def test_holm_over_the_claims_of_one_report() -> None:
    trials, outcomes = tables(sizes(0.66, 0.715, 0.66, count=4), 600)
    claims = [SPOT.model_copy(update={"id": f"c{k}", "reading": "interior"}) for k in range(2)]
    claims += [JUDGES, REACHES.model_copy(update={"where": {"model": "small"}, "reference": 0.9})]
    found = decide_claims(claims, StudyTables(trials, outcomes))
    tested = [verdict.p for verdict in found if not math.isnan(verdict.p)]
    expected = multipletests([*tested, 1.0], method="holm")[1][:-1]
    assert math.isnan(found[2].p) and math.isnan(found[2].p_adjusted) and found[2].is_supported_in_family is False
    assert len(tested) == 3 and [v.p_adjusted for v in found if v.p_adjusted == v.p_adjusted] == pytest.approx(expected)
    assert all(verdict.p_adjusted >= verdict.p for verdict in (found[0], found[1], found[3]))
    for verdict in found:
        assert verdict.is_supported_in_family == (verdict.label == "supported" and verdict.p_adjusted <= 0.05)


def test_sensitivity_reads_the_tables_otherwise() -> None:
    trials, outcomes = tables(sizes(0.5, 0.8, 0.8))
    middle = trials.loc[trials["model"] == "middle", "fingerprint"]
    # Half of what the middle solves was leaked: without it, it is no better.
    ids = sorted(
        set(outcomes.loc[outcomes["fingerprint"].isin(middle) & (outcomes["passed"] == 1), "query_id"]), key=int
    )
    small = trials.loc[trials["model"] == "small", "fingerprint"]
    solved = set(outcomes.loc[outcomes["fingerprint"].isin(small) & (outcomes["passed"] == 1), "query_id"])
    subset = dict(zip(outcomes["query_id"], outcomes["subset"], strict=True))
    leaked = [(subset[i], i) for i in ids if i not in solved]
    found = decide_claim(SPOT, StudyTables(trials, outcomes, leaked_queries=leaked))
    rows = {row.name: row for row in found.robustness_checks}
    assert list(rows) == [
        "definition: strict",
        "definition: stabletoolbench",
        "definition: tooleval",
        "without leaked queries",
        "solvable queries only",
    ]
    assert found.label == rows["definition: strict"].label == "supported"
    assert rows["without leaked queries"].label == "inconclusive"
    assert rows["without leaked queries"].n_queries == 600 - len(leaked)
    plain = decide_claim(SPOT, StudyTables(trials, outcomes.drop(columns=["status", "task"])))
    gone = {row.name: row for row in plain.robustness_checks}
    assert all(row.label is None and row.reason and math.isnan(row.estimate) for row in gone.values())
    assert "no column status" in gone["definition: tooleval"].reason
    assert decided(STABLE, clipping(9), with_robustness_checks=True).robustness_checks == ()


def test_definitions_of_whole_tables_are_those_of_single_queries() -> None:
    rng = np.random.default_rng(8)
    rows = [
        {
            "fingerprint": f"f{k % 3}",
            "subset": "G1_tool",
            "query_id": f"q{k // 3}",
            "judge": "llm",
            "vote": vote,
            "passed": math.nan,
            "status": rng.choice(["solved", "unsolved", "unsure", None]),
            "task": rng.choice(["solvable", "unsolvable", "unsure", None]),
            "answered": bool(rng.integers(2)),
        }
        for k in range(90)
        for vote in range(4)
    ]
    votes = pd.DataFrame(rows)
    single = {
        "strict": definition_of_strict,
        "stabletoolbench": definition_of_stabletoolbench,
        "tooleval": definition_of_tooleval,
    }
    found = compute_definition_matrices(votes)
    for name, definition in single.items():
        for (run_name, query), group in votes.groupby(["fingerprint", "query_id"]):
            value = found[name].loc[("G1_tool", query), run_name]
            assert value == pytest.approx(definition(group.to_dict("records")), nan_ok=True), name
    assert find_solvable_queries(votes.assign(task=None)) is None
    assert find_solvable_queries(votes.assign(task="unsolvable")) == set()


def test_needed_says_what_would_settle_it_and_it_does() -> None:
    rng = np.random.default_rng(5)

    def study(count: int, queries: int = 600) -> Verdict:
        drawn = rng.normal(0, 0.03, (2, count))
        once = [run(0.6 + drawn[0, k], seed=k) for k in range(count)]
        thrice = [run(0.6 + drawn[1, k], seed=k, num_train_epochs=3.0) for k in range(count)]
        return decided(ONCE, once + thrice, queries)

    found = next(v for v in (study(3) for _ in range(50)) if v.label == "inconclusive" and abs(v.estimate) < 0.02)
    assert found.required_sample_size is not None and found.required_sample_size.seeds is not None
    assert (
        found.required_sample_size.more_seeds == found.required_sample_size.seeds - 3
        and 1 <= found.required_sample_size.more_seeds < 30
    )
    settled = [study(found.required_sample_size.seeds + 5).label for _ in range(5)]
    assert settled.count("supported") >= 3
    assert study(30).required_sample_size is None


def test_needed_is_none_with_a_reason_where_it_cannot_be_said() -> None:
    one = decided(SPOT, sizes(0.5, 0.8, 0.8, count=1))
    assert (
        one.required_sample_size is not None
        and one.required_sample_size.seeds is None
        and "One seed" in one.required_sample_size.reason
    )
    few = decided(ONCE, seeds(3, 1.0) + seeds(3, 1.0, num_train_epochs=3.0), queries=18)
    assert few.label == "inconclusive" and few.required_sample_size is not None
    assert few.required_sample_size.seeds is None and few.required_sample_size.queries == pytest.approx(72, abs=2), (
        "3.6 / margin"
    )
    edge = decided(ONCE, seeds(3, 0.5) + seeds(3, 0.55, num_train_epochs=3.0))
    assert edge.required_sample_size is not None and (
        edge.required_sample_size.seeds,
        edge.required_sample_size.queries,
    ) == (None, None)
    assert "too close" in edge.required_sample_size.reason
    assert decided(SPOT, sizes(0.5, 0.8, 0.8)).required_sample_size is None


# --- error rates


def false_support(asks: Claim, runs: list[dict[str, Any]], rate: Any, studies: int, queries: int) -> float:
    """Share of studies that support a claim whose truth is at its boundary: seeds and queries drawn."""
    rng = np.random.default_rng(11)
    trials, outcomes = tables(runs, queries)
    truth = rate(outcomes, trials)
    names, places = (pd.factorize(outcomes[name])[0] for name in ("fingerprint", "query_id"))
    seed = (
        outcomes["fingerprint"].map(dict(zip(trials["fingerprint"], trials["seed"], strict=True))).to_numpy(dtype=int)
    )
    wrong = 0
    for _ in range(studies):
        hard, drift = rng.normal(0, 0.15, queries), rng.normal(0, 0.02, (names.max() + 1))
        chance = np.clip(truth + hard[places] - hard.mean() + drift[names], 0, 1)
        passed = (rng.random(len(outcomes)) < chance).astype(float)
        drawn = outcomes.assign(passed=passed)
        found = decide_claim(asks, StudyTables(trials, drawn), with_robustness_checks=False)
        wrong += found.label == "supported"
    assert len(set(seed)) > 1
    return wrong / studies


@pytest.mark.slow
def test_reaching_and_generalising_are_rarely_supported_at_their_margin() -> None:
    limit = 0.025 + 3 * math.sqrt(0.025 * 0.975 / 300)
    runs = seeds(4, 0.5)
    assert false_support(REACHES, runs, lambda o, t: np.full(len(o), 0.65), 300, 120) < limit
    unseen = lambda o, t: np.where(o["subset"].str.endswith("_instruction"), 0.6, 0.55)  # noqa: E731
    assert false_support(GENERAL, runs, unseen, 300, 240) < limit


@pytest.mark.slow
def test_stability_is_rarely_supported_where_clipping_does_nothing() -> None:
    rng, wrong, studies = np.random.default_rng(12), 0, 400
    for _ in range(studies):
        runs = clipping(0, of=12)
        for each in runs:
            each["status"] = "DIVERGED" if rng.random() < 0.4 else "COMPLETE"
        wrong += decided(STABLE, runs, queries=60).label == "supported"
    assert wrong / studies < 0.05

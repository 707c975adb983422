"""The verdicts of a study: looks and Holm's correction together, and the runs that open claims need."""

from __future__ import annotations

import pandas as pd
from claim_cases import make_claim
from claim_tables import run, seeds, tables

from sweeper.claims.study_verdicts import decide_at_looks, decide_claims, list_needed_runs
from sweeper.claims.tables import StudyEvidence
from sweeper.config import Claim


def reaches(name: str, model: str, reference: float, **fields: object) -> Claim:
    looks = {"looks": [2, 4], "spend": [0.02, 0.03]} | fields
    return make_claim("reaches", id=name, reference=reference, direction="at-least", where={"model": model}, **looks)


def model_seeds(rates: dict[str, list[float]]) -> list[dict[str, object]]:
    return [each for model, rate in rates.items() for each in seeds(len(rate), rate, model=model)]


def without_seeds(study: StudyEvidence, needed: set[str]) -> StudyEvidence:
    """The study with the results of the needed runs only."""
    there = study.trials["fingerprint"].isin(needed)
    outcomes = study.outcomes[study.outcomes["fingerprint"].isin(needed)]
    return StudyEvidence(study.trials.assign(status=study.trials["status"].where(there, "PENDING")), outcomes)


def grow(claims: list[Claim], study: StudyEvidence) -> tuple[StudyEvidence, list[int]]:
    """Train what is needed until nothing more is; the study, and the number of runs after each look."""
    needed: set[str] = set()
    counts = []
    while (more := list_needed_runs(claims, without_seeds(study, needed)) | needed) != needed:
        needed = more
        counts.append(len(needed))
    return without_seeds(study, needed), counts


def test_decided_claims_need_no_more_seeds_and_open_ones_do() -> None:
    claims = [reaches("clear", "small", 0.5), reaches("close", "large", 0.75)]
    study = StudyEvidence(*tables(model_seeds({"small": [0.9] * 4, "large": [0.7, 0.8, 0.7, 0.72]})))
    grown, counts = grow(claims, study)
    assert counts == [4, 6]
    trained = grown.trials[grown.trials["status"] == "COMPLETE"]
    assert trained.groupby("model").size().to_dict() == {"small": 2, "large": 4}
    verdicts, whole = decide_claims(claims, grown), decide_claims(claims, study)
    assert [verdict.label for verdict in verdicts] == ["supported", "inconclusive"]
    assert [verdict.look and verdict.look.number for verdict in verdicts] == [1, 2]
    for grown_verdict, whole_verdict in zip(verdicts, whole, strict=True):
        assert grown_verdict.p_adjusted == whole_verdict.p_adjusted
        assert grown_verdict.label == whole_verdict.label and grown_verdict.interval == whole_verdict.interval


def test_a_claim_that_is_decided_alone_goes_on_where_holm_leaves_it_open() -> None:
    """Alone it is supported at its first look; among eight claims it needs the second one."""
    rates = {"large": [0.73, 0.745, 0.73, 0.745]} | {f"m{k}": [0.7, 0.8, 0.7, 0.8] for k in range(7)}
    claims = [reaches("alone", "large", 0.5), *(reaches(f"c{k}", f"m{k}", 0.75) for k in range(7))]
    study = StudyEvidence(*tables(model_seeds(rates)))
    alone = decide_at_looks(claims[0], study)
    assert alone.label == "supported" and alone.look is not None and alone.look.number == 1
    together = decide_claims(claims, study)[0]
    assert together.look is not None and together.look.number == 2 and together.p <= alone.p
    assert together.label == "supported" and together.p_adjusted <= 0.05


def test_claims_without_looks_need_all_of_their_runs() -> None:
    claims = [reaches("clear", "small", 0.5), reaches("fixed", "large", 0.5, looks=[], spend="obrien-fleming")]
    study = StudyEvidence(*tables(model_seeds({"small": [0.9] * 4, "large": [0.9] * 4})))
    _, counts = grow(claims, study)
    assert counts == [6]
    assert decide_claims(claims, study)[1].look is None


def test_before_the_first_run_the_first_look_is_needed() -> None:
    trials, _ = tables([run(model="small", seed=seed, status="PENDING") for seed in range(4)])
    study = StudyEvidence(trials, pd.DataFrame())
    assert list_needed_runs([reaches("clear", "small", 0.5)], study) == set(trials["fingerprint"][:2])
    assert decide_claims([reaches("clear", "small", 0.5)], study)[0].label == "inconclusive"


def test_a_late_claim_does_not_keep_a_decided_one_open() -> None:
    """The report decides registered claims among themselves, so they need no seeds for a late one's sake."""
    rates = [0.9, 0.905, 0.895, 0.9]
    trials, outcomes = tables([run(rate, seed=seed, model="small") for seed, rate in enumerate(rates)], 240)
    fields = {"direction": "at-least", "reference": 0.7, "margin": 0.05, "looks": [2, 4], "spend": [0.025, 0.025]}
    early = make_claim("reaches", id="early", **fields)
    late = [make_claim("reaches", id=f"late{k}", **(fields | {"reference": 0.9, "margin": 0.001})) for k in range(3)]
    study = StudyEvidence(trials, outcomes, ("model",))
    alone = list_needed_runs([early], study)
    assert alone == {"run000", "run001"}
    assert list_needed_runs([early, *late], study, about=["early"]) >= alone
    assert list_needed_runs([early, *late], study, about=["late0"]) == {f"run{k:03d}" for k in range(4)}

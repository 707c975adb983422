"""`judge-independent`: agreement, scores and verdicts under each judge."""

from __future__ import annotations

import pandas as pd
import pytest
from claim_cases import JUDGES, SPOT, decide_across_judges, judge_twice, size_runs
from claim_tables import asked, tables

from sweeper.claims.decide import decide_claim
from sweeper.claims.tables import StudyEvidence


@pytest.mark.slow
def test_judge_independent_by_disagreement() -> None:
    alike = decide_across_judges(*judge_twice(0.02), [SPOT, JUDGES])
    assert alike.label == "supported" and "of which 1 decided" in alike.reason
    assert alike.labels_by_judge == {"oracle": {"best-of": "supported"}, "llm": {"best-of": "supported"}}
    assert decide_across_judges(*judge_twice(0.5), [SPOT, JUDGES]).label == "refuted"
    lenient = decide_across_judges(*judge_twice(0.2, lenient=True), [SPOT, JUDGES])
    assert lenient.label == "refuted" and "judge llm" in lenient.reason, "AC1 may hold while the score moves"


@pytest.mark.slow
def test_reversed_verdict_of_another_claim_refutes() -> None:
    trials, outcomes = tables(size_runs(0.46, 0.54, 0.46), 1200)
    turned = trials["model"].map({"small": 0.54, "middle": 0.46, "large": 0.54})
    other = asked(dict(zip(trials["fingerprint"], turned, strict=True)), 1200, "llm")
    found = decide_across_judges(trials, pd.concat([outcomes, other], ignore_index=True), [SPOT, JUDGES])
    assert found.label == "refuted" and "reverses with the judge" in found.reason


def test_one_judge_is_inconclusive() -> None:
    trials, outcomes = tables(size_runs(0.5, 0.8, 0.5))
    found = decide_claim(JUDGES, StudyEvidence(trials, outcomes))
    assert found.label == "inconclusive" and "one judge only (oracle)" in found.reason
    assert decide_claim(JUDGES, StudyEvidence(trials, pd.DataFrame())).label == "inconclusive"


def test_agreement_excludes_diverged_runs() -> None:
    """Diverged runs are zeros for every judge; agreement on them is none."""
    trials, outcomes = judge_twice(0.5)
    first = trials["fingerprint"].iloc[:3]
    gone = trials.assign(status=trials["status"].where(~trials["fingerprint"].isin(first), "DIVERGED"))
    found = decide_across_judges(gone, outcomes[~outcomes["fingerprint"].isin(first)], [JUDGES])
    agreement = found.comparisons[0]
    assert agreement.metric.name == "agreement" and abs(agreement.estimate.estimate) < 0.2
    assert agreement.estimate.n_runs == 6

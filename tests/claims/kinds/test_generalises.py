"""`generalises`: unseen against seen tools."""

from __future__ import annotations

import pytest
from claim_cases import GENERAL, decide_runs
from claim_tables import seeds, tables

from sweeper.claims.decide import decide_claim
from sweeper.claims.tables import StudyEvidence


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
def test_generalises_by_direction(unseen: float, direction: str, word: str) -> None:
    rate = {"_instruction": 0.8, "_tool": unseen, "_category": unseen}
    found = decide_runs(GENERAL.model_copy(update={"direction": direction}), seeds(3, rate), queries=6000)
    assert found.label == word and found.estimate == pytest.approx(unseen - 0.8, abs=0.002)


def test_generalises_names_missing_subsets() -> None:
    trials, outcomes = tables(seeds(3, 0.8))
    seen = outcomes[outcomes["subset"].str.endswith("_instruction")]
    found = decide_claim(GENERAL, StudyEvidence(trials, seen))
    assert found.label == "inconclusive" and "no unseen" in found.reason
    odd = outcomes.assign(subset=outcomes["subset"].str.replace("G3_instruction", "G3_other"))
    assert "G3_other" in decide_claim(GENERAL, StudyEvidence(trials, odd)).reason

"""`best-of` in each interpretation."""

from __future__ import annotations

import pytest
from claim_cases import SPOT, decide_runs, size_runs


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
def test_best_of_by_interpretation(rates: tuple[float, ...], words: tuple[str, ...]) -> None:
    names = ("beats-smaller", "interior", "smallest-non-inferior")
    for name, word in zip(names, words, strict=True):
        found = decide_runs(SPOT.model_copy(update={"reading": name}), size_runs(*rates), queries=900)
        assert (found.interpretation, found.label) == (name, word), name
        beside = {reading.name: reading.verdict for reading in found.other_interpretations}
        assert beside == {n: w for n, w in zip(names, words, strict=True) if n != name}

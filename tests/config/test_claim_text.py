"""The text of a claim says what the claim's fields say, also after another claim has extended it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from claim_files import CLAIM, KIND_OF_CLAIM, load_claim

from sweeper.config import Claim, find_sweep, load_sweep
from sweeper.config.claim_text import STATED_FIELDS, fill_in_text, find_unstated_changes
from sweeper.errors import ConfigError

BEST: dict[str, Any] = {"id": "x", "kind": "best-of", "axis": "model", "candidate": "opt-350m", "margin": 0.05}
CLIPPED = BEST | {"kind": "stabilises", "metric": "divergence_rate", "axis": "max_grad_norm", "candidate": 0.3}
REACHES = {"id": "x", "kind": "reaches", "reference": 0.7755, "direction": "at-least", "margin": 0.025}


@pytest.mark.parametrize(
    ("fields", "text", "filled"),
    [
        (BEST, "{candidate} is best by {margin}", "opt-350m is best by 5 points"),
        (BEST, "on the axis {axis}: {reading}, a {kind}", "on the axis model: beats smaller, a best of"),
        (CLIPPED | {"against": [None]}, "{candidate} and not {against}", "clip 0.3 and not clip off"),
        (CLIPPED | {"against": [1.0, 2.0, None]}, "{against}", "clip 1, clip 2 and clip off"),
        (CLIPPED, "{against}", "any other value"),
        (REACHES, "{direction} {reference}, {margin}", "at least 77.55 %, 2.5 points"),
        (BEST, "other { braces } stay", "other { braces } stay"),
    ],
)
def test_text_is_filled_in(fields: dict[str, Any], text: str, filled: str) -> None:
    assert fill_in_text(Claim.model_validate(fields | {"text": text})).text == filled


@pytest.mark.parametrize(
    ("fields", "text"), [(BEST, "{reference}"), (REACHES, "{candidate}"), (BEST, "{id}"), (BEST, "{}")]
)
def test_text_that_names_a_missing_field_is_refused(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=r"no such field; a text can name \{kind\}, \{axis\}"):
        fill_in_text(Claim.model_validate(fields | {"text": text}))


def test_changes_that_the_text_does_not_name_are_found() -> None:
    base = BEST | {"text": "{candidate} is the best."}
    assert list(find_unstated_changes(base, {"candidate": "opt-125m", "margin": 0.1})) == ["margin"]
    assert list(find_unstated_changes(base, {"candidate": "opt-125m", "margin": 0.1, "text": "So it is."})) == []
    assert (
        list(find_unstated_changes(base, {"margin": 0.05, "id": "y", "alpha": 0.1, "reading": "beats-smaller"})) == []
    )
    assert list(find_unstated_changes({}, dict.fromkeys(STATED_FIELDS, "other"))) == list(STATED_FIELDS)


@pytest.mark.parametrize("kind", ["best-of", "no-gain-beyond", "stabilises", "cheaper", "judge-independent"])
def test_text_without_fields_stays_as_it_is(kind: str, tmp_path: Path) -> None:
    assert load_claim(tmp_path, CLAIM + KIND_OF_CLAIM[kind]).text == "It is so."


def test_extended_claim_names_its_own_candidate(tmp_path: Path) -> None:
    """It said "350M is the best size" of opt-tiny-64."""
    sweep = load_sweep(find_sweep("quickstart"), ["claims=[{extends: sweet-spot, candidate: opt-tiny-64}]"])
    assert sweep.claims[0].text.startswith("opt-tiny-64 is the best size")
    smoke = load_sweep(find_sweep("scaling"), smoke_test=True)
    assert "opt-tiny-64 is the best size" in smoke.claims[0].text
    with pytest.raises(ConfigError, match="does not name it") as failure:
        load_sweep(find_sweep("quickstart"), ["claims=[{extends: sweet-spot, reading: interior}]"])
    assert failure.value.requested == "reading: interior"

"""How alpha is spread over looks, and which looks a claim may register."""

from __future__ import annotations

from typing import Any

import pytest
from claim_cases import make_claim
from scipy import stats

from sweeper.config import load_sweep
from sweeper.config.look_levels import spend_alpha
from sweeper.errors import ConfigError

OPENING = """
name: looks
question: How many seeds?
recipe: miniature
data: toolworld
evaluation: toolworld
axes: {model: [opt-tiny-32, opt-tiny-64], num_train_epochs: [1, 3], seed: [0, 1, 2, 3]}
accept_underpowered: true
"""


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("looks", [[3, 6, 10], [2, 4], [5, 6, 7, 8, 9, 10]], ids=str)
def test_levels_follow_the_spending_function_and_sum_to_alpha(alpha: float, looks: list[int]) -> None:
    levels = spend_alpha(alpha, looks, "obrien-fleming")
    spent = [2 * stats.norm.sf(stats.norm.isf(alpha / 2) / (seeds / looks[-1]) ** 0.5) for seeds in looks]
    assert [sum(levels[: k + 1]) for k in range(len(looks))] == pytest.approx(spent)
    assert levels == sorted(levels) if len(looks) < 4 else all(level > 0 for level in levels)


def test_half_of_the_seeds_spend_what_the_literature_says() -> None:
    """The boundary of that function at half of the information is 2.538 for a level of .05."""
    assert stats.norm.isf(spend_alpha(0.05, [5, 10], "obrien-fleming")[0]) == pytest.approx(2.538, abs=5e-4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"looks": [3]}, "two or more numbers"),
        ({"looks": [1, 3]}, "the first at least 2"),
        ({"looks": [3, 3]}, "ascending"),
        ({"looks": [2, 30]}, "below 1e-06: look later, or list the levels"),
        ({"looks": [3, 6], "spend": [0.05]}, "one level per look, 2"),
        ({"looks": [3, 6], "spend": [0.04, 0.05]}, "with the sum 0.05"),
        ({"looks": [3, 6], "spend": [0.0, 0.05]}, "a level of 0"),
        ({"spend": [0.05]}, "one level per look, 0"),
        ({"looks": [3, 6], "spend": "pocock"}, "obrien-fleming"),
        ({"looks": [3, 6], "protocol": "searched"}, "needs `protocol: identical`"),
    ],
    ids=str,
)
def test_looks_that_make_no_sense_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_claim("best-of", axis="model", candidate="middle", **fields)


def test_a_kind_that_is_decided_once_takes_no_looks() -> None:
    with pytest.raises(ValueError, match="does not take `looks`"):
        make_claim("judge-independent", metric="agreement", reference=0.6, looks=[2, 4])


@pytest.mark.parametrize(
    ("ending", "found"),
    [
        ("claims: [{extends: sweet-spot, candidate: opt-tiny-64, text: It is., looks: [2, 3]}]", "are not used"),
        ("until: tomorrow", "until"),
    ],
)
def test_a_sweep_must_reach_its_looks(ending: str, found: str, tmp_path: Any) -> None:
    path = tmp_path / "looks.yaml"
    path.write_text(OPENING + ending)
    with pytest.raises(ConfigError, match=found):
        load_sweep(path)


def test_looks_may_go_beyond_the_seeds_of_today(tmp_path: Any) -> None:
    """A study that is extended later has its looks from the start; the level of those not taken is not spent."""
    path = tmp_path / "looks.yaml"
    claim = "{extends: sweet-spot, candidate: opt-tiny-64, text: It is., looks: [3, 6, 10]}"
    path.write_text(f"{OPENING}until: decided\nclaims: [{claim}]")
    sweep = load_sweep(path)
    assert sweep.until == "decided" and sweep.claims[0].looks == [3, 6, 10]
    assert load_sweep(path, ["axes.seed=[0]"]).claims == sweep.claims
    assert load_sweep(path, ["claims=[]"]).until == "decided"
    assert load_sweep(path, smoke_test=True).claims[0].looks == []


def test_a_search_is_not_decided_early() -> None:
    from sweeper.config import find_sweep

    with pytest.raises(ConfigError, match="a search, whose trials are all confirmed"):
        load_sweep(find_sweep("search"), ["until=decided"])

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from query_votes import query

from sweeper.errors import DataError
from sweeper.statistics import (
    DEFINITIONS,
    compare_definitions,
    compute_judged_rates,
    compute_rates_by_judge,
    compute_rates_by_subset,
    wilson_interval,
)
from sweeper.statistics.definitions import JudgedRates


def table(*queries: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame([row for votes in queries for row in votes])


def values(found: JudgedRates) -> dict[str, float]:
    return {name: found.pass_rate[name].value for name in DEFINITIONS}


def test_judged_rates_match_hand_computed_values() -> None:
    """Six queries judged, one of them unscored, and two missing."""
    votes = table(
        query("sss", query_id="all"),
        query("su-", query_id="tie"),
        query("uu", "unsolvable", query_id="impossible"),
        query("u", None, query_id="failed"),
        query("s", answered=False, query_id="no answer"),
        query("--", query_id="unscored"),
    )
    found = compute_judged_rates(votes, [("G1", "m1"), ("G1", "m2")])
    assert (found.n, found.unscored, found.missing) == (8, 1, 2)
    assert found.votes == {"solved": 5, "unsolved": 4, "unsure": 0, "unscored": 3}
    expected = {"strict": (2, 7), "stabletoolbench": (2.5, 5), "tooleval": (3, 5)}
    for name, (passed, n) in expected.items():
        interval = wilson_interval(passed, n, 0.05)
        assert found.pass_rate[name].to_json() == {
            "value": pytest.approx(passed / n),
            "interval": pytest.approx([interval.low, interval.high]),
            "n": n,
        }
    narrow = compute_judged_rates(votes, [], alpha=0.5).pass_rate["strict"].interval
    assert narrow == wilson_interval(2, 5, 0.5)


def test_judged_rates_without_answers_are_zero_under_strict_only() -> None:
    found = compute_judged_rates(pd.DataFrame(), [("G1", "a"), ("G2", "b")])
    assert found.n == found.missing == 2 and values(found)["strict"] == 0.0
    assert math.isnan(values(found)["tooleval"]) and math.isnan(values(found)["stabletoolbench"])
    nothing = compute_judged_rates(pd.DataFrame(), [])
    assert all(math.isnan(value) for value in values(nothing).values()) and nothing.n == 0
    assert math.isnan(nothing.pass_rate["strict"].interval.low)


def test_subset_mean_weights_subsets_and_overall_rate_weights_queries() -> None:
    votes = table(
        *(query("s", query_id=str(i), subset="G1") for i in range(4)),
        query("u", query_id="0", subset="G2"),
    )
    found = compute_rates_by_subset(votes, [("G2", "m")])
    assert values(found.overall) == pytest.approx({"strict": 4 / 6, "stabletoolbench": 4 / 5, "tooleval": 4 / 5})
    assert list(found.subsets) == ["G1", "G2"] and found.subsets["G2"].n == 2
    assert found.subset_mean == {"strict": 0.5, "stabletoolbench": 0.5, "tooleval": 0.5}
    partly = compute_rates_by_subset(votes, [("G3", "m")]).subset_mean
    assert partly["strict"] == pytest.approx(1 / 3) and math.isnan(partly["tooleval"])


def test_judged_rates_on_all_and_on_solvable_queries() -> None:
    votes = table(
        query("s", query_id="1"),
        query("?", "unsolvable", query_id="2"),
        query("uu?", "unsolvable", query_id="3"),
        query("u", query_id="4"),
    )
    found = compare_definitions(
        votes, [("G1", "5")], solvable_queries={("G1", "1"), ("G1", "4"), ("G1", "5"), ("G1", "not here")}
    )
    rows = {(name, queries): (rate.value, rate.n) for name, queries, rate in found.rows}
    assert rows == {
        ("strict", "all"): (pytest.approx(1 / 5), 5),
        ("stabletoolbench", "all"): (pytest.approx((1 + 0.5 + 1 / 6) / 4), 4),
        ("tooleval", "all"): (pytest.approx(3 / 4), 4),
        ("strict", "solvable"): (pytest.approx(1 / 3), 3),
        ("stabletoolbench", "solvable"): (pytest.approx(1 / 2), 2),
        ("tooleval", "solvable"): (pytest.approx(1 / 2), 2),
    }
    assert found.spread == pytest.approx(3 / 4 - 1 / 5)
    assert len(compare_definitions(votes, []).rows) == 3
    assert math.isnan(compare_definitions(votes, [], solvable_queries=set()).spread)


def test_judges_are_compared_on_queries_that_all_scored() -> None:
    lenient = [query("s", query_id=str(i), judge="lenient") for i in range(4)]
    severe = [query(vote, query_id=str(i), judge="severe") for i, vote in enumerate("su-")]
    votes = table(*lenient, *severe)
    found = compute_rates_by_judge(votes, [("G1", "m")])
    assert found.left_out == 2
    assert {judge: values(rate)["strict"] for judge, rate in found.judges.items()} == {
        "lenient": pytest.approx(2 / 3),
        "severe": pytest.approx(1 / 3),
    }
    alone = compute_rates_by_judge(votes, [], solvable_queries={("G1", "1"), ("G1", "2")})
    assert alone.left_out == 1 and values(alone.judges["severe"])["strict"] == 0.0
    with pytest.raises(DataError, match="duplicate"):
        compute_rates_by_judge(pd.concat([votes, votes]), [])
    with pytest.raises(DataError, match="no column"):
        compute_rates_by_judge(votes.drop(columns="judge"), [])


def test_judged_rates_refuse_invalid_tables() -> None:
    votes = table(query("su", query_id="7"), query("u", query_id="8"))
    broken = {
        "duplicate rows": pd.concat([votes, votes.head(1)]),
        "other": pd.concat([votes, votes.assign(judge="other")]),
        "maybe": votes.assign(status="maybe"),
        "hopeless": votes.assign(task="hopeless"),
        "`answered` true or false": votes.assign(answered=None),
        "no column .'task'": votes.drop(columns="task"),
        "missing value in one of the columns": votes.assign(vote=[0, 1, None]),
    }
    for message, wrong in broken.items():
        with pytest.raises(DataError, match=message):
            compute_judged_rates(wrong, [])
    for missing in ([("G1", "7")], [("G1", "9"), ("G1", "9")]):
        with pytest.raises(DataError, match="judged or listed twice"):
            compute_judged_rates(votes, missing)
    number = votes.assign(query_id=[7, 7, 8])
    with pytest.raises(DataError, match="judged or listed twice"):
        compute_judged_rates(number, [("G1", "8")])
    assert values(compute_judged_rates(number, [], solvable_queries={("G1", "8")}))["strict"] == 0.0


@st.composite
def judged(draw: st.DrawFn, unanswered: bool = True) -> pd.DataFrame:
    tasks = st.sampled_from(["solvable", "unsolvable", "unsure", None])
    count = draw(st.integers(1, 8))
    return table(
        *(
            query(
                draw(st.text("su?-", min_size=1, max_size=4)),
                draw(tasks),
                not (unanswered and draw(st.booleans())),
                str(i),
                draw(st.sampled_from(["G1", "G2"])),
            )
            for i in range(count)
        )
    )


@given(judged(), st.randoms(use_true_random=False), st.integers(0, 3))
@settings(max_examples=20, deadline=None)
def test_judged_rates_ignore_row_order(votes: pd.DataFrame, random: Any, seed: int) -> None:
    order = list(range(len(votes)))
    random.shuffle(order)
    found, shuffled = (compute_rates_by_subset(rows, [("G1", "m")], seed=seed) for rows in (votes, votes.iloc[order]))
    assert repr(found) == repr(shuffled), "exactly, coins and rounding included (repr: NaN equals NaN)"


@given(judged(), st.data())
@settings(max_examples=20, deadline=None)
def test_judged_rates_ignore_unscored_votes_and_queries(votes: pd.DataFrame, data: st.DataObject) -> None:
    missing = [("G1", "m")]
    before = compute_judged_rates(votes, missing)
    at = data.draw(st.integers(0, len(votes) - 1))
    more = votes.iloc[[at]].assign(vote=9, status=None)
    new = votes.iloc[[at]].assign(query_id="new", status=None)
    after = compute_judged_rates(pd.concat([votes, more, new]), missing)
    assert repr(before.pass_rate) == repr(after.pass_rate)
    assert after.unscored == before.unscored + 1 and after.n == before.n + 1
    assert after.votes["unscored"] == before.votes["unscored"] + 2


@given(judged(unanswered=False), st.integers(0, 2))
@settings(max_examples=20, deadline=None)
def test_strict_is_lowest_where_every_episode_has_an_answer(votes: pd.DataFrame, missing: int) -> None:
    """A majority of solved votes passes under `tooleval` too, and is worth more than half under `stabletoolbench`."""
    found = values(compute_judged_rates(votes, [("G1", f"m{i}") for i in range(missing)]))
    if not math.isnan(found["tooleval"]):
        assert found["strict"] <= found["tooleval"] + 1e-12
        assert found["strict"] <= 2 * found["stabletoolbench"] + 1e-12


def test_unanswered_query_can_pass_strict_and_fail_tooleval() -> None:
    """The judge's word counts in the one, the missing Finish in the other."""
    found = values(compute_judged_rates(table(query("s", answered=False)), []))
    assert (found["strict"], found["tooleval"]) == (1.0, 0.0)


@pytest.mark.slow
def test_judged_rate_intervals_cover_the_truth() -> None:
    """Three independent votes per query: P(at least two solved) and the expected score are known."""
    generator = np.random.default_rng(5)
    shares = np.array([0.5, 0.3, 0.2])
    truth = {"strict": 3 * 0.5**2 * 0.5 + 0.5**3, "stabletoolbench": 0.5 + 0.2 / 2}
    # A vote fails if unsolved and is a coin if unsure: passes with probability 0.6; two of three must pass.
    truth["tooleval"] = 3 * 0.6**2 * 0.4 + 0.6**3
    covered = dict.fromkeys(truth, 0)
    keys = {"subset": "G1", "query_id": np.repeat(np.arange(60), 3), "judge": "j", "vote": np.tile([0, 1, 2], 60)}
    runs = 80
    for seed in range(runs):
        status = generator.choice(["solved", "unsolved", "unsure"], p=shares, size=180)
        votes = pd.DataFrame(keys | {"status": status, "task": "solvable", "answered": True})
        found = compute_judged_rates(votes, [], seed=seed, alpha=0.1).pass_rate
        for name, value in truth.items():
            interval = found[name].interval
            covered[name] += interval.low <= value <= interval.high
    noise = 3 * math.sqrt(0.9 * 0.1 / runs)
    assert abs(covered["strict"] / runs - 0.9) < noise and abs(covered["tooleval"] / runs - 0.9) < noise
    assert covered["stabletoolbench"] / runs > 0.96, "a mean of graded scores varies less than Wilson assumes"

"""Rates of judged answers, against numbers by hand."""

from __future__ import annotations

import pytest
from judged_answers import ANSWERS, JUDGED, answer, votes

from sweeper.evaluation.judged_rates import build_votes_table, summarize_comparisons, summarize_votes
from sweeper.evaluation.pairwise import PairwiseResult


def test_summarize_votes_counts_rates_rules_and_denominators() -> None:
    found = summarize_votes(ANSWERS, JUDGED, missing=[("G1_tool", "9")], solvable={("G1_tool", "1")})
    overall = found["overall"]
    assert found["judge"] == "rules"
    assert (overall["n"], overall["unscored"], found["missing"]) == (5, 0, 1)
    assert overall["pass_rate"]["strict"]["value"] == pytest.approx(2 / 5)
    assert overall["pass_rate"]["stabletoolbench"]["value"] == pytest.approx(2.5 / 4)
    low, high = overall["pass_rate"]["strict"]["interval"]
    assert low < 0.4 < high
    assert overall["rules"]["grounded"] == {"failed": 1, "undecided": 1, "n": 4, "share": pytest.approx(1 / 3)}
    assert found["subsets"]["G1_tool"]["rules"]["grounded"]["n"] == 2
    assert found["subsets"]["G3_instruction"]["pass_rate"]["strict"]["value"] == 0.5
    assert found["subset_mean"]["strict"] == pytest.approx((1 / 3 + 1 / 2) / 2)
    rows = found["judges"]["rules"]["sensitivity"]["rows"]
    assert {row["queries"] for row in rows} == {"all", "solvable"}


def test_summarize_votes_excludes_unscored_answers_and_lists_reasons() -> None:
    found = summarize_votes(ANSWERS, JUDGED)["judges"]["llm"]
    assert (found["overall"]["n"], found["overall"]["unscored"]) == (4, 1)
    assert found["overall"]["votes"] == {"solved": 3, "unsolved": 5, "unsure": 1, "unscored": 3}
    assert found["overall"]["pass_rate"]["strict"]["value"] == pytest.approx(1 / 3)
    assert found["unscored_reasons"] == {"why": 3}


def test_summarize_votes_measures_agreement_of_judges_and_of_votes() -> None:
    found = summarize_votes(ANSWERS, JUDGED)
    assert set(found["agreement"]) == {"rules~llm", "llm (votes)"}
    pair = found["agreement"]["rules~llm"]
    assert (pair["n"], pair["raw"]["value"]) == (3, 1.0)
    assert found["overall"]["agreement"] == found["agreement"]
    same = found["same_answers"]
    assert same["left_out"] == 1
    assert {name: rates["pass_rate"]["strict"]["value"] for name, rates in same["judges"].items()} == pytest.approx(
        {"rules": 1 / 3, "llm": 1 / 3}
    )


def test_answer_without_finish_fails_under_toolevals_definition() -> None:
    table = build_votes_table(ANSWERS, [votes("j", "solved")] * 4)
    assert list(table["answered"]) == [True, True, True, False]
    found = summarize_votes(ANSWERS, {"j": [votes("j", "solved")] * 4})
    assert found["overall"]["pass_rate"]["strict"]["value"] == 1.0
    assert found["overall"]["pass_rate"]["tooleval"]["value"] == 0.75


def test_labels_of_a_part_correct_the_rates_of_the_other_judges() -> None:
    answers = [answer(k, "G1_tool" if k % 2 else "G2_category") for k in range(40)]
    by_llm = [votes("llm", "solved" if k % 4 < 2 else "unsolved", "unsolved", "solved") for k in range(40)]
    by_llm[1] = votes("llm", None)
    by_person = [
        votes("human", "solved" if k % 4 < 2 and k else "unsure") if k < 12 else votes("human", None) for k in range(40)
    ]
    found = summarize_votes(answers, {"llm": by_llm, "human": by_person})["prediction_powered"]
    assert set(found) == {"llm"}
    overall = found["llm"]["overall"]
    assert (overall["n_labelled"], overall["n_judged"], overall["labels_left_out"]) == (11, 39, 1)
    assert overall["judge"]["value"] == pytest.approx(19 / 39)
    low, high = overall["corrected"]["interval"]
    assert low < overall["corrected"]["value"] < high
    assert 0 < overall["lambda"] < 1
    assert set(found["llm"]["subsets"]) == {"G1_tool", "G2_category"}
    assert found["llm"]["subsets"]["G2_category"]["n_labelled"] == 6


def test_without_labels_beside_a_judge_nothing_is_corrected() -> None:
    assert summarize_votes(ANSWERS, JUDGED)["prediction_powered"] == {}
    alone = {"human": [votes("human", "solved")] * 4}
    assert summarize_votes(ANSWERS, alone)["prediction_powered"] == {}


def test_summarize_comparisons_by_subset() -> None:
    made = [
        PairwiseResult("a", "pass", ""),
        PairwiseResult("tie", "tie", ""),
        PairwiseResult(None, "unscored", ""),
        PairwiseResult("b", "preference", ""),
        PairwiseResult(None, "undecided", ""),
    ]
    found = summarize_comparisons(made, [*ANSWERS, answer(5)])
    assert found["decided_by"] == {"pass": 1, "preference": 1, "tie": 1, "undecided": 1, "unscored": 1}
    assert (found["overall"]["n"], found["overall"]["unscored"], found["overall"]["value"]) == (3, 1, 0.5)
    assert (found["overall"]["undecided"], found["subsets"]["G1_tool"]["undecided"]) == (1, 1)
    assert found["subsets"]["G1_tool"]["value"] == 0.75

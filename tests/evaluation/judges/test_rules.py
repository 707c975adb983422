"""The rules: each is violated separately, names the call, and is undecided where the source cut the answer."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from answer_documents import FUNCTIONS, answer, answers, finish, seen
from hypothesis import given

from sweeper.evaluation.answer_files import read_answers
from sweeper.evaluation.answers import FINISH, Answer, ToolCall
from sweeper.evaluation.judges.base import Judge, Vote
from sweeper.evaluation.judges.rules import RULES, RulesJudge


def vote(one: Answer) -> Vote:
    ((found,),) = RulesJudge().judge([one])
    return found


def failed(one: Answer) -> list[str]:
    return [rule for rule, holds in vote(one).rules.items() if holds is False]


def undecided(one: Answer) -> list[str]:
    return [rule for rule, holds in vote(one).rules.items() if holds is None]


def call(arguments: str = '{"item": "lamp"}', response: str = seen("Blue Lamp: 41.5 EUR"), **changes: Any) -> ToolCall:
    return ToolCall(**{"name": "price_for_shop", "arguments": arguments, "response": response, **changes})


def test_good_answer_is_solved() -> None:
    judge: Judge = RulesJudge()
    ((found,),) = judge.judge([answer()])
    assert (found.judge, found.index, found.status) == ("rules", 0, "solved")
    assert found.rules == dict.fromkeys(RULES, True)
    assert judge.identity == ""  # fingerprints of suites with it are older than its identity


def test_real_answers_by_rule(real_toolbench: Path) -> None:
    """Counts checked by hand: the ten hallucinators and three fruitless ones by reading them, the rest by samples."""
    found = read_answers([real_toolbench / "converted_answers" / "gpt-3.5-turbo_CoT"])
    votes = [vote(one) for one in found]
    counts = {rule: Counter(v.rules[rule] for v in votes) for rule in RULES}
    assert counts == {
        "finished": {True: 102, False: 98},  # 86 empty, 12 gave up
        "no_hallucinated_api": {True: 190, False: 10},
        "well_formed_calls": {True: 103, None: 96, False: 1},
        "successful_relevant_call": {True: 23, None: 174, False: 3},
        "grounded": {True: 111, None: 89},
    }
    assert Counter(v.status for v in votes) == {"unsolved": 103, "unsure": 97}
    by_rule = {
        rule: {one.query_id for one, v in zip(found, votes, strict=True) if v.rules[rule] is False}
        for rule in ("no_hallucinated_api", "well_formed_calls", "successful_relevant_call")
    }
    assert by_rule == {
        "no_hallucinated_api": {"48685", "3393", "4357", "7058", "4451", "4083", "3949", "9085", "6144", "60"},
        "well_formed_calls": {"40719"},  # the text of its Finish has no end
        "successful_relevant_call": {"68394", "62498", "989"},  # nothing but errors
    }
    empty = [v for one, v in zip(found, votes, strict=True) if not one.final_answer]
    assert (len(empty), {v.status for v in empty}) == (86, {"unsolved"})


def test_real_uncut_answers_are_decided(real_toolbench: Path) -> None:
    found = read_answers([real_toolbench / "answer_cot"])
    assert {one.query_id: vote(one).status for one in found} == {"1073": "solved", "608": "solved", "588": "unsolved"}
    assert not any(undecided(one) for one in found)


# finished


@pytest.mark.parametrize(
    "final",
    ["", "  ", finish(""), finish(" \n"), finish("no", "give_up_and_restart"), '{"return_type": "give_answer"}'],
)
def test_empty_answers_fail(final: str) -> None:
    assert vote(answer(final=final)).rules["finished"] is False
    assert vote(answer(final=final)).status == "unsolved"


def test_finished_requires_finish_as_last_call() -> None:
    assert failed(answer(steps=(call(),))) == ["finished"]
    assert failed(answer(steps=(call(), ToolCall(FINISH, finish("x"), ""), call()))) == ["finished"]
    assert "gave-up" in vote(answer(final="", ended="gave-up")).reason
    unreadable = '{"return_type": "give_answer", no: "give_up_and_restart"'
    assert "return_type is give_up_and_restart" in vote(answer(final=unreadable)).reason


def test_finished_accepts_any_text_and_raw_line_breaks() -> None:
    assert vote(answer(final=finish("I'm sorry, I could not."))).rules["finished"]
    assert not failed(answer(final='{"return_type": "give_answer",\n"final_answer": "one\ntwo"}'))


# no_hallucinated_api


def test_hallucinated_api_is_named() -> None:
    found = vote(answer(call(), call(name="prices")))
    assert found.rules["no_hallucinated_api"] is False
    assert 'prices({"item": "lamp"}) is not offered' in found.reason


def test_cut_name_is_undecided() -> None:
    cut = ToolCall("price_for", "", "", cut=True)
    assert "no_hallucinated_api" in undecided(answer(call(), cut))
    assert "no_hallucinated_api" in failed(answer(call(), ToolCall("prix", "", "", cut=True)))
    assert "no_hallucinated_api" in failed(answer(call(), ToolCall("price_for", "{", "", cut=True)))


def test_finish_counts_as_offered() -> None:
    assert vote(answer(functions=FUNCTIONS[:1])).status == "solved"
    assert "well_formed_calls" in failed(answer(functions=FUNCTIONS[:1], final='{"final_answer": "x"}'))


# well_formed_calls


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        ('{"item": "lamp"}', False),
        ('{"item": "lamp", "count": 2, "new": true, "other": [1]}', False),
        ('{"item": "lamp", "count": "2", "new": "True"}', False),
        ('{"item": 5, "count": 2.5}', False),
        ('{"item": "two\nlines"}', False),
        ('{"count": 2}', True),
        ('{"item": null}', True),
        ('{"item": ["lamp"]}', True),
        ('{"item": "lamp", "count": "many"}', True),
        ('{"item": "lamp", "count": true}', True),
        ('{"item": "lamp", "new": "maybe"}', True),
        ('{"item": "lamp"', True),
        ('["lamp"]', True),
        ("", True),
        ('{"item": ' + "9" * 5000 + "}", True),
        ("[" * 100_000, True),
        ('{"item": ' + "[" * 900 + "]" * 900 + "}", True),
    ],
)
def test_well_formed_calls_checks_arguments(arguments: str, wrong: bool) -> None:
    assert failed(answer(call(arguments))) == (["well_formed_calls"] if wrong else [])


def test_well_formed_calls_checks_finish() -> None:
    for final in (
        finish("x", "give_all"),
        '{"final_answer": "x"}',
        '{"return_type": "give_answer", "final_answer": []}',
    ):
        assert "well_formed_calls" in failed(answer(final=final))


def test_cut_arguments_are_undecided() -> None:
    assert undecided(answer(call(), call('{"item": "la', "", cut=True))) == ["well_formed_calls"]
    assert not undecided(answer(call(), call(response='{"err', cut=True)))
    assert failed(answer(call(), call("lamp", "", cut=True))) == ["well_formed_calls"]
    assert failed(answer(call(), call('{"item"', '{"err', cut=True))) == ["well_formed_calls"]
    whole = finish("The Blue Lamp costs 41.50 euros.")
    ended_by = ToolCall(FINISH, whole[:20], "", cut=True)
    assert vote(answer(steps=(call(), ended_by))).status == "solved"  # its whole text is the final answer
    assert failed(answer(steps=(call(), ended_by), final=whole[:-2])) == ["well_formed_calls"]


@pytest.mark.parametrize(
    "parameters",
    [
        None,
        "text",
        {"properties": []},
        {"properties": {"item": 7}, "required": "item"},
        {"properties": {"item": {"type": "date"}}, "required": [None, 3]},
        {"properties": {"item": {"$ref": "http://127.0.0.1:9/never"}}},
        {"properties": {"item": {"type": ["string"], "pattern": "(a+)+$"}}, "$ref": "file:///etc/passwd"},
        {"properties": {"item": {"enum": []}}},
    ],
)
def test_odd_schemas_reject_nothing_and_fetch_nothing(parameters: Any) -> None:
    functions = ({"name": "price_for_shop", "parameters": parameters},)
    arguments = json.dumps({"item": "a" * 40 + "!"})
    assert failed(answer(call(arguments), functions=functions)) == []


# successful_relevant_call


@pytest.mark.parametrize(
    ("response", "cut", "fails"),
    [
        (seen("41"), False, False),
        (seen({"price": 41}), False, False),
        (seen({"results": []}), False, False),
        (seen(0), False, False),
        (seen(""), False, True),
        (seen(" {} "), False, True),
        (seen([]), False, True),
        (seen(None), False, True),
        (seen("41", "Timeout error..."), False, True),
        ("", False, True),
        ("lamp", False, True),
        ('{"error": "", "response": "cut by ToolBench at 1,024 char', False, False),
        ('{"error": "", "response": "', False, True),
        ('{"error": "Unauth', True, True),
        ('{"error": "", "response": "{\\"pa', True, False),
        ('{"error": "", "response": "{', True, None),
        ('{"error": "", "response": "\\n', True, None),
        ('{"error": "", "response": nul', True, None),
        ('{"error": "", "resp', True, None),
        ('{"error": "', True, None),
        ('{"er', True, None),
        ("", True, None),
        ("lamp", True, True),
    ],
)
def test_successful_relevant_call_checks_responses(response: str, cut: bool, fails: bool | None) -> None:
    one = answer(call(response=response, cut=cut), final=finish("done"))
    assert vote(one).rules["successful_relevant_call"] is (None if fails is None else not fails)


def test_one_successful_relevant_call_is_enough() -> None:
    bad = call(response=seen("", "error"))
    assert not failed(answer(bad, call(), bad))
    assert failed(answer(bad, ToolCall("other", "{}", seen("41.5 Blue Lamp")))) == [
        "no_hallucinated_api",
        "successful_relevant_call",
    ]
    found = vote(answer(steps=(ToolCall(FINISH, finish("done"), ""),), final=finish("done")))
    assert [rule for rule, holds in found.rules.items() if not holds] == ["successful_relevant_call"]


# grounded


@pytest.mark.parametrize(
    ("text", "response", "ungrounded"),
    [
        ("It costs 41.50 euros.", "41.5", False),
        ("It costs 43 euros.", "41.5", True),
        ("There are 4,523 viewers.", "viewers: 4523", False),
        ("It began on April 15, 2023.", "2023-04-15T14:00:00Z", False),
        ("Nice.", "anything", False),
        ("Sure! Here it is.\n- Perhaps\n1. Maybe", "anything", True),
        ("We found Lionel Messi in Rosario.", '{"name": "LIONEL MESSI"}', False),
        ("We found Diego and Lionel in Naples.", '{"name": "Lionel"}', True),
        ("It is by Beyoncé.", '{"name": "Beyonc\\\\u00e9"}', False),
        ("The id is B091J3NYVF.", "b091j3nyvf", False),
        ("It costs 41.", "2041", True),
    ],
)
def test_grounded_compares_specifics_with_responses(text: str, response: str, ungrounded: bool) -> None:
    one = answer(call(response=seen(response)), final=finish(text))
    assert failed(one) == (["grounded"] if ungrounded else [])


def test_grounded_ignores_specifics_of_the_query() -> None:
    assert failed(answer(call(response=seen("nothing")), query="A Blue Lamp for 41.5?")) == []


def test_grounded_is_undecided_for_cut_responses() -> None:
    text = finish("It costs 43 euros.")
    assert undecided(answer(call(response='{"error": "", "response": "It', cut=True), final=text)) == ["grounded"]
    found = vote(answer(call(), final=text))
    assert found.reason == "grounded: 1 of 1 specifics are in no response: 43"
    assert found.status == "unsolved"


# The whole.


def test_status_follows_from_the_rules() -> None:
    open_ = answer(call('{"item": "la', "", cut=True))
    assert vote(open_).status == "unsure"
    assert "cannot be decided" in vote(open_).reason
    assert vote(answer(call('{"item": "la', "", cut=True), final="")).status == "unsolved"


@given(answers(cut=True))
def test_any_answer_gets_the_same_vote_twice(one: Answer) -> None:
    first, again = RulesJudge().judge([one, one])
    assert first == again
    (found,) = first
    holds = set(found.rules.values())
    assert found.status == ("unsolved" if False in holds else "unsure" if None in holds else "solved")
    assert one.final_answer or found.status == "unsolved"


@pytest.mark.slow
def test_long_texts_are_judged_fast() -> None:
    for text in ("\\" * 500_000, "1" * 500_000 + "x", "1,1" * 200_000, '"' * 500_000, "A " * 200_000):
        # Each would take hours with a pattern that backtracks; the suite's time limit is what fails then.
        assert vote(answer(call(text, text), final=text)).status in ("solved", "unsolved", "unsure")
        cut = vote(answer(call(text, '{"error": "' + text, cut=True), final=finish(text)))
        assert cut.status in ("solved", "unsolved", "unsure")

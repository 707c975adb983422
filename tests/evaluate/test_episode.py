"""Model text is parsed, never executed; an episode ends for a stated reason."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sweeper import toolworld
from sweeper.evaluate.action import parse_action
from sweeper.evaluate.episode import OBSERVATION_CHARACTERS, Episode


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ('\nThought: hm\nAction: f\nAction Input: {"a": 1}', "f", {"a": 1}),
        ("\nThought: \nAction: f\nAction Input: {}", "f", {}),
        ("\nThought: \nAction: f\nAction Input: [1]", "f", None),
        ("\nThought: \nAction: f\nAction Input: __import__('os')", "f", None),
        ("\nThought: \nAction: f\nAction Input: {'a': 1}", "f", None),
        ("\nThought: \nAction: f", "f", None),
        ("\nThought: \nAction: \nAction Input: {}", None, {}),
        ("no format at all", None, None),
        ("", None, None),
        ("\nThought: \nAction: f\nAction Input: " + "[" * 5000, "f", None),
        ("\nThought: \nAction: f\nAction Input: " + '{"a": "' + "x" * 20_000 + '"}', "f", None),
    ],
)
def test_parsing(text: str, name: str | None, arguments: dict[str, Any] | None) -> None:
    action = parse_action(text)
    assert (action.name, action.arguments) == (name, arguments)


def act(name: str, arguments: str) -> str:
    return f"\nThought: \nAction: {name}\nAction Input: {arguments}"


def episode() -> Episode:
    return Episode("1", "G1_tool", frozenset({"f", "Finish"}))


def long_answer(name: str, arguments: dict[str, Any]) -> str:
    return "x" * 5000


def test_a_call_then_an_answer() -> None:
    run = episode()
    run.step(act("f", "{}"), long_answer, 5)
    assert run.turns[-1] == ("function", "x" * OBSERVATION_CHARACTERS)
    assert len(run.calls) == 1
    run.step(act("Finish", '{"return_type": "give_answer", "final_answer": "42"}'), long_answer, 5)
    assert (run.final_answer, run.ended) == ("42", "answered")
    assert (run.actions, run.valid_actions, run.valid_inputs, run.hallucinated) == (2, 2, 2, 0)


@pytest.mark.parametrize(
    ("text", "ended"),
    [
        (act("Finish", '{"return_type": "give_up_and_restart"}'), "gave-up"),
        (act("Finish", '{"return_type": "give_answer"}'), None),
        (act("Finish", '{"return_type": "give_answer", "final_answer": 3}'), None),
        (act("g", "{}"), None),
        (act("f", "nonsense"), None),
        ("nonsense", None),
    ],
)
def test_other_ends(text: str, ended: str | None) -> None:
    run = episode()
    run.step(text, long_answer, 5)
    assert run.ended == ended
    assert run.final_answer is None
    assert run.calls == []
    if ended is None:
        assert json.loads(run.turns[-1][1])["error"]
        run.step(text, long_answer, 2)
        assert run.ended == "steps"


def test_an_api_that_is_not_offered_is_hallucinated() -> None:
    run = episode()
    run.step(act("g", "{}"), long_answer, 5)
    assert (run.hallucinated, run.valid_actions) == (1, 0)


def test_gold_solutions_played_as_a_model_are_solved_and_answers_alone_are_not() -> None:
    world = toolworld.build_world(
        toolworld.WorldConfig(train_queries=6, validation_queries=3, test_queries_per_subset=4)
    )
    for rows in toolworld.test_queries(world).values():
        for row in rows:
            query = world.query(row["query_id"])
            run = Episode("1", query.subset, frozenset(f["name"] for f in query.functions))

            def execute(name: str, arguments: dict[str, Any], query: Any = query) -> str:
                return toolworld.execute(world.catalogue, query.apis, name, arguments)

            for name, arguments, _ in query.gold:
                run.step(act(name, json.dumps(arguments)), execute, 9)
            run.step(
                act("Finish", json.dumps({"return_type": "give_answer", "final_answer": query.answer})), execute, 9
            )
            assert run.final_answer is not None
            assert toolworld.solved(world, query, run.calls, run.final_answer)
            assert not toolworld.solved(world, query, [], run.final_answer)
            assert not toolworld.solved(world, query, run.calls, "")

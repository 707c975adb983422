"""The oracle passes gold solutions, and nothing that skipped a call or lost a value."""

from __future__ import annotations

import pytest

from sweeper.toolworld import World, WorldConfig, build_world, execute_call, is_solved


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(WorldConfig(train_queries=100, validation_queries=0))


def test_is_solved_accepts_gold_solutions(world: World) -> None:
    for query in world.splits["test"]:
        assert is_solved(world, query, list(query.gold_calls), query.gold_answer)
        assert is_solved(world, query, list(query.gold_calls)[::-1], f"Sure: {', '.join(query.gold_values).upper()}!")


def test_is_solved_ignores_failed_calls_in_between(world: World) -> None:
    query = world.splits["test"][0]
    name = query.gold_calls[0][0]
    wrong = (name, {"item": 1}, execute_call(world.catalogue, query.apis, name, {"item": 1}))
    assert is_solved(world, query, [wrong, *query.gold_calls], query.gold_answer)


def test_is_solved_refuses_an_answer_without_calls(world: World) -> None:
    for query in world.splits["test"]:
        assert not is_solved(world, query, [], query.gold_answer)
        for i in range(len(query.gold_calls)):
            assert not is_solved(world, query, [c for j, c in enumerate(query.gold_calls) if j != i], query.gold_answer)


def test_is_solved_refuses_other_arguments_or_apis(world: World) -> None:
    for query in world.splits["test"]:
        name, arguments, seen = query.gold_calls[-1]
        before = list(query.gold_calls[:-1])
        assert not is_solved(world, query, [*before, (name, {**arguments, "item": "nowhere"}, seen)], query.gold_answer)
        other = next(a.name for a in query.apis if a.name not in {n for n, _, _ in query.gold_calls})
        assert not is_solved(world, query, [*before, (other, arguments, seen)], query.gold_answer)


def test_is_solved_refuses_a_made_up_observation(world: World) -> None:
    query = world.splits["test"][0]
    name, arguments, _ = query.gold_calls[0]
    forged = (name, arguments, '{"error": "", "response": "1"}')
    assert not is_solved(world, query, [forged], query.gold_answer + " 1")


def test_is_solved_needs_every_value_as_a_whole_token(world: World) -> None:
    for query in world.splits["test"]:
        calls = list(query.gold_calls)
        assert not is_solved(world, query, calls, "")
        assert not is_solved(world, query, calls, query.gold_answer.replace(query.gold_values[-1], "nothing"))
        assert not is_solved(world, query, calls, " ".join(f"{v}0 0{v}" for v in query.gold_values))

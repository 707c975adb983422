"""The oracle passes gold solutions, and nothing that skipped a call or lost a value."""

from __future__ import annotations

import pytest

from sweeper.toolworld import World, WorldConfig, build_world, execute, solved


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(WorldConfig(train_queries=100, validation_queries=0))


def test_gold_solutions_pass(world: World) -> None:
    for query in world.splits["test"]:
        assert solved(world, query, list(query.gold), query.answer)
        assert solved(world, query, list(query.gold)[::-1], f"Sure: {', '.join(query.values).upper()}!")


def test_a_mistake_on_the_way_does_not_fail(world: World) -> None:
    query = world.splits["test"][0]
    name = query.gold[0][0]
    wrong = (name, {"item": 1}, execute(world.catalogue, query.apis, name, {"item": 1}))
    assert solved(world, query, [wrong, *query.gold], query.answer)


def test_an_answer_without_calls_never_passes(world: World) -> None:
    for query in world.splits["test"]:
        assert not solved(world, query, [], query.answer)
        for i in range(len(query.gold)):
            assert not solved(world, query, [c for j, c in enumerate(query.gold) if j != i], query.answer)


def test_other_arguments_or_apis_do_not_pass(world: World) -> None:
    for query in world.splits["test"]:
        name, arguments, seen = query.gold[-1]
        before = list(query.gold[:-1])
        assert not solved(world, query, [*before, (name, {**arguments, "item": "nowhere"}, seen)], query.answer)
        other = next(a.name for a in query.apis if a.name not in {n for n, _, _ in query.gold})
        assert not solved(world, query, [*before, (other, arguments, seen)], query.answer)


def test_a_made_up_observation_does_not_pass(world: World) -> None:
    query = world.splits["test"][0]
    name, arguments, _ = query.gold[0]
    forged = (name, arguments, '{"error": "", "response": "1"}')
    assert not solved(world, query, [forged], query.answer + " 1")


def test_every_value_is_needed_as_a_whole_token(world: World) -> None:
    for query in world.splits["test"]:
        calls = list(query.gold)
        assert not solved(world, query, calls, "")
        assert not solved(world, query, calls, query.answer.replace(query.values[-1], "nothing"))
        assert not solved(world, query, calls, " ".join(f"{v}0 0{v}" for v in query.values))

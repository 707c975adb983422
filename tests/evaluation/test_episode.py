"""Model text is parsed, never executed; an episode ends for a stated reason."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeper.config import DataSpec, EvaluationSpec
from sweeper.evaluation.action import parse_action, parse_finish_arguments
from sweeper.evaluation.environments import Observation
from sweeper.evaluation.environments.toolworld import ToolWorldEnvironment
from sweeper.evaluation.episode import (
    MAX_OBSERVATION_CHARACTERS,
    NO_FINAL_ANSWER,
    NO_RETURN_TYPE,
    WRONG_RETURN_TYPE,
    Episode,
    make_error_observation,
)
from sweeper.evaluation.judges.oracle import OracleJudge
from sweeper.evaluation.tasks import Task, load_tasks


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


def test_an_action_ends_where_its_input_ends() -> None:
    step = '\nThought: \nAction: f\nAction Input: {"a": 1}'
    action = parse_action(step + "\nThought: more\nAction: g\nAction Input: {}")
    assert (action.name, action.arguments, action.text) == ("f", {"a": 1}, step)
    assert action.extra_text.startswith("Thought: more")
    assert parse_action(step).extra_text == ""


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            '{"return_type": "give_answer", "final_answer": "a\nb"}',
            {"return_type": "give_answer", "final_answer": "a\nb"},
        ),
        ('{"return_type": "give_answer", "final_answer": "cut', {"return_type": "give_answer", "final_answer": "cut"}),
        ('{"return_type": "give_up_and_restart", "x', {"return_type": "give_up_and_restart"}),
        ("__import__('os')", {}),
        ("[" * 5000, {}),
    ],
)
def test_finish_is_read_as_leniently_as_toolbench_does(given: str, expected: dict[str, Any]) -> None:
    assert parse_finish_arguments(parse_action(act("Finish", given))) == expected


def episode() -> Episode:
    return Episode("1", "G1_tool", frozenset({"f", "Finish"}))


def long_answer(name: str, arguments: dict[str, Any]) -> Observation:
    return Observation("x" * 5000)


def test_a_call_then_an_answer() -> None:
    run = episode()
    run.step(act("f", "{}"), 7, long_answer, max_steps=5)
    assert run.turns[-1] == ("function", "x" * MAX_OBSERVATION_CHARACTERS + "...")
    final = '{"return_type": "give_answer", "final_answer": "42"}'
    run.step(act("Finish", final), 5, long_answer, max_steps=5)
    assert (run.final_answer, run.ended, run.tokens) == (final, "answered", 12)
    assert (run.actions, run.valid_actions, run.valid_inputs, run.hallucinated) == (2, 2, 2, 0)
    assert [call[0] for call in run.calls] == ["f", "Finish"]


@pytest.mark.parametrize(
    ("text", "ended", "seen"),
    [
        (act("Finish", '{"return_type": "give_up_and_restart"}'), "gave-up", None),
        (act("Finish", '{"return_type": "give_answer"}'), None, NO_FINAL_ANSWER),
        (act("Finish", '{"return_type": "other"}'), None, WRONG_RETURN_TYPE),
        (act("Finish", "{}"), None, NO_RETURN_TYPE),
        (act("g", "{}"), None, make_error_observation("No such function name: g")),
        (act("f", "nonsense"), None, make_error_observation("Tool input parse error...\n")),
        (act("f", ""), None, "x" * MAX_OBSERVATION_CHARACTERS + "..."),
        ("nonsense", None, make_error_observation("No such function name: ")),
    ],
)
def test_other_steps_are_answered_as_toolbench_answers_them(text: str, ended: str | None, seen: str | None) -> None:
    run = episode()
    run.step(text, 1, long_answer, max_steps=5)
    assert (run.ended, run.final_answer) == (ended, "")
    if seen is not None:
        assert run.turns[-1] == ("function", seen)
        run.step(text, 1, long_answer, max_steps=2)
        assert run.ended == "steps"


def test_budgets_end_an_episode() -> None:
    run = episode()
    run.step(act("f", "{}"), 30, long_answer, max_steps=5, max_tokens=40)
    assert run.ended is None
    run.step(act("f", "{}"), 10, long_answer, max_steps=5, max_tokens=40)
    assert run.ended == "tokens"


def test_what_the_environment_did_not_execute_is_kept_and_ends_the_episode_where_it_is_not_there() -> None:
    run = episode()
    run.step(act("f", "{}"), 1, lambda name, arguments: Observation("{}", "missed", "not recorded"), max_steps=5)
    assert (run.ended, run.requests, run.faults) == (None, 1, [("missed", "not recorded")])
    run.step(act("g", "{}"), 1, long_answer, max_steps=5)
    assert run.requests == 1, "the environment was not asked"
    run.step(act("f", "{}"), 1, lambda name, arguments: Observation(None, "failed", "refused"), max_steps=5)
    assert (run.ended, run.reason, run.requests, len(run.faults)) == ("unreachable", "refused", 2, 2)
    assert Episode.parse_line(run.format_line()) == run
    assert run.make_answer(Task("1", "G1_tool", "q", "s", ({"name": "f"},), {}), "m").ended == "unreachable"


def test_an_api_that_is_not_offered_is_hallucinated_and_text_after_an_action_is_seen() -> None:
    run = episode()
    run.step(act("g", "{}") + "\nFunction: made up", 1, long_answer, max_steps=5)
    assert (run.hallucinated, run.valid_actions, run.overgenerated) == (1, 0, 1)
    assert "made up" not in run.turns[0][1]
    assert "made up" in run.texts[0]


names = st.sampled_from(["f", "g", "Finish", ""])
inputs = st.one_of(
    st.sampled_from(['{"a": 1}', "{}", "", '{"return_type": "give_answer", "final_answer": "x"}']), st.text(max_size=20)
)
texts = st.lists(st.one_of(st.text(max_size=30), st.builds(act, names, inputs)), min_size=1, max_size=5)


@settings(max_examples=150, deadline=None)
@given(texts=texts)
def test_any_text_is_a_step_and_the_record_makes_the_episode_again(texts: list[str]) -> None:
    run = episode()
    for text in texts:
        if run.ended is None:
            run.step(text, 1, long_answer, max_steps=4)
    assert Episode.parse_line(run.format_line()) == run
    functions = ({"name": "f"}, {"name": "Finish"})
    answer = run.make_answer(Task("1", "G1_tool", "q", "s", functions, {}), "m")
    assert [(c.name, c.arguments) for c in answer.calls] == [(name, given) for name, given, _ in run.calls]
    assert (answer.final_answer != "") == (run.ended == "answered")


def test_gold_solutions_played_as_a_model_are_solved_and_answers_alone_are_not() -> None:
    settings = {"train_queries": 6, "validation_queries": 3, "test_queries_per_subset": 4}
    data = DataSpec(
        name="w", source="toolworld", toolworld=settings, api_format="signature", fold_steps=True, max_length=9
    )
    evaluation = EvaluationSpec(name="e", environment="toolworld", judge="oracle", batch_size=1)
    environment, judge = ToolWorldEnvironment(data), OracleJudge(data)
    for task in load_tasks(evaluation, data):
        gold = environment.world.get_query(task.id)
        final = act("Finish", json.dumps({"return_type": "give_answer", "final_answer": gold.gold_answer}))

        def played(texts: list[str], task: Task = task) -> Episode:
            run = Episode.from_task(task)
            for text in texts:
                run.step(text, 1, partial(environment.execute, task), max_steps=9)
            return run

        calls = [act(name, json.dumps(arguments)) for name, arguments, _ in gold.gold_calls]
        whole, alone, unanswered = (played(texts).make_answer(task, "m") for texts in ([*calls, final], [final], calls))
        votes = judge.judge([whole, alone, unanswered])
        assert [vote.status for (vote,) in votes] == ["solved", "unsolved", "unsolved"]

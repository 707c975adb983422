"""Steps of an episode, and how it ends."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeper.evaluation.environments import Observation
from sweeper.evaluation.episode import (
    MAX_OBSERVATION_CHARACTERS,
    NO_FINAL_ANSWER,
    NO_RETURN_TYPE,
    WRONG_RETURN_TYPE,
    Episode,
    make_error_observation,
)
from sweeper.evaluation.tasks import Task


def act(name: str, arguments: str) -> str:
    return f"\nThought: \nAction: {name}\nAction Input: {arguments}"


def episode() -> Episode:
    return Episode("1", "G1_tool", frozenset({"f", "Finish"}))


def long_answer(name: str, arguments: dict[str, Any]) -> Observation:
    return Observation("x" * 5000)


def test_step_executes_a_call_and_ends_with_an_answer() -> None:
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
def test_step_returns_toolbenchs_observations(text: str, ended: str | None, seen: str | None) -> None:
    run = episode()
    run.step(text, 1, long_answer, max_steps=5)
    assert (run.ended, run.final_answer) == (ended, "")
    if seen is not None:
        assert run.turns[-1] == ("function", seen)
        run.step(text, 1, long_answer, max_steps=2)
        assert run.ended == "steps"


def test_step_ends_at_the_token_limit() -> None:
    run = episode()
    run.step(act("f", "{}"), 30, long_answer, max_steps=5, max_tokens=40)
    assert run.ended is None
    run.step(act("f", "{}"), 10, long_answer, max_steps=5, max_tokens=40)
    assert run.ended == "tokens"


def test_step_records_faults_and_ends_if_the_environment_is_unreachable() -> None:
    run = episode()
    run.step(act("f", "{}"), 1, lambda name, arguments: Observation("{}", "missed", "not recorded"), max_steps=5)
    assert (run.ended, run.requests, run.faults) == (None, 1, [("missed", "not recorded")])
    run.step(act("g", "{}"), 1, long_answer, max_steps=5)
    assert run.requests == 1, "the environment was not asked"
    run.step(act("f", "{}"), 1, lambda name, arguments: Observation(None, "failed", "refused"), max_steps=5)
    assert (run.ended, run.reason, run.requests, len(run.faults)) == ("unreachable", "refused", 2, 2)
    assert Episode.parse_line(run.format_line()) == run
    assert run.make_answer(Task("1", "G1_tool", "q", "s", ({"name": "f"},), {}), "m").ended == "unreachable"


def test_step_counts_hallucinated_apis_and_extra_text() -> None:
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
def test_step_accepts_any_text_and_episodes_round_trip(texts: list[str]) -> None:
    run = episode()
    for text in texts:
        if run.ended is None:
            run.step(text, 1, long_answer, max_steps=4)
    assert Episode.parse_line(run.format_line()) == run
    functions = ({"name": "f"}, {"name": "Finish"})
    answer = run.make_answer(Task("1", "G1_tool", "q", "s", functions, {}), "m")
    assert [(c.name, c.arguments) for c in answer.calls] == [(name, given) for name, given, _ in run.calls]
    assert (answer.final_answer != "") == (run.ended == "answered")

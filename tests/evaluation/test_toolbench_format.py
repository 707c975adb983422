"""ToolBench's formats: parsed as ToolEval does, and round trips."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from answer_documents import FUNCTIONS, answer, answers, finish, seen
from hypothesis import given

from sweeper.data.schema_checks import SchemaMismatchError
from sweeper.errors import DataError
from sweeper.evaluation.answers import FINISH, Answer, ToolCall
from sweeper.evaluation.judges.base import Vote
from sweeper.evaluation.tool_messages import MAX_MESSAGE_CHARACTERS, make_tool_message, parse_tool_message
from sweeper.evaluation.toolbench_format import (
    format_tooleval_steps,
    infer_end_reason,
    make_converted_document,
    make_pass_rate_results,
    make_raw_document,
    parse_converted_answer,
    parse_finish,
    parse_raw_answer,
)

STATUS = {"Solved": "solved", "Unsolved": "unsolved", "Unsure": "unsure"}


def through_json(document: Any) -> Any:
    return json.loads(json.dumps(document))


def messages(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    below = document["answer"]["answer_details"]
    while below:
        yield below[0]["role"], below[0]["message"]
        below = below[0]["next"]


def tree(*nodes: dict[str, Any], final: str = "") -> dict[str, Any]:
    details = [{"role": "system", "message": "", "next": [{"role": "user", "message": "q", "next": list(nodes)}]}]
    made = {"method": "m", "total_steps": 0, "final_answer": final, "answer_details": details}
    return {"query": "q", "available_tools": list(FUNCTIONS), "answer": made}


def node(message: Any, *below: dict[str, Any], role: str = "tool") -> dict[str, Any]:
    return {"role": role, "message": message, "next": list(below)}


# Real material.


def real_raw(folder: Path) -> list[Answer]:
    order = json.loads((folder / "pass_rate_results" / "G1_instruction_virtual_chatgpt_cot.json").read_text())
    files = {i: folder / "answer_cot" / "G1_instruction" / f"{i}_CoT@1.json" for i in order}
    return [parse_raw_answer(i, "G1_instruction", json.loads(file.read_text())) for i, file in files.items()]


def test_pass_rate_results_equal_toolevals_own_files(real_toolbench: Path) -> None:
    results = real_toolbench / "pass_rate_results"
    theirs = json.loads((results / "G1_instruction_virtual_chatgpt_cot.json").read_text())
    found = real_raw(real_toolbench)
    votes = [
        [
            Vote("llm", int(vote), STATUS[status.removeprefix("AnswerStatus.")], "")  # type: ignore[arg-type]
            for vote, status in theirs[one.query_id]["is_solved"].items()
        ]
        for one in found
    ]
    # By way of the converted form, whose steps ToolEval shows its judge.
    converted = [parse_converted_answer(a.query_id, a.subset, through_json(make_converted_document(a))) for a in found]
    document, table = make_pass_rate_results(converted, votes, model="virtual_chatgpt_cot")
    assert through_json(document) == theirs
    assert table.encode() == (results / "G1_instruction_virtual_chatgpt_cot.csv").read_bytes()


def test_parse_raw_answer_reads_real_answers(real_toolbench: Path) -> None:
    by_id = {one.query_id: one for one in real_raw(real_toolbench)}
    assert {i: (len(a.calls), a.ended, a.method) for i, a in by_id.items()} == {
        "588": (6, "steps", "CoT@1"),
        "1073": (3, "answered", "CoT@1"),
        "608": (3, "answered", "CoT@1"),
    }
    assert by_id["588"].final_answer == ""
    assert by_id["1073"].calls[-1] == ToolCall(FINISH, by_id["1073"].final_answer, "")
    thought = next(step for step in by_id["1073"].steps if isinstance(step, str))
    assert thought.startswith("For the search query 'birthday party ideas'")
    for one in by_id.values():
        assert parse_raw_answer(one.query_id, one.subset, through_json(make_raw_document(one))) == one
        assert parse_converted_answer(one.query_id, one.subset, through_json(make_converted_document(one))) == one


@pytest.mark.parametrize("subset", ["G1_instruction", "G3_instruction"])
def test_real_converted_answers_round_trip(real_toolbench: Path, subset: str) -> None:
    """Everything except what the source cut off."""
    file = real_toolbench / "converted_answers" / "gpt-3.5-turbo_CoT" / f"{subset}.json"
    for query_id, theirs in json.loads(file.read_text()).items():
        one = parse_converted_answer(query_id, subset, theirs)
        mine = through_json(make_converted_document(one, message_characters=100))
        for (role, message), (their_role, their_message) in zip(messages(mine), messages(theirs), strict=True):
            assert role == their_role
            rest = their_message.removeprefix(message) if their_message.startswith(message) else None
            assert rest is not None, (message, their_message)
            assert rest in ("", "\\") or "'\", 'response': '".find(rest.lstrip("'")) >= 0
        assert {k: v for k, v in mine["answer"].items() if k != "answer_details"} == {
            k: v for k, v in theirs["answer"].items() if k != "answer_details"
        }
        assert (mine["query"], mine["available_tools"]) == (theirs["query"], theirs["available_tools"])
        assert parse_converted_answer(query_id, subset, through_json(make_converted_document(one))) == one


def test_parse_raw_answer_reads_real_searches(real_toolbench: Path) -> None:
    file = real_toolbench / "answer" / "G3_answer" / "21_ChatGPT_DFS_woFilter_w2.json"
    valid = parse_raw_answer("21", "G3", json.loads(file.read_text()))
    assert [call.name for call in valid.calls] == [
        "raiderio_call_for_raider_io",
        "dota_2_steam_web",
        "getsponsorships_for_diablo4_smartable",
        FINISH,
    ]
    assert (valid.method, valid.ended) == ("DFS", "answered")
    file = real_toolbench / "answer" / "G1_answer" / "69_ChatGPT_DFS_woFilter_w2.json"
    invalid = parse_raw_answer("69", "G1", json.loads(file.read_text()))
    assert invalid.final_answer == ""
    assert len(invalid.calls) == 6


# Round trips.


@given(answers(cut=True))
def test_converted_round_trip(one: Answer) -> None:
    assert parse_converted_answer(one.query_id, one.subset, through_json(make_converted_document(one))) == one


@pytest.mark.slow
@given(answers())
def test_raw_round_trip(one: Answer) -> None:
    assert parse_raw_answer(one.query_id, one.subset, through_json(make_raw_document(one))) == one


def test_raw_document_has_what_toolevals_conversion_reads() -> None:
    one = answer(ToolCall("f", "{}", "1"), ToolCall("g", "{}", "2"))
    valid = make_raw_document(one)["answer_generation"]
    assert valid["valid_data"]
    (talk,) = valid["train_messages"]
    assert [message["role"] for message in talk[:2]] == ["system", "user"]
    for k, message in enumerate(talk):
        called = message.get("function_call")
        if called and called["name"] != FINISH:
            assert talk[k + 1]["role"] == "function"
            assert talk[k + 1]["content"] in ("1", "2")
    assert "function_call" not in talk[2]  # a thought is one by not having the key
    invalid = make_raw_document(answer(ToolCall("f", "{}", "1"), final=""))
    assert not invalid["answer_generation"]["valid_data"]
    assert [(n["node_type"], n["description"], n.get("observation")) for n in invalid["trys"][0]["chain"]] == [
        ("Thought", "First I'll ask.", None),
        ("Action", "f", None),
        ("Action Input", "{}", "1"),
    ]


def test_make_raw_document_rejects_cut_calls() -> None:
    with pytest.raises(DataError, match="only the beginning"):
        make_raw_document(answer(ToolCall("f", "{", "", cut=True)))


def test_converted_document_counts_all_nodes() -> None:
    document = make_converted_document(answer(), message_characters=100)
    assert document["answer"]["total_steps"] == 5 == len(list(messages(document)))
    assert all(len(message) <= 100 for _, message in messages(document))


def test_converted_document_has_ended_only_where_it_is_not_implied() -> None:
    assert "ended" not in make_converted_document(answer())
    assert make_converted_document(answer(final="", ended="tokens"))["ended"] == "tokens"
    assert infer_end_reason("", [ToolCall(FINISH, '{"return_type": "give_up_and_restart"}', "")]) == "gave-up"


# Shapes.


def test_parse_converted_answer_follows_the_branch_to_the_final_answer() -> None:
    def call(name: str, arguments: str = "{}") -> str:
        return make_tool_message(ToolCall(name, arguments, ""))

    final = finish("yes")
    branches = (
        node(call("a"), node(call("b")), node(call(FINISH, finish("no")))),
        node(call("c"), node(call("d"), node(call(FINISH, final))), node(call("e"))),
    )
    assert [c.name for c in parse_converted_answer("1", "s", tree(*branches, final=final)).calls] == ["c", "d", FINISH]
    assert [c.name for c in parse_converted_answer("1", "s", tree(*branches)).calls] == ["a", "b"]
    cut = node(call("c"), node(call(FINISH, final)[:40]))
    assert len(parse_converted_answer("1", "s", tree(node(call("a")), cut, final=final)).calls) == 2


def test_parse_converted_answer_accepts_messages_as_objects() -> None:
    message = {"name": "f", "arguments": {"x": 1}, "response": None}
    assert parse_converted_answer("1", "s", tree(node(message))).calls == (ToolCall("f", '{"x": 1}', ""),)


def test_parse_raw_answer_reads_tool_calls() -> None:
    talk = [
        {"role": "system", "content": ""},
        {"role": "user", "content": "q"},
        {
            "role": "assistant",
            "tool_calls": [{"id": k, "function": {"name": k, "arguments": "{}"}} for k in ("a", "b")],
        },
        {"role": "tool", "tool_call_id": "b", "content": "of b"},
        {"role": "tool", "tool_call_id": "a", "content": "of a"},
        {"role": "assistant", "content": "well", "tool_calls": None},
        {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": FINISH, "arguments": finish("x")}}]},
    ]
    made = {"valid_data": True, "final_answer": finish("x"), "function": [], "train_messages": [talk], "query": "q"}
    assert parse_raw_answer("1", "s", {"answer_generation": made}).steps == (
        ToolCall("a", "{}", "of a"),
        ToolCall("b", "{}", "of b"),
        "well",
        ToolCall(FINISH, finish("x"), ""),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (finish("yes"), ("give_answer", "yes")),
        ('{"return_type": "give_answer",\n "final_answer": "two\nlines"}', ("give_answer", "two\nlines")),
        ('{"return_type": "give_up_and_restart"', ("give_up_and_restart", "")),
        ('{"return_type": "give_answer", "final_answer": "cut in the mid', ("give_answer", "cut in the mid")),
        ('{"return_type": ["give_answer"], "final_answer": null}', ("", "")),
        ("just text", ("", "just text")),
        ("", ("", "")),
    ],
)
def test_parse_finish_is_lenient(text: str, expected: tuple[str, str]) -> None:
    assert parse_finish(text) == expected


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.pop("query"), "query is NoneType"),
        (lambda d: d.update(available_tools={}), "available_tools is dict"),
        (lambda d: d["available_tools"][0].pop("name"), r"available_tools\[0\].name"),
        (lambda d: d["answer"].update(answer_details="x"), "answer_details is str"),
        (lambda d: d["answer"]["answer_details"].append(7), r"answer_details\[1\] is int"),
        (lambda d: d["answer"]["answer_details"][0].update(role="wizard"), "wizard"),
        (lambda d: d["answer"]["answer_details"][0].update(next=["x"]), "next"),
        (lambda d: d["answer"].update(final_answer="x" * (MAX_MESSAGE_CHARACTERS + 1)), "characters, over"),
    ],
)
def test_parse_converted_answer_names_the_mismatch(change: Any, says: str) -> None:
    document = through_json(make_converted_document(answer()))
    change(document)
    with pytest.raises(SchemaMismatchError, match=says):
        parse_converted_answer("7", "s", document)


@pytest.mark.parametrize(
    "document", [[], {}, {"answer_generation": {}}, {"answer_generation": {"valid_data": True, "train_messages": []}}]
)
def test_parse_raw_answer_rejects_other_documents(document: Any) -> None:
    with pytest.raises(SchemaMismatchError):
        parse_raw_answer("1", "s", document)


# Untrusted text.


def test_parse_tool_message_executes_nothing(tmp_path: Path) -> None:
    flag = tmp_path / "run"
    code = f"__import__('os').system('touch {flag}')"
    with pytest.raises(SchemaMismatchError, match="not a call"):
        parse_tool_message(code)
    for text in (f"{{'name': {code}}}", f"{{'name': 'f', 'arguments': {code}, 'response': ''}}", f"{{{code}: 1}}"):
        try:
            assert parse_tool_message(text).cut
        except SchemaMismatchError:
            continue
    assert parse_converted_answer("1", "s", tree(node(code, role="assistant"))).steps == (code,)
    assert not flag.exists()


def test_parse_converted_answer_reads_deep_trees() -> None:
    below: list[dict[str, Any]] = []
    for _ in range(20_000):
        below = [node("t", *below, role="assistant")]
    assert len(parse_converted_answer("1", "s", tree(*below)).steps) == 20_000


def test_long_messages_are_rejected_and_backslashes_parse_fast() -> None:
    with pytest.raises(SchemaMismatchError, match="1,000,001 characters"):
        parse_converted_answer("1", "s", tree(node("x" * 1_000_001)))
    call = ToolCall("f", "\\" * 300_000, "'\"" * 100_000)
    assert parse_tool_message(make_tool_message(call)) == call


# ToolEval's result files, without real answers.


def test_pass_rate_results_of_two_answers() -> None:
    one, other = answer(), answer(ToolCall("f", "{}", 'tab\tand "quotes"'), query_id="8", final="")
    votes = [
        [Vote("llm", 2, "solved", ""), Vote("llm", 0, None, "timeout"), Vote("llm", 1, "unsure", "")],
        [Vote("llm", 0, "unsolved", "")],
    ]
    document, table = make_pass_rate_results([one, other], votes, model="me")
    assert document["7"]["is_solved"] == {"2": "AnswerStatus.Solved", "1": "AnswerStatus.Unsure"}
    assert document["7"]["tool_names"] == ["price_for_shop", FINISH]
    first, last = one.calls
    assert format_tooleval_steps(one) == (
        f"Step 1: {make_tool_message(first)}\nStep 2: {make_tool_message(last)}",
        f"Final step: {make_tool_message(last)}",
    )
    rows = list(csv.DictReader(io.StringIO(table, newline=""), delimiter="\t"))
    assert [row["query_id"] for row in rows] == ["7", "8"]
    assert rows[0]["is_solved"] == "{2: 'AnswerStatus.Solved', 1: 'AnswerStatus.Unsure'}"
    assert rows[1]["model_final_step"] == document["8"]["final_step"]
    assert seen("x") == '{"error": "", "response": "x"}'


def test_pass_rate_results_reject_repeated_ids() -> None:
    with pytest.raises(DataError, match="twice"):
        make_pass_rate_results([answer(), answer(subset="G2_category")], [[], []], model="me")


def test_format_tooleval_steps_without_calls_is_empty() -> None:
    assert format_tooleval_steps(answer(steps=(), final="")) == ("", "")

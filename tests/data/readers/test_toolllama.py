"""ToolLLaMA's released files give the conversations of the answers; damage is named with its position."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_data import make_toolbench_spec, read_conversations

from sweeper.data.conversations import ReaderCounts
from sweeper.data.export import format_toolllama_example
from sweeper.data.readers.toolllama import parse_toolllama_example
from sweeper.data.sources import open_source


def test_real_release_reads_as_the_real_answers(real_toolbench: Path) -> None:
    released, counts = read_conversations(real_toolbench / "toolllama_G1.json")
    own, _ = read_conversations(real_toolbench / "answer" / "G1_answer")
    assert (len(released), dict(counts.drop_counts)) == (16, {})
    assert sorted(map(repr, released)) == sorted(map(repr, own))
    assert [c.apis.names for c in released] == [c.apis.names for c in released if c.apis.functions]


def test_released_train_and_eval_files_are_the_splits(released: Path, tmp_path: Path) -> None:
    rows = json.loads(released.read_text())
    (tmp_path / "toolllama_G123_dfs_train.json").write_text(json.dumps(rows[:6]))
    (tmp_path / "toolllama_G123_dfs_eval.json").write_text(json.dumps(rows[6:8]))
    source = open_source(make_toolbench_spec(tmp_path))
    assert source.kind == "toolllama"
    assert [split for split, _ in source.read_conversations(ReaderCounts())] == ["train"] * 6 + ["validation"] * 2


Damage = Callable[[bytes], bytes]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda b: b[: len(b) // 2], "damaged-file"),
        (lambda b: b[: len(b) // 2] + b"\x00\x00" + b[len(b) // 2 :], "damaged-file"),
        (lambda b: b[: len(b) // 2] + b"\xff\xfe" + b[len(b) // 2 :], "damaged-file"),
        (lambda b: b.rstrip().rstrip(b"]"), "damaged-file"),
        (lambda b: b"[]", "wrong-shape"),
    ],
    ids=["cut", "nul", "not-utf8", "no-end", "empty"],
)
def test_damaged_file_is_named_with_its_position(released: Path, tmp_path: Path, damage: Damage, reason: str) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(damage(released.read_bytes()))
    parsed, counts = read_conversations(file)
    whole, _ = read_conversations(released)
    assert parsed == whole[: len(parsed)]
    assert len(parsed) < len(whole) or reason == "damaged-file"
    assert counts.drop_counts == {reason: 1}
    assert str(file) in counts.problems[0]
    if reason == "damaged-file":
        assert "byte" in counts.problems[0]


def make_example(**changes: object) -> dict[str, object]:
    turns = [("system", "s"), ("user", "u"), ("assistant", "\nThought: \nAction: f\nAction Input: {}")]
    row = {"id": "Step 2: q", "conversations": [{"from": who, "value": text} for who, text in turns]}
    return row | changes


def make_turns(*roles: str) -> list[dict[str, str]]:
    return [{"from": role, "value": "x\nAction Input: {}"} for role in roles]


@pytest.mark.parametrize(
    ("row", "reason", "message"),
    [
        (make_example(conversations=make_turns("system", "user")), "no-target", "ends with user"),
        (
            make_example(conversations=make_turns("system", "user", "assistant", "function")),
            "no-target",
            "ends with function",
        ),
        (
            make_example(conversations=make_turns("user", "system", "assistant")),
            "wrong-shape",
            "starts with user, system",
        ),
        (
            make_example(conversations=make_turns("system", "user", "function", "assistant")),
            "wrong-shape",
            "before any call",
        ),
        (make_example(conversations=make_turns("system", "user", "wizard", "assistant")), "wrong-shape", "wizard"),
        (make_example(conversations=[]), "wrong-shape", "starts with"),
        (make_example(conversations="no"), "wrong-shape", "str, not list"),
        (make_example(conversations=[{"from": "system", "value": None}]), "wrong-shape", "NoneType"),
        (make_example(id=3), "wrong-shape", "id is int"),
        ("text", "wrong-shape", "not an object"),
    ],
)
def test_parse_toolllama_example_counts_and_locates_invalid_examples(row: object, reason: str, message: str) -> None:
    counts = ReaderCounts()
    assert parse_toolllama_example("file[7]", row, counts) is None
    assert counts.drop_counts == {reason: 1}
    assert counts.problems[0].startswith("file[7]: ")
    assert message in counts.problems[0]


def test_arguments_that_are_not_json_are_kept_and_counted() -> None:
    counts = ReaderCounts()
    row = make_example()
    row["conversations"][-1]["value"] = "\nThought: \nAction: f\nAction Input: {not json"  # type: ignore[index]
    parsed = parse_toolllama_example("x", row, counts)
    assert parsed is not None
    assert parsed.turns[-1].content.endswith("{not json")
    assert (counts.arguments_not_json, counts.drop_counts) == (1, {})


def test_duplicate_ids_are_kept_and_counted(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps([make_example(), make_example()]))
    parsed, counts = read_conversations(tmp_path / "x.json")
    assert (len(parsed), counts.duplicate_ids) == (2, 1)


def test_api_list_is_parsed_as_literals_and_never_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    listed = f"[__import__('pathlib').Path({str(marker)!r}).touch()]"
    row = make_example()
    row["conversations"][0]["value"] = f"s\nSpecifically, you have access to the following APIs: {listed}"  # type: ignore[index]
    parsed = parse_toolllama_example("x", row, ReaderCounts())
    assert parsed is not None
    assert (parsed.apis.functions, parsed.apis.names, parsed.apis.text) == (None, (), listed)
    assert not marker.exists()


roles = st.sampled_from(["system", "user", "assistant", "function"])


values = st.one_of(st.none(), st.integers(), st.text(max_size=20))


messages = st.lists(
    st.one_of(values, st.fixed_dictionaries({"from": st.one_of(roles, values), "value": values})), max_size=6
)


@settings(max_examples=200, deadline=None)
@given(row=st.one_of(values, st.fixed_dictionaries({"id": values, "conversations": st.one_of(values, messages)})))
def test_parse_toolllama_example_reads_or_counts_any_input(row: object) -> None:
    counts = ReaderCounts()
    parsed = parse_toolllama_example("x", row, counts)
    assert (parsed is None) == (sum(counts.drop_counts.values()) == 1)
    if parsed is not None:
        assert parsed.turns[-1].role == "assistant"
        again = parse_toolllama_example("x", format_toolllama_example(parsed), ReaderCounts())
        assert again is not None
        assert again.turns[1:] == parsed.turns[1:]

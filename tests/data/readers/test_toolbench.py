"""ToolBench answers are read as ToolBench's own preprocessing reads them; what is wrong is named and counted."""

from __future__ import annotations

import json
from pathlib import Path

from sweeper.config import DataSpec
from sweeper.data.conversations import Conversation, ReaderCounts
from sweeper.data.export import format_toolllama_example
from sweeper.data.readers.toolbench import parse_toolbench_answer
from sweeper.data.sources import open_source
from sweeper.toolworld import WorldConfig, build_world, export_world, make_training_documents

SMALL = WorldConfig(train_queries=12, validation_queries=4, test_queries_per_subset=2)


def read_answers(path: Path, counts: ReaderCounts) -> list[Conversation]:
    spec = DataSpec(
        name="d", source="toolbench", path=str(path), api_format="toolbench", fold_steps=False, max_length=9
    )
    return [conversation for _, conversation in open_source(spec).read_conversations(counts)]


def test_real_answers_equal_toolbenchs_preprocessing(real_toolbench: Path) -> None:
    counts = ReaderCounts()
    own = [format_toolllama_example(c) for c in read_answers(real_toolbench / "answer" / "G1_answer", counts)]
    expected = json.loads((real_toolbench / "toolllama_G1.json").read_text())
    assert sorted(map(json.dumps, own)) == sorted(
        json.dumps({k: row[k] for k in ("id", "conversations")}) for row in expected
    )
    assert (counts.valid_queries, counts.invalid_queries) == (4, 1)


def test_real_answers_count_what_is_left_out(real_toolbench: Path) -> None:
    counts = ReaderCounts()
    assert len(read_answers(real_toolbench / "answer", counts)) == 24
    assert dict(counts.drop_counts) == {"no-target": 1}
    assert counts.problems == []


def test_exported_world_reads_as_the_world_in_memory(tmp_path: Path) -> None:
    world = build_world(SMALL)
    export_world(world, tmp_path)
    on_disk = read_answers(tmp_path / "answer", ReaderCounts())
    counts = ReaderCounts()
    in_memory = [
        c for name, doc in make_training_documents(world, "train") for c in parse_toolbench_answer(name, doc, counts)
    ]
    assert sorted(map(repr, on_disk)) == sorted(map(repr, in_memory))
    assert counts.valid_queries == 12


def test_damaged_files_are_named_and_counted(tmp_path: Path) -> None:
    world = build_world(SMALL)
    _, document = next(make_training_documents(world, "train"))
    good = json.dumps(document)
    (tmp_path / "a_good.json").write_text(good)
    (tmp_path / "b_cut.json").write_text(good[: len(good) // 2])
    (tmp_path / "c_text.json").write_text("hello")
    (tmp_path / "d_list.json").write_text("[1, 2]")
    (tmp_path / "e_bytes.json").write_bytes(b"\xff\x00\xfe")
    (tmp_path / "f_invalid.json").write_text(json.dumps({"answer_generation": {"valid_data": False}}))
    broken = json.loads(good)
    broken["answer_generation"]["train_messages"][0][1]["role"] = "wizard"
    (tmp_path / "g_role.json").write_text(json.dumps(broken))
    counts = ReaderCounts()
    conversations = read_answers(tmp_path, counts)
    assert len(conversations) == len(document["answer_generation"]["train_messages"])
    assert (counts.files, counts.valid_queries, counts.invalid_queries) == (7, 1, 1)
    assert dict(counts.drop_counts) == {"not-json": 2, "wrong-shape": 2, "unreadable-file": 1}
    for file in ("b_cut.json", "c_text.json", "d_list.json", "e_bytes.json", "g_role.json"):
        assert any(file in problem for problem in counts.problems)
    assert any("wizard" in problem for problem in counts.problems)


def test_parse_toolbench_answer_handles_null_contents_and_thoughts() -> None:
    call = {"name": "f", "arguments": "{not json"}
    messages = [
        {"role": "system", "content": None},
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "first"},
        {"role": "assistant", "content": "second"},
        {"role": "assistant", "content": None, "function_call": call},
        {"role": "function", "name": "f", "content": None},
        {"role": "assistant", "content": None, "function_call": call},
    ]
    answer = {"valid_data": True, "query": "q", "function": [], "train_messages": [messages, messages[:4]]}
    counts = ReaderCounts()
    (conversation,) = parse_toolbench_answer("x", {"answer_generation": answer}, counts)
    targets = [turn.content for turn in conversation.turns if turn.role == "assistant"]
    assert targets == [
        "\nThought: first\nThought: second\nAction: f\nAction Input: {not json",
        "\nThought: \nAction: f\nAction Input: {not json",
    ]
    assert conversation.id == "Step 6: q"
    assert counts.drop_counts["no-target"] == 1

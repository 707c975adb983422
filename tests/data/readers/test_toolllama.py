"""ToolLLaMA's released shape and Hugging Face datasets end in the conversations that the answers give."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeper.config import DataSpec
from sweeper.data.conversations import Conversation, ReaderCounts
from sweeper.data.export import export_toolllama, format_toolllama_example
from sweeper.data.readers.toolllama import parse_toolllama_example
from sweeper.data.sources import open_source
from sweeper.errors import DataError
from sweeper.toolworld import WorldConfig, build_world, export_world

SMALL = WorldConfig(train_queries=12, validation_queries=4, test_queries_per_subset=2)


def data(path: Path | str) -> DataSpec:
    return DataSpec(
        name="d", source="toolbench", path=str(path), api_format="toolbench", fold_steps=False, max_length=9
    )


def read(path: Path | str) -> tuple[list[Conversation], ReaderCounts]:
    counts = ReaderCounts()
    return [conversation for _, conversation in open_source(data(path)).read_conversations(counts)], counts


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    export_world(build_world(SMALL), folder)
    return folder / "answer"


@pytest.fixture(scope="module")
def released(answers: Path) -> Path:
    out = answers.parent / "toolllama.json"
    export_toolllama(data(answers), out)
    return out


def test_export_and_reader_give_the_same_conversations_back(answers: Path, released: Path) -> None:
    assert read(released)[0] == read(answers)[0]


def test_the_real_release_reads_as_the_real_answers(real_toolbench: Path) -> None:
    theirs, counts = read(real_toolbench / "toolllama_G1.json")
    mine, _ = read(real_toolbench / "answer" / "G1_answer")
    assert (len(theirs), dict(counts.drop_counts)) == (16, {})
    assert sorted(map(repr, theirs)) == sorted(map(repr, mine))
    assert [c.apis.names for c in theirs] == [c.apis.names for c in theirs if c.apis.functions]


def test_a_hugging_face_dataset_of_either_shape_reads_the_same(answers: Path, released: Path, tmp_path: Path) -> None:
    import datasets

    expected, _ = read(answers)
    rows = json.loads(released.read_text())
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "released")
    assert read(tmp_path / "released")[0] == expected
    documents = [
        {"answer_generation": json.loads(f.read_text())["answer_generation"]} for f in sorted(answers.rglob("*.json"))
    ]
    for document in documents:  # schemas differ between rows, which columns cannot: kept as text is how people do it
        document["answer_generation"] = {
            k: document["answer_generation"][k] for k in ("valid_data", "query", "function", "train_messages")
        }
    small = documents[:1]
    datasets.Dataset.from_list(small).save_to_disk(tmp_path / "answers")
    found, counts = read(tmp_path / "answers")
    assert counts.drop_counts == {}
    assert [c.turns[-1] for c in found] == [c.turns[-1] for c in expected[: len(found)]]


def test_a_datasets_own_validation_split_is_used(released: Path, tmp_path: Path) -> None:
    import datasets

    rows = json.loads(released.read_text())
    splits = {"train": rows[:5], "validation": rows[5:7], "test": rows[7:]}
    datasets.DatasetDict({k: datasets.Dataset.from_list(v) for k, v in splits.items()}).save_to_disk(tmp_path / "d")
    source = open_source(data(tmp_path / "d"))
    assert source.has_own_splits()
    assert [split for split, _ in source.read_conversations(ReaderCounts())] == ["train"] * 5 + ["validation"] * 2


def test_released_train_and_eval_files_are_the_splits(released: Path, tmp_path: Path) -> None:
    rows = json.loads(released.read_text())
    (tmp_path / "toolllama_G123_dfs_train.json").write_text(json.dumps(rows[:6]))
    (tmp_path / "toolllama_G123_dfs_eval.json").write_text(json.dumps(rows[6:8]))
    source = open_source(data(tmp_path))
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
def test_damage_is_named_with_its_position(released: Path, tmp_path: Path, damage: Damage, reason: str) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(damage(released.read_bytes()))
    found, counts = read(file)
    whole, _ = read(released)
    assert found == whole[: len(found)]
    assert len(found) < len(whole) or reason == "damaged-file"
    assert counts.drop_counts == {reason: 1}
    assert str(file) in counts.problems[0]
    if reason == "damaged-file":
        assert "byte" in counts.problems[0]


def example(**changes: object) -> dict[str, object]:
    talk = [("system", "s"), ("user", "u"), ("assistant", "\nThought: \nAction: f\nAction Input: {}")]
    row = {"id": "Step 2: q", "conversations": [{"from": who, "value": text} for who, text in talk]}
    return row | changes


def talk(*roles: str) -> list[dict[str, str]]:
    return [{"from": role, "value": "x\nAction Input: {}"} for role in roles]


@pytest.mark.parametrize(
    ("row", "reason", "says"),
    [
        (example(conversations=talk("system", "user")), "no-target", "ends with user"),
        (example(conversations=talk("system", "user", "assistant", "function")), "no-target", "ends with function"),
        (example(conversations=talk("user", "system", "assistant")), "wrong-shape", "starts with user, system"),
        (example(conversations=talk("system", "user", "function", "assistant")), "wrong-shape", "before any call"),
        (example(conversations=talk("system", "user", "wizard", "assistant")), "wrong-shape", "wizard"),
        (example(conversations=[]), "wrong-shape", "starts with"),
        (example(conversations="no"), "wrong-shape", "str, not list"),
        (example(conversations=[{"from": "system", "value": None}]), "wrong-shape", "NoneType"),
        (example(id=3), "wrong-shape", "id is int"),
        ("text", "wrong-shape", "not an object"),
    ],
)
def test_bad_examples_are_counted_and_say_where(row: object, reason: str, says: str) -> None:
    counts = ReaderCounts()
    assert parse_toolllama_example("file[7]", row, counts) is None
    assert counts.drop_counts == {reason: 1}
    assert counts.problems[0].startswith("file[7]: ")
    assert says in counts.problems[0]


def test_arguments_that_are_not_json_are_kept_and_counted() -> None:
    counts = ReaderCounts()
    row = example()
    row["conversations"][-1]["value"] = "\nThought: \nAction: f\nAction Input: {not json"  # type: ignore[index]
    found = parse_toolllama_example("x", row, counts)
    assert found is not None
    assert found.turns[-1].content.endswith("{not json")
    assert (counts.arguments_not_json, counts.drop_counts) == (1, {})


def test_duplicate_ids_are_kept_and_counted(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps([example(), example()]))
    found, counts = read(tmp_path / "x.json")
    assert (len(found), counts.duplicate_ids) == (2, 1)


def test_an_api_list_is_parsed_as_literals_and_never_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    listed = f"[__import__('pathlib').Path({str(marker)!r}).touch()]"
    row = example()
    row["conversations"][0]["value"] = f"s\nSpecifically, you have access to the following APIs: {listed}"  # type: ignore[index]
    found = parse_toolllama_example("x", row, ReaderCounts())
    assert found is not None
    assert (found.apis.functions, found.apis.names, found.apis.text) == (None, (), listed)
    assert not marker.exists()


def test_what_is_not_there_or_cannot_be_read_says_so(tmp_path: Path) -> None:
    for path, says in ((tmp_path / "none", "no such"), (tmp_path, r"no \*.json")):
        with pytest.raises(DataError, match=says):
            read(path)
    with pytest.raises(DataError, match="no path"):
        open_source(data("x").model_copy(update={"path": None}))
    with pytest.raises(DataError, match="Hugging Face"):
        read("nobody/nothing-here")


roles = st.sampled_from(["system", "user", "assistant", "function"])
values = st.one_of(st.none(), st.integers(), st.text(max_size=20))
messages = st.lists(
    st.one_of(values, st.fixed_dictionaries({"from": st.one_of(roles, values), "value": values})), max_size=6
)


@settings(max_examples=200, deadline=None)
@given(row=st.one_of(values, st.fixed_dictionaries({"id": values, "conversations": st.one_of(values, messages)})))
def test_any_example_is_read_or_counted(row: object) -> None:
    counts = ReaderCounts()
    found = parse_toolllama_example("x", row, counts)
    assert (found is None) == (sum(counts.drop_counts.values()) == 1)
    if found is not None:
        assert found.turns[-1].role == "assistant"
        again = parse_toolllama_example("x", format_toolllama_example(found), ReaderCounts())
        assert again is not None
        assert again.turns[1:] == found.turns[1:]

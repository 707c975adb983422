"""Conversations -> tokens: the loss falls on the targets alone, nothing is cut, nothing is built twice."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeper import toolworld
from sweeper.data import fingerprint, inspect, prepare, prompt_ids, train_tokenizer
from sweeper.data.conversations import Conversation, Counts, Turn
from sweeper.data.encode import IGNORED, encode, fold
from sweeper.data.render import conversation_segments
from sweeper.data.source import read_split
from sweeper.errors import DataError
from sweeper.spec import DataSpec, ModelSpec
from sweeper.toolworld import WorldConfig, build_world, export

MODEL = ModelSpec(name="tiny", config={"hidden_size": 8})
SETTINGS = {"train_queries": 20, "validation_queries": 6, "test_queries_per_subset": 3}
WORLD = DataSpec(
    name="w", source="toolworld", toolworld=SETTINGS, api_format="signature", fold_steps=True, max_length=400
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    export(build_world(WorldConfig(**SETTINGS)), folder)
    return folder / "answer"


def real(path: Path, **fields: object) -> DataSpec:
    values = {"name": "d", "source": "toolbench", "path": str(path), "api_format": "toolbench", "fold_steps": False}
    return DataSpec(**(values | {"max_length": 4000, "validation_fraction": 0.2} | fields))  # type: ignore[arg-type]


text = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=40)


@settings(max_examples=60, deadline=None)
@given(system=text, query=text, contents=st.lists(text, min_size=1, max_size=3))
def test_labels_decode_to_the_target_and_rows_to_the_text(system: str, query: str, contents: list[str]) -> None:
    tokenizer = train_tokenizer(["some words to start from"], 300)
    turns = [Turn("system", system), Turn("user", query)]
    for content in contents:
        turns += [Turn("assistant", "\nThought: " + content), Turn("function", content)]
    conversation = Conversation("x", query, tuple(turns[:-1]), ())
    columns = encode(fold([conversation], fold_steps=False), tokenizer, "signature", 10_000, Counts())
    ids, labels = columns["input_ids"][0], columns["labels"][0]
    learned = [x for x in labels if x != IGNORED]
    assert learned[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(learned[:-1]) == turns[-2].content
    assert [i for i, x in zip(ids, labels, strict=True) if x != IGNORED] == learned
    whole = "".join(segment.text for segment in conversation_segments(conversation, "signature"))
    assert tokenizer.decode([i for i in ids if i not in (tokenizer.bos_token_id, tokenizer.eos_token_id)]) == whole


def test_folding_learns_the_same_targets_after_the_same_prefixes() -> None:
    conversations = read_split(WORLD, Counts())["train"]
    tokenizer = train_tokenizer(["a"], 300)

    def targets(folded: bool) -> list[tuple[tuple[int, ...], int]]:
        rows = encode(fold(conversations, fold_steps=folded), tokenizer, "signature", 10_000, Counts())
        return sorted(
            (tuple(ids[:i]), label)
            for ids, labels in zip(rows["input_ids"], rows["labels"], strict=True)
            for i, label in enumerate(labels)
            if label != IGNORED
        )

    assert targets(True) == targets(False)
    assert len(fold(conversations, fold_steps=True)) == 20 < len(fold(conversations, fold_steps=False))


def test_an_evaluation_prompt_is_the_training_rows_beginning() -> None:
    world = build_world(WorldConfig(**SETTINGS))
    conversations = read_split(WORLD, Counts())["train"]
    tokenizer = train_tokenizer(["a"], 300)
    row = encode(fold(conversations, fold_steps=True), tokenizer, "signature", 10_000, Counts())["input_ids"][0]
    query = next(q for q in world.splits["train"] if q.query == conversations[0].query)
    first = [turn.content for turn in conversations[0].turns if turn.role == "assistant"][:1]
    for turns in ([], [("assistant", first[0]), ("function", query.gold[0][2])]):
        prompt = prompt_ids(tokenizer, query.system, query.query, query.functions, "signature", turns)
        assert row[: len(prompt)] == prompt


def test_prepared_once_and_found_again(tmp_path: Path) -> None:
    first = prepare(WORLD, MODEL, tmp_path)
    stamp = (first.directory / "manifest.json").stat().st_mtime_ns
    again = prepare(WORLD, ModelSpec(name="other", config={"hidden_size": 16}), tmp_path)
    assert again.fingerprint == first.fingerprint == fingerprint(WORLD, MODEL)
    assert (again.directory / "manifest.json").stat().st_mtime_ns == stamp
    rows = again.load("train")
    assert len(rows) == first.manifest["rows"]["train"] == 20
    assert sum(rows["length"]) == first.manifest["tokens"]["train"]
    assert max(max(ids) for ids in rows["input_ids"]) < len(again.tokenizer())


def _prepare_in(path: str) -> str:
    return str(prepare(WORLD, MODEL, Path(path)).directory.stat().st_ino)


@pytest.mark.slow
def test_two_processes_at_once_build_it_once(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        seen = pool.map(_prepare_in, [str(tmp_path)] * 2)
    assert len(set(seen)) == 1
    assert [p.name for p in (tmp_path / "data").iterdir() if not p.name.endswith(".lock")] == [
        fingerprint(WORLD, MODEL)
    ]


def test_a_build_cut_off_leaves_nothing_that_is_used(tmp_path: Path) -> None:
    half = tmp_path / "data" / fingerprint(WORLD, MODEL)
    (half / "train").mkdir(parents=True)
    (half / "train" / "junk").write_text("half")
    assert len(prepare(WORLD, MODEL, tmp_path).load("train")) == 20


def test_policy_and_bytes_are_part_of_the_identity(tmp_path: Path, exported: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(exported, copy)
    base = fingerprint(real(copy), MODEL)
    assert fingerprint(real(exported), MODEL) == base, "where it lies is no part of it"
    others = {"api_format": "signature"}, {"fold_steps": True}, {"max_length": 300}, {"vocab_size": 400}
    assert len({base, *(fingerprint(real(copy, **fields), MODEL) for fields in others)}) == 5
    file = next(copy.rglob("*.json"))
    file.write_text(file.read_text() + " ")
    assert fingerprint(real(copy), MODEL) != base


def test_validation_queries_are_never_trained_on(exported: Path) -> None:
    split = read_split(real(exported), Counts())
    trained, held_out = ({c.query for c in split[name]} for name in ("train", "validation"))
    assert trained
    assert held_out
    assert not trained & held_out


def test_too_long_is_counted_and_never_cut(tmp_path: Path, exported: Path) -> None:
    found = inspect(str(exported), MODEL, 100_000)
    lengths = inspect(str(exported), MODEL, int(found["prompt_tokens"]["p50"]))
    assert found["dropped"] == {}
    assert lengths["examples"] + lengths["dropped"]["too-long"] == found["examples"]
    assert 0 < lengths["examples"] < found["examples"]
    assert lengths["truncated"] == 0
    with pytest.raises(DataError, match="longer"):
        prepare(real(exported, max_length=5), MODEL, tmp_path)
    assert list((tmp_path / "data").glob("*/manifest.json")) == []


def test_inspect_counts_the_real_sample(real_toolbench: Path) -> None:
    found = inspect(str(real_toolbench / "answer"), MODEL, 100_000)
    assert (found["examples"], found["valid_queries"], found["invalid_queries"]) == (24, 6, 1)
    assert found["prompt_tokens"]["max"] > found["target_tokens"]["max"] > 0


def test_nothing_usable_names_the_files(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"answer_generation": {"valid_data": False}}))
    (tmp_path / "y.json").write_text("{")
    with pytest.raises(DataError, match=r"y\.json"):
        read_split(real(tmp_path), Counts())


def test_suites_name_the_six_subsets() -> None:
    assert {
        name: len(rows) for name, rows in toolworld.test_queries(build_world(WorldConfig(**SETTINGS))).items()
    } == dict.fromkeys(
        ("G1_instruction", "G1_category", "G1_tool", "G2_instruction", "G2_category", "G3_instruction"), 3
    )

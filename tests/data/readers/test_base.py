"""Each reader recognizes its own format, more surely than any other reader does; sources split, hash and describe."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_data import WORLD, make_toolbench_spec

from sweeper.data.conversations import ApiList, Conversation, ReaderCounts, Turn
from sweeper.data.readers.base import READERS, DataLocation, Match, Source, SourcePart
from sweeper.data.sources import open_source


@pytest.fixture(scope="module")
def locations(answers: Path, released: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, DataLocation]:
    """A location of every kind."""
    import datasets

    root = tmp_path_factory.mktemp("formats")
    rows = json.loads(released.read_text())
    datasets.Dataset.from_list(rows).save_to_disk(root / "dataset")
    datasets.DatasetDict({"train": datasets.Dataset.from_list(rows)}).save_to_disk(root / "dataset dict")
    release = root / "release"
    release.mkdir()
    (release / "toolllama_G123_dfs_train.json").write_text(released.read_text())
    (root / "empty").mkdir()
    (root / "text.txt").write_text("\n\t {")
    paths = {
        "answer folder": answers,
        "ToolBench's data folder": answers.parent,
        "answer file": next(answers.rglob("*.json")),
        "released file": released,
        "release folder": release,
        "saved dataset": root / "dataset",
        "saved dataset with splits": root / "dataset dict",
        "empty folder": root / "empty",
    }
    on_disk = {name: DataLocation(path, str(path)) for name, path in paths.items()}
    return on_disk | {name: DataLocation(Path(name), name) for name in ("owner/name", "./folder", "a/b/c", "missing")}


@pytest.mark.parametrize(
    ("kind", "reader"),
    [
        ("answer folder", "toolbench"),
        ("ToolBench's data folder", "toolbench"),
        ("answer file", "toolbench"),
        ("released file", "toolllama"),
        ("release folder", "toolllama"),
        ("saved dataset", "hf-dataset"),
        ("saved dataset with splits", "hf-dataset"),
        ("owner/name", "hf-dataset"),
    ],
)
def test_only_the_reader_of_a_format_matches_it_best(
    locations: dict[str, DataLocation], kind: str, reader: str
) -> None:
    matches = {name: READERS.load(name).match(locations[kind]) for name in READERS.names}
    best = matches.pop(reader)
    assert best > Match.NONE
    assert all(match < best for match in matches.values()), matches


@pytest.mark.parametrize("kind", ["empty folder", "./folder", "a/b/c", "missing"])
def test_no_reader_matches_what_has_no_format(locations: dict[str, DataLocation], kind: str) -> None:
    assert {READERS.load(name).match(locations[kind]) for name in READERS.names} == {Match.NONE}


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        ("answer folder", "answers"),
        ("answer file", "answers"),
        ("released file", "toolllama"),
        ("release folder", "toolllama"),
        ("saved dataset", "dataset"),
    ],
)
def test_open_source_uses_the_reader_that_matches_best(
    locations: dict[str, DataLocation], kind: str, source: str
) -> None:
    opened = open_source(make_toolbench_spec(locations[kind].path))
    assert opened.kind == source
    assert next(opened.read_conversations(ReaderCounts()))[1].turns[-1].role == "assistant"


def make_conversation(name: str) -> Conversation:
    return Conversation(name, f"query {name}", (Turn("assistant", "x"),), ApiList([]))


def make_source(*names: str) -> Source:
    """Make a source of one part for each of the space-separated lists of conversations."""
    parts = tuple(
        SourcePart(None, lambda counts, on_progress, part=part: map(make_conversation, part.split())) for part in names
    )
    return Source("k", "here", parts)


def test_read_conversations_counts_duplicates_and_reports_the_share_of_parts() -> None:
    counts, shares = ReaderCounts(), list[float]()
    ids = [c.id for _, c in make_source("a b", "a", "").read_conversations(counts, shares.append)]
    assert ids == ["a", "b", "a"]
    assert (counts.conversations, counts.duplicate_ids, counts.valid_queries) == (3, 1, 0)
    assert shares == pytest.approx([1 / 3, 2 / 3, 1])


def test_read_conversations_of_a_release_counts_every_query_as_valid() -> None:
    counts = ReaderCounts()
    list(replace(make_source("a b", "a"), has_only_valid_answers=True).read_conversations(counts))
    assert counts.valid_queries == 2


def test_has_own_splits_requires_a_split_of_every_part() -> None:
    source = make_source("a", "b")
    parts = tuple(replace(part, split="train") for part in source.parts)
    assert not source.has_own_splits()
    assert not replace(source, parts=(parts[0], source.parts[1])).has_own_splits()
    assert replace(source, parts=parts).has_own_splits()


def test_compute_sha256_depends_on_names_bytes_and_other_content(tmp_path: Path) -> None:
    for folder, name, content in (("1", "x", "1"), ("2", "x", "1"), ("3", "y", "1"), ("4", "x", "2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(content)
    sources = [Source("k", "l", (), (next((tmp_path / str(k)).iterdir()),)) for k in range(1, 5)]
    same, moved, renamed, changed = (source.compute_sha256() for source in sources)
    assert same == moved, "the folder is not part of the identity"
    others = replace(sources[0], kind="other"), replace(sources[0], content_identity="x")
    assert len({same, renamed, changed, *(source.compute_sha256() for source in others)}) == 5


def test_describe_license_names_what_lies_beside_the_files(tmp_path: Path) -> None:
    (tmp_path / "answer").mkdir()
    file = tmp_path / "answer" / "x.json"
    source = Source("k", "l", (), (file,))
    assert source.describe_license().endswith("yours may differ")
    (tmp_path / "LICENSE.txt").write_text("")
    assert source.describe_license().endswith("LICENSE.txt")
    assert open_source(WORLD).describe_license() == "generated by sweeper (Apache-2.0)"

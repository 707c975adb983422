"""A source becomes one cache: built once, whole or not at all, its identity that of everything that went in."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sweeper.config import DataSpec, ModelSpec
from sweeper.data import (
    ApiList,
    Conversation,
    Prompt,
    ReaderCounts,
    fingerprint_data,
    make_length_limiter,
    prepare_data,
    report_lengths,
    train_tokenizer,
)
from sweeper.data import prepare_data as preparing_function
from sweeper.data.length_policies.base import LENGTH_POLICIES
from sweeper.data.length_policy import IGNORE_INDEX, LengthPolicyCounts
from sweeper.data.sources import open_source
from sweeper.data.tokenize import fold_examples, tokenize_rows
from sweeper.errors import DataError, UsageError
from sweeper.storage import to_strict_json
from sweeper.toolworld import WorldConfig, build_world, export_world

preparing = sys.modules[preparing_function.__module__]
MODEL = ModelSpec(name="tiny", config={"hidden_size": 8, "max_position_embeddings": 4000})
LONG = ModelSpec(name="long", config={"hidden_size": 8, "max_position_embeddings": 4096})
SETTINGS = {"train_queries": 20, "validation_queries": 6, "test_queries_per_subset": 3}
WORLD = DataSpec(
    name="w", source="toolworld", toolworld=SETTINGS, api_format="signature", fold_steps=True, max_length=400
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    export_world(build_world(WorldConfig(**SETTINGS)), folder)
    return folder / "answer"


def real(path: Path, **fields: object) -> DataSpec:
    values = {"name": "d", "source": "toolbench", "path": str(path), "api_format": "toolbench", "fold_steps": False}
    return DataSpec(**(values | {"max_length": 4000, "validation_fraction": 0.2} | fields))  # type: ignore[arg-type]


def split_of(spec: DataSpec, name: str) -> list[Conversation]:
    return [
        conversation for split, conversation in open_source(spec).read_conversations(ReaderCounts()) if split == name
    ]


def rows_of(conversations: list[Conversation], *, fold_steps: bool) -> list[tuple[list[int], list[int]]]:
    policy, texts = make_length_limiter(train_tokenizer(["a"], 300), "strict", 10_000, "signature")
    folded = fold_examples((("train", c) for c in conversations), fold_steps=fold_steps)
    return [
        (r.input_ids.tolist(), r.labels.tolist()) for _, r in tokenize_rows(folded, policy, texts, LengthPolicyCounts())
    ]


def test_folding_learns_the_same_targets_after_the_same_prefixes() -> None:
    conversations = split_of(WORLD, "train")

    def targets(folded: bool) -> list[tuple[tuple[int, ...], int]]:
        return sorted(
            (tuple(ids[:i]), label)
            for ids, labels in rows_of(conversations, fold_steps=folded)
            for i, label in enumerate(labels)
            if label != IGNORE_INDEX
        )

    assert targets(True) == targets(False)
    assert len(rows_of(conversations, fold_steps=True)) == 20 < len(rows_of(conversations, fold_steps=False))


def test_an_evaluation_prompt_is_the_training_rows_beginning() -> None:
    world = build_world(WorldConfig(**SETTINGS))
    conversations = split_of(WORLD, "train")
    row, _ = rows_of(conversations, fold_steps=True)[0]
    query = next(q for q in world.splits["train"] if q.query == conversations[0].query)
    first = [turn.content for turn in conversations[0].turns if turn.role == "assistant"][:1]
    policy, _ = make_length_limiter(train_tokenizer(["a"], 300), "strict", 10_000, "signature")
    for turns in ([], [("assistant", first[0]), ("function", query.gold_calls[0][2])]):
        prompt = policy.make_prompt(Prompt(query.system, query.query, ApiList(query.functions), turns), 10_000)
        assert prompt is not None
        assert row[: len(prompt)] == prompt.tolist()


def test_prepared_once_and_found_again(tmp_path: Path) -> None:
    first = prepare_data(WORLD, MODEL, tmp_path)
    stamp = (first.directory / "manifest.json").stat().st_mtime_ns
    again = prepare_data(WORLD, ModelSpec(name="other", config={"hidden_size": 16}), tmp_path)
    assert again.fingerprint == first.fingerprint == fingerprint_data(WORLD, MODEL)
    assert (again.directory / "manifest.json").stat().st_mtime_ns == stamp
    rows = again.load_split("train")
    assert len(rows) == first.manifest.rows.train == 20
    assert sum(rows["length"]) == first.manifest.tokens.train
    assert max(max(ids) for ids in rows["input_ids"]) < len(again.load_tokenizer())


def _prepare_in(path: str) -> str:
    return str(prepare_data(WORLD, MODEL, Path(path)).directory.stat().st_ino)


@pytest.mark.slow
def test_two_processes_at_once_build_it_once(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        seen = pool.map(_prepare_in, [str(tmp_path)] * 2)
    assert len(set(seen)) == 1
    assert [p.name for p in (tmp_path / "data").iterdir() if not p.name.startswith(".")] == [
        fingerprint_data(WORLD, MODEL)
    ]


def test_what_a_killed_build_left_is_swept_away(tmp_path: Path) -> None:
    identity = fingerprint_data(WORLD, MODEL)
    half, left = tmp_path / "data" / identity, tmp_path / "data" / f".{identity}-killed"
    for folder in (half, left):
        folder.mkdir(parents=True)
        (folder / "rows.arrow").write_text("half")
    assert len(prepare_data(WORLD, MODEL, tmp_path).load_split("train")) == 20
    assert not left.exists()


@pytest.mark.slow
def test_a_build_killed_at_any_moment_is_never_used(tmp_path: Path) -> None:
    larger = WORLD.model_copy(update={"toolworld": SETTINGS | {"train_queries": 600}})
    expected = prepare_data(larger, MODEL, tmp_path / "whole").manifest
    for delay in (0.0, 0.1, 0.3, 0.6):
        store = tmp_path / f"killed-{delay}"
        process = multiprocessing.get_context("spawn").Process(target=_announce_and_prepare, args=(larger, store))
        process.start()
        while not (store / "started").exists():
            time.sleep(0.01)
        time.sleep(delay)
        process.kill()
        process.join()
        again = prepare_data(larger, MODEL, store)
        assert again.manifest == expected
        assert len(again.load_split("train")) == expected.rows.train


def _announce_and_prepare(spec: DataSpec, store: Path) -> None:
    store.mkdir()
    (store / "started").touch()
    prepare_data(spec, MODEL, store)


@pytest.mark.slow
def test_a_full_disk_is_a_clear_error_and_leaves_nothing(tmp_path: Path, exported: Path) -> None:
    code = f"""
import resource, sys
from pathlib import Path
from sweeper.data import prepare_data
from sweeper.config import DataSpec, ModelSpec
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
data = DataSpec.model_validate_json({real(exported).model_dump_json()!r})
try:
    prepare_data(data, ModelSpec.model_validate_json({MODEL.model_dump_json()!r}), Path({str(tmp_path)!r}))
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("DataError"), done.stdout + done.stderr
    assert "cannot be written" in done.stdout
    assert "free some space" in done.stdout
    assert [
        p.name
        for p in (tmp_path / "data").iterdir()
        if not (p.name.startswith(".") and [f.name for f in p.iterdir()] == [".lock"])
    ] == []
    assert prepare_data(real(exported), MODEL, tmp_path).manifest.rows.train > 0


def test_tokenised_once_for_all_sizes_and_sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = []
    real_encode = preparing.tokenize_rows
    monkeypatch.setattr(preparing, "tokenize_rows", lambda *args: encoded.append(1) or real_encode(*args))
    sizes = [ModelSpec(name=f"m{k}", config={"hidden_size": 8 * k}) for k in (1, 2, 3)]
    assert len({prepare_data(WORLD, model, tmp_path).fingerprint for model in sizes * 2}) == 1
    assert len(encoded) == 1


def test_policy_and_bytes_are_part_of_the_identity(tmp_path: Path, exported: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(exported, copy)
    base = fingerprint_data(real(copy), MODEL)
    assert fingerprint_data(real(exported), MODEL) == base, "where it lies is no part of it"
    others = {"api_format": "signature"}, {"fold_steps": True}, {"max_length": 300}, {"vocab_size": 400}
    others += ({"fit": "keep-target"}, {"fit": "truncate"}, {"validation_fraction": 0.3})
    assert len({base, *(fingerprint_data(real(copy, **fields), MODEL) for fields in others)}) == 8
    file = next(copy.rglob("*.json"))
    file.write_text(file.read_text() + " ")
    assert fingerprint_data(real(copy), MODEL) != base


def test_validation_queries_are_never_trained_on(tmp_path: Path, exported: Path) -> None:
    prepared = prepare_data(real(exported, api_format="signature"), MODEL, tmp_path)
    queries = {
        split: {prepared.load_tokenizer().decode(ids).partition("User: ")[2].partition("Begin!")[0] for ids in rows}
        for split in ("train", "validation")
        for rows in [prepared.load_split(split)["input_ids"]]
    }
    assert queries["train"]
    assert queries["validation"]
    assert not queries["train"] & queries["validation"]


def test_too_long_is_counted_and_never_cut(tmp_path: Path, exported: Path) -> None:
    found = report_lengths(real(exported), MODEL).to_document()
    assert found["dropped"] == {}
    shorter = real(exported, max_length=int(found["prompt_tokens"]["p50"]))
    lengths = report_lengths(shorter, MODEL).to_document()
    assert lengths["examples"] + lengths["dropped"]["too-long"] == found["examples"]
    assert 0 < lengths["examples"] < found["examples"]
    assert lengths["truncated"] == 0
    manifest = prepare_data(shorter, MODEL, tmp_path).manifest
    assert (manifest.examples, manifest.dropped) == (lengths["examples"], lengths["dropped"])
    with pytest.raises(DataError, match="too-long"):
        prepare_data(real(exported, max_length=5), MODEL, tmp_path)
    assert len(list((tmp_path / "data").glob("*/manifest.json"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("policy", LENGTH_POLICIES.names)
def test_the_manifest_and_inspect_agree_on_every_policy(tmp_path: Path, exported: Path, policy: str) -> None:
    limit = int(report_lengths(real(exported), MODEL).to_document()["prompt_tokens"]["p50"])
    spec = real(exported, fit=policy, max_length=limit)
    manifest, found = prepare_data(spec, MODEL, tmp_path).manifest, report_lengths(spec, MODEL).to_document()
    assert manifest.fit.model_dump() == json.loads(json.dumps(to_strict_json(found["fit"][policy])))
    assert manifest.source.model_dump() == found["source"]
    assert max(prepare_data(spec, MODEL, tmp_path).load_split("train")["length"]) <= limit
    kept = found["fit"][policy]
    assert kept["examples"] + sum(kept["dropped"].values()) == found["fit"]["keep-target"]["examples"]


def test_more_tokens_than_positions_is_an_error_unless_they_are_stretched(tmp_path: Path, exported: Path) -> None:
    short = ModelSpec(name="short", config={"hidden_size": 8, "max_position_embeddings": 256})
    for act in (lambda d: prepare_data(d, short, tmp_path), lambda d: report_lengths(d, short).to_document()):
        with pytest.raises(UsageError, match=r"300(.|\n)*256"):
            act(real(exported, max_length=300))
        act(real(exported, max_length=300, extend_positions="interpolate", fit="keep-target"))


def test_inspect_counts_the_real_sample(real_toolbench: Path) -> None:
    found = report_lengths(real(real_toolbench / "answer", max_length=4096), LONG).to_document()
    assert (found["fit"]["keep-target"]["examples"], found["valid_queries"], found["invalid_queries"]) == (24, 6, 1)
    assert found["dropped"]["no-target"] == 1
    assert found["prompt_tokens"]["max"] > found["target_tokens"]["max"] > 0
    strict, compact, cut = (found["fit"][name] for name in ("strict", "compact-apis", "keep-target"))
    assert strict["examples"] < compact["examples"] <= cut["examples"]
    assert strict["target_tokens"] < compact["target_tokens"] <= cut["target_tokens"]


def test_nothing_usable_names_the_files(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"answer_generation": {"valid_data": False}}))
    (tmp_path / "y.json").write_text("{")
    with pytest.raises(DataError, match=r"y\.json"):
        prepare_data(real(tmp_path), MODEL, tmp_path / "store")

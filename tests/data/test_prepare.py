"""A source becomes one data set: built once, complete or not at all, identified by everything that went in."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_data import MODEL, SETTINGS, WORLD, make_toolbench_spec

from sweeper.config import DataSpec, ModelSpec
from sweeper.data import fingerprint_data, prepare_data, report_lengths
from sweeper.errors import DataError, UsageError

prepare_module = sys.modules[prepare_data.__module__]


def test_prepare_data_reuses_the_data_set(tmp_path: Path) -> None:
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
def test_prepare_data_builds_once_for_two_processes(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        inodes = pool.map(_prepare_in, [str(tmp_path)] * 2)
    assert len(set(inodes)) == 1
    assert [p.name for p in (tmp_path / "data").iterdir() if not p.name.startswith(".")] == [
        fingerprint_data(WORLD, MODEL)
    ]


def test_prepare_data_deletes_what_a_killed_build_left(tmp_path: Path) -> None:
    identity = fingerprint_data(WORLD, MODEL)
    half, left = tmp_path / "data" / identity, tmp_path / "data" / f".{identity}-killed"
    for folder in (half, left):
        folder.mkdir(parents=True)
        (folder / "rows.arrow").write_text("half")
    assert len(prepare_data(WORLD, MODEL, tmp_path).load_split("train")) == 20
    assert not left.exists()


@pytest.mark.slow
def test_prepare_data_never_uses_a_killed_build(tmp_path: Path) -> None:
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
def test_prepare_data_reports_a_full_disk_and_leaves_nothing(tmp_path: Path, exported: Path) -> None:
    code = f"""
import resource, sys
from pathlib import Path
from sweeper.data import prepare_data
from sweeper.config import DataSpec, ModelSpec
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
data = DataSpec.model_validate_json({make_toolbench_spec(exported).model_dump_json()!r})
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
        if p.name != ".digests.json" and not (p.name[0] == "." and [f.name for f in p.iterdir()] == [".lock"])
    ] == []
    assert prepare_data(make_toolbench_spec(exported), MODEL, tmp_path).manifest.rows.train > 0


def test_prepare_data_tokenizes_once_for_models_of_all_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = []
    real_encode = prepare_module.tokenize_rows
    monkeypatch.setattr(prepare_module, "tokenize_rows", lambda *args: encoded.append(1) or real_encode(*args))
    sizes = [ModelSpec(name=f"m{k}", config={"hidden_size": 8 * k}) for k in (1, 2, 3)]
    assert len({prepare_data(WORLD, model, tmp_path).fingerprint for model in sizes * 2}) == 1
    assert len(encoded) == 1


def test_fingerprint_data_depends_on_policy_and_bytes(tmp_path: Path, exported: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(exported, copy)
    base = fingerprint_data(make_toolbench_spec(copy), MODEL)
    assert fingerprint_data(make_toolbench_spec(exported), MODEL) == base, "the path is not part of the identity"
    others = {"api_format": "signature"}, {"fold_steps": True}, {"max_length": 300}, {"vocab_size": 400}
    others += ({"fit": "keep-target"}, {"fit": "truncate"}, {"validation_fraction": 0.3})
    assert len({base, *(fingerprint_data(make_toolbench_spec(copy, **fields), MODEL) for fields in others)}) == 8
    file = next(copy.rglob("*.json"))
    file.write_text(file.read_text() + " ")
    assert fingerprint_data(make_toolbench_spec(copy), MODEL) != base


def test_prepare_data_keeps_validation_queries_out_of_training(tmp_path: Path, exported: Path) -> None:
    prepared = prepare_data(make_toolbench_spec(exported, api_format="signature"), MODEL, tmp_path)
    queries = {
        split: {prepared.load_tokenizer().decode(ids).partition("User: ")[2].partition("Begin!")[0] for ids in rows}
        for split in ("train", "validation")
        for rows in [prepared.load_split(split)["input_ids"]]
    }
    assert queries["train"]
    assert queries["validation"]
    assert not queries["train"] & queries["validation"]


def test_rows_longer_than_the_positions_are_refused_unless_interpolated(tmp_path: Path, exported: Path) -> None:
    short = ModelSpec(name="short", config={"hidden_size": 8, "max_position_embeddings": 256})
    for act in (lambda d: prepare_data(d, short, tmp_path), lambda d: report_lengths(d, short).to_document()):
        with pytest.raises(UsageError, match=r"300(.|\n)*256"):
            act(make_toolbench_spec(exported, max_length=300))
        act(make_toolbench_spec(exported, max_length=300, extend_positions="interpolate", fit="keep-target"))


def test_prepare_data_without_usable_examples_names_the_files(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"answer_generation": {"valid_data": False}}))
    (tmp_path / "y.json").write_text("{")
    with pytest.raises(DataError, match=r"y\.json"):
        prepare_data(make_toolbench_spec(tmp_path), MODEL, tmp_path / "store")

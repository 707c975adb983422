"""Damaged, exchanged and edited files of a store: each is told, and the rest of the study goes on."""

from __future__ import annotations

import importlib
import json
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
import warm

from sweeper.storage import write_json

PINNED = Path(__file__).resolve().parents[1] / "pinned"


@pytest.fixture(scope="module")
def faults() -> Iterator[ModuleType]:
    """The benchmark that flips bits in every kind of file."""
    folder = str(warm.ROOT / "benchmarks")
    sys.path.insert(0, folder)
    yield importlib.import_module("faults")
    sys.path.remove(folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with `tiny` and `looking`, trained by this version, so that every file has its digest."""
    store = tmp_path_factory.mktemp("trained") / "store"
    for name in ("tiny", "looking"):
        options = ("--storage", store, "--backend", "inline", "--tracking", "none")
        warm.sweeper("run", PINNED / f"{name}.yaml", *options)
    return store


@pytest.fixture
def store(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "store"))


@pytest.fixture
def old_store(tmp_path: Path) -> Path:
    """The same as version 0.1.0 wrote it: without digests."""
    return Path(shutil.copytree(PINNED / "store", tmp_path / "store"))


def find(store: Path, pattern: str) -> Path:
    return sorted(store.glob(f"trials/*/{pattern}"))[0]


def read_statuses(store: Path, study: str = "tiny") -> dict[str, int]:
    report = json.loads(warm.sweeper("report", study, "--storage", store, "--json").stdout)
    return dict(report["study"]["statuses"])


@pytest.mark.slow
def test_no_flipped_bit_changes_a_number_silently(faults: ModuleType, trained: Path) -> None:
    rng = np.random.default_rng(0)
    for kind in faults.list_kinds():
        faults.try_kind(kind, trained, 3, rng)
        assert kind.counts["silent"] == kind.counts["crashed"] == 0, kind.name
        assert kind.counts.total() == 5
        assert kind.counts["told"] or kind.name == "episodes", f"{kind.name} is not checked"


@pytest.mark.slow
def test_a_history_that_is_gone_is_damage(store: Path) -> None:
    find(store, "history.parquet").unlink()
    assert read_statuses(store) == {"COMPLETE": 3, "UNREADABLE": 1}


@pytest.mark.slow
@pytest.mark.parametrize("content", ["{}", '{"exclude": [{}]}', '{"exclude": 3}'])
def test_an_audit_that_is_none_is_named(store: Path, content: str) -> None:
    audit = store / "studies" / "tiny" / "leakage.json"
    assert audit.exists()
    audit.write_text(content)
    done = warm.sweeper("report", "tiny", "--storage", store, code=1)
    assert "not an audit of contamination" in done.stderr and "leakage.json" in done.stderr


@pytest.mark.slow
def test_one_unreadable_trial_is_a_row_and_the_rest_goes_on(store: Path) -> None:
    path = find(store, "history.parquet")
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert read_statuses(store) == {"COMPLETE": 3, "UNREADABLE": 1}
    shown = warm.sweeper("status", "tiny", "--storage", store)
    assert "UNREADABLE" in shown.stdout
    assert "history.parquet: damaged: another SHA-256" in " ".join(shown.stdout.split())
    assert "Traceback" not in shown.stdout + shown.stderr
    text = warm.sweeper("report", "tiny", "--storage", store).stdout
    assert "Planned runs without a result: 1 of 4" in " ".join(text.split())


def rewrite_outcomes(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    def rewrite(store: Path) -> None:
        path = find(store, "evaluation/*/outcomes.parquet")
        path.write_bytes(change(pd.read_parquet(path)).to_parquet())

    return rewrite


def exchange_records(store: Path) -> None:
    first, second = sorted(store.glob("trials/*/record.json"))[:2]
    shutil.copy(first, second)


def empty_summary(store: Path) -> None:
    find(store, "evaluation/*/summary.json").write_text("[]")


def exchange_outcomes(store: Path) -> None:
    first, second = sorted(store.glob("trials/*/evaluation/*/outcomes.parquet"))[:2]
    shutil.copy(first, second)


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    [
        rewrite_outcomes(lambda table: table.assign(passed=1.0)),
        rewrite_outcomes(lambda table: table.iloc[::2]),
        rewrite_outcomes(lambda table: table.iloc[:0]),
        rewrite_outcomes(lambda table: table.assign(judge=None)),
        rewrite_outcomes(lambda table: table.drop(columns="query_id")),
        exchange_outcomes,
        exchange_records,
        empty_summary,
    ],
    ids=["passed", "half", "empty", "column", "no column", "outcomes of another", "record of another", "summary"],
)
def test_edited_results_are_told_even_without_digests(old_store: Path, damage: Callable[[Path], None]) -> None:
    damage(old_store)
    statuses = {name: read_statuses(old_store, name) for name in ("tiny", "looking")}
    assert sum(counts.get("UNREADABLE", 0) for counts in statuses.values()) == 1
    assert sum(map(sum, (counts.values() for counts in statuses.values()))) == 10


@pytest.mark.slow
@pytest.mark.parametrize("name", ["leakage.json", "manifest.json", "spent.json", "plan.json", "optuna.journal"])
def test_damaged_file_of_a_study_is_one_line(old_store: Path, name: str) -> None:
    path = old_store / "studies" / "looking" / name
    path.write_bytes(b"[]" if path.suffix == ".json" else b"\0" * 40 + path.read_bytes()[40:])
    done = warm.sweeper("report", "looking", "--storage", old_store, code=None)
    assert done.returncode in (1, 2)
    assert name in done.stderr
    assert "Traceback" not in done.stderr
    assert "sweep.yaml" not in done.stderr


def change_tensors(store: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Path:
    """Copy a trained model out of the store, where no digest is known, and change its tensors."""
    folder = Path(shutil.copytree(find(store, "model"), store.parent / "model"))
    path = folder / "model.safetensors"
    tensors = change(safetensors.torch.load_file(path))
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})
    return folder


def evaluate(folder: Path, store: Path) -> str:
    done = warm.sweeper("evaluate", folder, "--suite", "toolworld", "--storage", store, code=None)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert not list(store.glob("evaluations/**/summary.json"))
    return " ".join(done.stderr.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda tensors: {f"module.{name}": t for name, t in tensors.items()}, "missing"),
        (lambda tensors: dict(list(tensors.items())[1:]), "1 missing"),
        (lambda tensors: tensors | {"extra": torch.zeros(2)}, "1 unexpected (extra)"),
        (lambda tensors: {name: t[:-1].clone() for name, t in tensors.items()}, "shape"),
    ],
    ids=["renamed", "missing", "unexpected", "shape"],
)
def test_tensors_that_are_not_the_models_are_refused(store: Path, change: Any, found: str) -> None:
    assert found in evaluate(change_tensors(store, change), store)


@pytest.mark.slow
@pytest.mark.parametrize("config", [{"hidden_size": -32}, {"num_hidden_layers": 3}, [], {"model_type": 5}])
def test_config_of_another_model_is_refused(store: Path, config: Any) -> None:
    folder = change_tensors(store, lambda tensors: tensors)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config} if isinstance(config, dict) else config))
    assert "model" in evaluate(folder, store)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("exploded"),))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_pickled_checkpoint_is_not_executed(
    store: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = change_tensors(store, lambda tensors: tensors)
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Bomb()))
    monkeypatch.chdir(tmp_path)
    assert "model" in evaluate(folder, store)
    assert not (tmp_path / "exploded").exists()


def test_document_says_when_it_was_edited(tmp_path: Path) -> None:
    from sweeper.errors import StoreError
    from sweeper.storage import read_json

    path = tmp_path / "a.json"
    write_json(path, {"rate": 0.5})
    assert read_json(path) == {"rate": 0.5}
    path.write_text(path.read_text().replace("0.5", "0.6"))
    with pytest.raises(StoreError, match="checksum"):
        read_json(path)

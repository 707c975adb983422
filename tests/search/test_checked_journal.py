"""Optuna's journal with checksums: read by Optuna itself, and damage refused."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from sweeper.errors import StoreError
from sweeper.search.checked_journal import CheckedJournal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = tmp_path / "optuna.journal"
    study = optuna.create_study(study_name="s", storage=JournalStorage(CheckedJournal(str(path))))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    return path


def load_values(backend: JournalFileBackend) -> list[float]:
    return [trial.value for trial in optuna.load_study(study_name="s", storage=JournalStorage(backend)).trials]


def test_plain_optuna_reads_the_same_trials(path: Path) -> None:
    values = load_values(CheckedJournal(str(path)))
    assert len(values) == 3
    assert load_values(JournalFileBackend(str(path))) == values


def test_keys_that_are_numbers_have_the_checksum_of_the_line(path: Path) -> None:
    study = optuna.load_study(study_name="s", storage=JournalStorage(CheckedJournal(str(path))))
    steps = {9: 0.5, 10: 0.25, 100: 0.125}
    study.add_trial(optuna.trial.create_trial(value=1.0, intermediate_values=steps))
    loaded = optuna.load_study(study_name="s", storage=JournalStorage(CheckedJournal(str(path)))).trials
    assert loaded[-1].intermediate_values == steps


def test_journal_without_checksums_is_read(tmp_path: Path) -> None:
    path = tmp_path / "old.journal"
    study = optuna.create_study(study_name="s", storage=JournalStorage(JournalFileBackend(str(path))))
    study.optimize(lambda trial: 1.0, n_trials=1)
    assert load_values(CheckedJournal(str(path))) == [1.0]


@pytest.mark.parametrize("damage", [b"\0\0\0\0", b"0.25", b"[1]\n"])
def test_damaged_line_is_named(path: Path, damage: bytes) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    place = lines[4].index(b'"')
    lines[4] = lines[4][:place] + damage + lines[4][place + len(damage) :]
    path.write_bytes(b"".join(lines))
    with pytest.raises(StoreError, match=r"optuna\.journal:5"):
        load_values(CheckedJournal(str(path)))


def test_edited_value_is_refused(path: Path) -> None:
    content = path.read_bytes()
    place = content.rindex(b'"values":[') + len(b'"values":[')
    path.write_bytes(content[:place] + (b"1" if content[place : place + 1] != b"1" else b"2") + content[place + 1 :])
    with pytest.raises(StoreError, match="not what was written"):
        load_values(CheckedJournal(str(path)))


def test_torn_last_line_is_no_damage(path: Path) -> None:
    values = load_values(CheckedJournal(str(path)))
    with path.open("ab") as file:
        file.write(b'{"op_code": 5, "worker')
    assert load_values(CheckedJournal(str(path))) == values

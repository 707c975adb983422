"""Data and answers of other people: every text that should be read is read, and the rest is one line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import warm

from sweeper.toolworld import WorldConfig, build_world, export_world

MODEL = ("--model", "opt-tiny-32-long")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small generated world in ToolBench's formats."""
    folder = tmp_path_factory.mktemp("exported")
    export_world(build_world(WorldConfig(train_queries=6, validation_queries=3, test_queries_per_subset=1)), folder)
    return folder


@pytest.fixture
def answers(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported / "answer", tmp_path / "answer"))


def inspect(path: Path) -> dict[str, Any]:
    done = warm.sweeper("data", "inspect", path, *MODEL, "--json")
    return dict(json.loads(done.stdout))


@pytest.mark.slow
def test_what_a_system_leaves_in_a_folder_is_no_data(answers: Path) -> None:
    before = inspect(answers)
    for folder in (".ipynb_checkpoints", "__MACOSX", ".git"):
        shutil.copytree(answers, answers / folder, ignore=shutil.ignore_patterns(".*", "__MACOSX"))
    (answers / "._0_answer.json").write_bytes(b"\0\5\26\7")
    os.mkfifo(answers / "pipe.json")
    (answers / "loop").symlink_to(answers)
    (answers / "device.json").symlink_to("/dev/zero")
    after = inspect(answers)
    assert after["source"]["sha256"] == before["source"]["sha256"]
    assert after["examples"] == before["examples"]
    assert any(
        "left out of the folder: " in line and "2 that are no regular files" in line for line in after["problems"]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"[" * 100_000, "nested too deep"),
        (b'{"answer_generation": ' + b"9" * 5_000 + b"}", "too many digits"),
        ('{"answer_generation": {}}'.encode("utf-16"), "UTF-16"),
    ],
    ids=["deep", "digits", "UTF-16"],
)
def test_one_bad_file_is_named_and_the_others_are_read(answers: Path, content: bytes, found: str) -> None:
    before = inspect(answers)
    (answers / "zzz_bad.json").write_bytes(content)
    after = inspect(answers)
    assert after["examples"] == before["examples"]
    assert any("zzz_bad.json" in line and found in line for line in after["problems"])


def write_toolllama(path: Path, rows: list[dict[str, Any]], encoding: str = "utf-8") -> Path:
    path.write_bytes(json.dumps(rows).encode(encoding))
    return path


def make_row(name: str, query: str, turns: int = 1) -> dict[str, Any]:
    step = "\nThought: \nAction: f\nAction Input: {}"
    conversation = [{"from": "system", "value": "You are AutoGPT."}, {"from": "user", "value": query}]
    for _ in range(turns):
        conversation += [{"from": "assistant", "value": step}, {"from": "function", "value": "{}"}]
    return {"id": name, "conversations": conversation[:-1]}


@pytest.mark.slow
def test_released_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    rows = [make_row(f"Step 2: question {i}", f"question {i}") for i in range(20)]
    assert inspect(write_toolllama(tmp_path / "a.json", rows, "utf-8-sig"))["examples"] == 20
    done = warm.sweeper("data", "inspect", write_toolllama(tmp_path / "b.json", rows, "utf-16"), *MODEL, code=None)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_pipe_with_the_name_of_a_released_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "toolllama_G123_dfs_train.json")
    done = warm.sweeper("data", "inspect", tmp_path, *MODEL, code=None)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_released_file_that_is_nested_deep_takes_no_memory(tmp_path: Path) -> None:
    levels = 100_000  # with them, the streaming parser alone would take 24 GB
    row = json.dumps(make_row("Step 2: question", "question"))
    content = f'[{row}, {{"id": "x", "conversations": {"[" * levels}{"]" * levels}}}, {row}]'
    (tmp_path / "a.json").write_text(content)
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({6 << 30}, {6 << 30}))"
    words = ["data", "inspect", str(tmp_path / "a.json"), *MODEL, "--json"]
    code = f"{limit}; import sys; sys.argv = {['sweeper', *words]}; from sweeper.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert "nested too deep" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_rows_of_one_question_stay_in_one_split_and_untrained_turns_are_counted(tmp_path: Path) -> None:
    rows = [make_row(f"row-{i}", f"question {i % 5}", turns=3) for i in range(40)]
    path = write_toolllama(tmp_path / "a.json", rows)
    inspected = inspect(path)
    assert any("80 earlier turns of assistants are context only" in line for line in inspected["problems"])
    from sweeper.config import load_data_spec
    from sweeper.data.conversations import ReaderCounts
    from sweeper.data.sources import open_source

    source = open_source(load_data_spec("toolbench", path=str(path)))
    queries = {conversation.query for _, conversation in source.read_conversations(ReaderCounts())}
    assert queries == {f"question {i}" for i in range(5)}


@pytest.mark.slow
def test_answers_with_one_id_twice_are_refused(tmp_path: Path) -> None:
    from answer_documents import answer

    from sweeper.evaluation.toolbench_format import make_converted_document

    document = json.dumps(make_converted_document(answer()))
    (tmp_path / "G1_tool.json").write_text(f'{{"7": {document}, "8": {document}, "7": {document}}}')
    done = warm.sweeper("judge", tmp_path, "--judge", "rules", "--json", code=1)
    assert "the key '7' occurs twice" in done.stderr
    assert "G1_tool.json" in done.stderr
    assert "Traceback" not in done.stderr

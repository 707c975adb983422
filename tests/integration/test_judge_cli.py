"""`evaluate`, `judge` and `compare` as a user runs them: real files, a real trained model, real servers."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "evaluate"))
from chat_server import ChatServer, Seen

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
WORLD = "{seed: 1, train_queries: 900, validation_queries: 8, test_queries_per_subset: 3}"
FINAL = '{"return_type": "give_answer", "final_answer": "the answer"}'


def sweeper(*arguments: str, code: int = 0, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "sweeper.cli", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | (env or {}),
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def document(*arguments: str, **more: Any) -> Any:
    return json.loads(sweeper(*arguments, "--json", **more).stdout)


def tool(name: str, response: str) -> dict[str, Any]:
    return {"role": "tool", "message": str({"name": name, "arguments": "{}", "response": response}), "next": []}


def converted(final: str) -> dict[str, Any]:
    """An answer of one call and Finish, in ToolEval's converted form."""
    functions = [{"name": "f", "parameters": {"properties": {}, "required": []}}, {"name": "Finish"}]
    nodes = [tool("f", json.dumps({"error": "", "response": "the answer"}))]
    if final:
        nodes.append(
            {"role": "tool", "message": str({"name": "Finish", "arguments": final, "response": ""}), "next": []}
        )
    root: dict[str, Any] = {"role": "system", "message": "", "next": [{"role": "user", "message": "q", "next": []}]}
    at = root["next"][0]
    for node in nodes:
        at["next"].append(node)
        at = node
    answer = {"method": "m", "total_steps": 2 + len(nodes), "final_answer": final, "answer_details": [root]}
    return {"query": "what is it?", "available_tools": functions, "answer": answer}


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    folder = tmp_path / "answers"
    folder.mkdir()
    for subset, finals in {"G1_tool": [FINAL, FINAL, ""], "G3_instruction": [FINAL, ""]}.items():
        rows = {str(k): converted(final) for k, final in enumerate(finals)}
        (folder / f"{subset}.json").write_text(json.dumps(rows))
    return folder


def verdict(seen: Seen) -> str:
    """Says solved to everything, with the votes of one query unsure at first."""
    return json.dumps({"reason": "because", "status": "solved", "better": "equal"})


def test_judges_side_by_side_with_toolevals_files(answers: Path, tmp_path: Path) -> None:
    with ChatServer(verdict) as server:
        judge = ("--judge", "rules", "--judge", "llm", "--judge-endpoint", server.url, "--judge-model", "m")
        key = {"OPENAI_API_KEY": "a-very-secret-key"}
        judge += ("--input-price", "1", "--output-price", "2")
        asked = ("judge", str(answers), *judge, "--out", str(tmp_path / "out"), "--storage", str(tmp_path / "s"))
        found = document(*asked, env=key)
        first = len(server.seen)
        again = document(*asked, env=key)
        assert len(server.seen) == first > 0, "judged again from the cache"
    assert again["judging_usage"]["llm:m"]["requests"] == 0 < found["judging_usage"]["llm:m"]["money"]
    assert {k: v for k, v in again.items() if k != "judging_usage"} == (
        {k: v for k, v in found.items() if k != "judging_usage"}
    )
    assert (found["overall"]["n"], found["judge"]) == (5, "rules")
    for rates in [found["overall"], *found["subsets"].values()]:
        assert set(rates["pass_rate"]) == {"strict", "stabletoolbench", "tooleval"}
        assert {"value", "interval"} <= set(rates["pass_rate"]["strict"])
        assert {"n", "unscored", "votes", "rules"} <= set(rates)
    assert found["overall"]["rules"]["finished"]["failed"] == 2
    assert found["overall"]["pass_rate"]["strict"]["value"] == pytest.approx(0.6)
    assert len(found["agreement"]["rules~llm:m"]) >= 4
    results = json.loads((tmp_path / "out" / "pass_rate_results" / "answers" / "G1_tool_answers.json").read_text())
    assert results["0"]["is_solved"] == {"0": "AnswerStatus.Solved"}
    rows = (tmp_path / "out" / "votes.jsonl").read_text().splitlines()
    assert len(rows) == 5 + 5 * 4
    assert not [f for f in (tmp_path).rglob("*") if f.is_file() and b"very-secret" in f.read_bytes()]
    assert (
        document("judge", str(tmp_path / "out" / "converted" / "answers"))["overall"]
        == (document("judge", str(answers))["overall"])
    )


def test_an_endpoint_that_is_down_leaves_votes_unscored(answers: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    llm = ("--judge", "llm", "--judge-endpoint", f"http://127.0.0.1:{port}/v1", "--judge-model", "m", "--votes", "1")
    found = document("judge", str(answers / "G3_instruction.json"), *llm, "--storage", str(tmp_path))
    assert (found["overall"]["n"], found["overall"]["unscored"]) == (2, 1)
    (reason,) = found["judges"]["llm:m"]["unscored_reasons"]
    assert "6 tries" in reason
    assert found["overall"]["pass_rate"]["strict"]["n"] == 1


def test_people_label_blind_and_their_labels_count(answers: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.csv"
    written = document("judge", str(answers), "--label-sheet", str(sheet), "--items", "4")
    assert written["items"] == 4
    assert "G1_tool" not in sheet.read_text()
    with sheet.open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["label"] = "solved" if "the answer" in row["final_answer"] else "unsolved"
    with sheet.open("w") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    found = document("judge", str(answers), "--labels", str(sheet), "--key", written["key"])
    assert found["judges"]["human"]["overall"]["unscored"] == 1
    assert found["agreement"]["rules~human"]["raw"]["value"] == 1.0
    sheet.write_text(sheet.read_text().replace("unsolved", "perhaps", 1))
    assert (
        "sheet.csv:" in sweeper("judge", str(answers), "--labels", str(sheet), "--key", written["key"], code=1).stderr
    )


def test_compare_counts_passes_then_preferences(answers: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(answers, other)
    rows = json.loads((other / "G1_tool.json").read_text())
    rows["0"] = converted("")
    (other / "G1_tool.json").write_text(json.dumps(rows))
    found = document("compare", str(answers), str(other), "--judge", "rules")
    assert found["decided_by"] == {"pass": 1, "preference": 0, "tie": 4, "unscored": 0}
    assert (found["overall"]["wins"], found["overall"]["value"]) == (1, 0.6)
    assert "win rate" in sweeper("compare", str(answers), str(other)).stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("judge", "nowhere"), 1, "no such file"),
        (("judge", "README.md"), 1, "not JSON"),
        (("judge", "ANSWERS", "--judge", "nobody"), 2, "one of"),
        (("judge", "ANSWERS", "--judge", "llm"), 2, "--judge-endpoint"),
        (("judge", "ANSWERS", "--judge", "human"), 2, "--labels"),
        (("compare", "ANSWERS", "ANSWERS", "--judge", "rules", "--judge", "human"), 2, "--labels"),
        (("evaluate", "nobody-knows-it", "--suite", "toolworld"), 2, "configs/models"),
        (("evaluate", "opt-tiny-32", "--suite", "toolworld"), 2, "no weights"),
        (("evaluate", "x", "--suite", "toolworldd"), 2, "toolworld"),
        (("evaluate", "x", "--suite", "toolworld", "--set", "judges=x"), 2, "judge"),
    ],
)
def test_wrong_requests_say_what_to_do(answers: Path, arguments: tuple[str, ...], code: int, says: str) -> None:
    done = sweeper(*(str(answers) if a == "ANSWERS" else a for a in arguments), code=code)
    assert says in done.stderr


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that solves some of its world's queries, with a chat template in its own format."""
    from transformers import AutoTokenizer

    store = tmp_path_factory.mktemp("store")
    sets = [
        "claims=[]",
        "axes.model=[opt-tiny-64]",
        "axes.num_train_epochs=[2]",
        "axes.seed=[0]",
        f"data.toolworld={WORLD}",
    ]
    chosen = [part for value in sets for part in ("--set", value)]
    sweeper("run", "quickstart", "--backend", "inline", "--tracking", "none", "--storage", str(store), *chosen)
    (model,) = store.glob("trials/*/model")
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}Assistant:{{ m.content }}{{ eos_token }}"
        "{% elif m.content.startswith('Function: ') %}{{ m.content }}\n"
        "{% else %}{{ m.role | capitalize }}: {{ m.content }}\n{% endif %}{% endfor %}Assistant:"
    )
    tokenizer.save_pretrained(model)
    return model


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The small world under a name of `configs/data/`, where the commands find it."""
    file = ROOT / "configs" / "data" / "zz-small-world.yaml"
    base = (ROOT / "configs" / "data" / "toolworld.yaml").read_text().partition("toolworld:\n")[0]
    file.write_text(base.replace("name: toolworld", "name: zz-small-world") + f"toolworld: {WORLD}\n")
    yield file.stem
    file.unlink()


def test_a_checkpoint_is_evaluated_resumed_and_read_back(trained: Path, data: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = ("evaluate", str(trained), "--suite", "toolworld", "--data", data, "--out", str(out), "--judge", "oracle")
    found = document(*asked, "--judge", "rules")
    assert (found["overall"]["n"], found["overall"]["unscored"]) == (18, 0)
    assert found["overall"]["pass_rate"]["strict"]["value"] > 0
    assert set(found["judges"]) == {"oracle", "rules"}
    assert found["episodes"]["ended"].get("answered", 0) > 0
    episodes = (out / "episodes.jsonl").read_text()
    (out / "episodes.jsonl").write_text(episodes[: len(episodes) // 2])
    assert document(*asked)["overall"]["pass_rate"] == found["overall"]["pass_rate"]
    for form in ("answers.jsonl", "converted/model", "raw/model"):
        paths = [out / form] if form == "answers.jsonl" else sorted((out / form).iterdir())
        judged = document("judge", *map(str, paths), "--judge", "oracle", "--data", data)
        assert judged["overall"]["pass_rate"] == found["overall"]["pass_rate"], form
    assert "another --out" in sweeper(*asked, "--seed", "5", code=2).stderr


@pytest.fixture(scope="module")
def served(trained: Path) -> Iterator[str]:
    """`transformers serve` over that checkpoint: a real OpenAI-compatible server."""
    pytest.importorskip("uvicorn", reason="needs transformers[serving]")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(trained), "--port", str(port)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, start_new_session=True, **quiet)
    deadline = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2)
            break
        except OSError:
            assert time.monotonic() < deadline, "the server did not start"
            assert process.poll() is None, "the server ended"
            time.sleep(0.5)
    yield f"http://127.0.0.1:{port}/v1"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_served_checkpoint_answers_as_the_local_one(trained: Path, served: str, data: str, tmp_path: Path) -> None:
    asked = ("evaluate", str(trained), "--suite", "toolworld", "--data", data)
    local = document(*asked, "--out", str(tmp_path / "local"))
    there = document(*asked, "--endpoint", served, "--protocol", "chat", "--out", str(tmp_path / "there"))
    assert there["overall"]["pass_rate"] == local["overall"]["pass_rate"]
    assert there["usage"]["requests"] >= 18
    final = [
        {row["query_id"]: row["final_answer"] for row in map(json.loads, (folder / "answers.jsonl").open())}
        for folder in (tmp_path / "local", tmp_path / "there")
    ]
    assert final[0] == final[1]

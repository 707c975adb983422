"""`evaluate`, `judge` and `compare` as a user runs them: real files, a real trained model, real servers."""

from __future__ import annotations

import csv
import importlib.util
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
import warm
from chat_server import ChatServer, Said, Seen
from parts import report_missing
from ports import reserve_refusing_port

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
WORLD = "{seed: 1, train_queries: 900, validation_queries: 8, test_queries_per_subset: 3}"
FINAL = '{"return_type": "give_answer", "final_answer": "the answer"}'


def sweeper(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    done = warm.sweeper(*arguments, **more)
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
    rows = [json.loads(row) for row in (tmp_path / "out" / "votes.jsonl").read_text().splitlines()]
    assert len(rows) == 5 + 5 * 4
    finished = {row["query_id"]: row["rules"]["finished"] for row in rows[:5] if row["subset"] == "G1_tool"}
    assert finished == {"0": True, "1": True, "2": False}, "true: the rule holds"
    for folder in ("converted", "raw", "raw/answers", "."):
        assert (
            document("judge", str(tmp_path / "out" / folder))["overall"] == document("judge", str(answers))["overall"]
        )
    shown = sweeper(*asked, env=key).stdout
    assert "endpoint of judge llm:m, this run: 0 requests" in shown
    assert "tokens 0 in, 0 out; cost 0" in shown
    assert not [f for f in (tmp_path).rglob("*") if f.is_file() and b"very-secret" in f.read_bytes()]
    assert (
        document("judge", str(tmp_path / "out" / "converted" / "answers"))["overall"]
        == (document("judge", str(answers))["overall"])
    )


def test_judge_that_is_down_gives_no_rate(answers: Path, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{reserve_refusing_port()}/v1"
    llm = ("--judge", "llm", "--judge-endpoint", url, "--judge-model", "m", "--votes", "1", "--storage", str(tmp_path))
    done = sweeper("judge", str(answers / "G3_instruction.json"), *llm, "--json", code=1)
    found = json.loads(done.stdout)
    assert (found["overall"]["n"], found["overall"]["unscored"]) == (2, 2)
    assert found["overall"]["pass_rate"]["strict"]["value"] is None
    assert sorted(found["unscored_reasons"].values()) == [1, 1]
    assert "2 answers are unscored" in done.stderr
    assert "connection refused, 6 tries" in done.stderr
    done = sweeper("compare", str(answers), str(answers), *llm, code=1)
    assert "connection refused" in done.stderr
    assert "5 by unscored" in done.stdout


def test_ctrl_c_says_from_where_it_goes_on(answers: Path, tmp_path: Path) -> None:
    def slow_from_the_third(seen: Seen) -> Said | str:
        return Said(verdict(seen), delay=0 if seen.body["seed"] < 2000 else 60)  # a vote's seeds begin at its thousand

    command = ["judge", str(answers), "--judge", "llm", "--judge-model", "m", "--storage", str(tmp_path)]
    with ChatServer(slow_from_the_third) as server:
        for what in (command, ["compare", str(answers), *command[1:]]):
            process = subprocess.Popen(
                [sys.executable, "-m", "sweeper", *what, "--judge-endpoint", server.url],
                cwd=ROOT,
                stderr=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            before, deadline = len(server.seen), time.monotonic() + 60
            while len(server.seen) < before + 2 or len(list(tmp_path.rglob("judgements/*/*.json"))) < 2:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 130, errors
            assert "Interrupted; 2 judgements saved" in errors.splitlines()[-1]
            assert "judging" in errors or "comparing" in errors, "a bar"
            assert "Traceback" not in errors


def test_answers_outside_the_suite_are_named_and_missing_ones_counted(answers: Path, tmp_path: Path) -> None:
    suite = tmp_path / "suite" / "test_instruction"
    write_suite(suite, [0, 1, 7])
    done = sweeper("judge", str(answers), "--suite", str(suite))
    assert (
        "3 answers match no query of the suite and are not judged: G1_tool 2, G3_instruction 0, G3_ins" in done.stdout
    )
    row = next(line.split() for line in done.stdout.splitlines() if line.startswith("G1_tool"))
    assert row[1:5] == ["3", "2", "1", "0"], "queries, answers, missing, unscored"
    found = document("judge", str(answers), "--suite", str(suite))
    assert found["outside_suite"] == {
        "answers": 3,
        "first": [["G1_tool", "2"], ["G3_instruction", "0"], ["G3_instruction", "1"]],
    }
    assert (found["answers"], found["missing"], found["overall"]["n"]) == (2, 1, 3)
    write_suite(suite, [8])
    assert "no answer to any of them" in sweeper("judge", str(answers), "--suite", str(suite), code=2).stderr


def write_suite(folder: Path, ids: list[int]) -> None:
    api = {"category_name": "Gaming", "tool_name": "csgo", "api_name": "played", "api_description": "d"}
    api |= {"required_parameters": [], "optional_parameters": [], "method": "GET"}
    rows = [{"query_id": k, "query": f"q{k}", "api_list": [api], "relevant APIs": [["csgo", "played"]]} for k in ids]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "G1_tool.json").write_text(json.dumps(rows))


def calls_then_answers(seen: Seen) -> str:
    if len(seen.body["messages"]) > 2:
        return '\nThought: \nAction: Finish\nAction Input: {"return_type": "give_answer", "final_answer": "five"}'
    number = seen.user.rpartition("q")[2].split()[0]
    return f'\nThought: \nAction: played_for_csgo\nAction Input: {{"page": {number}}}'


def test_what_an_environment_does_not_execute_is_shown_and_where_it_executes_nothing_there_is_no_rate(
    tmp_path: Path,
) -> None:
    write_suite(tmp_path / "suite" / "test_instruction", [0, 1])
    recorded = tmp_path / "recorded" / "Gaming" / "csgo_for_Gaming" / "played.json"
    recorded.parent.mkdir(parents=True)
    with ChatServer(calls_then_answers) as server:
        asked = ("evaluate", "m", "--endpoint", server.url, "--suite", str(tmp_path / "suite"), "--judge", "rules")
        asked += ("--storage", str(tmp_path / "s"))
        replay = ("--environment", "replay", "--set", f"recorded={tmp_path / 'recorded'}")

        recorded.write_text(json.dumps({"{'page': 9}": {"error": "", "response": "five"}}))
        done = sweeper(*asked, *replay, code=1)
        assert "environment: 2 calls, 2 not recorded" in done.stdout
        assert "no pass rate: the environment executed none of 2 calls" in done.stderr

        recorded.write_text(json.dumps({"{'page': 1}": {"error": "", "response": "five"}}))
        done = sweeper(*asked, *replay, "--input-price", "1000", "--output-price", "2000")
        assert "environment: 2 calls, 1 not recorded" in done.stdout
        assert "episodes ended: 2 answered" in done.stdout
        assert "4 requests, 0 retries, 0 failed; tokens 40 in, 20 out; cost 0.08" in done.stdout

        done = sweeper(
            *asked, "--environment", "http", "--set", f"url=http://127.0.0.1:{reserve_refusing_port()}", code=1
        )
        assert "environment: 2 calls, 2 failed" in done.stdout
        assert "episodes ended: 2 unreachable" in done.stdout
        assert "refused" in done.stderr
        assert "100.0%" not in done.stdout

    dead = f"http://127.0.0.1:{reserve_refusing_port()}/v1"
    done = sweeper("evaluate", "m", "--endpoint", dead, *asked[4:], *replay, code=1)
    assert f"agent's endpoint {dead}: connection refused" in done.stderr


def test_people_label_blind_and_their_labels_count(answers: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.csv"
    written = document("judge", str(answers), "--label-sheet", str(sheet), "--items", "4")
    assert written["items"] == 4
    refused = sweeper("judge", str(answers), "--label-sheet", str(sheet), code=2).stderr
    assert "may contain labels" in refused
    other = tmp_path / "other.csv"
    assert (
        "5 answers to label (all there are; --items 100)"
        in sweeper("judge", str(answers), "--label-sheet", str(other)).stdout
    )
    other.unlink()
    assert "other.key.json exists" in sweeper("judge", str(answers), "--label-sheet", str(other), code=2).stderr
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
    overall = found["prediction_powered"]["rules"]["overall"]
    assert (overall["n_labelled"], overall["n_judged"], overall["labels_left_out"]) == (4, 5, 0)
    labels = ("--labels-a", str(sheet), "--key-a", written["key"], "--labels-b", str(sheet), "--key-b", written["key"])
    same = document("compare", str(answers), str(answers), *labels)["prediction_powered"]["rules"]
    assert (same["n_labelled"], same["corrected"]["value"], same["method"]) == (4, 0.0, "PPI++ of pairs")
    assert "one side only" in sweeper("compare", str(answers), str(answers), *labels[:4], code=2).stderr
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
    assert found["decided_by"] == {"pass": 1, "preference": 0, "tie": 4, "undecided": 0, "unscored": 0}
    assert (found["overall"]["wins"], found["overall"]["value"]) == (1, 0.6)
    assert "win rate" in sweeper("compare", str(answers), str(other)).stdout
    rows["1"]["answer"]["answer_details"][0]["next"][0]["next"][0]["message"] = "{'name': 'f', 'argum"  # cut: unsure
    (other / "G1_tool.json").write_text(json.dumps(rows))
    found = document("compare", str(answers), str(other))
    assert found["decided_by"] == {"pass": 1, "preference": 0, "tie": 3, "undecided": 1, "unscored": 0}
    assert (found["overall"]["n"], found["overall"]["undecided"], found["judge"]) == (4, 1, "rules")
    assert "1 pairs are undecided" in sweeper("compare", str(answers), str(other)).stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("judge", "nowhere"), 2, "no such file"),
        (("compare", "nowhere", "ANSWERS"), 2, "no such file"),
        (("judge", "ANSWERS", "--suite", "./nowhere"), 2, "no such file"),
        (("judge", "ANSWERS", "--labels", "nowhere.csv"), 2, "no such file"),
        (("judge", "ANSWERS", "--labels", "README.md", "--key", "nowhere.json"), 2, "--key nowhere.json"),
        (("judge", "ANSWERS", "--labels", "README.md", "--key", "README.md"), 1, "not readable as JSON"),
        (("evaluate", "./nowhere", "--suite", "toolworld"), 2, "the path does not exist"),
        (("evaluate", "README.md", "--suite", "toolworld"), 2, "it is a file"),
        (("data", "leakage", "toolworld", "./nowhere"), 2, "no such file"),
        (("data", "inspect", "./nowhere", "--model", "opt-tiny-32"), 2, "no such file"),
        (("judge", "README.md"), 1, "not JSON"),
        (("judge", "ANSWERS", "--judge", "nobody"), 2, "no judge of this name"),
        (("judge", "ANSWERS", "--judge", "llm"), 2, "--judge-endpoint"),
        (("judge", "ANSWERS", "--judge", "llm", "--judge-endpoint", "http://x/v1"), 2, "no --judge-model"),
        (("judge", "ANSWERS", "--judge", "llm", "--judge-model", "m"), 2, "no --judge-endpoint"),
        (("judge", "ANSWERS", "--judge-endpoint", "http://x/v1", "--judge-model", "m"), 2, "add --judge llm"),
        (("compare", "ANSWERS", "ANSWERS", "--judge", "human"), 2, "compare reads no labels"),
        (("evaluate", "x", "--suite", "toolworld", "--judge", "human"), 2, "evaluate reads no labels"),
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


def test_checkpoint_is_evaluated_resumed_and_read_back(trained: Path, data: str, tmp_path: Path) -> None:
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
    new = tmp_path / "new"
    refused = sweeper(*asked[:-3], str(new), "--set", "max_new_tokens=512", code=2).stderr
    assert "max_new_tokens: 512" in refused
    assert "positions" in refused
    assert not new.exists(), "a refused start leaves no mark"


@pytest.fixture(scope="module")
def served(trained: Path) -> Iterator[str]:
    """`transformers serve` over that checkpoint: a real OpenAI-compatible server."""
    if importlib.util.find_spec("uvicorn") is None:
        report_missing("uvicorn not installed: pip install -e '.[dev]'")
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


def test_served_checkpoint_answers_as_the_local_one(trained: Path, served: str, data: str, tmp_path: Path) -> None:
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

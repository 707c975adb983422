"""Recorded responses are looked up by exact arguments."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from sweeper.data.test_queries import OfferedApi
from sweeper.errors import DataError
from sweeper.evaluation.environments import Observation
from sweeper.evaluation.environments.replay import MISS_MESSAGE, ReplayEnvironment
from sweeper.evaluation.tasks import Task

API = OfferedApi("played_for_csgo", "played", "csgo", "Gaming", {})
TASK = Task("1", "G1_tool", "q", "s", ({"name": "played_for_csgo"}, {"name": "Finish"}), {"played_for_csgo": API})


def heard(found: Observation) -> dict[str, Any]:
    assert found.text is not None
    return json.loads(found.text)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    file = tmp_path / "Gaming" / "csgo_for_Gaming" / "played.json"
    file.parent.mkdir(parents=True)
    recorded = {"{'limit': 5, 'page': '1'}": {"error": "", "response": "five"}, "{}": {"error": "", "response": "all"}}
    recorded["__import__('os').system('touch x')"] = {"error": "", "response": "never"}
    file.write_text(json.dumps(recorded))
    return tmp_path


def test_replay_looks_up_exact_arguments(cache: Path) -> None:
    replay = ReplayEnvironment.read_folder(cache, "error")
    found = [replay.execute(TASK, "played_for_csgo", asked) for asked in ({"page": "1", "limit": 5}, {}, {"limit": 6})]
    assert [heard(one)["response"] for one in found] == ["five", "all", ""]
    assert [one.fault for one in found] == [None, None, "missed"]
    assert heard(found[2])["error"] == found[2].reason == MISS_MESSAGE
    assert not Path("x").exists()


def test_replay_on_miss_same_api_substitutes_a_response(cache: Path) -> None:
    replay = ReplayEnvironment.read_folder(cache, "same-api")
    found = replay.execute(TASK, "played_for_csgo", {"limit": 6})
    assert (heard(found)["response"], found.fault) == ("five", "substituted")


def test_replay_reads_real_answers(real_toolbench: Path) -> None:
    replay = ReplayEnvironment.read_folder(real_toolbench / "answer", "error")
    document = json.loads(next((real_toolbench / "answer" / "G1_answer").glob("59_*.json")).read_text())
    messages = document["answer_generation"]["train_messages"][-1]
    asked, told = next(
        (a["function_call"], b["content"])
        for a, b in pairwise(messages)
        if a.get("function_call") and b["role"] == "function"
    )
    assert replay.execute(TASK, asked["name"], json.loads(asked["arguments"])).text == told


def test_replay_without_responses_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none in it"):
        ReplayEnvironment.read_folder(tmp_path, "error")
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(DataError, match=r"x\.json"):
        ReplayEnvironment.read_folder(tmp_path, "error")

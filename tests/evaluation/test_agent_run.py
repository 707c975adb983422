"""Runs of an agent over a suite: resumption, and counts of environment faults."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted_agents import DATA, N_TASKS, CallingAgent, FinishingAgent, UnreachableAgent, make_evaluation

from sweeper.evaluation.agent_run import count_environment_calls, is_incoherent, no_signal_reason, run_agent
from sweeper.evaluation.environments import Observation
from sweeper.evaluation.episode import Episode
from sweeper.evaluation.judges import JudgeContext, judge_answers, make_judge
from sweeper.evaluation.tasks import Task
from sweeper.storage import read_json


def test_interrupted_run_resumes_with_the_missing_batches(tmp_path: Path) -> None:
    evaluation = make_evaluation()
    whole, _ = run_agent(tmp_path / "whole", FinishingAgent(), evaluation, DATA, method="m")
    folder = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        run_agent(folder, FinishingAgent(fail_after=6), evaluation, DATA, method="m")
    with (folder / "episodes.jsonl").open("a") as file:
        file.write('{"query_id": "half of a li')
    again = FinishingAgent()
    episodes, answers = run_agent(folder, again, evaluation, DATA, method="m")
    assert again.batch_indices == [3, 4, 5, 6, 7, 8]
    assert episodes == whole
    assert [answer.ended for answer in answers] == ["answered"] * 18
    assert (folder / "answers.jsonl").read_bytes() == (tmp_path / "whole" / "answers.jsonl").read_bytes()


def test_partial_last_line_is_removed_and_its_episode_repeated(tmp_path: Path) -> None:
    evaluation = make_evaluation()
    whole, _ = run_agent(tmp_path, FinishingAgent(), evaluation, DATA, method="m")
    file = tmp_path / "episodes.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    # Half of a character, and a separator that is the end of a line to Python and to nobody else.
    kept = [
        re.sub(r', "crc32": \d+', "", line).replace('"final_answer\\": \\"x', '"final_answer\\": \\"\u2028x')
        for line in lines[:16]
    ]
    file.write_bytes("".join(kept).encode() + lines[16].encode()[:50] + "é".encode()[:1])
    again = FinishingAgent()
    run_agent(tmp_path, again, evaluation, DATA, method="m")
    assert again.batch_indices == [8], "only the group of the torn line"
    rows = [json.loads(line) for line in file.read_text().split("\n")[:-1]]
    assert sorted((row["subset"], row["query_id"]) for row in rows) == sorted((e.subset, e.query_id) for e in whole)


def calling(folder: Path, environment: Callable[[str], Observation], monkeypatch: pytest.MonkeyPatch) -> list[Episode]:
    class Env:
        max_concurrent_calls = 1

        def execute(self, task: Task, name: str, arguments: dict[str, Any]) -> Observation:
            return environment(task.id)

    monkeypatch.setattr("sweeper.evaluation.agent_run.make_environment", lambda evaluation, data: Env())
    return run_agent(folder, CallingAgent(), make_evaluation(), DATA, method="m")[0]


def test_environment_faults_are_counted_including_episodes_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def some(query: str) -> Observation:
        return Observation("{}", "missed", "not recorded") if int(query) % 2 else Observation("{}")

    episodes = calling(tmp_path, some, monkeypatch)
    counts = count_environment_calls(episodes)
    assert 0 < counts["missed"] < counts["calls"] == N_TASKS
    assert no_signal_reason(episodes) == ""
    assert count_environment_calls(calling(tmp_path, some, monkeypatch)) == counts
    assert read_json(tmp_path / "environment.json") == counts


@pytest.mark.parametrize(
    ("observation", "says"),
    [
        (Observation("{}", "missed", "not recorded"), r"none of 18 calls \(18 not recorded, 0 failed\): not recorded"),
        (Observation("{}", "failed", "status 404"), r"none of 18 calls \(0 not recorded, 18 failed\): status 404"),
        (Observation(None, "failed", "refused"), "none of 18 queries could be run: refused"),
        (Observation("{}", "substituted", "not recorded"), "^$"),
    ],
)
def test_no_signal_reason_if_the_environment_executes_nothing(
    observation: Observation, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    episodes = calling(tmp_path, lambda query: observation, monkeypatch)
    assert re.search(says, no_signal_reason(episodes))
    assert {e.ended for e in episodes} == {"answered" if observation.text else "unreachable"}


def test_unreachable_episodes_are_unscored_and_repeated(tmp_path: Path) -> None:

    evaluation = make_evaluation()
    _, answers = run_agent(tmp_path, UnreachableAgent(), evaluation, DATA, method="m")
    votes = judge_answers(make_judge(evaluation.judge, JudgeContext(DATA)), answers)
    assert {vote.status for cast in votes for vote in cast} == {None}
    up = FinishingAgent()
    _, answers = run_agent(tmp_path, up, evaluation, DATA, method="m")
    assert up.n_inputs == N_TASKS
    assert {answer.ended for answer in answers} == {"answered"}


def test_is_incoherent_for_repeated_calls_and_missing_actions() -> None:
    repeated = Episode("1", "s", calls=[("f", "{}", "")] * 3)
    assert is_incoherent(repeated)
    assert not is_incoherent(Episode("1", "s", calls=[("f", "{}", "")] * 2))
    assert is_incoherent(Episode("1", "s", malformed=1))

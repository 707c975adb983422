"""Files of judged answers."""

from __future__ import annotations

import json
from pathlib import Path

from answer_documents import answer
from scripted_agents import DATA

from sweeper.evaluation.answer_files import read_answers
from sweeper.evaluation.answers import ToolCall
from sweeper.evaluation.judge_panel import JudgePanel, PhaseProgress, judge_with_panel
from sweeper.evaluation.judges import JudgeContext
from sweeper.evaluation.judging_files import write_judging_files


def test_write_judging_files_writes_every_format(tmp_path: Path) -> None:
    cut = answer(ToolCall("price_for_shop", '{"item', "", cut=True), query_id="8", final="")
    answers = [answer(query_id="7"), cut]
    judges = JudgePanel(("rules",), JudgeContext(DATA)).make_judges(answers)
    report = judge_with_panel(answers, judges, PhaseProgress(lambda share: None, 1))
    write_judging_files(tmp_path, answers, report, model="m")
    assert read_answers([tmp_path / "converted" / "m"]) == answers
    assert read_answers([tmp_path / "raw"]) == answers[:1], "the raw format cannot mark cut calls"
    rows = [json.loads(line) for line in (tmp_path / "votes.jsonl").read_text().splitlines()]
    assert [(row["query_id"], row["status"]) for row in rows] == [("7", "solved"), ("8", "unsolved")]
    columns = ["subset", "query_id", "judge", "vote", "status", "task", "task_fault", "reason", "rules"]
    assert list(rows[0]) == columns
    results = json.loads((tmp_path / "pass_rate_results" / "m" / "G1_tool_m.json").read_text())
    assert results["7"]["is_solved"] == {"0": "AnswerStatus.Solved"}
    assert json.loads((tmp_path / "judged.json").read_text())["judge"] == "rules"


def test_names_from_answers_never_lead_out_of_the_folder(tmp_path: Path) -> None:
    hostile = [
        answer(query_id="../../../escaped", subset="../../up"),
        answer(query_id="/etc/passwd", subset="a/b"),
        answer(query_id="x" * 400, subset="..\\\u0000"),
    ]
    judges = JudgePanel(("rules",), JudgeContext(DATA)).make_judges(hostile)
    report = judge_with_panel(hostile, judges, PhaseProgress(lambda share: None, 1))
    out = tmp_path / "deep" / "out"
    write_judging_files(out, hostile, report, model="../m")
    assert list(tmp_path.iterdir()) == [tmp_path / "deep"] and list((tmp_path / "deep").iterdir()) == [out]
    assert {path.name for path in out.iterdir()} == {
        *("converted", "raw", "pass_rate_results", "votes.jsonl", "judged.json"),
    }
    assert len(list((out / "raw").rglob("*.json"))) == 3

"""Tasks are those of ToolBench: the same functions and system message."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from sweeper.config import DataSpec, EvaluationSpec
from sweeper.data.test_queries import read_suite
from sweeper.evaluation.tasks import FINISH_SCHEMA, TOOLBENCH_SYSTEM_PROMPT, load_tasks, make_toolbench_task

DATA = DataSpec(name="d", source="toolworld", api_format="toolbench", fold_steps=False, max_length=9)


def test_toolbench_task_matches_real_answers(real_toolbench: Path) -> None:
    suite = read_suite(real_toolbench)
    queries = {query.id: query for query in suite.subsets["G1_instruction"]}
    files = sorted((real_toolbench / "answer_cot" / "G1_instruction").glob("*.json"))
    assert files
    for file in files:
        answer = json.loads(file.read_text())["answer_generation"]
        task = make_toolbench_task("G1_instruction", queries[file.name.split("_")[0]])
        assert task.query == answer["query"]
        assert list(task.functions) == answer["function"]
        for messages in answer["train_messages"][-1:]:
            real = messages[0]["content"]
            assert real.startswith(TOOLBENCH_SYSTEM_PROMPT), "verbatim"
            offered = [line.split(":")[0] for line in real[len(TOOLBENCH_SYSTEM_PROMPT) :].splitlines()]
            mine = task.system.partition("following tools:\n")[2].splitlines()
            assert [line.split(":")[0] for line in mine] == offered
    assert task.functions[-1] == FINISH_SCHEMA


def test_load_tasks_of_all_real_queries(real_toolbench: Path) -> None:
    evaluation = EvaluationSpec(
        name="e", queries=str(real_toolbench), environment="http", url="http://x", judge="rules", batch_size=1
    )
    found = load_tasks(evaluation, DATA)
    assert len(found) == 224
    for task in found:
        names = [function["name"] for function in task.functions]
        assert names[-1] == "Finish"
        assert set(names[:-1]) == set(task.apis)
        assert "Your output should follow this format" in task.system


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"environment": "replay", "judge": "rules"}, "recorded"),
        ({"environment": "http", "judge": "rules"}, "url"),
        ({"environment": "http", "url": "http://x", "judge": "llm"}, "llm"),
        ({"environment": "http", "url": "http://x", "judge": "oracle"}, "oracle"),
        ({"environment": "toolworld", "judge": "oracle", "queries": "x"}, "queries"),
    ],
)
def test_evaluation_spec_rejects_conflicting_fields(fields: dict[str, str], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        EvaluationSpec(name="e", batch_size=1, **fields)  # type: ignore[arg-type]

"""The oracle accepts gold solutions and nothing else."""

from __future__ import annotations

import json
from functools import partial

from sweeper.config import DataSpec, EvaluationSpec
from sweeper.evaluation.environments.toolworld import ToolWorldEnvironment
from sweeper.evaluation.episode import Episode
from sweeper.evaluation.judges.oracle import OracleJudge
from sweeper.evaluation.tasks import Task, load_tasks


def act(name: str, arguments: str) -> str:
    return f"\nThought: \nAction: {name}\nAction Input: {arguments}"


def test_oracle_accepts_gold_solutions_and_rejects_answers_without_calls() -> None:
    settings = {"train_queries": 6, "validation_queries": 3, "test_queries_per_subset": 4}
    data = DataSpec(
        name="w", source="toolworld", toolworld=settings, api_format="signature", fold_steps=True, max_length=9
    )
    evaluation = EvaluationSpec(name="e", environment="toolworld", judge="oracle", batch_size=1)
    environment, judge = ToolWorldEnvironment(data), OracleJudge(data)
    for task in load_tasks(evaluation, data):
        gold = environment.world.get_query(task.id)
        final = act("Finish", json.dumps({"return_type": "give_answer", "final_answer": gold.gold_answer}))

        def run_texts(texts: list[str], task: Task = task) -> Episode:
            run = Episode.from_task(task)
            for text in texts:
                run.step(text, 1, partial(environment.execute, task), max_steps=9)
            return run

        calls = [act(name, json.dumps(arguments)) for name, arguments, _ in gold.gold_calls]
        whole, alone, unanswered = (
            run_texts(texts).make_answer(task, "m") for texts in ([*calls, final], [final], calls)
        )
        votes = judge.judge([whole, alone, unanswered])
        assert [vote.status for (vote,) in votes] == ["solved", "unsolved", "unsolved"]

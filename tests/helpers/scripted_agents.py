"""A small evaluation of the synthetic tool environment, and agents that need no model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sweeper.config import DataSpec, EvaluationSpec
from sweeper.evaluation.agents.base import AgentInput, Generation
from sweeper.evaluation.tasks import Task

DATA = DataSpec(
    name="w",
    source="toolworld",
    toolworld={"train_queries": 300, "validation_queries": 8, "test_queries_per_subset": 3},
    api_format="signature",
    fold_steps=True,
    max_length=300,
    vocab_size=320,
)
N_TASKS = 18
"""Tasks of `make_evaluation`: three in each of the six subsets."""
FINAL_TEXT = '\nThought: \nAction: Finish\nAction Input: {"return_type": "give_answer", "final_answer": "x"}'


def make_evaluation(**fields: Any) -> EvaluationSpec:
    defaults = {"name": "e", "environment": "toolworld", "judge": "oracle", "temperature": 0.0, "max_steps": 4}
    return EvaluationSpec.model_validate(defaults | {"max_new_tokens": 24, "batch_size": 64} | fields)


class FinishingAgent:
    """Ends every episode at once. Its batches are pairs; `fail_after` inputs it is interrupted."""

    def __init__(self, fail_after: int = 10**9) -> None:
        self.n_inputs, self.batch_indices, self.fail_after = 0, list[int](), fail_after
        self.out_of_memory_at = list[int]()

    def batches(self, tasks: Sequence[Task]) -> list[list[Task]]:
        return [list(tasks[i : i + 2]) for i in range(0, len(tasks), 2)]

    def start_batch(self, index: int) -> None:
        self.batch_indices.append(index)

    def generate(self, inputs: Sequence[AgentInput]) -> list[Generation]:
        if self.n_inputs >= self.fail_after:
            raise KeyboardInterrupt
        self.n_inputs += len(inputs)
        return [Generation(FINAL_TEXT, 3) for _ in inputs]


class CallingAgent(FinishingAgent):
    """Calls the first API that it is offered, then ends the episode."""

    def generate(self, inputs: Sequence[AgentInput]) -> list[Generation]:
        def write(agent_input: AgentInput) -> str:
            if agent_input.turns:
                return FINAL_TEXT
            return f"\nThought: \nAction: {agent_input.task.functions[0]['name']}\nAction Input: {{}}"

        return [Generation(write(agent_input), 3) for agent_input in inputs]


class UnreachableAgent(FinishingAgent):
    """Its endpoint is down."""

    def generate(self, inputs: Sequence[AgentInput]) -> list[Generation]:
        return [Generation(None, end_reason="unreachable", reason="connection refused") for _ in inputs]

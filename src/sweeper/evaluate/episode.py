"""One agent run on one query, as a state that steps: text in, observation out. Knows neither model nor tools."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sweeper.evaluate.action import parse_action

FINISH = "Finish"
OBSERVATION_CHARACTERS = 1024
"""ToolBench cuts observations here."""

Execute = Callable[[str, dict[str, Any]], str]


@dataclass
class Episode:
    """State of one run. `turns`: (role, content) after the query; `calls`: executed (name, arguments, observation)."""

    query_id: str
    subset: str
    known_apis: frozenset[str]
    turns: list[tuple[str, str]] = field(default_factory=list)
    calls: list[tuple[str, dict[str, Any], str]] = field(default_factory=list)
    final_answer: str | None = None
    ended: str | None = None
    actions: int = 0
    valid_actions: int = 0
    valid_inputs: int = 0
    hallucinated: int = 0

    def step(self, text: str, execute: Execute, max_steps: int) -> None:
        """Take one answer of the model: execute its call, or end. Sets `ended` when the episode is over."""
        self.turns.append(("assistant", text))
        self.actions += 1
        action = parse_action(text)
        if action.name is None:
            observation: str | None = _error("no Action given")
        elif action.name != FINISH and action.name not in self.known_apis:
            self.hallucinated += 1
            observation = _error(f"No such function name: {action.name}")
        else:
            self.valid_actions += 1
            observation = self._act(action.name, action.arguments, execute)
        if observation is not None:
            self.turns.append(("function", observation[:OBSERVATION_CHARACTERS]))
            if self.actions >= max_steps:
                self.ended = "steps"

    def overrun(self) -> None:
        """The conversation no longer fits the model's positions."""
        self.ended = "context"

    def _act(self, name: str, arguments: dict[str, Any] | None, execute: Execute) -> str | None:
        """The observation of a well-named action; None where it ended the episode."""
        if arguments is None:
            return _error("Action Input is not a JSON object")
        self.valid_inputs += 1
        if name != FINISH:
            observation = execute(name, arguments)
            self.calls.append((name, arguments, observation))
            return observation
        kind, answer = arguments.get("return_type"), arguments.get("final_answer")
        if kind == "give_up_and_restart":
            self.ended = "gave-up"
        elif kind == "give_answer" and isinstance(answer, str):
            self.final_answer, self.ended = answer, "answered"
        else:
            return _error("Finish needs return_type and final_answer")
        return None


def _error(text: str) -> str:
    return json.dumps({"error": text, "response": ""})

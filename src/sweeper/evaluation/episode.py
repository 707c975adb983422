"""One agent run on one query, as a state machine: text in, observation out. Independent of model and tools."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

from sweeper.evaluation.action import Action, parse_action, parse_finish_arguments, remove_reasoning
from sweeper.evaluation.answers import FINISH, Answer, QueryKey, ToolCall
from sweeper.evaluation.environments import Fault, Observation
from sweeper.evaluation.tasks import Task

MAX_OBSERVATION_CHARACTERS = 1024
"""ToolBench truncates observations to this length and appends `...`."""

ExecuteCall = Callable[[str, Mapping[str, object]], Observation]
EndReason = Literal["answered", "gave-up", "steps", "tokens", "context", "unreachable"]

NO_RETURN_TYPE = '{error:"must have "return_type""}'
NO_FINAL_ANSWER = '{error:"must have "final_answer""}'
WRONG_RETURN_TYPE = '{error:""return_type" is not a valid choice"}'
"""ToolBench's observations for an incomplete `Finish`, with its own quoting."""


@dataclass
class Episode:
    """State of one run, and its record."""

    query_id: str
    subset: str
    known_apis: frozenset[str] = frozenset()
    turns: list[tuple[str, str]] = field(default_factory=list)
    """(role, content) after the query."""
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    """(name, arguments, observation) of the executed calls, `Finish` included."""
    texts: list[str] = field(default_factory=list)
    """The model's texts, in full."""
    final_answer: str = ""
    ended: EndReason | None = None
    reason: str = ""
    """Why the episode ended, where `ended` does not explain it."""
    tokens: int = 0
    actions: int = 0
    valid_actions: int = 0
    valid_inputs: int = 0
    hallucinated: int = 0
    overgenerated: int = 0
    malformed: int = 0
    reasoned: int = 0
    """Texts with a block of reasoning, which is no part of the action."""
    requests: int = 0
    """Calls sent to the environment."""
    faults: list[tuple[Fault, str]] = field(default_factory=list)
    """(fault, reason) of the calls that the environment did not execute."""

    @property
    def key(self) -> QueryKey:
        """(subset, query id)."""
        return self.subset, self.query_id

    @classmethod
    def from_task(cls, task: Task) -> Episode:
        """Make an episode that has not begun."""
        return cls(task.id, task.subset, frozenset(function["name"] for function in task.functions))

    def step(
        self, text: str, tokens: int, execute: ExecuteCall, *, max_steps: int, max_tokens: int | None = None
    ) -> None:
        """Process one text of the model: execute its call, or end. Sets `ended` when the episode is over.

        Args:
            text: the text of the model.
            tokens: its number of tokens.
            max_steps: the episode ends after this many texts.
            max_tokens: the episode ends after this many tokens in total.
        """
        action = parse_action(text)
        self.texts.append(text)
        self.turns.append(("assistant", action.text if action.extra_text else remove_reasoning(text)))
        self.actions += 1
        self.tokens += tokens
        self.overgenerated += bool(action.extra_text)
        self.malformed += action.name is None
        self.reasoned += action.has_reasoning
        observation = self._execute_action(action, execute)
        if observation is None:
            return
        if len(observation) > MAX_OBSERVATION_CHARACTERS:
            observation = observation[:MAX_OBSERVATION_CHARACTERS] + "..."
        self.turns.append(("function", observation))
        if action.name is not None:
            self.calls.append((action.name, action.raw_input, observation))
        if self.actions >= max_steps:
            self.ended = "steps"
        elif max_tokens is not None and self.tokens >= max_tokens:
            self.ended = "tokens"

    def stop(self, end_reason: EndReason, reason: str = "") -> None:
        """End the episode: the prompt no longer fits, or the agent's endpoint or the environment is unreachable."""
        self.ended, self.reason = end_reason, reason

    def make_answer(self, task: Task, method: str) -> Answer:
        """Convert the run into an answer for the judges."""
        steps: list[str | ToolCall] = []
        calls = iter(self.calls)
        for (role, content), following in zip(self.turns, [*self.turns[1:], ("", "")], strict=False):
            if role != "assistant":
                continue
            action = parse_action(content)
            if action.thought or action.name is None:
                steps.append(action.thought or content)
            if action.name is not None and (following[0] == "function" or action.name == FINISH):
                name, arguments, response = next(calls)
                steps.append(ToolCall(name, arguments, "" if name == FINISH else response))
        return Answer(
            query_id=self.query_id,
            subset=self.subset,
            query=task.query,
            functions=task.functions,
            steps=tuple(steps),
            final_answer=self.final_answer,
            method=method,
            ended=self.ended or "unknown",
        )

    def format_line(self) -> str:
        """Format the episode as one line of JSON, which `parse_line` reads."""
        return json.dumps(asdict(self) | {"known_apis": sorted(self.known_apis)}, ensure_ascii=False)

    @classmethod
    def parse_line(cls, text: str) -> Episode:
        """Parse a line of `format_line`.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: any other text.
        """
        fields = json.loads(text)
        fields["known_apis"] = frozenset(fields["known_apis"])
        for key in ("turns", "calls", "faults"):
            fields[key] = [tuple(item) for item in fields.get(key, ())]
        return cls(**fields)

    def _execute_action(self, action: Action, execute: ExecuteCall) -> str | None:
        """Return the observation of an action; None where it ended the episode."""
        if action.name == FINISH:
            return self._handle_finish(action)
        if action.name is None or action.name not in self.known_apis:
            self.hallucinated += action.name is not None
            return make_error_observation(f"No such function name: {action.name or ''}")
        self.valid_actions += 1
        arguments = {} if action.raw_input == "" else action.arguments  # as StableToolBench's server does
        if arguments is None:
            return make_error_observation("Tool input parse error...\n")
        self.valid_inputs += 1
        self.requests += 1
        observation = execute(action.name, arguments)
        if observation.fault is not None:
            self.faults.append((observation.fault, observation.reason))
        if observation.text is None:
            self.stop("unreachable", observation.reason)
        return observation.text

    def _handle_finish(self, action: Action) -> str | None:
        arguments = parse_finish_arguments(action)
        self.valid_actions += 1
        self.valid_inputs += action.arguments is not None
        kind = arguments.get("return_type")
        if kind is None:
            return NO_RETURN_TYPE
        if kind == "give_answer" and "final_answer" not in arguments:
            return NO_FINAL_ANSWER
        if kind not in ("give_answer", "give_up_and_restart"):
            return WRONG_RETURN_TYPE
        self.calls.append((FINISH, action.raw_input, ""))
        if kind == "give_answer":
            self.final_answer, self.ended = action.raw_input, "answered"
        else:
            self.ended = "gave-up"
        return None


def make_error_observation(text: str) -> str:
    """Make ToolBench's observation of an error."""
    return json.dumps({"error": text, "response": ""})

"""A model behind an OpenAI-compatible endpoint: a served checkpoint, or a hosted baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sweeper.config import DataSpec
from sweeper.data import ApiList
from sweeper.data.prompt_format import format_system_message, format_user_message, make_segments
from sweeper.evaluation.agents.base import AgentInput, Generation
from sweeper.evaluation.openai_client import EndpointClient, EndpointSettings, Request
from sweeper.evaluation.tasks import Task

ApiProtocol = Literal["chat", "completions"]
STOP_SEQUENCES = ("\nFunction:", "\nUser:", "\nSystem:")
"""What follows an action in the training format: nobody reads on from there."""
EPISODES_PER_BATCH = 256
"""Episodes that step together, and are written to disk together."""


class OpenAIAgent:
    """Asks an endpoint in the training format: `completions` sends the prompt a local checkpoint would get, `chat` the
    same turns as messages (an observation is the user's, since a `tool` message needs a call of that protocol)."""

    def __init__(self, settings: EndpointSettings, data: DataSpec, *, protocol: ApiProtocol, seed: int) -> None:
        self.endpoint, self.data, self.protocol, self.seed = EndpointClient(settings), data, protocol, seed

    def batches(self, tasks: Sequence[Task]) -> list[list[Task]]:
        """In their order: an endpoint does its own batching."""
        return [list(tasks[start : start + EPISODES_PER_BATCH]) for start in range(0, len(tasks), EPISODES_PER_BATCH)]

    def start_batch(self, index: int) -> None:
        """Nothing is kept between groups."""

    def generate(self, inputs: Sequence[AgentInput]) -> list[Generation]:
        """The next texts; an endpoint that cannot be reached leaves an episode `unreachable`, never failed."""
        url = self.endpoint.settings.url
        found = self.endpoint.send_requests([self._make_request(talk) for talk in inputs])
        return [
            Generation(None, end_reason="unreachable", reason=f"agent's endpoint {url}: {reply.reason}")
            if reply.text is None
            else Generation(reply.text, reply.completion_tokens or 0)
            for reply in found
        ]

    def _make_request(self, agent_input: AgentInput) -> Request:
        turns = self._make_turns(agent_input)
        if self.protocol == "chat":
            return Request(
                messages=[_make_message(role, text) for role, text in turns], stop=STOP_SEQUENCES, seed=self.seed
            )
        prompt = "".join(segment.text for segment in make_segments(turns)) + "Assistant:"
        return Request(prompt=prompt, stop=STOP_SEQUENCES, seed=self.seed)

    def _make_turns(self, agent_input: AgentInput) -> list[tuple[str, str]]:
        task = agent_input.task
        system = format_system_message(task.system, ApiList(task.functions), self.data.api_format)
        return [("system", system), ("user", format_user_message(task.query)), *agent_input.turns]


def _make_message(role: str, text: str) -> Mapping[str, Any]:
    if role == "function":
        return {"role": "user", "content": f"Function: {text}"}
    return {"role": role, "content": text}

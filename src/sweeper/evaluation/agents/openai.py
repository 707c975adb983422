"""Agent behind an OpenAI-compatible endpoint: a served checkpoint or a hosted baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, assert_never

from sweeper.config import DataSpec
from sweeper.data.prompt_format import format_system_message, format_user_message, make_segments
from sweeper.evaluation.agents.base import Agent, AgentInput, Generation
from sweeper.evaluation.openai_client import EndpointClient, EndpointSettings, Request
from sweeper.evaluation.tasks import Task

ApiProtocol = Literal["chat", "completions"]
STOP_SEQUENCES = ("\nFunction:", "\nUser:", "\nSystem:")
"""What follows an action in the training format; generation stops there."""
EPISODES_PER_BATCH = 256
"""Episodes that step together and are written to disk together."""


class OpenAIAgent(Agent):
    """Requests each next text from an endpoint, in the training format.

    `completions` sends the prompt that a local checkpoint would get. `chat` sends the same turns as messages; an
    observation is a user's message, since a `tool` message requires a call of that protocol.
    """

    def __init__(self, settings: EndpointSettings, data: DataSpec, *, protocol: ApiProtocol, seed: int) -> None:
        self.endpoint, self.data, self.protocol, self.seed = EndpointClient(settings), data, protocol, seed

    def batches(self, tasks: Sequence[Task]) -> list[list[Task]]:
        """Group the tasks in their order: the endpoint does its own batching."""
        return [list(tasks[start : start + EPISODES_PER_BATCH]) for start in range(0, len(tasks), EPISODES_PER_BATCH)]

    def start_batch(self, index: int) -> None:
        """Do nothing: there is no state between batches."""

    def generate(self, inputs: Sequence[AgentInput]) -> list[Generation]:
        """Generate the next texts. Episodes of an unreachable endpoint end as `unreachable`, not as failed."""
        url = self.endpoint.settings.url
        completions = self.endpoint.send_requests([self._make_request(agent_input) for agent_input in inputs])
        return [
            Generation(None, end_reason="unreachable", reason=f"agent's endpoint {url}: {completion.reason}")
            if completion.text is None
            else Generation(completion.text, completion.completion_tokens or 0)
            for completion in completions
        ]

    def _make_request(self, agent_input: AgentInput) -> Request:
        turns = self._make_turns(agent_input)
        match self.protocol:
            case "chat":
                messages = [_make_message(role, text) for role, text in turns]
                return Request(messages=messages, stop=STOP_SEQUENCES, seed=self.seed)
            case "completions":
                prompt = "".join(segment.text for segment in make_segments(turns)) + "Assistant:"
                return Request(prompt=prompt, stop=STOP_SEQUENCES, seed=self.seed)
            case _:
                assert_never(self.protocol)

    def _make_turns(self, agent_input: AgentInput) -> list[tuple[str, str]]:
        task = agent_input.task
        system = format_system_message(task.system, task.api_list, self.data.api_format)
        return [("system", system), ("user", format_user_message(task.query)), *agent_input.turns]


def _make_message(role: str, text: str) -> dict[str, str]:
    if role == "function":
        return {"role": "user", "content": f"Function: {text}"}
    return {"role": role, "content": text}

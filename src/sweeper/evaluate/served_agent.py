"""A model behind an OpenAI-compatible endpoint: a served checkpoint, or a hosted baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sweeper.data import ApiList
from sweeper.data.render import segments, system_text, user_text
from sweeper.evaluate.agent import Reply, Talk
from sweeper.evaluate.endpoint import Endpoint, EndpointSettings, Request
from sweeper.evaluate.tasks import Task
from sweeper.spec import DataSpec

Protocol = Literal["chat", "completions"]
STOP = ("\nFunction:", "\nUser:", "\nSystem:")
"""What follows an action in the training format: nobody reads on from there."""
GROUP = 256
"""Episodes that step together, and are written to disk together."""


class ServedAgent:
    """Asks an endpoint in the training format: `completions` sends the prompt a local checkpoint would get, `chat` the
    same turns as messages (an observation is the user's, since a `tool` message needs a call of that protocol)."""

    def __init__(self, settings: EndpointSettings, data: DataSpec, *, protocol: Protocol, seed: int) -> None:
        self.endpoint, self.data, self.protocol, self.seed = Endpoint(settings), data, protocol, seed

    def chunks(self, tasks: Sequence[Task]) -> list[list[Task]]:
        """In their order: an endpoint does its own batching."""
        return [list(tasks[start : start + GROUP]) for start in range(0, len(tasks), GROUP)]

    def begin(self, chunk: int) -> None:
        """Nothing is kept between groups."""

    def reply(self, talks: Sequence[Talk]) -> list[Reply]:
        """The next texts; an endpoint that cannot be reached leaves an episode `unreachable`, never failed."""
        url = self.endpoint.settings.url
        found = self.endpoint.ask([self._request(talk) for talk in talks])
        return [
            Reply(None, ended="unreachable", reason=f"agent's endpoint {url}: {reply.reason}")
            if reply.text is None
            else Reply(reply.text, reply.completion_tokens or 0)
            for reply in found
        ]

    def _request(self, talk: Talk) -> Request:
        turns = self._turns(talk)
        if self.protocol == "chat":
            return Request(messages=[_message(role, text) for role, text in turns], stop=STOP, seed=self.seed)
        prompt = "".join(segment.text for segment in segments(turns)) + "Assistant:"
        return Request(prompt=prompt, stop=STOP, seed=self.seed)

    def _turns(self, talk: Talk) -> list[tuple[str, str]]:
        task = talk.task
        system = system_text(task.system, ApiList(task.functions), self.data.api_format)
        return [("system", system), ("user", user_text(task.query)), *talk.turns]


def _message(role: str, text: str) -> Mapping[str, Any]:
    if role == "function":
        return {"role": "user", "content": f"Function: {text}"}
    return {"role": role, "content": text}

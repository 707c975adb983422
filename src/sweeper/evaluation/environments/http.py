"""The environment `http`: StableToolBench's server protocol (`POST /virtual` returns `{"error", "response"}`)."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweeper.config import DataSpec, EvaluationSpec
from sweeper.errors import UsageError
from sweeper.evaluation.environments.base import Environment, Observation
from sweeper.evaluation.tasks import Task
from sweeper.proxies import find_route
from sweeper.storage import JsonTextError, parse_json

if TYPE_CHECKING:
    import httpx2

TIMEOUT_SECONDS = 60.0
MAX_CONCURRENT_CALLS = 16
MAX_TRIES = 4
BACKOFF_SECONDS = 1.0
"""Wait before the second try; doubled before each further one."""
MAX_CONSECUTIVE_FAILED_CALLS = 32
"""After this many failed calls in a row, all tries used, the remaining calls are skipped."""
_UNAVAILABLE_STATUSES = frozenset({429, 502, 503, 504})
"""Statuses of a server that accepts no calls, or of a proxy without its server."""
API_KEY_VARIABLE = "TOOLBENCH_KEY"
"""Environment variable of the server's key. The key is sent and never written anywhere."""


@dataclass(frozen=True)
class _FailedTry:
    reason: str
    is_reachable: bool
    is_retryable: bool


class StableToolBenchServer(Environment):
    """Executes calls on a server, with retries.

    A reachable server that failed (an error status, invalid JSON, a timeout) gives ToolBench's error as observation. An
    unreachable server gives none, which ends the episode.
    """

    max_concurrent_calls = MAX_CONCURRENT_CALLS

    def __init__(
        self, url: str, *, timeout: float = TIMEOUT_SECONDS, tries: int = MAX_TRIES, backoff: float = BACKOFF_SECONDS
    ) -> None:
        import httpx2

        from sweeper.evaluation.reply_limits import ACCEPTED_ENCODINGS, limit_reply

        if not url.startswith(("http://", "https://")):
            raise UsageError("environment http", requested=f"url: {url}", found="not an http address")
        self.url = url.rstrip("/") if url.rstrip("/").endswith("/virtual") else url.rstrip("/") + "/virtual"
        self._route = find_route(self.url)
        self.client = httpx2.Client(
            timeout=timeout,
            headers=ACCEPTED_ENCODINGS,
            event_hooks={"response": [limit_reply]},
            trust_env=not self._route.is_loopback,
        )
        self.tries, self.backoff = tries, backoff
        self._consecutive_failures, self._down_reason = 0, ""

    def execute(self, task: Task, name: str, arguments: Mapping[str, object]) -> Observation:
        """Return the server's response as JSON text."""
        if self._down_reason:
            return Observation(None, "failed", self._down_reason)
        api = task.apis[name]
        payload = {
            "category": api.category,
            "tool_name": api.tool,
            "api_name": api.api,
            "tool_input": json.dumps(arguments, ensure_ascii=False),
            "strip": "truncate",
            "toolbench_key": os.environ.get(API_KEY_VARIABLE, ""),
        }
        failure = _FailedTry("", is_reachable=True, is_retryable=True)
        for number in range(self.tries):
            if number > 0:
                time.sleep(self.backoff * 2 ** (number - 1))
            result = self._send_once(payload)
            if isinstance(result, str):
                self._consecutive_failures = 0
                return Observation(result)
            failure = result
            if not failure.is_retryable:
                break
        reason = f"environment {self.url}{self._route.describe()}: {failure.reason}"
        self._consecutive_failures += 1
        if self._consecutive_failures >= MAX_CONSECUTIVE_FAILED_CALLS:
            self._down_reason = f"skipped: the last {self._consecutive_failures} calls failed, the last one by {reason}"
        error = json.dumps({"error": failure.reason, "response": ""})
        return Observation(error if failure.is_reachable else None, "failed", reason)

    def _send_once(self, payload: Mapping[str, str]) -> str | _FailedTry:
        import httpx2

        try:
            reply = self.client.post(self.url, json=payload)
        except httpx2.ReadTimeout:
            return _FailedTry("Timeout error...", is_reachable=True, is_retryable=True)
        except httpx2.HTTPError as error:
            return _FailedTry(str(error) or type(error).__name__, is_reachable=False, is_retryable=True)
        if reply.status_code != 200:
            reason = f"request invalid, data error. status_code={reply.status_code}"
            is_reachable = reply.status_code not in _UNAVAILABLE_STATUSES
            return _FailedTry(reason, is_reachable, is_retryable=reply.status_code >= 500 or not is_reachable)
        return _parse_response(reply)


def make_environment(evaluation: EvaluationSpec, data: DataSpec) -> StableToolBenchServer:
    """Build the client of the server at `evaluation.url`."""
    return StableToolBenchServer(str(evaluation.url))


def _parse_response(reply: httpx2.Response) -> str | _FailedTry:
    invalid = _FailedTry("request invalid, data error", is_reachable=True, is_retryable=False)
    try:
        document = parse_json(reply.content).value
    except JsonTextError:
        return invalid
    return json.dumps(document, ensure_ascii=False) if isinstance(document, dict) else invalid

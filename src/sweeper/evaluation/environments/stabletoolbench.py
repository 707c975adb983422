"""StableToolBench's server protocol: `POST /virtual` answers `{"error", "response"}`."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from sweeper.errors import UsageError
from sweeper.evaluation.environments import Observation
from sweeper.evaluation.tasks import Task

TIMEOUT_SECONDS = 60.0
MAX_TRIES = 4
BACKOFF_SECONDS = 1.0
"""Wait before the second try; doubled before each further one."""
MAX_CONSECUTIVE_FAILED_CALLS = 32
"""So many calls in a row without an answer, all tries spent: the rest of them are not asked."""
_UNAVAILABLE_STATUSES = frozenset({429, 502, 503, 504})
"""Statuses that say nothing of the call: the server takes none, or is not behind its proxy."""
API_KEY_VARIABLE = "TOOLBENCH_KEY"
"""Environment variable of the server's key; it is sent, and never written anywhere."""


class StableToolBenchServer:
    """Asks a server to execute. Failed requests are tried again. Then a server that is there but failed (another
    status, no JSON, no answer in time) gives ToolBench's error for it; of one that is not there nothing is observed."""

    def __init__(
        self, url: str, *, timeout: float = TIMEOUT_SECONDS, tries: int = MAX_TRIES, backoff: float = BACKOFF_SECONDS
    ) -> None:
        import httpx

        if not url.startswith(("http://", "https://")):
            raise UsageError("environment http", requested=f"url: {url}", found="not an http address")
        self.url = url.rstrip("/") if url.rstrip("/").endswith("/virtual") else url.rstrip("/") + "/virtual"
        self.client = httpx.Client(timeout=timeout)
        self.tries, self.backoff = tries, backoff
        self._consecutive_failures, self._down_reason = 0, ""

    def execute(self, task: Task, name: str, arguments: dict[str, Any]) -> Observation:
        """The server's response as JSON text."""
        import httpx

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
        why, there = "", True
        for number in range(self.tries):
            if number > 0:
                time.sleep(self.backoff * 2 ** (number - 1))
            try:
                reply = self.client.post(self.url, json=payload)
            except httpx.ReadTimeout:
                why, there = "Timeout error...", True
                continue
            except httpx.HTTPError as error:
                why, there = str(error) or type(error).__name__, False
                continue
            there = reply.status_code not in _UNAVAILABLE_STATUSES
            if reply.status_code != 200:
                why = f"request invalid, data error. status_code={reply.status_code}"
                if reply.status_code >= 500 or not there:
                    continue
                break
            try:
                found = reply.json()
            except ValueError:
                why = "request invalid, data error"
                break
            if isinstance(found, dict):
                self._consecutive_failures = 0
                return Observation(json.dumps(found, ensure_ascii=False))
            why = "request invalid, data error"
            break
        reason = f"environment {self.url}: {why}"
        self._consecutive_failures += 1
        if self._consecutive_failures >= MAX_CONSECUTIVE_FAILED_CALLS:
            self._down_reason = f"not asked: the last {self._consecutive_failures} calls failed, the last by {reason}"
        return Observation(json.dumps({"error": why, "response": ""}) if there else None, "failed", reason)

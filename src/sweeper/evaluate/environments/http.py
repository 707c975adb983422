"""StableToolBench's server protocol: `POST /virtual` answers `{"error", "response"}`."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from sweeper.errors import UsageError
from sweeper.evaluate.environments import Observation
from sweeper.evaluate.tasks import Task

TIMEOUT_SECONDS = 60.0
TRIES = 4
BACKOFF_SECONDS = 1.0
"""Wait before the second try; doubled before each further one."""
GIVE_UP_AFTER = 32
"""So many calls in a row without an answer, all tries spent: the rest of them are not asked."""
_AWAY = frozenset({429, 502, 503, 504})
"""Statuses that say nothing of the call: the server takes none, or is not behind its proxy."""
KEY = "TOOLBENCH_KEY"
"""Environment variable of the server's key; it is sent, and never written anywhere."""


class Server:
    """Asks a server to execute. Failed requests are tried again. Then a server that is there but failed (another
    status, no JSON, no answer in time) gives ToolBench's error for it; of one that is not there nothing is observed."""

    def __init__(
        self, url: str, *, timeout: float = TIMEOUT_SECONDS, tries: int = TRIES, backoff: float = BACKOFF_SECONDS
    ) -> None:
        import httpx

        if not url.startswith(("http://", "https://")):
            raise UsageError("environment http", asked=f"url: {url}", found="not an http address")
        self.url = url.rstrip("/") if url.rstrip("/").endswith("/virtual") else url.rstrip("/") + "/virtual"
        self.client = httpx.Client(timeout=timeout)
        self.tries, self.backoff = tries, backoff
        self._failed_in_a_row, self._down = 0, ""

    def execute(self, task: Task, name: str, arguments: dict[str, Any]) -> Observation:
        """The server's response as JSON text."""
        import httpx

        if self._down:
            return Observation(None, "failed", self._down)
        api = task.apis[name]
        payload = {
            "category": api.category,
            "tool_name": api.tool,
            "api_name": api.api,
            "tool_input": json.dumps(arguments, ensure_ascii=False),
            "strip": "truncate",
            "toolbench_key": os.environ.get(KEY, ""),
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
            there = reply.status_code not in _AWAY
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
                self._failed_in_a_row = 0
                return Observation(json.dumps(found, ensure_ascii=False))
            why = "request invalid, data error"
            break
        reason = f"environment {self.url}: {why}"
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= GIVE_UP_AFTER:
            self._down = f"not asked: the last {self._failed_in_a_row} calls failed, the last by {reason}"
        return Observation(json.dumps({"error": why, "response": ""}) if there else None, "failed", reason)

"""StableToolBench's server protocol: `POST /virtual` answers `{"error", "response"}`."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from typing import Any

from sweeper.errors import UsageError
from sweeper.evaluate.tasks import Task

TIMEOUT_SECONDS = 60.0
TRIES = 4
BACKOFF_SECONDS = 1.0
"""Wait before the second try; doubled before each further one."""
KEY = "TOOLBENCH_KEY"
"""Environment variable of the server's key; it is sent, and never written anywhere."""


class Server:
    """Asks a server to execute. Failed requests are tried again; then the observation is ToolBench's error for them."""

    def __init__(
        self, url: str, *, timeout: float = TIMEOUT_SECONDS, tries: int = TRIES, backoff: float = BACKOFF_SECONDS
    ) -> None:
        import httpx

        if not url.startswith(("http://", "https://")):
            raise UsageError("environment http", asked=f"url: {url}", found="not an http address")
        self.url = url.rstrip("/") if url.rstrip("/").endswith("/virtual") else url.rstrip("/") + "/virtual"
        self.client = httpx.Client(timeout=timeout)
        self.tries, self.backoff = tries, backoff
        self._counts: Counter[str] = Counter()

    def execute(self, task: Task, name: str, arguments: dict[str, Any]) -> str:
        """The server's response as JSON text."""
        import httpx

        self._counts["calls"] += 1
        api = task.apis[name]
        payload = {
            "category": api.category,
            "tool_name": api.tool,
            "api_name": api.api,
            "tool_input": json.dumps(arguments, ensure_ascii=False),
            "strip": "truncate",
            "toolbench_key": os.environ.get(KEY, ""),
        }
        why = ""
        for number in range(self.tries):
            if number > 0:
                time.sleep(self.backoff * 2 ** (number - 1))
            try:
                reply = self.client.post(self.url, json=payload)
            except httpx.TimeoutException:
                why = "Timeout error..."
                continue
            except httpx.HTTPError as error:
                why = f"request invalid, data error. {type(error).__name__}"
                continue
            if reply.status_code >= 500 or reply.status_code == 429:
                why = f"request invalid, data error. status_code={reply.status_code}"
                continue
            if reply.status_code != 200:
                why = f"request invalid, data error. status_code={reply.status_code}"
                break
            try:
                found = reply.json()
            except ValueError:
                why = "request invalid, data error"
                break
            if isinstance(found, dict):
                return json.dumps(found, ensure_ascii=False)
            why = "request invalid, data error"
            break
        self._counts["failures"] += 1
        return json.dumps({"error": why, "response": ""})

    def counts(self) -> dict[str, int]:
        """Calls, and those that the server did not answer."""
        return {"calls": self._counts["calls"], "failures": self._counts["failures"]}

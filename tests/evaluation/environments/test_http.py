"""StableToolBench's protocol, with its faults."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from sweeper.data.test_queries import OfferedApi
from sweeper.errors import UsageError
from sweeper.evaluation.environments import Observation
from sweeper.evaluation.environments.http import MAX_CONSECUTIVE_FAILED_CALLS, StableToolBenchServer
from sweeper.evaluation.tasks import Task

API = OfferedApi("played_for_csgo", "played", "csgo", "Gaming", {})
TASK = Task("1", "G1_tool", "q", "s", ({"name": "played_for_csgo"}, {"name": "Finish"}), {"played_for_csgo": API})


def response(text: str) -> str:
    return json.dumps({"error": "", "response": text})


def heard(found: Observation) -> dict[str, Any]:
    assert found.text is not None
    return json.loads(found.text)


class Script(ThreadingHTTPServer):
    """Answers what its script says, in order; the last for ever."""

    daemon_threads = True

    def __init__(self, *script: tuple[int, bytes, float]) -> None:
        self.script, self.seen = list(script), list[dict[str, Any]]()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server: Script = self.server  # type: ignore[assignment]
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.seen.append({"path": self.path, **json.loads(body)})
        status, text, wait = server.script.pop(0) if len(server.script) > 1 else server.script[0]
        time.sleep(wait)
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError):  # it did not wait
            self.wfile.write(text)

    def log_message(self, *arguments: Any) -> None: ...


@pytest.fixture
def serve() -> Iterator[Any]:
    started: list[Script] = []

    def start(*script: tuple[int, bytes, float]) -> Script:
        started.append(Script(*script))
        threading.Thread(target=started[-1].serve_forever, daemon=True).start()
        return started[-1]

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


GOOD = (200, response("five").encode(), 0.0)


def test_http_sends_stabletoolbenchs_request(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLBENCH_KEY", "secret")
    server = serve(GOOD)
    assert heard(StableToolBenchServer(server.url).execute(TASK, "played_for_csgo", {"limit": 5}))["response"] == "five"
    assert server.seen == [
        {
            "path": "/virtual",
            "category": "Gaming",
            "tool_name": "csgo",
            "api_name": "played",
            "tool_input": '{"limit": 5}',
            "strip": "truncate",
            "toolbench_key": "secret",
        }
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "expected", "requests"),
    [
        ([(500, b"", 0.0), (429, b"", 0.0), GOOD], {"error": "", "response": "five"}, 3),
        ([(500, b"", 0.0)], {"error": "request invalid, data error. status_code=500", "response": ""}, 4),
        ([(404, b"", 0.0), GOOD], {"error": "request invalid, data error. status_code=404", "response": ""}, 1),
        ([(200, b"not json", 0.0), GOOD], {"error": "request invalid, data error", "response": ""}, 1),
        ([(200, b"[1]", 0.0), GOOD], {"error": "request invalid, data error", "response": ""}, 1),
        ([(200, b"{}", 1.0), GOOD], {"error": "", "response": "five"}, 2),
        ([(200, b"{}", 1.0)], {"error": "Timeout error...", "response": ""}, 4),
    ],
)
def test_http_retries_faults_and_then_returns_an_error_observation(
    serve: Any, script: list[Any], expected: dict[str, str], requests: int
) -> None:
    server = serve(*script)
    environment = StableToolBenchServer(server.url, timeout=0.3, backoff=0.01)
    found = environment.execute(TASK, "played_for_csgo", {})
    assert heard(found) == expected
    assert len(server.seen) == requests
    assert found.fault == (None if expected["response"] else "failed")


@pytest.mark.parametrize("status", [429, 502, 503, 504, None])
def test_http_unreachable_server_gives_no_observation(serve: Any, status: int | None) -> None:
    url = "http://127.0.0.1:9" if status is None else serve((status, b"", 0.0)).url
    found = StableToolBenchServer(url, timeout=0.3, backoff=0.01).execute(TASK, "played_for_csgo", {})
    assert (found.text, found.fault) == (None, "failed")
    assert url in found.reason
    assert ("refused" if status is None else str(status)) in found.reason


def test_http_skips_calls_after_many_failures(serve: Any) -> None:
    server = serve((404, b"", 0.0))
    environment = StableToolBenchServer(server.url, backoff=0.0)
    found = [environment.execute(TASK, "played_for_csgo", {}) for _ in range(MAX_CONSECUTIVE_FAILED_CALLS + 5)]
    assert len(server.seen) == MAX_CONSECUTIVE_FAILED_CALLS
    assert [one.text is None for one in found] == [False] * MAX_CONSECUTIVE_FAILED_CALLS + [True] * 5
    assert "404" in found[-1].reason
    assert "skipped" in found[-1].reason


def test_http_rejects_other_schemes() -> None:
    with pytest.raises(UsageError, match="not an http address"):
        StableToolBenchServer("ftp://x")

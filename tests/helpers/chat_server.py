"""A real HTTP server that speaks /v1/chat/completions and /v1/completions, and misbehaves where told to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any


@dataclass(frozen=True)
class Seen:
    """One request as it came in; names of headers in lower case."""

    at: float
    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def system(self) -> str:
        return next((m["content"] for m in self.body.get("messages", ()) if m["role"] == "system"), "")

    @property
    def user(self) -> str:
        return next((m["content"] for m in self.body.get("messages", ()) if m["role"] == "user"), "")


@dataclass(frozen=True)
class Said:
    """One answer. `document` or `raw` goes out in place of a completion; `cut` ends the body early; `drip`: a byte each
    so many seconds; `hang_up`: no answer at all."""

    text: str | None = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    document: Any = None
    raw: bytes | None = None
    cut: int | None = None
    drip: float | None = None
    hang_up: bool = False
    finish_reason: str = "stop"
    usage: Mapping[str, int] | None = field(default_factory=lambda: {"prompt_tokens": 10, "completion_tokens": 5})


Replier = Callable[[Seen], Said | str]


class ChatServer:
    """Answers with `replier`, after the answers of `script` (one a request) have been given.

    with ChatServer(lambda seen: "hello") as server: ... server.url, server.seen, server.most_at_once
    """

    def __init__(self, replier: Replier = lambda seen: "hello", script: Iterable[Said | str] = ()) -> None:
        self.replier, self.script = replier, list(script)
        self.seen: list[Seen] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> ChatServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()  # wakes what hangs
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def _take(self, seen: Seen) -> Said:
        with self._lock:
            self.seen.append(seen)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            scripted = self.script.pop(0) if self.script else None
        said = scripted if scripted is not None else self.replier(seen)
        return Said(said) if isinstance(said, str) else said

    def _leave(self) -> None:
        with self._lock:
            self._at_once -= 1

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        chat = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                said = chat._take(
                    Seen(time.monotonic(), self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                )
                try:
                    if said.delay:
                        chat._closing.wait(said.delay)
                finally:
                    chat._leave()  # before the answer: the client may send its next at once
                try:
                    self._send(said)
                except OSError:  # the client has gone
                    self.close_connection = True

            def _send(self, said: Said) -> None:
                if said.hang_up:
                    self.close_connection = True
                    return
                content = said.raw if said.raw is not None else json.dumps(self._document(said)).encode()
                self.send_response(said.status)
                for name, value in {"Content-Type": "application/json", **said.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if said.drip is not None:
                    for byte in content:
                        self.wfile.write(bytes([byte]))
                        self.wfile.flush()
                        if chat._closing.wait(said.drip):
                            break
                self.wfile.write(content[: said.cut])
                self.wfile.flush()
                self.close_connection = said.cut is not None or said.drip is not None

            def _document(self, said: Said) -> Any:
                if said.document is not None:
                    return said.document
                if said.status >= 400:
                    return {"error": {"message": said.text}} if said.text else {}
                choice: dict[str, Any] = {"index": 0, "finish_reason": said.finish_reason}
                if self.path.endswith("/chat/completions"):
                    choice["message"] = {"role": "assistant", "content": said.text}
                else:
                    choice["text"] = said.text
                return {"id": "x", "object": "x", "choices": [choice]} | ({"usage": said.usage} if said.usage else {})

            def log_message(self, *args: object) -> None:
                pass

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the game."""

"""Replies of a server that wants to fill the memory, or to send a client elsewhere."""

from __future__ import annotations

import gzip
import json
import zlib

import httpx2
import pytest
from chat_server import ChatServer, Said

from sweeper.evaluation.openai_client import Completion, EndpointClient, EndpointSettings, Request
from sweeper.evaluation.reply_limits import ACCEPTED_ENCODINGS, MAX_REPLY_BYTES, limit_reply

REPLY = json.dumps({"choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}]}).encode()
BOMB = gzip.compress(b" " * (64 * 2**20))


def ask(server: ChatServer) -> Completion:
    settings = EndpointSettings(url=server.url, model="m", max_retries=0)
    (reply,) = EndpointClient(settings).send_requests([Request(messages=[{"role": "user", "content": "secret"}])])
    return reply


@pytest.mark.parametrize(
    ("encoding", "raw"),
    [("identity", REPLY), ("gzip", gzip.compress(REPLY)), ("deflate", zlib.compress(REPLY))],
    ids=["identity", "gzip", "deflate"],
)
def test_ordinary_reply_is_decoded(encoding: str, raw: bytes) -> None:
    with ChatServer(lambda seen: Said(raw=raw, headers={"Content-Encoding": encoding})) as server:
        assert ask(server).text == "hello"
        assert server.seen[0].headers["accept-encoding"] == ACCEPTED_ENCODINGS["Accept-Encoding"]


@pytest.mark.parametrize(
    ("raw", "headers"),
    [(BOMB, {"Content-Encoding": "gzip"}), (b" " * (MAX_REPLY_BYTES + 1), {})],
    ids=["compressed", "plain"],
)
def test_reply_over_the_limit_is_a_failed_request(raw: bytes, headers: dict[str, str]) -> None:
    assert len(BOMB) < 100_000
    with ChatServer(lambda seen: Said(raw=raw, headers=headers)) as server:
        reply = ask(server)
    assert reply.text is None
    assert "longer than 8 MiB" in reply.reason


def test_unknown_encoding_is_a_failed_request() -> None:
    with ChatServer(lambda seen: Said(raw=REPLY, headers={"Content-Encoding": "br"})) as server:
        assert "'br'" in ask(server).reason


def test_redirect_is_not_followed() -> None:
    with ChatServer() as other, ChatServer() as server:
        server.replier = lambda seen: Said(status=307, headers={"Location": f"{other.url}/chat/completions"})
        reply = ask(server)
        assert other.seen == [], "the prompt stays with the server that was asked"
    assert reply.text is None and "307" in reply.reason


def test_synchronous_client_is_limited_too() -> None:
    with ChatServer(lambda seen: Said(raw=BOMB, headers={"Content-Encoding": "gzip"})) as server:
        client = httpx2.Client(event_hooks={"response": [limit_reply]})
        with pytest.raises(httpx2.ReadError, match="longer than 8 MiB"):
            client.post(server.url, json={})
        server.replier = lambda seen: Said(raw=gzip.compress(REPLY), headers={"Content-Encoding": "gzip"})
        assert client.post(server.url, json={}).json() == json.loads(REPLY)

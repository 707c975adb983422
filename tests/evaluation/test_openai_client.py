"""Requests to an endpoint: retries, limits, usage, and that the key is never shown."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import pickle
import subprocess
import sys
import time
from dataclasses import asdict
from email.utils import formatdate
from typing import Any

import pytest
from chat_server import ChatServer, Said, Seen
from ports import reserve_refusing_port

from sweeper.errors import UsageError
from sweeper.evaluation.openai_client import Completion, EndpointClient, EndpointSettings, Request, SendRequest

pytestmark = pytest.mark.slow  # real servers, and waits

KEY = "sk-test-0123456789abcdef"


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def endpoint(url: str, **changes: Any) -> EndpointClient:
    return EndpointClient(EndpointSettings(**({"url": url, "model": "m", "backoff_seconds": 0.01} | changes)))


def hello(text: str = "hi", **more: Any) -> Request:
    return Request([{"role": "user", "content": text}], **more)


def test_chat_request_and_reply() -> None:
    with ChatServer(lambda seen: seen.user.upper()) as server:
        asked = endpoint(server.url, temperature=0.3, max_tokens=7)
        form = {"type": "json_object"}
        requests = [hello("a", response_format=form, stop=["x"], seed=3), hello("b")]
        replies = asked.send_requests(requests)
    assert replies == [Completion("A", "", 10, 5, "stop", 1), Completion("B", "", 10, 5, "stop", 1)]
    first = next(seen for seen in server.seen if seen.user == "a")
    assert first.path == "/v1/chat/completions"
    assert first.headers["authorization"] == "Bearer none"
    messages = [{"role": "user", "content": "a"}]
    expected = {"model": "m", "temperature": 0.3, "max_tokens": 7, "seed": 3, "stop": ["x"], "response_format": form}
    assert first.body == expected | {"messages": messages}
    plain = next(seen for seen in server.seen if seen.user == "b")
    assert set(plain.body) == {"model", "temperature", "max_tokens", "messages"}


def test_completions_request_and_reply() -> None:
    with ChatServer(lambda seen: seen.body["prompt"] + "!") as server:
        assert (
            endpoint(server.url, temperature=None, max_tokens=None).send_requests([Request(prompt="x")])[0].text == "x!"
        )
    assert server.seen[0].path == "/v1/completions"
    assert server.seen[0].body == {"model": "m", "prompt": "x"}


def test_send_requests_with_no_requests_and_inside_an_event_loop() -> None:
    with ChatServer() as server:
        asked = endpoint(server.url)
        assert asked.send_requests([]) == []

        async def within() -> list[Completion]:
            return asked.send_requests([hello()])

        assert asyncio.run(within())[0].text == "hello"


def test_run_sequences_reports_progress() -> None:
    told: list[tuple[int, int]] = []

    async def twice(ask: SendRequest) -> str:
        first = await ask(hello("a"))
        return str((await ask(hello(f"{first.text}b"))).text)

    with ChatServer(lambda seen: seen.user + "+") as server:
        assert (
            endpoint(server.url).run_sequences([twice, twice], lambda done, total: told.append((done, total)))
            == ["a+b+"] * 2
        )
    assert told == [(1, 2), (2, 2)]


def test_unreachable_endpoint_gives_a_reason() -> None:
    asked = endpoint(f"http://127.0.0.1:{reserve_refusing_port()}/v1", max_retries=2)
    assert asked.send_requests([hello()]) == [Completion(None, "connection refused, 3 tries", tries=3)]
    assert (asked.usage.requests, asked.usage.retries, asked.usage.failed) == (1, 2, 1)


@pytest.mark.parametrize("form", ["seconds", "milliseconds", "date"])
def test_retry_after_is_respected(form: str) -> None:
    date = math.floor(time.time() + 2)  # the header has whole seconds
    headers = {
        "seconds": {"Retry-After": "0.4"},
        "milliseconds": {"retry-after-ms": "400"},
        "date": {"Retry-After": formatdate(date, usegmt=True)},
    }[form]
    with ChatServer(script=[Said(status=429, headers=headers)]) as server:
        replies = endpoint(server.url, concurrency=1).send_requests([hello("a"), hello("b")])
    assert [(reply.text, reply.tries) for reply in replies] == [("hello", 2), ("hello", 1)]
    if form == "date":
        assert server.seen[1].at + time.time() - time.monotonic() >= date - 0.05, "not before that moment"
    else:
        assert server.seen[1].at - server.seen[0].at >= 0.4


def test_retry_after_pauses_all_requests() -> None:
    def slow_start(seen: Seen) -> Said:
        return Said("ok", delay=0.1)

    with ChatServer(slow_start, script=[Said(status=429, headers={"Retry-After": "0.5"})]) as server:
        endpoint(server.url, concurrency=2).send_requests([hello(str(k)) for k in range(6)])
    first = server.seen[0].at
    later = [seen.at - first for seen in server.seen]
    assert sum(gap < 0.45 for gap in later) == 2  # the refused one and the one beside it


def test_retry_after_beyond_the_time_limit_fails_the_request() -> None:
    with ChatServer(lambda seen: Said(status=429, headers={"Retry-After": "3600"})) as server:
        started = time.monotonic()
        reply = endpoint(server.url, total_seconds=5).send_requests([hello()])[0]
    assert time.monotonic() - started < 2
    assert reply.text is None
    assert reply.reason == "429 Too Many Requests, 1 try; the server demands a wait of 3600 s, no time left of 5 s"


def test_server_errors_are_retried() -> None:
    script = [Said(status=500), Said(status=503), Said(status=408), Said(status=409)]
    with ChatServer(script=script) as server:
        assert endpoint(server.url).send_requests([hello()]) == [Completion("hello", "", 10, 5, "stop", 5)]


def test_persistent_server_errors_fail_the_request() -> None:
    document = {"error": {"message": "out of\nmemory " + "x" * 500}}
    with ChatServer(lambda seen: Said(status=500, document=document)) as server:
        reply = endpoint(server.url).send_requests([hello()])[0]
    assert reply.text is None
    assert reply.tries == len(server.seen) == 6
    assert reply.reason.startswith("500 Internal Server Error: out of memory xxx")
    assert reply.reason.endswith(" …, 6 tries")
    assert len(reply.reason) < 300


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_client_errors_are_not_retried(status: int) -> None:
    with ChatServer(lambda seen: Said(status=status, document={"error": {"message": "no"}})) as server:
        reply = endpoint(server.url).send_requests([hello()])[0]
    assert reply.text is None
    assert (reply.tries, len(server.seen)) == (1, 1)
    assert reply.reason.startswith(str(status))
    assert ("OPENAI_API_KEY" in reply.reason) == (status == 401)


@pytest.mark.parametrize("said", [Said("late", delay=30), Said("drop by drop", drip=0.1)], ids=["silent", "dripping"])
def test_hanging_reply_times_out(said: Said) -> None:
    with ChatServer(lambda seen: said) as server:
        started = time.monotonic()
        reply = endpoint(server.url, timeout_seconds=0.5, max_retries=1).send_requests([hello()])[0]
    assert reply == Completion(None, "timeout after 0.5 s, 2 tries", tries=2)
    assert 1.0 <= time.monotonic() - started < 3


def test_total_time_limits_all_tries() -> None:
    with ChatServer(lambda seen: Said("late", delay=30)) as server:
        started = time.monotonic()
        reply = endpoint(server.url, timeout_seconds=0.3, total_seconds=0.7, max_retries=50).send_requests([hello()])[0]
    assert reply.text is None
    assert "no time left of 0.7 s" in reply.reason
    assert time.monotonic() - started < 2


BROKEN = {
    "not JSON": Said(raw=b'{"choices": [{"mess'),
    "not UTF-8": Said(raw=b'{"choices": "\xff\xfe"}'),
    "page": Said(raw=b"<html>proxy</html>", headers={"Content-Type": "text/html"}),
    "no choices": Said(document={"id": "x"}),
    "empty choices": Said(document={"choices": []}),
    "no content": Said(document={"choices": [{"message": {}}]}),
    "number": Said(document={"choices": [{"message": {"content": 3}}]}),
    "list": Said(document=[1]),
    "cut": Said("a long text", cut=20),
    "hung up": Said(hang_up=True),
}


@pytest.mark.parametrize("said", BROKEN.values(), ids=BROKEN)
def test_invalid_replies_are_retried(said: Said) -> None:
    with ChatServer(script=[said]) as server:
        reply = endpoint(server.url).send_requests([hello()])[0]
    assert (reply.text, reply.tries) == ("hello", 2)
    with ChatServer(lambda seen: said) as server:
        reply = endpoint(server.url, max_retries=1).send_requests([hello()])[0]
    assert (reply.text, reply.tries) == (None, 2)
    assert reply.reason.endswith(", 2 tries")


def test_error_inside_a_reply_is_quoted() -> None:
    with ChatServer(lambda seen: Said(document={"error": {"message": "upstream died"}})) as server:
        reply = endpoint(server.url, max_retries=0).send_requests([hello()])[0]
    assert reply.reason == "the reply is incomplete: upstream died, 1 try"


def test_null_content_is_an_empty_reply() -> None:
    with ChatServer(lambda seen: Said(None, finish_reason="tool_calls")) as server:
        assert endpoint(server.url).send_requests([hello()])[0] == Completion("", "", 10, 5, "tool_calls", 1)


def test_unencodable_request_gives_a_reason() -> None:
    with ChatServer() as server:
        bad, good = endpoint(server.url).send_requests([hello("\ud800"), hello()])
    assert (bad.text, bad.tries, good.text) == (None, 1, "hello")
    assert "UTF-8" in bad.reason


def test_rejected_and_missing_keys_have_different_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    with ChatServer(lambda seen: Said(status=401)) as server:
        (without,) = endpoint(server.url).send_requests([hello()])
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        (refused,) = endpoint(server.url).send_requests([hello()])
    assert "requires a key; set the environment variable OPENAI_API_KEY" in without.reason
    assert "rejects the key in the environment variable OPENAI_API_KEY" in refused.reason
    assert KEY not in refused.reason


@pytest.mark.parametrize("concurrency", [1, 5])
def test_concurrency_is_limited(concurrency: int) -> None:
    with ChatServer(lambda seen: Said("ok", delay=0.05)) as server:
        endpoint(server.url, concurrency=concurrency).send_requests([hello()] * 12)
    assert server.most_at_once == concurrency


def test_rate_limit_holds_over_calls_and_retries() -> None:
    with ChatServer(script=[Said(status=500)]) as server:
        asked, began = endpoint(server.url, requests_per_minute=600), time.monotonic()
        asked.send_requests([hello()] * 3)
        asked.send_requests([hello()] * 2)
    assert len(server.seen) == 6
    # Of a busy machine two can arrive together, one of them late; none arrives before its turn.
    assert all(seen.at - began > 0.098 * turn for turn, seen in enumerate(server.seen))


def test_usage_counts_tokens_and_cost() -> None:
    with ChatServer(script=[Said(status=500), Said("a"), Said("b", usage=None)]) as server:
        asked = endpoint(server.url, concurrency=1, input_price=2.0, output_price=10.0)
        asked.send_requests([hello()] * 3)
        free = endpoint(server.url)
        free.send_requests([hello()])
    expected = {"requests": 3, "retries": 1, "failed": 0, "prompt_tokens": 20, "completion_tokens": 10, "uncounted": 1}
    expected |= {"refused": []}
    assert asked.usage.to_document() == expected | {"money": pytest.approx((20 * 2 + 10 * 10) / 1e6)}
    assert free.usage.cost is None


def echo(status: int) -> Any:
    def reply(seen: Seen) -> Said:
        words = f"you sent {seen.headers['authorization']} {json.dumps(dict(seen.headers))}"
        if status == 200:
            return Said(words)
        return Said(status=status, document={"error": {"message": "x" * 180 + words}})

    return reply


@pytest.mark.parametrize("status", [200, 400, 401, 403, 429, 500])
def test_key_is_never_shown(
    status: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    with ChatServer(echo(status)) as server:
        asked = endpoint(server.url, api_key_env="MY_KEY", max_retries=1)
        reply = asked.send_requests([hello()])[0]
    assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"
    shown = [reply, asked, asked.settings, asked.usage, vars(asked), asdict(asked.settings), pickle.dumps(asked)]
    out, err = capfd.readouterr()
    for text in (*map(repr, shown), out, err, caplog.text):
        assert KEY not in text
        assert KEY[:10] not in text  # nor its beginning, where a text was cut
    if status == 200:
        assert "you sent Bearer [key]" in str(reply.text)


def test_key_with_invalid_characters_is_rejected_without_showing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in (f"{KEY}\n", f"{KEY} x", f"{KEY}é"):
        monkeypatch.setenv("OPENAI_API_KEY", key)
        with pytest.raises(UsageError, match="OPENAI_API_KEY") as refused:
            endpoint("http://127.0.0.1:1/v1")
        assert KEY not in str(refused.value)


def test_placeholder_keys_are_not_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "EMPTY")
    with ChatServer(lambda seen: "the list is EMPTY") as server:
        assert endpoint(server.url).send_requests([hello()])[0].text == "the list is EMPTY"


@pytest.mark.parametrize("url", [f"http://me:{KEY}@host/v1", f"http://host/v1?key={KEY}", f"http://host/v1#{KEY}"])
def test_keys_in_urls_are_rejected_without_showing_them(url: str) -> None:
    with pytest.raises(UsageError, match="environment variable") as refused:
        EndpointSettings(url, "m")
    assert KEY not in str(refused.value)


@pytest.mark.parametrize(
    "wrong",
    [{"url": "host/v1"}, {"concurrency": 0}, {"timeout_seconds": 0}, {"max_retries": -1}, {"requests_per_minute": 0}],
)
def test_invalid_settings_are_rejected(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        EndpointSettings(**({"url": "http://host/v1", "model": "m"} | wrong))
    with pytest.raises(UsageError):
        Request()


def test_importing_the_judges_does_not_import_openai() -> None:
    modules = "sweeper.evaluation, sweeper.evaluation.pairwise, sweeper.evaluation.judges.llm"
    code = f"import sys, {modules}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert not {"openai", "torch", "pandas", "transformers"} & set(done.stdout.split())

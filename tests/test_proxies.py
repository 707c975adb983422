"""Loopback is asked directly, other servers through the proxy of the environment, which errors name."""

from __future__ import annotations

import pytest
from chat_server import ChatServer
from ports import reserve_refusing_port

from sweeper.errors import UsageError
from sweeper.evaluation.environments.http import StableToolBenchServer
from sweeper.evaluation.openai_client import EndpointClient, EndpointSettings, Request
from sweeper.proxies import Route, find_route, is_loopback

NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
HELLO = Request(messages=[{"role": "user", "content": "hello"}])


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_find_route_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_route("https://api.example/v1") == Route(False)
    monkeypatch.setenv("ALL_PROXY", "http://me:secret@proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "inside.example")
    assert find_route("https://api.example/v1") == Route(False, "http://proxy.example:3128")
    assert find_route("https://inside.example/v1") == Route(False)
    assert find_route("http://[::1]:8000/v1") == Route(True)
    monkeypatch.setenv("HTTP_PROXY", "plain.example:80")
    assert find_route("http://api.example/v1").describe() == " through the proxy http://plain.example:80"


def test_is_loopback_of_names_that_only_look_like_it() -> None:
    assert not any(map(is_loopback, ("localhost.example", "127.0.0.1.example", "", "0.0.0.0")))


def test_socks_proxy_without_its_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("ALL_PROXY", "socks5://me:secret@proxy.example:1080")
    with pytest.raises(UsageError, match="socksio") as raised:
        EndpointClient(EndpointSettings("https://api.example/v1", "m"))
    assert "secret" not in str(raised.value)
    assert raised.value.exit_code == 2
    assert find_route("http://localhost:8000") == Route(True)


@pytest.mark.parametrize("proxy", ["http", "socks5"])
def test_client_asks_loopback_directly(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"{proxy}://127.0.0.1:{reserve_refusing_port()}")
    with ChatServer() as server:
        settings = EndpointSettings(server.url, "m", max_retries=0)
        assert EndpointClient(settings).send_requests([HELLO])[0].text == "hello"


def test_clients_name_the_proxy_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    port = reserve_refusing_port()
    monkeypatch.setenv("HTTP_PROXY", f"http://me:secret@127.0.0.1:{port}")
    settings = EndpointSettings("http://api.example/v1", "m", max_retries=0)
    reason = EndpointClient(settings).send_requests([HELLO])[0].reason
    assert reason == f"connection refused through the proxy http://127.0.0.1:{port}, 1 try"
    server = StableToolBenchServer("http://api.example", tries=1)
    assert server._route.describe() == f" through the proxy http://127.0.0.1:{port}"

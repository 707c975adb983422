"""Proxies of the environment (`HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`): loopback goes around them, errors name them."""

from __future__ import annotations

import importlib.util
import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from sweeper.errors import UsageError

__all__ = ["Route", "find_route", "is_loopback"]


@dataclass(frozen=True)
class Route:
    """How a server is reached."""

    is_loopback: bool
    """Whether the server is on this machine, which no proxy can reach."""
    proxy: str = ""
    """Scheme, host and port of the proxy, without its password; empty where there is none."""

    def describe(self) -> str:
        """Return ` through the proxy …` for a message; empty where there is none."""
        return f" through the proxy {self.proxy}" if self.proxy else ""


def find_route(url: str) -> Route:
    """Find how the environment says that a server is reached.

    Args:
        url: of the server, `http://…` or `https://…`.

    Returns:
        The route.

    Raises:
        UsageError: a SOCKS proxy, for which a package is missing.

    Example:
        >>> find_route("http://127.0.0.1:8000/v1")
        Route(is_loopback=True, proxy='')
    """
    parts, proxies = urlsplit(url), getproxies()
    host = parts.hostname or ""
    if is_loopback(host):
        return Route(is_loopback=True)
    _check_socks(proxies)
    proxy = proxies.get(parts.scheme) or proxies.get("all", "")
    if not proxy or proxy_bypass(host):
        return Route(is_loopback=False)
    return Route(is_loopback=False, proxy=_hide_password(proxy))


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine by name or address.

    Args:
        host: without brackets and port.

    Returns:
        Whether it is.

    Example:
        >>> is_loopback("localhost"), is_loopback("127.0.0.2"), is_loopback("::1"), is_loopback("10.0.0.1")
        (True, True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_socks(proxies: dict[str, str]) -> None:
    """Refuse a SOCKS proxy without its package: the client would raise for every server, and the trial would fail."""
    socks = next((proxy for proxy in proxies.values() if proxy.lower().startswith("socks")), None)
    if socks and importlib.util.find_spec("socksio") is None:
        raise UsageError(
            "proxy",
            requested=_hide_password(socks),
            found="SOCKS needs the package socksio, which is not installed",
            hint="pip install socksio, or unset ALL_PROXY (HTTPS_PROXY, HTTP_PROXY)",
        )


def _hide_password(proxy: str) -> str:
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

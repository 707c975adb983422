"""A port that refuses connections."""

from __future__ import annotations

import socket

_bound: list[socket.socket] = []


def reserve_refusing_port() -> int:
    """Bind a port and do not listen on it: connections are refused, and no other process can take it meanwhile."""
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    _bound.append(bound)
    return int(bound.getsockname()[1])

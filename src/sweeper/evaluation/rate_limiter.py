"""A limit on the rate of requests to one endpoint."""

from __future__ import annotations

import asyncio
import math
import time


class RateLimiter:
    """Spaces requests evenly, and pauses them for as long as a server demands."""

    def __init__(self, per_minute: float | None) -> None:
        self._interval = 60.0 / per_minute if per_minute else 0.0
        self._next_start = self._paused_until = -math.inf

    async def acquire(self) -> float:
        """Wait until the next request may be sent. Returns the seconds waited."""
        started = time.monotonic()
        while (wait := max(self._next_start, self._paused_until) - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        now = time.monotonic()
        self._next_start = now + self._interval
        return now - started

    def pause(self, seconds: float) -> None:
        """Send no request for `seconds`."""
        self._paused_until = max(self._paused_until, time.monotonic() + seconds)

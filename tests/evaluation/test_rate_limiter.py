from __future__ import annotations

import asyncio
import itertools
import time

from sweeper.evaluation.rate_limiter import RateLimiter


def measure_starts(limiter: RateLimiter, count: int) -> list[float]:
    async def acquire_all() -> list[float]:
        starts = []
        for _ in range(count):
            await limiter.acquire()
            starts.append(time.monotonic())
        return starts

    return asyncio.run(acquire_all())


def test_requests_are_spaced_evenly() -> None:
    starts = measure_starts(RateLimiter(600), 4)
    assert all(later - start >= 0.09 for start, later in itertools.pairwise(starts))


def test_without_a_limit_nothing_waits() -> None:
    assert asyncio.run(RateLimiter(None).acquire()) < 0.05


def test_pause_delays_the_next_request() -> None:
    limiter = RateLimiter(None)
    limiter.pause(0.2)
    assert asyncio.run(limiter.acquire()) >= 0.19

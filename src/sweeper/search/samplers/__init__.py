"""Search algorithms. One file each: `tpe.py` is `algorithm: tpe`."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from sweeper.config import Sweep
from sweeper.registry import Registry
from sweeper.search.samplers.base import SamplerFactory
from sweeper.search.space import require_search

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

SAMPLERS: Registry[SamplerFactory] = Registry("algorithm", "search/samplers", "make_sampler")


def make_sampler(sweep: Sweep, stream: str, number: int) -> BaseSampler:
    """Make Optuna's sampler for one proposal.

    Every proposal has a random stream of its own, so that a resumed search draws the same as an uninterrupted one with
    the same history.

    Args:
        sweep: the sweep, whose search names the algorithm.
        stream: name of the stream: the group, or the group and a parameter that is drawn by itself.
        number: Optuna's number of the proposal.
    """
    search = require_search(sweep)
    seed = zlib.crc32(f"{search.seed} {stream} {number}".encode())
    return SAMPLERS.load(search.algorithm)(seed, search.sampler, sweep)

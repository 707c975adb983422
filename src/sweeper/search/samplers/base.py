"""What a file of this package defines: a search algorithm by its name."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, TypeVar

from sweeper.config import Sweep

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

SamplerOption = bool | int | float
S = TypeVar("S")


class SamplerFactory(Protocol):
    """`make_sampler` of each file. The constant `TRAITS` beside it is what sweep files are validated with
    (`sweeper.config.search.AlgorithmTraits`)."""

    def __call__(self, seed: int, options: Mapping[str, SamplerOption], sweep: Sweep) -> BaseSampler:
        """Make the sampler of one proposal.

        Every proposal gets a new sampler with a seed of its own. A sampler that continues one sequence over all
        proposals, such as a quasi-random one, must use the seed of the search (`sweep.search.seed`) instead.

        Args:
            seed: seed of the proposal.
            options: arguments of Optuna's sampler that the sweep sets (`search.sampler`).
            sweep: the sweep, for what depends on its axes.
        """


def construct_quietly(make: Callable[..., S], **arguments: object) -> S:
    """Call a constructor without Optuna's warning that an argument is experimental, which would appear per proposal."""
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return make(**arguments)

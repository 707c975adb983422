"""A search in a Ray actor: the driver draws from it, and trials on any machine ask it at their rungs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweeper.spec import Sweep
from sweeper.study.search import Proposal, Search, asked_by, storage_of


class SearchOnRay:
    """Speaks to the actor, one question at a time. Picklable, for trials."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def next(self) -> Proposal | None:
        """The next proposal."""
        found: Proposal | None = ray.get(self._actor.next.remote())
        return found

    def named(self, proposal: Proposal, fingerprint: str, first: str | None) -> None:
        """Its trial."""
        ray.get(self._actor.named.remote(proposal, fingerprint, first))

    def told(self, proposal: Proposal, row: dict[str, Any]) -> None:
        """Its end."""
        ray.get(self._actor.told.remote(proposal, row))

    def decide(self, proposal: Proposal, resource: int, loss: float) -> bool:
        """Whether to stop it at a rung."""
        return bool(ray.get(self._actor.decide.remote(proposal, resource, loss)))


def search_on_ray(sweep: Sweep, folder: Path) -> SearchOnRay:
    """Opens a search on the node of the driver, where its folder is."""
    storage_of(asked_by(sweep), folder)  # what is wrong with it is said here, in our own words
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(Search).options(num_cpus=0, scheduling_strategy=here).remote(sweep, folder)
    ray.get(actor.ping.remote())
    return SearchOnRay(actor)

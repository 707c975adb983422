"""A search in a Ray actor: the driver draws from it, and trials on any machine ask it at their rungs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweeper.config import Sweep
from sweeper.search import Proposal, SearchSession, open_storage, require_search
from sweeper.training import TrialRow


class RaySearchClient:
    """Speaks to the actor, one question at a time. Picklable, for trials."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def ask(self) -> Proposal | None:
        """The next proposal."""
        found: Proposal | None = ray.get(self._actor.ask.remote())
        return found

    def attach_trial(self, proposal: Proposal, fingerprint: str, duplicate_key: str | None) -> None:
        """Its trial."""
        ray.get(self._actor.attach_trial.remote(proposal, fingerprint, duplicate_key))

    def tell(self, proposal: Proposal, row: TrialRow) -> None:
        """Its end."""
        ray.get(self._actor.tell.remote(proposal, row))

    def should_prune(self, proposal: Proposal, resource: int, loss: float) -> bool:
        """Whether to stop it at a rung."""
        return bool(ray.get(self._actor.should_prune.remote(proposal, resource, loss)))


def open_ray_search(sweep: Sweep, folder: Path) -> RaySearchClient:
    """Opens a search on the node of the driver, where its folder is."""
    open_storage(require_search(sweep), folder)  # what is wrong with it is said here, in our own words
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(SearchSession).options(num_cpus=0, scheduling_strategy=here).remote(sweep, folder)
    ray.get(actor.ping.remote())
    return RaySearchClient(actor)

"""A search in a Ray actor, which the driver and all trials share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweeper.config import Sweep
from sweeper.search import Proposal, SearchSession, open_storage, require_search
from sweeper.training import TrialRow


class RaySearchClient:
    """The interface of `SearchSession`, forwarded to its actor. Picklable, so that trials can take it along.

    Args:
        actor: handle of the actor. Ray's handles have no static type.
    """

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def ask(self) -> Proposal | None:
        """Return the next proposal (`SearchSession.ask`)."""
        proposal: Proposal | None = ray.get(self._actor.ask.remote())
        return proposal

    def attach_trial(self, proposal: Proposal, fingerprint: str, duplicate_key: str | None) -> None:
        """Record which trial a proposal is (`SearchSession.attach_trial`)."""
        ray.get(self._actor.attach_trial.remote(proposal, fingerprint, duplicate_key))

    def tell(self, proposal: Proposal, row: TrialRow) -> None:
        """Record the outcome of a trial (`SearchSession.tell`)."""
        ray.get(self._actor.tell.remote(proposal, row))

    def should_prune(self, proposal: Proposal, resource: int, loss: float) -> bool:
        """Decide whether a trial stops at a rung (`SearchSession.should_prune`)."""
        return bool(ray.get(self._actor.should_prune.remote(proposal, resource, loss)))


def open_ray_search(sweep: Sweep, folder: Path) -> RaySearchClient:
    """Start the actor of a search on the driver's node, which has its folder.

    Args:
        sweep: the sweep, which has a `search`.
        folder: the study's folder.

    Raises:
        UsageError: the search's storage cannot be opened.
    """
    open_storage(require_search(sweep), folder)  # fails here with our own error rather than Ray's
    driver_node = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(SearchSession).options(num_cpus=0, scheduling_strategy=driver_node).remote(sweep, folder)
    ray.get(actor.ping.remote())
    return RaySearchClient(actor)

"""A Ray cluster on this machine, and sweeps sent to one elsewhere."""

from sweeper.cluster.address import LOCAL, client_environment, resolve_address
from sweeper.cluster.jobs import pack, submit
from sweeper.cluster.local import LocalCluster, LocalNode, alive_nodes, down_local, local_cluster, processes, up_local

__all__ = [
    "LOCAL",
    "LocalCluster",
    "LocalNode",
    "alive_nodes",
    "client_environment",
    "down_local",
    "local_cluster",
    "pack",
    "processes",
    "resolve_address",
    "submit",
    "up_local",
]

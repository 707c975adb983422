"""A Ray cluster on this machine, and sweeps sent to one elsewhere."""

from sweeper.cluster.addresses import LOCAL_ADDRESS, make_client_environment, resolve_address
from sweeper.cluster.job_submission import bundle_sweep, submit_sweep
from sweeper.cluster.local_cluster import (
    LocalCluster,
    LocalNode,
    list_alive_nodes,
    list_processes,
    read_local_cluster,
    start_local_cluster,
    stop_local_cluster,
)

__all__ = [
    "LOCAL_ADDRESS",
    "LocalCluster",
    "LocalNode",
    "bundle_sweep",
    "list_alive_nodes",
    "list_processes",
    "make_client_environment",
    "read_local_cluster",
    "resolve_address",
    "start_local_cluster",
    "stop_local_cluster",
    "submit_sweep",
]

"""Local Ray clusters, and submission of sweeps to remote ones."""

from sweeper.cluster.addresses import (
    LOCAL_ADDRESS,
    accepts_jobs,
    make_client_environment,
    make_token_private,
    resolve_address,
)
from sweeper.cluster.job_submission import bundle_sweep, check_reachable, hide_variables, submit_sweep
from sweeper.cluster.local_cluster import (
    LocalCluster,
    LocalNode,
    RayNode,
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
    "RayNode",
    "accepts_jobs",
    "bundle_sweep",
    "check_reachable",
    "hide_variables",
    "list_alive_nodes",
    "list_processes",
    "make_client_environment",
    "make_token_private",
    "read_local_cluster",
    "resolve_address",
    "start_local_cluster",
    "stop_local_cluster",
    "submit_sweep",
]

"""`sweeper cluster`: start a Ray cluster on this machine, submit sweeps to one, and drain nodes."""

from __future__ import annotations

from typing import Annotated

import typer

from sweeper.cli.options import JsonOption, SetOption, SweepArgument
from sweeper.cli.output import exit_with_error, print_json

commands = typer.Typer(no_args_is_help=True, help="Start a small Ray cluster here, or send sweeps to one.")


@commands.command("up-local")
def start_local_cluster_command(
    nodes: Annotated[int, typer.Option(min=1, help="Nodes; each is a Ray process of its own.")] = 2,
    gpus_per_node: Annotated[int, typer.Option(min=0, help="GPUs each node advertises (may be fake).")] = 0,
    cpus_per_node: Annotated[
        int | None, typer.Option(min=1, help="CPUs each node advertises. Default: this machine's.")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Start a Ray cluster of several nodes on this machine, to try a sweep before it costs money."""
    from sweeper import api

    up = api.start_local_cluster(nodes, gpus_per_node, cpus_per_node)
    if json_:
        print_json(up.to_document())
    else:
        typer.echo(
            f"up: {len(up.nodes)} nodes at {up.address}, dashboard {up.dashboard}\n"
            "next: sweeper run SWEEP --address local; sweeper cluster down-local"
        )


@commands.command("down-local")
def stop_local_cluster_command(json_: JsonOption = False) -> None:
    """Stop the local cluster."""
    from sweeper import api

    down = api.stop_local_cluster()
    if json_:
        print_json(down.to_document())
    else:
        typer.echo(f"down: {len(down.nodes)} nodes at {down.address}")


@commands.command("drain")
def drain_node_command(
    seconds: Annotated[float, typer.Option(min=0, help="Seconds to wait for them.")] = 100.0,
    json_: JsonOption = False,
) -> None:
    """Drain this node: checkpoint and stop its trials. Other nodes resume them."""
    from sweeper import api

    n_processes, n_training = api.drain_node(seconds)
    if json_:
        print_json({"asked": n_processes, "still_training": n_training})
    elif not n_training:
        typer.echo(f"{n_processes} training processes saved a checkpoint and stopped")
    if n_training:
        exit_with_error(
            f"{n_training} of {n_processes} training processes still run after {seconds:g} s; "
            "their last checkpoints are kept",
            1,
        )


@commands.command("submit")
def submit_sweep_command(
    sweep: SweepArgument,
    address: Annotated[
        str, typer.Option(help="The cluster: http(s)://… (its dashboard), ray://… (its client server) or `local`.")
    ],
    storage: Annotated[str, typer.Option(help="Folder of the store as the cluster sees it: an absolute path.")],
    set_: SetOption = None,
) -> None:
    """Run a sweep as a job of a Ray cluster, follow its log, and exit with its exit code."""
    from sweeper import api

    raise typer.Exit(api.submit_sweep(sweep, address, storage=storage, overrides=set_ or []))

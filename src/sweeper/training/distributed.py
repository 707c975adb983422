"""The process group of a trial's workers. One worker alone has none."""

from __future__ import annotations

import os

import torch


def is_distributed() -> bool:
    """Return whether several workers train together in this process group."""
    return bool(torch.distributed.is_available() and torch.distributed.is_initialized())


def get_rank() -> int:
    """Return this worker's rank; 0 for a worker alone."""
    return torch.distributed.get_rank() if is_distributed() else 0


def get_world_size() -> int:
    """Return the number of workers; 1 for a worker alone."""
    return torch.distributed.get_world_size() if is_distributed() else 1


def is_first_on_node() -> bool:
    """Return whether this worker reads and writes the store for its machine."""
    return get_rank() == 0 or os.environ.get("LOCAL_RANK") == "0"


def wait_for_all() -> None:
    """Block until every worker gets here."""
    if is_distributed():
        torch.distributed.barrier()


def is_any(flag: bool, device: torch.device) -> bool:
    """Return whether the flag is set on at least one worker."""
    if not is_distributed():
        return flag
    shared = torch.tensor(float(flag), device=device)
    torch.distributed.all_reduce(shared)
    return bool(shared.item())


def broadcast_flag(flag: bool, device: torch.device) -> bool:
    """Return the first worker's flag on every worker."""
    if not is_distributed():
        return flag
    shared = torch.tensor(float(flag), device=device)
    torch.distributed.broadcast(shared, 0)
    return bool(shared.item())


def add_over_workers(value: float, device: torch.device) -> float:
    """Return the sum of every worker's value."""
    if not is_distributed():
        return value
    shared = torch.tensor(value, device=device, dtype=torch.float64)
    torch.distributed.all_reduce(shared)
    return float(shared.item())

"""The process group of a trial's workers, with one worker and with two real processes."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest
import torch

from sweeper.training.distributed import (
    add_over_workers,
    broadcast_flag,
    get_rank,
    get_world_size,
    is_any,
    is_distributed,
    is_first_on_node,
    wait_for_all,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize("flag", [False, True])
def test_worker_alone_is_the_first_of_one(flag: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    wait_for_all()
    assert (is_distributed(), get_rank(), get_world_size(), is_first_on_node()) == (False, 0, 1, True)
    assert is_any(flag, CPU) is broadcast_flag(flag, CPU) is flag
    assert add_over_workers(2.5, CPU) == 2.5


def report(rank: int, folder: Path) -> None:
    """Join a group of two, and write what this worker sees. The two have one machine each."""
    import os

    os.environ["LOCAL_RANK"] = "0"
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
    wait_for_all()
    seen = {
        "group": [is_distributed(), get_rank(), get_world_size(), is_first_on_node()],
        "any": [is_any(flag, CPU) for flag in (False, rank == 1, True)],
        "sum": add_over_workers(1e9 + rank, CPU),
        "first": [broadcast_flag(flag, CPU) for flag in (rank == 0, rank == 1)],
    }
    (folder / f"{rank}.json").write_text(json.dumps(seen))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_workers_agree_on_flags(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=report, args=(rank, tmp_path)) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    for rank in range(2):
        seen = json.loads((tmp_path / f"{rank}.json").read_text())
        assert seen["sum"] == 2e9 + 1
        assert seen["group"] == [True, rank, 2, True]
        assert seen["any"] == [False, True, True], "set on at least one"
        assert seen["first"] == [True, False], "the first worker's flag"

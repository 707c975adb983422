"""What does a fault cost? Optimiser steps that are trained again, and seconds until the trial trains again.

    python benchmarks/recovery.py [--faults 2]

A Ray cluster of three nodes on this machine, a study of real tiny trials, and faults while it runs: a worker's process
killed, SIGTERM to a worker (a spot machine that is about to go), a node killed, the driver killed and started again. A
user without checkpoints would lose all steps up to the fault: that share is beside it. About ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from row import Row, finish

from sweeper import cluster
from sweeper.config import find_sweep, load_sweep
from sweeper.execution.progress import ProgressDisplay
from sweeper.execution.study_runner import run_study
from sweeper.planning.planner import plan_sweep
from sweeper.storage import Store
from sweeper.training import TrialProgress

FAULTS = ("worker killed", "SIGTERM", "node killed", "driver killed")
ASKED = [
    "claims=[]",
    "evaluation=null",
    "axes.model=[opt-tiny-64]",
    "axes.num_train_epochs=[1]",
    "recipe.warmup_steps=10",
    "data.toolworld={train_queries: 12000, validation_queries: 20, test_queries_per_subset: 1}",
]


class Events(ProgressDisplay):
    """Writes what running trials tell as lines of JSON."""

    def on_progress(self, fingerprint: str, progress: TrialProgress) -> None:
        """A trial's latest step, and when."""
        if progress.training is not None:
            print(json.dumps([time.time(), fingerprint, progress.training.step]), flush=True)
        super().on_progress(fingerprint, progress)


def child(root: Path, address: str, seeds: int) -> None:
    """Run the study."""
    plan = plan_sweep(load_sweep(find_sweep("quickstart"), [*ASKED, f"axes.seed={list(range(seeds))}"]))
    with Events(Console(file=sys.stderr)) as display:
        run_study(plan, Store(root), backend="ray", address=address, tracking="none", display=display)


class Study:
    """A running study, seen from outside."""

    def __init__(self, up: cluster.LocalCluster, root: Path, seeds: int) -> None:
        self.up, self.store, self.seeds = up, Store(root), seeds
        self.events: list[tuple[float, str, float]] = []
        self.start()

    def start(self) -> None:
        """Start it, or go on with it."""
        command = [sys.executable, __file__, "--child", str(self.store.root), self.up.address, str(self.seeds)]
        self.process = subprocess.Popen(
            command, env=os.environ | self.up.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        threading.Thread(target=self._read, args=(self.process,), daemon=True).start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        for line in process.stdout or ():
            with contextlib.suppress(ValueError):
                self.events.append(tuple(json.loads(line)))

    def node_of(self, fingerprint: str) -> tuple[int, int] | None:
        """Process and node of a running trial: who holds its lock."""
        lock = str(self.store.trial_folder(fingerprint) / ".lock")
        for node in range(len(self.up.nodes)):
            for pid in cluster.list_processes(self.up, node):
                with contextlib.suppress(OSError):
                    if any(str(link.readlink()) == lock for link in Path(f"/proc/{pid}/fd").iterdir()):
                        return pid, node
        return None

    def victim(self, but: set[str], of_node: int | None = None) -> tuple[str, int, int]:
        """A trial well under way, its process and its node."""
        while True:
            if self.process.poll() is not None:
                raise SystemExit(f"it ended ({self.process.returncode}) before all faults had their turn")
            latest = {fingerprint: step for _, fingerprint, step in self.events[-50:]}
            for fingerprint, step in latest.items():
                if fingerprint in but or step < 350 or self.store.record_path(fingerprint).exists():
                    continue
                found = self.node_of(fingerprint)
                if found and (of_node is None or found[1] == of_node):
                    return fingerprint, *found
            time.sleep(0.05)

    def recovered(self, fingerprint: str, at: float, reached: float) -> tuple[float, float]:
        """Steps trained again, and seconds until the first step after the fault."""
        while True:
            for when, whose, step in list(self.events):
                if whose == fingerprint and when > at + 0.5 and (step < reached or when > at + 5):
                    resumed = max((s for s in self._saved_before if s <= step), default=0)
                    return max(reached - resumed, 0.0), when - at
            if self.store.record_path(fingerprint).exists():
                raise SystemExit("it ended before it was seen again")
            time.sleep(0.05)

    def remember(self, fingerprint: str) -> None:
        """Steps of its whole checkpoints."""
        marks = self.store.trial_folder(fingerprint).glob("checkpoints/checkpoint-*/sweeper-complete")
        self._saved_before = [int(mark.parent.name.split("-")[1]) for mark in marks]


def main() -> int:
    """Measure, print a table and JSON."""
    if sys.argv[1:2] == ["--child"]:
        child(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
        return None
    parser = argparse.ArgumentParser()
    parser.add_argument("--faults", type=int, default=2, help="of each kind, but for the node, which is killed once")
    asked = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "cluster"
        up = cluster.start_local_cluster(3, cpus_per_node=1, folder=state)
        try:
            running = Study(up, Path(folder) / "store", 4 * asked.faults + 2)
            hit: set[str] = set()
            for fault in [*FAULTS[:2] * asked.faults, FAULTS[3], FAULTS[2]]:
                victim, pid, _ = running.victim(hit, 2 if fault == "node killed" else None)
                hit.add(victim)
                running.remember(victim)
                reached = max(step for _, whose, step in running.events if whose == victim)
                at = time.time()
                if fault == "worker killed":
                    os.kill(pid, signal.SIGKILL)
                elif fault == "SIGTERM":
                    os.kill(pid, signal.SIGTERM)
                elif fault == "node killed":
                    for pid in cluster.list_processes(up, 2):
                        os.kill(pid, signal.SIGKILL)
                else:
                    running.process.kill()
                    running.process.wait()
                    running.start()
                if fault == "SIGTERM":
                    time.sleep(2)
                    running.remember(victim)
                steps, seconds = running.recovered(victim, at, reached)
                rows.append({"fault": fault, "reached": reached, "steps_lost": steps, "seconds": seconds})
                print(f"{fault:<14} at step {reached:5.0f}: {steps:4.0f} steps again, {seconds:5.1f} s", flush=True)
            running.process.kill()
        finally:
            cluster.stop_local_cluster(state)
    found = []
    for fault in FAULTS:
        of = [row for row in rows if row["fault"] == fault]
        lost, at = [row["steps_lost"] for row in of], [row["reached"] for row in of]
        found.append(Row(f"{fault}: steps trained again", "steps", lost, "without checkpoints", at))
        found.append(Row(f"{fault}: until it trains again", "s", [row["seconds"] for row in of]))
    return finish(found, faults=rows)


if __name__ == "__main__":
    sys.exit(main())

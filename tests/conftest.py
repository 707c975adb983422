"""Shared by all tests: the environment, the order and grouping of tests, the project's folders, and a Ray cluster."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from ray_host import RayHost

if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling

    from sweeper.cluster import LocalCluster

ROOT = Path(__file__).resolve().parents[1]
pytest_plugins = ("store_fixtures",)
RAY_GROUP = "ray"
LONGEST_FIRST = (
    "integration/test_study_on_s3.py",
    "training/test_worker.py",
    "training/test_branching.py",
    "integration/test_judge_cli.py",
    "execution/test_search_loop.py",
    "training/test_checkpoints.py",
    "integration/test_runs.py",
    "integration/test_smoke_tests.py",
    "integration/test_combined_sweep.py",
    "search/test_samplers.py",
)
"""Files that take longest begin first, after the tests on Ray, so that the processes of a run end together."""

os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the models are tiny, and workers share the cores

# A script starts background jobs with SIGINT ignored, and children inherit that: no Ctrl-C test could interrupt one.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("busy", deadline=None)  # a loaded machine is slow, and no test is about time
settings.load_profile("busy")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests on Ray first, those that share its cluster before those that stop it, then the longest files."""
    ranks = {ROOT / "tests" / name: rank for rank, name in enumerate(LONGEST_FIRST)}

    def rank(item: pytest.Item) -> tuple[int, int]:
        if item.get_closest_marker("ray"):
            return 0, 2 if not uses_shared_cluster(item) else int("stops_shared_cluster" in item.fixturenames)
        return 1, ranks.get(item.path, len(ranks))

    items.sort(key=rank)


def uses_shared_cluster(item: pytest.Item) -> bool:
    """Whether a test uses the cluster that tests share."""
    return "two_nodes" in getattr(item, "fixturenames", ())


@cache
def has_tests_on_ray(file: str) -> bool:
    """Whether a file marks tests with `ray`. The process that hands out tests knows only their names."""
    return "mark.ray" in (ROOT / file).read_text()


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling | None:
    """With `--dist loadgroup`: one process runs all files with tests on Ray, and each other file has one process."""
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class OneRayPerHost(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return RAY_GROUP if has_tests_on_ray(file) else file

    config.option.loadscopereorder = False
    return OneRayPerHost(config, log)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's root folder."""
    return ROOT


@pytest.fixture(scope="session")
def real_toolbench() -> Path:
    """Real ToolBench material beside the checkout, where present."""
    path = ROOT.parent / "shared" / "toolbench"
    if not path.is_dir():
        pytest.skip("no real ToolBench material beside the checkout (../shared/toolbench)")
    return path


@pytest.fixture(scope="session")
def ray_host() -> Iterator[RayHost]:
    """What runs Ray on this host. One process runs all tests on Ray."""
    host = RayHost()
    yield host
    host.close()


@pytest.fixture
def two_nodes(ray_host: RayHost) -> LocalCluster:
    """The shared cluster: two nodes, each with one CPU and two GPUs that do not exist."""
    return ray_host.share()


@pytest.fixture(scope="class")
def stops_shared_cluster(ray_host: RayHost) -> Iterator[None]:
    """For tests that take the shared cluster down, or a part of it: the next test has a new one."""
    yield
    ray_host.free()


@pytest.fixture
def state(ray_host: RayHost) -> Path:
    """The folder with the state of the shared cluster."""
    return ray_host.state


@pytest.fixture(autouse=True)
def _one_ray_per_host(request: pytest.FixtureRequest) -> None:
    """Stop the shared cluster before a test that starts a Ray of its own."""
    if request.node.get_closest_marker("ray") and not uses_shared_cluster(request.node):
        request.getfixturevalue("ray_host").free()

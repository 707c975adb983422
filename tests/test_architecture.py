"""The house: which room may import which, and what the command line may load at its start."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "sweeper"

BELOW = {
    "errors": 0,
    "store": 1,
    "quiet": 1,
    "toolworld": 1,
    "spec": 2,
    "models": 3,
    "data": 4,
    "trial": 5,
    "evaluate": 6,
}
BELOW |= {"cluster": 3, "tracking": 7, "study": 8, "statistics": 9, "report": 10, "tables": 11, "doctor": 11, "cli": 12}
"""Room -> level; a room imports from lower levels only."""


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "sweeper" and len(parts) > 1 else None


FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_arrows_point_one_way(path: Path) -> None:
    own = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    for module in imports(path):
        other = room(module)
        if other is not None and other != own and other in BELOW:
            assert BELOW[other] < BELOW[own], f"{own} imports {module}"


def test_every_room_has_a_level() -> None:
    rooms = {
        path.name.removesuffix(".py")
        for path in SOURCE.iterdir()
        if path.name[0] not in "_." and path.name != "py.typed"
    }
    assert rooms == set(BELOW)


def test_few_files_import_ray() -> None:
    users = {str(p.relative_to(SOURCE)) for p in FILES if any(m.split(".")[0] == "ray" for m in imports(p))}
    assert users == {
        "study/on_ray/tune.py",
        "study/on_ray/train.py",
        "study/on_ray/admission.py",
        "study/on_ray/search.py",
        "study/search/proposing.py",
        "tracking/metrics.py",
        "cluster/jobs.py",
    }


def test_statistics_does_no_io_and_loads_no_framework() -> None:
    for path in (SOURCE / "statistics").rglob("*.py"):
        assert not {m.split(".")[0] for m in imports(path)} & {"pathlib", "torch", "ray", "datasets", "wandb", "os"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "module", ["sweeper.cli", "sweeper.spec", "sweeper.study", "sweeper.trial", "sweeper.evaluate"]
)
def test_importing_a_door_loads_nothing_heavy(module: str) -> None:
    heavy = ("torch", "ray", "transformers", "trl", "datasets", "pandas", "wandb", "plotly", "scipy")
    code = f"import sys, {module}; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

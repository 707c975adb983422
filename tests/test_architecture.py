"""The architecture: which package may import which, and what the command line may load at its start."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "sweeper"

ORDER = (
    ("errors",),
    ("registry", "proxies"),
    ("storage", "toolworld"),
    ("config",),
    ("models",),
    ("data",),
    ("training", "statistics"),
    ("claims", "evaluation"),
    ("search", "scheduling"),
    ("planning",),
    ("results", "tracking", "cluster"),
    ("execution",),
    ("report",),
    ("api",),
    ("cli",),
)
LEVEL = {package: level for level, packages in enumerate(ORDER) for package in packages}
"""Package -> level; a package imports from lower levels only."""


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def package_name(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "sweeper" and len(parts) > 1 else None


FILES = sorted(
    path for path in SOURCE.rglob("*.py") if path.parent != SOURCE or path.stem in ("errors", "registry", "proxies")
)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_one_way(path: Path) -> None:
    own = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    for module in imports(path):
        other = package_name(module)
        if other is not None and other != own and other in LEVEL:
            assert LEVEL[other] < LEVEL[own], f"{own} imports {module}"


def test_the_command_line_uses_the_api_alone() -> None:
    for path in (SOURCE / "cli").rglob("*.py"):
        used = {module for module in imports(path) if module.startswith("sweeper.")}
        allowed = ("sweeper.api", "sweeper.errors", "sweeper.cli", "sweeper.__version__")
        assert {module for module in used if not module.startswith(allowed)} == set(), path.name


def test_every_package_has_a_level() -> None:
    packages = {
        path.name.removesuffix(".py")
        for path in SOURCE.iterdir()
        if (path / "__init__.py").exists() or path.stem in ("errors", "registry", "proxies")
    }
    assert packages == set(LEVEL)


def test_few_files_import_ray() -> None:
    users = {str(p.relative_to(SOURCE)) for p in FILES if any(m.split(".")[0] == "ray" for m in imports(p))}
    assert users == {
        "execution/backends/ray.py",
        "execution/ray_backend/tune.py",
        "execution/ray_backend/train.py",
        "execution/ray_backend/queue_searcher.py",
        "execution/ray_backend/search_actor.py",
        "tracking/prometheus.py",
        "cluster/job_submission.py",
    }


def test_statistics_does_no_io_and_loads_no_framework() -> None:
    for path in (SOURCE / "statistics").rglob("*.py"):
        assert not {m.split(".")[0] for m in imports(path)} & {"pathlib", "torch", "ray", "datasets", "wandb", "os"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    [
        "sweeper",
        "sweeper.api",
        "sweeper.cli",
        "sweeper.config",
        "sweeper.planning.plan",
        "sweeper.training",
        "sweeper.evaluation",
    ],
)
def test_importing_a_package_loads_nothing_heavy(module: str) -> None:
    heavy = ("torch", "ray", "transformers", "trl", "datasets", "pandas", "wandb", "plotly", "scipy")
    code = f"import sys, {module}; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


MOST_LINES, LONGEST_FUNCTION, MOST_PARAMETERS = 450, 80, 8
MANY_PARAMETERS = {
    # Typer makes one option of each parameter.
    "cli/evaluate.py:evaluate_model_command",
    "cli/evaluate.py:judge_answers_command",
    "cli/evaluate.py:compare_answers_command",
    "cli/study.py:run_sweep_command",
}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_files_and_functions_stay_small_and_are_named_by_verbs(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= MOST_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            where = f"{path.relative_to(SOURCE)}:{node.name}"
            assert (node.end_lineno or 0) - node.lineno < LONGEST_FUNCTION, where
            names = [each.arg for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            assert len(set(names) - {"self", "cls"}) <= MOST_PARAMETERS or where in MANY_PARAMETERS, where
            assert not node.name.endswith("_of"), where


def test_files_that_begin_first_exist() -> None:
    tests = Path(__file__).parent
    names = re.findall(r'^    "(\S+\.py)",$', (tests / "conftest.py").read_text(), re.MULTILINE)
    assert names
    assert [name for name in names if not (tests / name).is_file()] == [], "renamed: see LONGEST_FIRST in conftest.py"


TESTED_TOGETHER = {
    "search/samplers": "search/test_samplers.py",
    "search/pruners": "search/test_pruners.py",
    "tracking/sinks": "tracking/test_tracker.py",
    "execution/ray_backend/train.py": "execution/ray_backend/test_tune.py",
    "execution/ray_backend/search_actor.py": "execution/test_search_loop.py",
    "execution/run_context.py": "execution/test_study_runner.py",
    "models/quiet_libraries.py": "models/test_loading.py",
}
"""Folders and modules whose behavior is tested where they are used together."""
TYPES_ALONE = {
    "claims/verdict.py",
    "evaluation/agents/base.py",
    "evaluation/environments/base.py",
    "evaluation/judges/base.py",
    "report/document.py",
    "report/combined_document.py",
    "report/claim_document.py",
    "report/cost_document.py",
    "statistics/aliases.py",
    "training/job.py",
}
"""Interfaces, records and aliases: there is nothing to call."""


def find_test_file(module: str) -> str:
    together = next((test for place, test in TESTED_TOGETHER.items() if f"{module}/".startswith(f"{place}/")), None)
    folder, _, name = module.rpartition("/")
    return together or f"{folder}/test_{name.removeprefix('_')}".removeprefix("/")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_every_module_has_its_tests(path: Path) -> None:
    module = str(path.relative_to(SOURCE))
    if path.name != "__init__.py" and module not in TYPES_ALONE:
        assert (SOURCE.parents[1] / "tests" / find_test_file(module)).is_file()


def test_modules_of_types_alone_define_no_function() -> None:
    for module in TYPES_ALONE - {"report/document.py", "evaluation/judges/base.py"}:
        functions = [
            node for node in ast.parse((SOURCE / module).read_text()).body if isinstance(node, ast.FunctionDef)
        ]
        assert functions == [], module

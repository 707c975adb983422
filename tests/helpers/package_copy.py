"""A copy of the package with extra files: tests that adding a choice means adding one file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import sweeper


def run_with_extra_files(folder: Path, files: Mapping[str, str], code: str) -> str:
    """Run Python code in a process that imports a copy of the package with extra files.

    Args:
        folder: empty folder for the copy.
        files: path relative to `sweeper` -> source.
        code: what to run.

    Returns:
        What it printed.
    """
    copy = folder / "sweeper"
    shutil.copytree(Path(sweeper.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for name, source in files.items():
        assert not (copy / name).exists()
        (copy / name).write_text(source)
    code = f"import sweeper; assert sweeper.__file__.startswith({str(copy)!r})\n{code}"
    process = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{Path(__file__).parent}"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout

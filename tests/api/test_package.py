"""`import sweeper`: what it offers, and what it loads."""

from __future__ import annotations

import subprocess
import sys

import pytest

import sweeper
from sweeper import api


@pytest.mark.parametrize("package", [sweeper, api], ids=["sweeper", "sweeper.api"])
def test_every_public_name_can_be_imported(package: object) -> None:
    names = package.__all__  # type: ignore[attr-defined]
    assert names == sorted(names)
    assert all(getattr(package, name) is not None for name in names)
    with pytest.raises(AttributeError, match="no_such_name"):
        package.no_such_name  # type: ignore[attr-defined]  # noqa: B018


def test_import_loads_two_modules_of_its_own() -> None:
    code = "import sys, sweeper; print(sorted(m for m in sys.modules if m.startswith('sweeper')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['sweeper']"


def test_dir_lists_the_public_names() -> None:
    assert dir(sweeper) == sorted(sweeper.__all__)

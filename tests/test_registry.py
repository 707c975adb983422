"""Choices that are files of a package."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sweeper.errors import UsageError
from sweeper.registry import Registry

READERS: Registry[object] = Registry("storage module", "storage", "Store")


def test_registry_lists_the_files_of_its_folder() -> None:
    assert READERS.names == tuple(sorted(READERS.names))
    assert {"store", "atomic-io", "object-store"} <= set(READERS.names)
    assert "--init--" not in READERS.names


def test_registry_loads_the_attribute_of_a_file() -> None:
    from sweeper.storage import Store

    assert READERS.load("store") is Store


def test_registry_refuses_an_unknown_name_and_suggests_the_nearest() -> None:
    for refuse in (READERS.check, READERS.load):
        with pytest.raises(UsageError) as failure:
            refuse("stoer")
        assert failure.value.found == "no storage module of this name"
        assert failure.value.hint.startswith("did you mean `store`? known: atomic-io, ")
    with pytest.raises(UsageError, match="line 3"):
        READERS.check("stoer", where="line 3")


def test_registry_lists_names_without_importing() -> None:
    code = """
import sys
from sweeper.registry import Registry
names = Registry("judge", "evaluation/judges", "make_judge").names
print([module for module in sys.modules if module.startswith("sweeper.evaluation")], len(names) > 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] True"


def test_registry_reads_a_literal_without_importing() -> None:
    code = """
import sys
from sweeper.registry import Registry
print(Registry("algorithm", "search/samplers", "make_sampler").read_literal("nsga2", "TRAITS")["metric_counts"])
print([module for module in sys.modules if module.startswith("sweeper.search")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["(2,)", "[]"]


def test_registry_refuses_a_constant_that_a_file_lacks() -> None:
    with pytest.raises(LookupError, match="defines no TRAITS"):
        READERS.read_literal("store", "TRAITS")
    with pytest.raises(UsageError, match="no storage module of this name"):
        READERS.read_literal("stoer", "TRAITS")

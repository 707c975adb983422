"""Public docstrings: every argument and result is described, and every example runs."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import griffe
import pytest

import sweeper

PACKAGES = (
    "api",
    "api.formatting",
    "claims",
    "data",
    "errors",
    "evaluation",
    "models",
    "registry",
    "statistics",
    "toolworld",
)
"""Packages whose `__all__` is public."""
NO_EXAMPLE = {
    # They need weights of a hub, a server or a cluster.
    *("load_pretrained", "load_tokenizer", "interpolate_positions", "start_local_cluster", "stop_local_cluster"),
    *("submit_run", "submit_sweep", "drain_node"),
    # They need a finished study or trial: examples/notebook.py, and the how-to pages, use them.
    *("open_study", "run", "evaluate_model", "judge_answers", "compare_answers", "write_label_sheet", "evaluate_trial"),
    *("extract_metrics", "describe_prepared_data", "open_prepared_data", "read_data_manifest", "make_length_limiter"),
    *("record_report_looks", "list_needed_runs"),
    *("decide_claim", "decide_claims", "adjust_verdicts", "compute_probabilities", "list_claim_notes"),
    "refuse_underpowered",  # it raises or does nothing
}


def list_public_functions() -> Iterator[tuple[str, object]]:
    for package in PACKAGES:
        module = importlib.import_module(f"sweeper.{package}")
        for name in getattr(module, "__all__", ()):
            if inspect.isfunction(value := getattr(module, name)):
                yield f"{package}.{name}", value


FUNCTIONS = dict(list_public_functions())


def read_sections(function: object) -> dict[str, griffe.DocstringSection]:
    docstring = griffe.Docstring(inspect.getdoc(function) or "")
    return {section.kind.value: section for section in docstring.parse("google", warnings=False)}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_argument_and_the_result_are_described(name: str) -> None:
    function = FUNCTIONS[name]
    signature, sections = inspect.signature(function), read_sections(function)  # type: ignore[arg-type]
    described = [item.name for item in sections["parameters"].value] if "parameters" in sections else []
    assert described == list(signature.parameters)
    has_result = str(signature.return_annotation) not in ("None", "NoReturn")
    assert has_result == bool({"returns", "yields"} & sections.keys())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_has_an_example_or_is_listed(name: str) -> None:
    has_example = ">>>" in (inspect.getdoc(FUNCTIONS[name]) or "")
    assert has_example != (name.rpartition(".")[2] in NO_EXAMPLE)


def list_modules_with_examples() -> list[object]:
    modules: list[object] = []
    for info in pkgutil.walk_packages(sweeper.__path__, "sweeper."):
        spec = importlib.util.find_spec(info.name)
        source = "" if spec is None or spec.origin is None else Path(spec.origin).read_text()
        if re.search(r"^\s+>>> ", source, re.MULTILINE):
            modules.append(pytest.param(info.name, marks=pytest.mark.slow if info.name in SLOW_MODULES else ()))
    return modules


SLOW_MODULES = {
    "sweeper.api.training_data",
    "sweeper.models.loading",
    "sweeper.data.prepare",
    "sweeper.data.length_report",
    "sweeper.data.tokenizer",
}
"""Their examples import torch or transformers."""


@pytest.mark.parametrize("module", list_modules_with_examples())
def test_examples_run(module: str) -> None:
    package = importlib.import_module(".".join(module.split(".")[:2]))
    public = {name: getattr(package, name) for name in getattr(package, "__all__", ())}  # as a reader imports them
    results = doctest.testmod(importlib.import_module(module), extraglobs=public)
    assert results.attempted > 0
    assert results.failed == 0

"""JSON Schemas of sweep files and of the files of `configs/`: what they accept, and that editors find them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from sweeper.cli.app import app
from sweeper.config import load_sweep, read_yaml_as_dict
from sweeper.config.schema import SCHEMA_KINDS, build_schema
from sweeper.errors import UsageError
from sweeper.registry import Registry

ROOT = Path(__file__).resolve().parents[2]
LINE = re.compile(r"# yaml-language-server: \$schema=(\S+)\n")
SHIPPED = sorted([*(ROOT / "sweeps").glob("*.yaml"), *(ROOT / "configs").rglob("*.yaml")])
TINY = read_yaml_as_dict(ROOT / "tests/pinned/tiny.yaml")
LOOKING = read_yaml_as_dict(ROOT / "tests/pinned/looking.yaml")


@pytest.fixture(autouse=True)
def project_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # examples of names come from `configs/` of the working directory and of the project


def list_errors(document: object, kind: str = "sweep") -> list[str]:
    validator = Draft202012Validator(build_schema(kind))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_shipped_file_names_its_schema_and_obeys_it(path: Path) -> None:
    named = LINE.match(path.read_text())
    assert named, "the first line is for editors"
    schema = (path.parent / named[1]).resolve()
    assert schema.parent == ROOT / "configs/schemas"
    assert list_errors(read_yaml_as_dict(path), schema.stem) == []


@pytest.mark.parametrize("kind", SCHEMA_KINDS)
def test_committed_schema_is_what_the_command_prints(kind: str) -> None:
    committed = (ROOT / "configs/schemas" / f"{kind}.json").read_text()
    Draft202012Validator.check_schema(json.loads(committed))
    done = CliRunner().invoke(app, ["schema", "--kind", kind])
    assert done.output == committed, f"run: sweeper schema --kind {kind} > configs/schemas/{kind}.json"


def list_properties(schema: Any, path: str = "$") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        properties = schema.get("properties", {})
        for name in properties if isinstance(properties, dict) else ():
            if isinstance(properties[name], dict):
                yield f"{path}.{name}", properties[name]
    for key, value in schema.items() if isinstance(schema, dict) else enumerate(schema):
        if isinstance(value, dict | list):
            yield from list_properties(value, f"{path}.{key}")


@pytest.mark.parametrize("kind", SCHEMA_KINDS)
def test_every_field_has_documentation(kind: str) -> None:
    properties = list(list_properties(build_schema(kind)))
    assert properties
    assert [path for path, schema in properties if not schema.get("description")] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"axs": {}}, "'axs' was unexpected"),
        ({"name": "a b"}, "does not match"),
        ({"axes": TINY["axes"] | {"learning_rat": [1e-5]}}, "'learning_rat' was unexpected"),
        ({"axes": {"model": ["opt-tiny-32"]}}, "'seed' is a required property"),
        ({"axes": TINY["axes"] | {"seed": [0, 0]}}, "non-unique"),
        ({"axes": TINY["axes"] | {"learning_rate": ["fast"]}}, "$.axes.learning_rate"),
        ({"recipe": {"extends": "miniature", "warmup_step": 1}}, "$.recipe"),
        ({"recipe": {"learning_rate": 1e-5}}, "$.recipe"),
        ({"claims": [{"extends": "single-epoch", "kind": "wins"}]}, "$.claims[0]"),
        ({"data": {"extends": "toolworld", "fit": "sometimes"}}, "$.data"),
        ({"runtime": {"default": {"gpus": -1}}}, "$.runtime.default.gpus"),
        ({"budget": {"hours": 3}}, "$.budget"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_mistake_is_found(change: dict[str, Any], message: str) -> None:
    assert list_errors(TINY) == []
    assert any(message in error for error in list_errors(TINY | change)), list_errors(TINY | change)


@pytest.mark.parametrize(
    "change",
    [
        {"evaluation": None, "claims": []},
        {"recipe": "miniature"},
        {"claims": []},
        {"axes": TINY["axes"] | {"max_grad_norm": [None, 0.3], "fit": ["strict", "truncate"]}},
        {"runtime": {"default": {"engine": "single", "cpus": 1}, "opt-tiny-32": {"cpus": 2}}},
        {"budget": {"wall_hours": 1}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_loads_is_accepted(change: dict[str, Any], tmp_path: Path) -> None:
    assert list_errors(TINY | change) == []
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps(TINY | change))
    load_sweep(path)


def test_unknown_scheduler_is_found() -> None:
    assert list_errors(LOOKING) == []
    wrong = LOOKING | {"search": LOOKING["search"] | {"scheduler": "ashe"}}
    assert any("$.search.scheduler" in error for error in list_errors(wrong))


def test_choices_are_those_of_the_registry() -> None:
    claim = build_schema("claim")["properties"]["kind"]
    assert claim["enum"] == list(Registry("claim kind", "claims/kinds", "KIND").names)


def test_unknown_kind_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean `recipe`"):
        build_schema("recip")

"""Hook of MkDocs: generates `reference/configuration.md` from the configuration classes."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from sweeper.config import (
    BudgetSpec,
    Choice,
    Claim,
    ConfirmSpec,
    DataSpec,
    EngineSpec,
    Estimate,
    EvaluationSpec,
    HardwareSpec,
    HyperparameterChange,
    LlmSpec,
    ModelSpec,
    PbtConfig,
    Recipe,
    Reference,
    Rungs,
    Runtime,
    SearchedAxis,
    SearchSpec,
    Sweep,
)
from sweeper.config.claim import CollapseRule
from sweeper.config.data import AssumedSize
from sweeper.config.recipe import OptimizerTraits
from sweeper.config.reference import ReferenceRow
from sweeper.config.search import AlgorithmTraits, SchedulerTraits
from sweeper.config.smoke_test import SmokeTestConfig

PAGE = "reference/configuration.md"
SECTIONS: tuple[tuple[str, str, tuple[type[BaseModel], ...]], ...] = (
    ("Sweep", "`sweeps/NAME.yaml`: one question.", (Sweep,)),
    ("Recipe", "`recipe:` of a sweep, or `configs/recipes/NAME.yaml`.", (Recipe, HyperparameterChange)),
    ("Data", "`data:` of a sweep, or `configs/data/NAME.yaml`.", (DataSpec, AssumedSize)),
    ("Evaluation", "`evaluation:` of a sweep, or `configs/evaluation/NAME.yaml`.", (EvaluationSpec, LlmSpec)),
    ("Claims", "An item of `claims:`, or `configs/claims/NAME.yaml`.", (Claim, CollapseRule)),
    (
        "Search",
        "`search:` and `confirm:` of a sweep, and the axes that it searches.",
        (SearchSpec, SearchedAxis, Rungs, PbtConfig, ConfirmSpec),
    ),
    ("Resources and limits", "`runtime:`, by model, and `budget:` of a sweep.", (Runtime, BudgetSpec)),
    (
        "Models, engines, hardware",
        "`configs/models/NAME.yaml`, `configs/engines/NAME.yaml` and `configs/hardware/NAME.yaml`.",
        (ModelSpec, EngineSpec, HardwareSpec),
    ),
    ("Smoke tests", "`configs/rehearsal.yaml`: what replaces the real parts.", (SmokeTestConfig,)),
    ("Published tables", "`configs/references/NAME.yaml`.", (Reference, ReferenceRow)),
    (
        "Constants of extension files",
        "The constant `TRAITS` of a file in `search/samplers`, `search/pruners` and `training/optimizers`.",
        (AlgorithmTraits, SchedulerTraits, OptimizerTraits),
    ),
)
"""Heading, where the fields are written, and the classes of that place."""
RESOLVED_FIELDS = {"models", "engines", "hardware", "searched"}
"""Fields of `Sweep` that no file has: loading fills them in."""
_PLAIN_TYPES: dict[object, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    type(None): "`null`",
    Any: "any value",
    Estimate: "mapping with `low`, `expected` and `high`",
}
_DOCUMENTED = {model for _, _, models in SECTIONS for model in models}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page."""
    files.append(File.generated(config, PAGE, content="\n".join(write_page())))
    return files


def write_page() -> Iterator[str]:
    """Yield the lines of the page."""
    yield "# Configuration\n"
    yield (
        "Every key of every YAML file, generated from the classes of `sweeper.config`. An unknown key, or a value that "
        "does not fit, is an error with file, line and the nearest known name; nothing is repaired silently. A section "
        "can be a name (`recipe: canonical`), its fields, or a name with changed fields "
        "(`recipe: {extends: canonical, learning_rate: 1e-4}`). Named files are searched beside the sweep and in its "
        "parent folder, in the working directory, and in the project, each time under `configs/`.\n"
    )
    for heading, place, models in SECTIONS:
        yield f"## {heading}\n"
        yield f"{place}\n"
        for model in models:
            yield from write_model(model)


def write_model(model: type[BaseModel]) -> Iterator[str]:
    """Yield the fields of a class as a definition list, each with an anchor."""
    yield f"### `{model.__name__}` {{ #{anchor(model)} }}\n"
    yield f"{clean_docstring(model.__doc__)}\n"
    for name, info in model.model_fields.items():
        default = "required" if info.is_required() else f"default {format_default(info)}"
        if model is Sweep and name in RESOLVED_FIELDS:
            default = "not in a file: loading fills it in"
        facts = " · ".join((describe_type(info), default))
        yield f'`{name}`{{ #{anchor(model)}.{name} .field }} <span class="field-facts">{facts}</span>\n'
        yield f":   {' '.join((info.description or '').split())}\n"


def anchor(model: type[BaseModel]) -> str:
    """Return the anchor of a class."""
    return model.__name__.lower()


def clean_docstring(text: str | None) -> str:
    """Return a docstring without its indentation."""
    return "\n".join(line.strip() for line in (text or "").splitlines())


def format_default(info: FieldInfo) -> str:
    """Format a default as YAML has it."""
    value = info.get_default(call_default_factory=True)
    if value is PydanticUndefined or isinstance(value, BaseModel):
        raise TypeError(f"no YAML for the default {value!r}")
    words = {None: "null", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return f"`{words[value]}`"
    if isinstance(value, tuple | list):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{value}`" if value != {} else "`{}`"


def describe_type(info: FieldInfo) -> str:
    """Describe the type of a field and its limits."""
    limits = [text for part in info.metadata if (text := describe_limit(part))]
    choices = [part.registry.names for part in info.metadata if isinstance(part, Choice)]
    if choices:
        return list_values(choices[0])
    return ", ".join((describe_annotation(info.annotation), *limits))


def describe_annotation(annotation: Any) -> str:
    """Describe a type in words."""
    if annotation in _PLAIN_TYPES:
        return _PLAIN_TYPES[annotation]
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        choices = [part.registry.names for part in parts[1:] if isinstance(part, Choice)]
        return list_values(choices[0]) if choices else describe_annotation(parts[0])
    if origin is Literal:
        return list_values(parts)
    if origin in (Union, types.UnionType):
        return " or ".join(describe_annotation(part) for part in parts)
    if origin in (list, tuple) and parts:
        items = [part for part in parts if part is not Ellipsis]
        if origin is tuple and Ellipsis not in parts:
            return f"list of {len(items)}: {describe_annotation(items[0])}"
        return f"list of: {describe_annotation(items[0])}"
    if origin is dict:
        return f"mapping of {describe_annotation(parts[0])} to {describe_annotation(parts[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{anchor(annotation)})" if annotation in _DOCUMENTED else annotation.__name__
    return "mapping" if "Json" in str(annotation) else str(annotation).rpartition(".")[2]


def describe_limit(part: object) -> str:
    """Describe a limit of a field; '' for other metadata."""
    match part:
        case annotated_types.Gt(gt=bound):
            return f"above {bound}"
        case annotated_types.Ge(ge=bound):
            return f"at least {bound}"
        case annotated_types.Lt(lt=bound):
            return f"below {bound:,}"
        case annotated_types.Le(le=bound):
            return f"at most {bound}"
        case annotated_types.MinLen(min_length=1):
            return "not empty"
        case _:
            return ""


def list_values(values: tuple[object, ...]) -> str:
    """List values as code."""
    return " \\| ".join(f"`{value}`" for value in values)

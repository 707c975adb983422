"""JSON Schemas of the files that users write, made from the configuration classes: for completion in editors."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from sweeper.config.base import FrozenConfig
from sweeper.config.claim import Claim
from sweeper.config.data import DATA_AXES, DataSpec
from sweeper.config.evaluation import EvaluationSpec
from sweeper.config.library import ConfigLibrary
from sweeper.config.loading import SWEEP_FILE_KEYS
from sweeper.config.model import ModelSpec
from sweeper.config.recipe import Recipe
from sweeper.config.reference import Reference
from sweeper.config.resources import BudgetSpec, HardwareSpec
from sweeper.config.runtime import EngineSpec, Runtime
from sweeper.config.search import ConfirmSpec, SearchedAxis, SearchSpec
from sweeper.config.smoke_test import SmokeTestConfig
from sweeper.config.sweep import Sweep
from sweeper.errors import UsageError, suggest_nearest

JsonSchema = dict[str, Any]
SCHEMA_KINDS: dict[str, type[FrozenConfig] | None] = {
    "sweep": None,
    "recipe": Recipe,
    "data": DataSpec,
    "evaluation": EvaluationSpec,
    "claim": Claim,
    "model": ModelSpec,
    "engine": EngineSpec,
    "hardware": HardwareSpec,
    "reference": Reference,
    "rehearsal": SmokeTestConfig,
}
"""Kind of file -> its class; a sweep's file is not its class, because it names other files."""
_EXTENDABLE: tuple[type[FrozenConfig], ...] = (Recipe, DataSpec, EvaluationSpec, Claim)
_PARTS: tuple[type[FrozenConfig], ...] = (*_EXTENDABLE, BudgetSpec, ConfirmSpec, Runtime, SearchedAxis, SearchSpec)
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_EXTENDS = "Name of a configuration whose fields these override."
_REHEARSAL = "Keys of this file that `--smoke-test` replaces by these values."


def build_schema(kind: str = "sweep") -> JsonSchema:
    """Build the JSON Schema (draft 2020-12) of a kind of file, with the documentation of every field.

    Args:
        kind: `sweep`, or the kind of a file in `configs/`; one of `SCHEMA_KINDS`.

    Returns:
        The schema, as a mapping that JSON can hold.

    Raises:
        UsageError: an unknown kind.

    Example:
        >>> build_schema("recipe")["properties"]["warmup_steps"]["description"]
        'Optimizer steps of linear warm-up. `lr_scheduler_type: constant` has none.'
    """
    if kind not in SCHEMA_KINDS:
        hint = suggest_nearest(str(kind), SCHEMA_KINDS)
        raise UsageError("--kind", requested=str(kind), found="unknown kind", hint=hint)
    cls = SCHEMA_KINDS[kind]
    definitions = _build_definitions(_PARTS if cls is None else (cls,))
    schema = _describe_sweep(definitions) if cls is None else definitions.pop(cls.__name__)
    title = f"sweeper: {kind}"
    return {"$schema": _DIALECT, **schema, "title": title} | ({"$defs": definitions} if definitions else {})


def _build_definitions(classes: tuple[type[FrozenConfig], ...]) -> dict[str, JsonSchema]:
    """Return the schema of each class and of those that it uses, by class name."""
    _, schema = models_json_schema([(cls, "validation") for cls in classes])
    definitions: dict[str, JsonSchema] = schema["$defs"]
    for cls in classes:
        if cls in _EXTENDABLE:
            _allow_extends(definitions[cls.__name__])
    return definitions


def _allow_extends(schema: JsonSchema) -> None:
    """Allow `extends`, which makes every other field optional."""
    schema["properties"]["extends"] = {"type": "string", "description": _EXTENDS}
    schema["if"] = {"required": ["extends"]}
    schema["else"] = {"required": schema.pop("required", [])}


def _describe_sweep(definitions: dict[str, JsonSchema]) -> JsonSchema:
    axes = _describe_axes(definitions)
    kinds: dict[str, type[FrozenConfig]] = {"recipe": Recipe, "data": DataSpec, "evaluation": EvaluationSpec}
    shapes: dict[str, JsonSchema] = {
        **{key: {"anyOf": _name_or_fields(cls)} for key, cls in kinds.items()},
        "axes": axes,
        "search": _refer_to(SearchSpec),
        "confirm": _refer_to(ConfirmSpec),
        "claims": {"type": "array", "items": {"anyOf": _name_or_fields(Claim)}},
        "runtime": {"type": "object", "additionalProperties": _refer_to(Runtime)},
        "budget": {"anyOf": [_refer_to(BudgetSpec), {"type": "null"}]},
        "sweeps": {"type": "array", "items": {"type": "string"}, "minItems": 1},
    }
    shapes["evaluation"]["anyOf"].append({"type": "null"})
    fields = Sweep.model_json_schema()["$defs"]["Sweep"]["properties"]
    properties: dict[str, JsonSchema] = {}
    for key in SWEEP_FILE_KEYS:
        documentation = {"description": fields[key]["description"]}
        properties[key] = (shapes[key] if key in shapes else fields[key]) | documentation
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": properties | {"rehearsal": {"type": "object", "description": _REHEARSAL}},
        "required": ["name", "question"],
        "anyOf": [{"required": ["recipe", "data", "axes"]}, {"required": ["sweeps"]}],
    }


def _describe_axes(definitions: dict[str, JsonSchema]) -> JsonSchema:
    """Describe `axes`: a list of a field's values, or a range that `search` explores."""
    recipe, data = (definitions[cls.__name__]["properties"] for cls in (Recipe, DataSpec))
    fields = {name: schema for name, schema in recipe.items() if name not in ("changes", "extends")}
    fields |= {name: data[name] for name in DATA_AXES}
    axes = {name: _describe_axis(schema) for name, schema in fields.items()}
    names = ConfigLibrary().list_names(ModelSpec)
    model = {"type": "string", "examples": names}
    seed = {"type": "integer", "minimum": 0, "maximum": 2**32 - 1}
    axes["model"] = _make_list(model) | {"description": "Models of `configs/models/`."}
    axes["seed"] = _make_list(seed) | {"description": "Seeds of initial weights, data order and dropout."}
    return {"type": "object", "additionalProperties": False, "properties": axes, "required": ["model", "seed"]}


def _describe_axis(field: JsonSchema) -> JsonSchema:
    values = {key: value for key, value in field.items() if key not in ("description", "default", "title")}
    return {"anyOf": [_make_list(values), _refer_to(SearchedAxis)], "description": field["description"]}


def _make_list(values: JsonSchema) -> JsonSchema:
    return {"type": "array", "items": values, "minItems": 1, "uniqueItems": True}


def _name_or_fields(cls: type[FrozenConfig]) -> list[JsonSchema]:
    """Describe a configuration that is given by its name or by its fields. Names of a user's own files are unknown."""
    return [{"type": "string", "examples": ConfigLibrary().list_names(cls)}, _refer_to(cls)]


def _refer_to(cls: type[FrozenConfig]) -> JsonSchema:
    return {"$ref": f"#/$defs/{cls.__name__}"}

"""What every configuration class shares: frozen fields, no unknown keys, and choices validated by name."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from sweeper.registry import Registry

UNKNOWN_CHOICE = "unknown_choice"
"""Pydantic's error type for a name that is not in a registry; its context has the `names`."""
MAX_COUNT = 10**9
"""Of steps, tokens, rows and the like. More is a slip of the pen, and overflows what is computed from it."""
MAX_BATCH = 10**6
"""Of examples at once, and of devices."""
MAX_NUMBER = 1e30
"""Of a number that float32 arithmetic takes."""


class FrozenConfig(BaseModel):
    """Base of all configuration: immutable, and unknown keys are errors. Validators refuse; they never repair."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, use_attribute_docstrings=True)


@dataclass(frozen=True)
class Choice:
    """Validates a field against the names of a registry, without importing any implementation.

    An unknown name is a `ConfigError` with file, line, the nearest known name, and all known names.

    Example:
        >>> JUDGES: Registry[object] = Registry("judge", "evaluation/judges", "make_judge")
        >>> class EvaluationSpec(FrozenConfig):
        ...     judge: Annotated[str, Choice(JUDGES)]
    """

    registry: Registry[object]

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Hook of pydantic: the check runs after the field is known to be text."""
        return core_schema.no_info_after_validator_function(self._check_name, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Hook of pydantic: the names become an enumeration."""
        return {**handler(schema), "enum": list(self.registry.names)}

    def _check_name(self, name: str) -> str:
        names = self.registry.names
        if name not in names:
            raise PydanticCustomError(
                UNKNOWN_CHOICE,
                "no {kind} of this name",
                {"kind": self.registry.kind, "names": list(names)},
            )
        return name

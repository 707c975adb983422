"""Sweeps -> the sweep that is their union. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sweeper.config.data import DATA_AXES
from sweeper.config.sweep import Sweep, TrialSpec, expand_sweep
from sweeper.errors import ConfigError

COMBINED_SWEEP_KEYS = ("name", "question", "sweeps", "budget", "accept_underpowered", "rehearsal")
"""What the file of a union may say; all else is said by its sweeps."""


def combine_sweeps(parts: Sequence[Sweep], own_fields: Mapping[str, Any], location: str) -> Sweep:
    """One study over the trials of all parts. `own`: what the union's file says of itself.

    A claim is called `part/claim`. Raises ConfigError at `place` for parts that cannot be run as one study, and
    pydantic's error for a wrong value of `own`.
    """
    for asked, found, do in _list_conflicts(parts):
        raise ConfigError(location, requested=asked, found=found, hint=do)
    first = parts[0]
    return Sweep.model_validate(
        {
            **own_fields,
            "recipe": first.recipe,
            "data": first.data,
            "evaluation": first.evaluation,
            "axes": _merge_axes(parts),
            "claims": [
                claim.model_copy(update={"id": f"{part.name}/{claim.id}"}) for part in parts for claim in part.claims
            ],
            "models": {name: model for part in parts for name, model in part.models.items()},
            "engines": {name: engine for part in parts for name, engine in part.engines.items()},
            "hardware": {name: hardware for part in parts for name, hardware in part.hardware.items()},
            "sweeps": list(parts),
        }
    )


def _list_conflicts(parts: Sequence[Sweep]) -> Iterable[tuple[str, str, str]]:
    """(asked, found, what to do) of whatever stands against one study."""
    names = [part.name for part in parts]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield "sweeps", f"{name} twice", "name each once"
    for part in parts:
        for key in ("data", "evaluation"):
            if getattr(part, key) != getattr(parts[0], key):
                yield (
                    f"sweeps: {parts[0].name}, {part.name}",
                    f"their `{key}` differs, and one study has one",
                    "run them by themselves",
                )


def _merge_axes(parts: Sequence[Sweep]) -> dict[str, list[Any]]:
    """Every axis of any part, with all values that trials have of it."""
    specs = [spec for part in parts for spec in expand_sweep(part)]
    axes = dict.fromkeys(axis for part in parts for axis in part.axes)
    found: dict[str, list[Any]] = {axis: [] for axis in axes}
    for axis, values in found.items():
        for spec in specs:
            if (value := _get_axis_value(spec, axis)) not in values:
                values.append(value)
    return found


def _get_axis_value(spec: TrialSpec, axis: str) -> Any:
    if axis == "model":
        return spec.model.name
    return spec.seed if axis == "seed" else getattr(spec.data if axis in DATA_AXES else spec.recipe, axis)

"""Several sweeps as one: their trials run as one study, equal ones once. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sweeper.config.sweep import AxisValue, Sweep, expand_sweep, get_axis_value
from sweeper.errors import ConfigError

COMBINED_SWEEP_KEYS = ("name", "question", "sweeps", "budget", "accept_underpowered", "rehearsal")
"""Keys of the file of a combined sweep; everything else comes from its sweeps."""


def combine_sweeps(members: Sequence[Sweep], own_fields: Mapping[str, object], where: str) -> Sweep:
    """Combine sweeps into one whose trials are those of all members.

    Args:
        members: the sweeps. The id of a claim becomes `member/claim`.
        own_fields: the fields of the combined sweep itself, of `COMBINED_SWEEP_KEYS`.
        where: file and line, for messages.

    Raises:
        ConfigError: members that cannot run as one study.
        pydantic.ValidationError: an invalid value among `own_fields`.
    """
    for requested, found, hint in _list_conflicts(members):
        raise ConfigError(where, requested=requested, found=found, hint=hint)
    first = members[0]
    return Sweep.model_validate(
        {
            **own_fields,
            "recipe": first.recipe,
            "data": first.data,
            "evaluation": first.evaluation,
            "axes": _merge_axes(members),
            "claims": [
                claim.model_copy(update={"id": f"{member.name}/{claim.id}"})
                for member in members
                for claim in member.claims
            ],
            "models": {name: model for member in members for name, model in member.models.items()},
            "engines": {name: engine for member in members for name, engine in member.engines.items()},
            "hardware": {name: hardware for member in members for name, hardware in member.hardware.items()},
            "sweeps": list(members),
        }
    )


def _list_conflicts(members: Sequence[Sweep]) -> Iterator[tuple[str, str, str]]:
    """Yield (requested, found, hint) for everything that prevents one study."""
    names = [member.name for member in members]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield "sweeps", f"{name} twice", "name each once"
    for member in members:
        if member.until == "decided":
            hint = "--set until=complete trains all; or run the sweeps one by one"
            yield f"until: decided in {member.name}", "a combination of sweeps trains all of its trials", hint
        for key in ("data", "evaluation"):
            if getattr(member, key) != getattr(members[0], key):
                yield (
                    f"sweeps: {members[0].name}, {member.name}",
                    f"different `{key}`; a study has one",
                    "run them separately",
                )


def _merge_axes(members: Sequence[Sweep]) -> dict[str, list[AxisValue]]:
    """Return every axis of any member, with all values that trials have on it."""
    specs = [spec for member in members for spec in expand_sweep(member)]
    axes = dict.fromkeys(axis for member in members for axis in member.axes)
    return {axis: list(dict.fromkeys(get_axis_value(spec, axis) for spec in specs)) for axis in axes}

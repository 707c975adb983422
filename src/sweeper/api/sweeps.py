"""Sweep files, names and mappings -> `Sweep`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from sweeper import config
from sweeper.config import Sweep
from sweeper.config.schema import build_schema
from sweeper.errors import UsageError

__all__ = ["Sweep", "build_schema", "list_sweeps", "load_sweep"]


def load_sweep(
    source: str | Path | Mapping[str, object],
    overrides: Mapping[str, object] | Sequence[str] | str = (),
    *,
    smoke_test: bool = False,
) -> Sweep:
    """Load a sweep and check all of it.

    Args:
        source: the name of a sweep in `sweeps/`, the path of a sweep file, or the content of one as a mapping.
        overrides: values that replace those of the sweep, by dotted key; or `key=value` texts as given to `--set`.
        smoke_test: replace the models by toy models and the data by a generated world; minutes on two cores.

    Returns:
        The sweep, with every configuration that it names.

    Raises:
        UsageError: no such sweep, or an override that cannot be applied.
        ConfigError: a mistake in the sweep; with file and line, and the nearest known name for an unknown one.

    Example:
        >>> sweep = load_sweep("quickstart", {"axes.seed": [0, 1, 2]})
        >>> sweep.name, sweep.axes["seed"]
        ('quickstart', [0, 1, 2])
    """
    texts = [overrides] if isinstance(overrides, str) else list(overrides)
    if isinstance(overrides, Mapping):
        texts = [f"{key}={_write_value(str(key), value)}" for key, value in overrides.items()]
    if isinstance(source, Mapping):
        return config.parse_sweep(source, texts, smoke_test=smoke_test)
    return config.load_sweep(config.find_sweep(str(source)), texts, smoke_test=smoke_test)


def _write_value(key: str, value: object) -> str:
    """Write the value of an override as JSON, which is YAML."""
    try:
        return json.dumps(config.to_plain(value))
    except (TypeError, ValueError, RecursionError) as error:
        hint = "numbers, texts, lists and mappings can be given"
        raise UsageError(f"override {key}", requested=f"{value!r:.200}", found=str(error), hint=hint) from error


def list_sweeps() -> list[str]:
    """List the names of the sweeps in `sweeps/` of the working directory and of the project.

    Returns:
        Names that `load_sweep` takes, in alphabetical order.

    Example:
        >>> "quickstart" in list_sweeps()
        True
    """
    return config.list_sweep_names()

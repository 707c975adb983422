"""Sweep files -> `Sweep`: names resolved, `--set` applied, everything checked before anything starts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sweeper.config.branch_checks import check_branches
from sweeper.config.claim import Claim
from sweeper.config.claim_checks import check_claims
from sweeper.config.claim_text import fill_in_text
from sweeper.config.combined_sweep import COMBINED_SWEEP_KEYS, combine_sweeps
from sweeper.config.data import DATA_AXES, DataSpec
from sweeper.config.evaluation import EvaluationSpec
from sweeper.config.library import PROJECT_ROOT, ConfigLibrary
from sweeper.config.model import ModelSpec
from sweeper.config.overrides import Override, parse_override
from sweeper.config.recipe import Recipe
from sweeper.config.resources import BudgetSpec, HardwareSpec
from sweeper.config.runtime import AUTO_ENGINES, EngineSpec, Runtime
from sweeper.config.search_checks import check_search, find_converted_values, split_searched_axes
from sweeper.config.smoke_test import SmokeTestConfig, make_smoke_test
from sweeper.config.sweep import MAX_TRIALS, Sweep, expand_sweep, resolve_runtime
from sweeper.config.yaml_lines import Problem, YamlFile, to_builtin, to_commented, to_plain
from sweeper.errors import ConfigError, UsageError, suggest_nearest

_SECTIONS: dict[str, type[Recipe] | type[DataSpec] | type[EvaluationSpec]] = {
    "recipe": Recipe,
    "data": DataSpec,
    "evaluation": EvaluationSpec,
}
"""Keys of a sweep that hold one named configuration."""
_RESOLVED_FIELDS = {"models", "engines", "hardware", "searched"}
"""Fields of `Sweep` that a file does not have: they are read from `configs/`, or split from `axes`."""
SWEEP_FILE_KEYS = tuple(key for key in Sweep.model_fields if key not in _RESOLVED_FIELDS)
"""Keys of a sweep file, except `rehearsal`."""
_RECIPE_AXES = [field for field in Recipe.model_fields if field != "changes"]


def find_sweep(name: str) -> Path:
    """Find a sweep file by path, or by name in `sweeps/` of the working directory or of the project.

    Raises:
        UsageError: no such sweep.
    """
    for path in [Path(name), *(folder / f"{name}.yaml" for folder in _list_sweep_folders())]:
        if path.is_file():
            return path
    hint = suggest_nearest(name, list_sweep_names())
    raise UsageError("sweep", requested=name, found="no such file, and no sweep of this name", hint=hint)


def list_sweep_names() -> list[str]:
    """List the names of the sweeps in `sweeps/` of the working directory and of the project."""
    return sorted({path.stem for folder in _list_sweep_folders() for path in folder.glob("*.yaml")})


def _list_sweep_folders() -> list[Path]:
    return [Path("sweeps"), PROJECT_ROOT / "sweeps"]


def list_sweep_files(path: Path) -> list[Path]:
    """List the file of a sweep and those of the sweeps that it combines.

    Raises:
        ConfigError: an unreadable file or an unknown sweep.
    """
    source = YamlFile.read(path)
    names = source.node.get("sweeps")
    return [path, *(_find_member_sweep(str(name), source) for name in (names if isinstance(names, list) else ()))]


def load_sweep(path: Path, overrides: Sequence[str] = (), *, smoke_test: bool = False) -> Sweep:
    """Read, resolve and validate a sweep.

    Args:
        path: its file, or the `sweep.yaml` in a study's folder.
        overrides: `key=value` texts as given to `--set`; they apply to the smoke test where there is one.
        smoke_test: replace the models with toy models and the data with the synthetic tool environment.

    Raises:
        ConfigError: a mistake in a file; the message has file, line and, for an unknown name, the nearest known one.
        UsageError: an override that cannot be applied.

    Example:
        >>> sweep = load_sweep(find_sweep("quickstart"), ["axes.seed=[0]"])
        >>> len(expand_sweep(sweep))
        6
    """
    return _load(YamlFile.read(path), ConfigLibrary(path), overrides, smoke_test=smoke_test)


def parse_sweep(content: Mapping[str, object], overrides: Sequence[str] = (), *, smoke_test: bool = False) -> Sweep:
    """Resolve and validate a sweep that is a mapping of the keys of a sweep file.

    Args:
        content: the mapping. It is not changed.
        overrides: as for `load_sweep`.
        smoke_test: as for `load_sweep`.

    Raises:
        ConfigError: a mistake; the message has the key.
        UsageError: an override that cannot be applied.
    """
    try:
        source = YamlFile(Path("sweep"), to_commented(to_plain(content)))
    except RecursionError as error:
        raise ConfigError("sweep", found="a value that contains itself, or is nested too deeply") from error
    return _load(source, ConfigLibrary(), overrides, smoke_test=smoke_test)


def _load(source: YamlFile, library: ConfigLibrary, overrides: Sequence[str], *, smoke_test: bool) -> Sweep:
    if "models" in source.node and "engines" in source.node:
        return _load_archived_sweep(source, has_changes=smoke_test or bool(overrides))
    source.raise_first(_find_unknown_keys(source, [*SWEEP_FILE_KEYS, "rehearsal"]))
    if smoke_test:
        source = _apply_smoke_test(source, library)
    source.node.pop("rehearsal", None)
    given = [parse_override(text) for text in overrides]
    if "sweeps" in source.node:
        return _load_combined_sweep(source, given, overrides, smoke_test=smoke_test)
    _apply_overrides(source, given, library)
    source.raise_first(_find_unknown_keys(source, [key for key in SWEEP_FILE_KEYS if key != "sweeps"]))
    source.raise_first(_find_axis_problems(source))
    source.raise_first(_find_claim_problems(source))
    sweep = source.validate(Sweep, _resolve_names(source, library))
    _check_axis_values(sweep, source)
    check_search(sweep, source)
    check_branches(sweep, source)
    check_claims(sweep, source)
    return sweep


def _load_archived_sweep(source: YamlFile, *, has_changes: bool) -> Sweep:
    """Load a sweep as a study's folder keeps it, with all configurations inlined."""
    if has_changes:
        found = "a sweep as it was run, with all configurations inlined"
        raise UsageError(str(source.path), requested="--set or --smoke-test", found=found, hint="change the sweep file")
    return source.validate(Sweep, source.node)


def _find_unknown_keys(source: YamlFile, known: Sequence[str]) -> Iterator[Problem]:
    for key in source.node:
        if key not in known:
            yield Problem([key], str(key), f"unknown key `{key}`", suggest_nearest(str(key), known))


def _apply_smoke_test(source: YamlFile, library: ConfigLibrary) -> YamlFile:
    """Return the smoke test of a sweep. Named claims are inlined first: their arms are in the files they name."""
    claims = source.node.get("claims")
    for i, entry in enumerate(claims if isinstance(claims, list) else ()):
        fields = {"extends": entry} if isinstance(entry, str) else entry
        if isinstance(fields, dict) and "extends" in fields:
            source.node["claims"][i] = to_builtin(library.merge_base(Claim, fields, source, ("claims", i)))
    file = YamlFile.read(library.find_shared_file("rehearsal.yaml"))
    config = file.validate(SmokeTestConfig, file.node)
    return YamlFile(source.path, to_commented(make_smoke_test(source.node, config)))


def _load_combined_sweep(
    source: YamlFile, given: Sequence[Override], overrides: Sequence[str], *, smoke_test: bool
) -> Sweep:
    """Load a file that names sweeps, as one sweep. Overrides of other keys than its own go to each of its sweeps."""
    node = source.node
    hint = f"a combined sweep has {', '.join(COMBINED_SWEEP_KEYS)}"
    source.raise_first(
        Problem([key], str(key), "a key beside `sweeps`, whose own files define the trials", hint)
        for key in node
        if key not in COMBINED_SWEEP_KEYS
    )
    member_overrides = []
    for override, text in zip(given, overrides, strict=True):
        if override.section in COMBINED_SWEEP_KEYS:
            override.apply(node)
        else:
            member_overrides.append(text)
    names, where = to_builtin(node["sweeps"]), source.locate(["sweeps"])
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ConfigError(where, requested="sweeps", found=f"{names!r}, not a list of sweeps")
    members = [load_sweep(_find_member_sweep(name, source), member_overrides, smoke_test=smoke_test) for name in names]
    own = {key: value for key, value in source.content.items() if key != "sweeps"}
    try:
        return combine_sweeps(members, own, where)
    except ValidationError as error:
        raise source.make_validation_error(error, COMBINED_SWEEP_KEYS) from error


def _find_member_sweep(name: str, combined: YamlFile) -> Path:
    """Find the file of a sweep that a combined one names: in the same folder, or as any sweep is found."""
    where, requested = combined.locate(["sweeps"]), f"sweeps: {name}"
    sibling = combined.path.parent / f"{name}.yaml"
    try:
        path = sibling if sibling.is_file() else find_sweep(name)
    except UsageError as error:
        raise ConfigError(where, requested=requested, found=error.found, hint=error.hint) from error
    if "sweeps" in YamlFile.read(path).node:
        raise ConfigError(where, requested=requested, found="a combined sweep itself", hint="name its sweeps")
    return path


def _apply_overrides(source: YamlFile, overrides: Sequence[Override], library: ConfigLibrary) -> None:
    """Apply `--set` to a sweep's mapping, and inline its recipe, data and evaluation on the way.

    Whole sections are replaced first, so that other overrides reach into the replacement.
    """
    for override in overrides:
        if not override.is_nested:
            override.apply(source.node)
    for key, kind in _SECTIONS.items():
        library.inline_section(kind, key, source, overrides)
    for override in overrides:
        if override.is_nested and override.section not in _SECTIONS:
            override.apply(source.node)


def _find_axis_problems(source: YamlFile) -> Iterator[Problem]:
    """Find mistakes in the shape of `axes`; values are checked by building the trials."""
    axes = source.node.get("axes")
    if not isinstance(axes, dict):
        yield Problem(["axes"], "axes", "missing, or not a mapping", "see sweeps/quickstart.yaml")
        return
    for key in ("model", "seed"):
        if key not in axes:
            yield Problem(["axes"], "axes", f"the axis `{key}` is missing")
    known = ["model", "seed", *_RECIPE_AXES, *DATA_AXES]
    for key, values in axes.items():
        keys, requested = ("axes", key), f"axes.{key}"
        if key not in known:
            yield Problem(keys, requested, f"unknown axis `{key}`", suggest_nearest(str(key), known))
        if isinstance(values, dict) and key not in ("model", "seed"):
            continue  # a searched axis
        if not isinstance(values, list):
            yield Problem(keys, requested, f"{values!r}, not a list of values")
        elif not values:
            yield Problem(keys, requested, "an empty list", "give at least one value")
        elif key == "model" and (others := [value for value in values if not isinstance(value, str)]):
            yield Problem(keys, requested, f"{others[0]!r}, not a name")
        elif (repeated := _find_repeated(values)) is not None:
            yield Problem(keys, requested, f"the value {repeated} twice", "name each value once")
    trials = math.prod(len(values) for values in axes.values() if isinstance(values, list))
    if source.node.get("search") is None and trials > MAX_TRIALS:
        yield Problem(["axes"], "axes", f"{trials:,} combinations", f"at most {MAX_TRIALS:,}, or a `search` over them")


def _find_repeated(values: Iterable[object]) -> str | None:
    """Return the first value that is equal to one before it, as it is written; None for distinct values."""
    seen = set()
    for value in values:
        key = value if isinstance(value, Hashable) else repr(value)
        if key in seen:
            return repr(value)
        seen.add(key)
    return None


def _find_claim_problems(source: YamlFile) -> Iterator[Problem]:
    claims = source.node.get("claims")
    if claims is not None and not isinstance(claims, list):
        yield Problem(["claims"], "claims", f"{claims!r}, not a list of claims", "claims: [single-epoch]")


def _resolve_names(source: YamlFile, library: ConfigLibrary) -> dict[str, Any]:
    """Return the fields of `Sweep`, with every configuration that the file names."""
    node, content = source.node, source.content
    names = [str(name) for name in node["axes"]["model"]]
    content |= split_searched_axes(source)
    if node.get("budget") is not None:
        content["budget"] = source.validate(BudgetSpec, node["budget"], ["budget"])
    content["claims"] = [_resolve_claim(entry, i, source, library) for i, entry in enumerate(node.get("claims") or [])]
    content["models"] = {
        name: library.resolve_entry(ModelSpec, name, source, ("axes", "model", i)) for i, name in enumerate(names)
    }
    content["runtime"] = runtimes = _load_runtimes(source, names)
    content["engines"], content["hardware"] = {}, {}
    # Models without an entry of their own run with `default`, or with the defaults of `Runtime`.
    for name, runtime in (runtimes | {name: resolve_runtime(runtimes, name) for name in names}).items():
        for engine in AUTO_ENGINES if runtime.engine == "auto" else (runtime.engine,):
            keys = ("runtime", name, "engine")
            content["engines"][engine] = library.resolve_entry(EngineSpec, engine, source, keys)
        if runtime.hardware is not None:
            keys = ("runtime", name, "hardware")
            content["hardware"][runtime.hardware] = library.resolve_entry(HardwareSpec, runtime.hardware, source, keys)
    return content


def _resolve_claim(entry: object, index: int, source: YamlFile, library: ConfigLibrary) -> Claim:
    keys = ("claims", index)
    claim = library.resolve_entry(Claim, entry, source, keys)
    try:
        return fill_in_text(claim)
    except ValueError as error:
        raise source.make_error(Problem([*keys, "text"], f"claim {claim.id}", str(error))) from error


def _load_runtimes(source: YamlFile, model_names: Sequence[str]) -> dict[str, Runtime]:
    entries = source.node.get("runtime") or {}
    if not isinstance(entries, dict):
        raise source.make_error(Problem(["runtime"], "runtime", "not a mapping of model names"))
    known = ["default", *model_names]
    source.raise_first(
        Problem(
            ("runtime", name),
            f"runtime.{name}",
            "not a model of the `model` axis",
            suggest_nearest(str(name), known),
        )
        for name in entries
        if str(name) not in known
    )
    return {str(name): source.validate(Runtime, fields, ("runtime", name)) for name, fields in entries.items()}


def _check_axis_values(sweep: Sweep, source: YamlFile) -> None:
    """Build every trial, so that an invalid value of an axis is an error now and not in the middle of a study."""
    try:
        specs = expand_sweep(sweep)
    except ValidationError as error:
        raise source.make_validation_error(error, [*_RECIPE_AXES, *DATA_AXES], ["axes"]) from error
    for spec, values in zip(specs, itertools.product(*sweep.axes.values()), strict=True):
        source.raise_first(find_converted_values(spec, dict(zip(sweep.axes, values, strict=True))))

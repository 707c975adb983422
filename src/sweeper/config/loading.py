"""Sweep file + configs + `--set` -> Sweep, or one clear error. The only door from YAML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from ruamel.yaml.comments import CommentedMap

from sweeper.config.base import FrozenConfig
from sweeper.config.branch_checks import check_branches
from sweeper.config.claim import Claim
from sweeper.config.combined_sweep import COMBINED_SWEEP_KEYS, combine_sweeps
from sweeper.config.data import DATA_AXES, DataSpec
from sweeper.config.evaluation import EvaluationSpec
from sweeper.config.model import ModelSpec
from sweeper.config.recipe import Recipe
from sweeper.config.reference import Reference
from sweeper.config.resources import BudgetSpec, HardwareSpec
from sweeper.config.runtime import AUTO_ENGINES, EngineSpec, Runtime
from sweeper.config.search_checks import check_search, split_searched_axes
from sweeper.config.smoke_test import SmokeTestConfig, make_smoke_test
from sweeper.config.sweep import Sweep, expand_sweep
from sweeper.config.yaml_lines import format_location as _place
from sweeper.config.yaml_lines import (
    make_config_error,
    parse_override_value,
    read_yaml,
    to_builtin,
    to_commented,
)
from sweeper.errors import ConfigError, UsageError, suggest_nearest

ConfigT = TypeVar("ConfigT", bound=FrozenConfig)

_CONFIG_FOLDERS = {
    Recipe: "recipes",
    DataSpec: "data",
    EvaluationSpec: "evaluation",
    Claim: "claims",
    ModelSpec: "models",
    EngineSpec: "engines",
    HardwareSpec: "hardware",
    Reference: "references",
}
_RESOLVED_FIELDS = {"models", "engines", "hardware", "searched"}
_REPOSITORY = Path(__file__).resolve().parents[3]


def load_model_spec(name: str) -> ModelSpec:
    """A model of `configs/models/` by name. Raises ConfigError naming the nearest known one."""
    library = ConfigLibrary(Path("sweeps") / "none")
    node = CommentedMap()
    return library.resolve_entry(ModelSpec, name, Path("--model"), node, ["model"])


def load_data_spec(source: str, **fields: Any) -> DataSpec:
    """A data set of `configs/data/` by name, else `toolbench` with `source` as its path; `fields` override its own.

    Raises ConfigError for a value that does not fit.
    """
    library = ConfigLibrary(Path("sweeps") / "none")
    named = any((root / "data" / f"{source}.yaml").is_file() for root in library.roots)
    entry = {"extends": source} if named else {"extends": "toolbench", "path": source}
    return library.resolve_entry(DataSpec, entry | fields, Path("data"), CommentedMap(), ["data"])


def load_evaluation_spec(name: str, overrides: Sequence[str] = (), **fields: Any) -> EvaluationSpec:
    """An evaluation of `configs/evaluation/` by name, or `toolbench` asking the queries of a folder.

    `overrides` are `key=value` texts as given to `--set`; `fields` go before the file's own. Raises ConfigError.
    """
    library = ConfigLibrary(Path("sweeps") / "none")
    entry: dict[str, Any] = {"extends": name}
    if Path(name).exists() and not any((root / "evaluation" / f"{name}.yaml").is_file() for root in library.roots):
        entry = {"extends": "toolbench", "queries": name}
    given = dict(_split_override(text) for text in overrides)
    own = {key.removeprefix("evaluation."): value for key, value in given.items()}
    return library.resolve_entry(EvaluationSpec, entry | fields | own, Path("--suite"), CommentedMap(), ["evaluation"])


def load_hardware_specs() -> dict[str, HardwareSpec]:
    """Every kind of GPU of `configs/hardware/`, by name. Raises ConfigError."""
    library = ConfigLibrary(Path("sweeps") / "none")
    names = sorted({path.stem for root in library.roots for path in (root / "hardware").glob("*.yaml")})
    return {
        name: library.resolve_entry(HardwareSpec, name, Path("configs"), CommentedMap(), ["hardware"]) for name in names
    }


def find_hardware_spec(name: str, known: Mapping[str, HardwareSpec]) -> HardwareSpec:
    """One kind of them. Raises UsageError naming the nearest."""
    if name not in known:
        found = "nothing of that name in configs/hardware/"
        raise UsageError("--hardware", requested=name, found=found, hint=suggest_nearest(name, known))
    return known[name]


def load_references() -> list[Reference]:
    """Every published table of `configs/references/`, in the order of file names. Raises ConfigError."""
    library = ConfigLibrary(Path("sweeps") / "none")
    names = sorted({path.stem for root in library.roots for path in (root / "references").glob("*.yaml")})
    return [library.resolve_entry(Reference, name, Path("configs"), CommentedMap(), ["references"]) for name in names]


def find_sweep(name: str) -> Path:
    """A sweep file by path, or by name in `sweeps/` here or in the project. Raises UsageError."""
    folders = [Path("sweeps"), _REPOSITORY / "sweeps"]
    for path in [Path(name), *(folder / f"{name}.yaml" for folder in folders)]:
        if path.is_file():
            return path
    known = {path.stem for folder in folders for path in folder.glob("*.yaml")}
    raise UsageError(
        "sweep", requested=name, found="no such file, nor a sweep of that name", hint=suggest_nearest(name, known)
    )


def list_sweep_files(path: Path) -> list[Path]:
    """The file of a sweep, and those of the sweeps that it is a union of. Raises ConfigError."""
    node = read_yaml(path)
    names, place = node.get("sweeps"), _place(path, node, ["sweeps"])
    return [path, *(_find_member_sweep(str(name), path, place) for name in (names if isinstance(names, list) else ()))]


def load_sweep(path: Path, overrides: Sequence[str] = (), *, smoke_test: bool = False) -> Sweep:
    """Read, resolve and validate a sweep. `overrides` are `key=value` texts as given to `--set`. `rehearsed`: with toy
    models and a generated world in place of its own; `overrides` then go over that.

    Raises ConfigError (file, line, nearest known name) or UsageError for an override that cannot be applied.
    """
    node = read_yaml(path)
    if "models" in node and "engines" in node:
        return _load_archived_sweep(node, path, has_overrides=smoke_test or bool(overrides))
    _refuse_unknown_keys(node, path)
    pairs = [_split_override(text) for text in overrides]
    library = ConfigLibrary(path)
    if smoke_test:
        node = _apply_smoke_test(node, path, library)
    node.pop("rehearsal", None)
    if "sweeps" in node:
        return _load_combined_sweep(node, path, overrides, smoke_test=smoke_test)
    for keys, value in pairs:
        if "." not in keys:
            _set_nested_key(node, [keys], value, keys)
    for key, kind in (("recipe", Recipe), ("data", DataSpec), ("evaluation", EvaluationSpec)):
        _inline_named_config(node, key, kind, path, library, pairs)
    for keys, value in pairs:
        if "." in keys and keys.split(".")[0] not in ("recipe", "data", "evaluation"):
            _set_nested_key(node, keys.split("."), value, keys)
    _check_axes_shape(node, path)
    names = to_builtin(node["axes"]["model"])
    content = {key: to_builtin(value) for key, value in node.items()}
    content |= split_searched_axes(node, path)
    if node.get("budget") is not None:
        try:
            content["budget"] = BudgetSpec.model_validate(to_builtin(node["budget"]))
        except ValidationError as error:
            raise make_config_error(error, str(path), node, list(BudgetSpec.model_fields), ["budget"]) from error
    content["claims"] = [
        library.resolve_entry(Claim, entry, path, node, ["claims", i])
        for i, entry in enumerate(node.get("claims") or [])
    ]
    content["models"] = {
        str(name): library.resolve_entry(ModelSpec, str(name), path, node, ["axes", "model", i])
        for i, name in enumerate(names)
    }
    runtime = _load_runtimes(node, path, names)
    content["runtime"] = runtime
    content["engines"], content["hardware"] = {}, {}
    for name, given in (runtime or {"default": Runtime()}).items():
        for engine in AUTO_ENGINES if given.engine == "auto" else (given.engine,):
            where = ["runtime", name, "engine"]
            content["engines"][engine] = library.resolve_entry(EngineSpec, engine, path, node, where)
        if given.hardware is not None:
            where = ["runtime", name, "hardware"]
            content["hardware"][given.hardware] = library.resolve_entry(HardwareSpec, given.hardware, path, node, where)
    try:
        sweep = Sweep.model_validate(content)
    except ValidationError as error:
        raise make_config_error(error, str(path), node, list(Sweep.model_fields)) from error
    _check_expansion(sweep, path, node)
    check_search(sweep, node, path)
    check_branches(sweep, node, path)
    _check_claims_decidable(sweep, node, path)
    return sweep


def _load_archived_sweep(node: CommentedMap, path: Path, *, has_overrides: bool) -> Sweep:
    """A sweep as a study's folder keeps it, every piece in it."""
    if has_overrides:
        found = "a sweep as it was run, with every piece in it"
        raise UsageError(str(path), requested="--set or --rehearse", found=found, hint="change the sweep's own file")
    try:
        return Sweep.model_validate(to_builtin(node))
    except ValidationError as error:
        raise make_config_error(error, str(path), node, list(Sweep.model_fields)) from error


def _apply_smoke_test(node: CommentedMap, path: Path, library: ConfigLibrary) -> CommentedMap:
    """Its claims get all their fields first: what an arm is called stands in the file that they extend."""
    claims = node.get("claims")
    for i, entry in enumerate(claims if isinstance(claims, list) else ()):
        given = {"extends": entry} if isinstance(entry, str) else dict(entry) if isinstance(entry, dict) else {}
        if "extends" in given:
            file = library.find_file(Claim, str(given.pop("extends")), _place(path, node, ["claims", i]))
            node["claims"][i] = to_builtin(read_yaml(file)) | given
    file = next(root / "rehearsal.yaml" for root in library.roots if (root / "rehearsal.yaml").is_file())
    fields = read_yaml(file)
    try:
        rehearsal = SmokeTestConfig.model_validate(to_builtin(fields))
    except ValidationError as error:
        raise make_config_error(error, str(file), fields, list(SmokeTestConfig.model_fields)) from error
    toy: CommentedMap = to_commented(make_smoke_test(node, rehearsal))
    return toy


def _load_combined_sweep(node: CommentedMap, path: Path, overrides: Sequence[str], *, smoke_test: bool) -> Sweep:
    """The sweeps named in a file, as one. An override of a key that is not the union's own goes to each of them."""
    for key in node:
        if key not in COMBINED_SWEEP_KEYS:
            raise ConfigError(
                _place(path, node, [key]),
                requested=str(key),
                found="a key beside `sweeps`, which say all about their trials",
                hint=f"a union has {', '.join(COMBINED_SWEEP_KEYS)}",
            )
    of_parts = []
    for text in overrides:
        keys, value = _split_override(text)
        if keys.split(".")[0] in COMBINED_SWEEP_KEYS:
            _set_nested_key(node, keys.split("."), value, keys)
        else:
            of_parts.append(text)
    names, place = to_builtin(node["sweeps"]), _place(path, node, ["sweeps"])
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ConfigError(place, requested="sweeps", found=f"{names!r}, not a list of sweeps")
    parts = [load_sweep(_find_member_sweep(name, path, place), of_parts, smoke_test=smoke_test) for name in names]
    own = {key: to_builtin(value) for key, value in node.items() if key != "sweeps"}
    try:
        return combine_sweeps(parts, own, place)
    except ValidationError as error:
        raise make_config_error(error, str(path), node, COMBINED_SWEEP_KEYS) from error


def _find_member_sweep(name: str, combined_file: Path, location: str) -> Path:
    """The file of a union's sweep: beside the union's, or as any sweep is found."""
    beside = combined_file.parent / f"{name}.yaml"
    try:
        path = beside if beside.is_file() else find_sweep(name)
    except UsageError as error:
        raise ConfigError(location, requested=f"sweeps: {name}", found=error.found, hint=error.hint) from error
    if "sweeps" in read_yaml(path):
        raise ConfigError(location, requested=f"sweeps: {name}", found="a union itself", hint="name its sweeps")
    return path


class ConfigLibrary:
    """Named pieces under `configs/`, looked up beside the sweep, in the working directory, then in the project."""

    def __init__(self, sweep: Path) -> None:
        roots = [sweep.resolve().parent, sweep.resolve().parent.parent, Path.cwd(), _REPOSITORY]
        self.roots = [root / "configs" for root in dict.fromkeys(roots) if (root / "configs").is_dir()]

    def find_file(self, kind: type[FrozenConfig], name: str, location: str) -> Path:
        folder = _CONFIG_FOLDERS[kind]
        for root in self.roots:
            if (path := root / folder / f"{name}.yaml").is_file():
                return path
        known = {path.stem for root in self.roots for path in (root / folder).glob("*.yaml")}
        raise ConfigError(
            location,
            requested=f"{folder}: {name}",
            found=f"nothing of that name in configs/{folder}/",
            hint=suggest_nearest(name, known),
        )

    def resolve_entry(
        self, kind: type[ConfigT], entry: Any, path: Path, node: CommentedMap, keys: list[Any]
    ) -> ConfigT:
        """A piece given by name (read from its file) or by its fields (`extends` names a file to start from)."""
        if isinstance(entry, str):
            file = self.find_file(kind, entry, _place(path, node, keys))
            fields = read_yaml(file)
            return _validate_fields(kind, fields, file, fields, [])
        if not isinstance(entry, dict):
            raise ConfigError(
                _place(path, node, keys),
                requested=".".join(map(str, keys)),
                found=f"{entry!r}, neither a name nor fields",
            )
        own = dict(entry)
        base: dict[str, Any] = {}
        if "extends" in own:
            base = to_builtin(read_yaml(self.find_file(kind, str(own.pop("extends")), _place(path, node, keys))))
        try:
            return kind.model_validate(base | to_builtin(own))
        except ValidationError as error:
            raise make_config_error(error, str(path), node, list(kind.model_fields), keys) from error


def _validate_fields(kind: type[ConfigT], fields: CommentedMap, path: Path, node: Any, keys: list[Any]) -> ConfigT:
    try:
        return kind.model_validate(to_builtin(fields))
    except ValidationError as error:
        raise make_config_error(error, str(path), node, list(kind.model_fields), keys) from error


def _inline_named_config(
    node: CommentedMap,
    key: str,
    kind: type[FrozenConfig],
    path: Path,
    library: ConfigLibrary,
    overrides: list[tuple[str, Any]],
) -> None:
    """Replace a named piece by its validated fields, `--set` applied, so that the rest sees one mapping."""
    entry = node.get(key)
    if entry is None:
        return
    place, own = _place(path, node, [key]), [pair for pair in overrides if pair[0].startswith(f"{key}.")]
    source = path
    if isinstance(entry, str):
        source = library.find_file(kind, entry, place)
        entry = read_yaml(source)
    elif isinstance(entry, CommentedMap) and "extends" in entry:
        base = read_yaml(library.find_file(kind, str(entry["extends"]), place))
        # The sweep's own keys keep their lines; those of the file it extends are valid by a test.
        entry.update({k: v for k, v in base.items() if k not in entry})
        del entry["extends"]
    if not isinstance(entry, CommentedMap):
        raise ConfigError(place, requested=f"{key}: {entry!r}", found="neither a name nor fields")
    for keys, value in own:
        _set_nested_key(entry, keys.split(".")[1:], value, keys)
    prefix = [key] if source is path else []
    node[key] = _validate_fields(kind, entry, source, node if prefix else entry, prefix).model_dump()


def _refuse_unknown_keys(node: CommentedMap, path: Path) -> None:
    known = [*(key for key in Sweep.model_fields if key not in _RESOLVED_FIELDS), "rehearsal"]
    for key in node:
        if key not in known:
            raise ConfigError(
                _place(path, node, [key]),
                requested=str(key),
                found=f"unknown key `{key}`",
                hint=suggest_nearest(str(key), known),
            )


def _check_axes_shape(node: CommentedMap, path: Path) -> None:
    """The axes' shape, here where the lines are known."""
    known = ["model", "seed", *(field for field in Recipe.model_fields if field != "changes"), *DATA_AXES]
    axes = node.get("axes")
    if not isinstance(axes, dict):
        raise ConfigError(
            _place(path, node, ["axes"]),
            requested="axes",
            found="missing, or not a mapping",
            hint="see sweeps/quickstart.yaml",
        )
    for key in ("model", "seed"):
        if key not in axes:
            raise ConfigError(_place(path, node, ["axes"]), requested="axes", found=f"the axis `{key}` is missing")
    for key, values in axes.items():
        place, asked = _place(path, node, ["axes", key]), f"axes.{key}"
        if key not in known:
            raise ConfigError(
                place, requested=asked, found=f"unknown axis `{key}`", hint=suggest_nearest(str(key), known)
            )
        if isinstance(values, dict) and key not in ("model", "seed"):
            continue  # a searched axis
        if not isinstance(values, list):
            raise ConfigError(place, requested=asked, found=f"{values!r}, not a list of values")
        if not values:
            raise ConfigError(place, requested=asked, found="an empty list", hint="give at least one value")
        repeated = [value for i, value in enumerate(values) if value in values[:i]]
        if repeated:
            raise ConfigError(
                place, requested=asked, found=f"the value {repeated[0]!r} twice", hint="name each value once"
            )


def _check_claims_decidable(sweep: Sweep, node: CommentedMap, path: Path) -> None:
    """A claim about an arm that the sweep does not have, or that its design leaves open, could never be decided."""
    claims, axes = sweep.claims, {**sweep.searched, **sweep.claim_axes}
    for i, claim in enumerate(claims):
        place = _place(path, node, ["claims", i])
        if claim.id in [other.id for other in claims[:i]]:
            raise ConfigError(place, requested=f"claim {claim.id}", found="a second claim of that id")
        if (claim.protocol == "searched") != (sweep.search is not None and claim.axis == "model"):
            has = "a search" if sweep.search else "no search"
            raise ConfigError(
                place,
                requested=f"claim {claim.id}: protocol {claim.protocol}",
                found=f"a sweep with {has}" + ("" if claim.axis == "model" else f", and the axis {claim.axis}"),
                hint="protocol: searched compares the models of a search, and nothing else",
            )
        if claim.protocol == "searched" and sweep.search and sweep.search.equal_per != "model":
            raise ConfigError(
                place,
                requested=f"claim {claim.id}: protocol searched",
                found="one search over all models, which looks longer where it finds more",
                hint="search: {equal_per: model}",
            )
        for asked, found in _list_undecidable_requests(claim, axes, is_evaluated=node.get("evaluation") is not None):
            raise ConfigError(
                place,
                requested=f"claim {claim.id}: {asked}",
                found=found,
                hint="--set claims=[] runs the sweep without its claims",
            )


def _list_undecidable_requests(claim: Claim, axes: dict[str, Any], *, is_evaluated: bool) -> Iterable[tuple[str, str]]:
    """(what the claim asks, what the sweep has) wherever the sweep cannot answer."""
    arms = [] if claim.axis is None else [(claim.axis, value) for value in (claim.candidate, *claim.against)]
    for axis, value in [*arms, *claim.where.items()]:
        values = axes.get(axis)
        if not isinstance(values, list):
            yield f"{axis} = {value!r}", "a searched axis, which has no arms" if values else "not an axis of this sweep"
        elif value not in values:
            yield f"{axis} = {value!r}", f"the axis has {values}"
    if not is_evaluated and (claim.kind != "stabilises" or claim.spread_of == "pass_rate"):
        yield claim.kind, "the sweep evaluates nothing (`evaluation: null`)"
    fixed = {claim.axis, "seed", *claim.where}
    if claim.kind in ("reaches", "generalises"):
        for axis, values in axes.items():
            if axis not in fixed and isinstance(values, list) and len(values) > 1:
                yield "one arm", f"the axis {axis} has {values}: name one of them in `where`"
    elif claim.axis is not None:
        others = [value for value in axes[claim.axis] if value != claim.candidate]
        if claim.kind == "no-gain-beyond" and claim.axis != "model":
            # Models are ordered by parameters, which are counted when the trials are planned.
            others = [value for value in others if value is not None and value > claim.candidate]
        if not others:
            beyond = "beyond" if claim.kind == "no-gain-beyond" else "besides"
            yield f"arms {beyond} {claim.axis} = {claim.candidate!r}", f"the axis has {axes[claim.axis]}"
    if claim.protocol == "tuned":
        yield from _list_tuning_problems(claim, axes)


def _list_tuning_problems(claim: Claim, axes: dict[str, Any]) -> Iterable[tuple[str, str]]:
    tried, seeds = axes.get(str(claim.tuned_axis)), axes["seed"]
    if not isinstance(tried, list) or len(tried) < 2:
        yield f"tuned_axis: {claim.tuned_axis}", f"{tried}: not several values to choose from"
    for seed in [*claim.selection_seeds, *claim.confirmation_seeds]:
        if seed not in seeds:
            yield f"seed {seed}", f"the sweep has the seeds {seeds}"
    if not [seed for seed in seeds if seed not in claim.selection_seeds]:
        yield "seeds to confirm on", f"all seeds {seeds} select"


def _load_runtimes(node: CommentedMap, path: Path, model_names: Iterable[Any]) -> dict[str, Runtime]:
    entries = node.get("runtime") or {}
    if not isinstance(entries, dict):
        raise ConfigError(_place(path, node, ["runtime"]), requested="runtime", found="not a mapping of model names")
    known = ["default", *map(str, model_names)]
    runtime = {}
    for name, fields in entries.items():
        if str(name) not in known:
            raise ConfigError(
                _place(path, node, ["runtime", name]),
                requested=f"runtime.{name}",
                found="not a model of the `model` axis",
                hint=suggest_nearest(str(name), known),
            )
        try:
            runtime[str(name)] = Runtime.model_validate(to_builtin(fields))
        except ValidationError as error:
            raise make_config_error(error, str(path), node, list(Runtime.model_fields), ["runtime", name]) from error
    return runtime


def _check_expansion(sweep: Sweep, path: Path, node: CommentedMap) -> None:
    """Axis values are checked by building every trial: a bad one is an error now, not in the middle of a study."""
    try:
        expand_sweep(sweep)
    except ValidationError as error:
        raise make_config_error(error, str(path), node, [*Recipe.model_fields, *DATA_AXES], ["axes"]) from error


def _split_override(text: str) -> tuple[str, Any]:
    keys, equals, value = text.partition("=")
    if not equals or not keys:
        raise UsageError("--set", requested=text, found="no `=`", hint="write --set axes.seed=[0,1]")
    return keys.strip(), to_commented(parse_override_value(value))


def _set_nested_key(node: CommentedMap, segments: list[str], value: Any, override: str) -> None:
    """Set a nested key. Keys may hold dots (`runtime.opt-1.3b.engine`): the longest that exists is taken."""
    if len(segments) == 1:
        node.lc.data and node.lc.data.pop(segments[0], None)
        node[segments[0]] = value
        return None
    for cut in range(len(segments) - 1, 0, -1):
        key = ".".join(segments[:cut])
        if isinstance(node.get(key), CommentedMap):
            return _set_nested_key(node[key], segments[cut:], value, override)
    if any(isinstance(node.get(".".join(segments[:cut])), str | int | float | list) for cut in range(1, len(segments))):
        raise UsageError("--set", requested=override, found=f"`{segments[0]}` is not a mapping")
    # A mapping that does not exist yet; only its last part is certain to be a key of its own.
    head = segments[0] if len(segments) == 2 or segments[0] in Sweep.model_fields else ".".join(segments[:-1])
    node[head] = CommentedMap()
    return _set_nested_key(node[head], segments[1:] if head == segments[0] else segments[-1:], value, override)

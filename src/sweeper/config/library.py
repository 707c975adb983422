"""The named configurations of `configs/`: recipes, data, evaluations, claims, models, engines, hardware, references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap

from sweeper.config.base import FrozenConfig
from sweeper.config.claim import Claim
from sweeper.config.claim_text import find_unstated_changes
from sweeper.config.data import DataSpec
from sweeper.config.evaluation import EvaluationSpec
from sweeper.config.model import ModelSpec
from sweeper.config.overrides import Override, parse_override
from sweeper.config.recipe import Recipe
from sweeper.config.reference import Reference
from sweeper.config.resources import HardwareSpec
from sweeper.config.runtime import EngineSpec
from sweeper.config.yaml_lines import ConfigT, Keys, Problem, YamlFile, to_builtin
from sweeper.errors import ConfigError, UsageError, suggest_nearest

PROJECT_ROOT = Path(__file__).resolve().parents[3]
"""The checkout, whose `configs/` and `sweeps/` are searched last."""
_FOLDERS: dict[type[FrozenConfig], str] = {
    Recipe: "recipes",
    DataSpec: "data",
    EvaluationSpec: "evaluation",
    Claim: "claims",
    ModelSpec: "models",
    EngineSpec: "engines",
    HardwareSpec: "hardware",
    Reference: "references",
}


class ConfigLibrary:
    """Finds named configurations: beside a sweep and in its parent folder, in the working directory, in the project.

    Args:
        sweep: the sweep file; None searches the working directory and the project only.
    """

    def __init__(self, sweep: Path | None = None) -> None:
        beside = [] if sweep is None else [*sweep.resolve().parents[:2]]
        roots = dict.fromkeys([*beside, Path.cwd(), PROJECT_ROOT])
        self._roots = [root / "configs" for root in roots if (root / "configs").is_dir()]

    def list_names(self, kind: type[FrozenConfig]) -> list[str]:
        """List the names of all configurations of a kind, in alphabetical order."""
        return sorted({path.stem for root in self._roots for path in (root / _FOLDERS[kind]).glob("*.yaml")})

    def find_file(self, kind: type[FrozenConfig], name: str, where: str) -> Path:
        """Find the file of a named configuration.

        Raises:
            ConfigError: unknown name; the error is at `where` and suggests the nearest known one.
        """
        folder = _FOLDERS[kind]
        for root in self._roots:
            if (path := root / folder / f"{name}.yaml").is_file():
                return path
        hint = suggest_nearest(name, self.list_names(kind))
        raise ConfigError(where, requested=name, found=f"unknown name: not in configs/{folder}/", hint=hint)

    def find_shared_file(self, name: str) -> Path:
        """Find a file that lies directly in `configs/`. The project has all of them."""
        return next(root / name for root in self._roots if (root / name).is_file())

    def load(self, kind: type[ConfigT], name: str, where: str = "configs") -> ConfigT:
        """Load a configuration by name.

        Raises:
            ConfigError: unknown name or invalid fields.
        """
        file = YamlFile.read(self.find_file(kind, name, where))
        return file.validate(kind, file.node)

    def resolve_entry(self, kind: type[ConfigT], entry: object, source: YamlFile, keys: Keys) -> ConfigT:
        """Build the configuration that an entry of a file gives by name or by its fields.

        Args:
            kind: class of the configuration.
            entry: a name, or fields; `extends` among them names a configuration whose fields they override.
            source: the file of the entry, for messages.
            keys: path to the entry in that file.

        Raises:
            ConfigError: unknown name or invalid fields.
        """
        if isinstance(entry, str):
            return self.load(kind, entry, source.locate(keys))
        fields = source.require_mapping(entry, keys)
        merged = self.merge_base(kind, fields, source, keys)
        return source.validate(kind, merged, keys, [*kind.model_fields, "extends"])

    def merge_base(
        self, kind: type[FrozenConfig], fields: Mapping[str, Any], source: YamlFile, keys: Keys
    ) -> dict[str, Any]:
        """Return the fields of an entry over those of the configuration that its `extends` names, if any."""
        own = {key: value for key, value in fields.items() if key != "extends"}
        if "extends" not in fields:
            return own
        base = YamlFile.read(self.find_file(kind, str(fields["extends"]), source.locate(keys)))
        if kind is Claim:
            source.raise_first(
                Problem(
                    [*keys, name],
                    f"{name}: {to_builtin(own[name])}",
                    f"the text of {base.path.stem}, which does not name it: {base.node.get('text')}",
                    f"text: …, or {{{name}}} in the text that is extended",
                )
                for name in find_unstated_changes(base.node, own)
            )
        return {**base.node, **own}

    def inline_section(
        self, kind: type[FrozenConfig], key: str, source: YamlFile, overrides: Sequence[Override]
    ) -> None:
        """Replace a section of a sweep, a name or fields, by its validated fields with `--set` applied.

        Raises:
            ConfigError: unknown name or invalid fields.
        """
        entry = source.node.get(key)
        if entry is None:
            return
        file, keys = source, [key]
        if isinstance(entry, str):
            file, keys = YamlFile.read(self.find_file(kind, entry, source.locate(keys))), []
            entry = file.node
        fields = file.require_mapping(entry, keys)
        # In place: the sweep's own keys keep their lines. Those of the file that it extends are valid by a test.
        merged = self.merge_base(kind, fields, file, keys)
        fields.pop("extends", None)
        fields.update({name: value for name, value in merged.items() if name not in fields})
        for override in overrides:
            if override.is_nested and override.section == key:
                override.apply_to_section(fields)
        source.node[key] = file.validate(kind, fields, keys, [*kind.model_fields, "extends"]).model_dump()


def load_model_spec(name: str) -> ModelSpec:
    """Load a model of `configs/models/`.

    Raises:
        ConfigError: unknown name.
    """
    return ConfigLibrary().load(ModelSpec, name, "--model")


def load_data_spec(source: str, **fields: object) -> DataSpec:
    """Load a data set of `configs/data/`, or describe ToolBench data by their place.

    Args:
        source: a name; or a path, or a Hugging Face dataset's hub id (`owner/name`), which becomes the path of the data
            set `toolbench`.
        fields: values that override its own.

    Raises:
        ConfigError: neither a name, an existing path nor a hub id; or an invalid field.
    """
    library = ConfigLibrary()
    known = library.list_names(DataSpec)
    entry: dict[str, object] = {"extends": source}
    if source not in known:
        if not source or ("/" not in source and not Path(source).exists()):
            found = "not a name of configs/data/, an existing path, or a hub id (owner/name)"
            raise ConfigError("data", requested=source, found=found, hint=suggest_nearest(source, known))
        entry = {"extends": "toolbench", "path": source}
    return library.resolve_entry(DataSpec, entry | fields, _make_source("data"), ("data",))


def load_evaluation_spec(name: str, overrides: Sequence[str] = (), **fields: object) -> EvaluationSpec:
    """Load an evaluation of `configs/evaluation/`, or evaluate the queries of a folder as `toolbench` does.

    Args:
        name: a name, or a folder of test queries.
        overrides: `key=value` texts as given to `--set`; they override everything else.
        fields: values that override the file's.

    Raises:
        ConfigError: unknown name or invalid field.
        UsageError: an override that cannot be parsed.
    """
    library = ConfigLibrary()
    entry: dict[str, object] = {"extends": name}
    if name not in library.list_names(EvaluationSpec) and Path(name).exists():
        entry = {"extends": "toolbench", "queries": name}
    given = [parse_override(text) for text in overrides]
    own = {override.key.removeprefix("evaluation."): override.value for override in given}
    return library.resolve_entry(EvaluationSpec, entry | fields | own, _make_source("--suite"), ("evaluation",))


def load_hardware_specs() -> dict[str, HardwareSpec]:
    """Load every kind of hardware of `configs/hardware/`, by name.

    Raises:
        ConfigError: an invalid file.
    """
    library = ConfigLibrary()
    return {name: library.load(HardwareSpec, name) for name in library.list_names(HardwareSpec)}


def find_hardware_spec(name: str, known: Mapping[str, HardwareSpec]) -> HardwareSpec:
    """Return the kind of hardware that `--hardware` names.

    Raises:
        UsageError: unknown name.
    """
    if name not in known:
        found, hint = "unknown name: not in configs/hardware/", suggest_nearest(name, known)
        raise UsageError("--hardware", requested=name, found=found, hint=hint)
    return known[name]


def load_references() -> list[Reference]:
    """Load every published table of `configs/references/`, in alphabetical order.

    Raises:
        ConfigError: an invalid file.
    """
    library = ConfigLibrary()
    return [library.load(Reference, name) for name in library.list_names(Reference)]


def _make_source(option: str) -> YamlFile:
    """Return what stands for the file of an entry that comes from the command line or from Python."""
    return YamlFile(Path(option), CommentedMap())

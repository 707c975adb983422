"""The smoke test of a sweep: the same design with toy models and generated data. Pure; it works on the raw mapping."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, FiniteFloat

from sweeper.config.base import FrozenConfig
from sweeper.config.sweep import AxisValue
from sweeper.config.yaml_limits import copy_within_limits
from sweeper.errors import ConfigError
from sweeper.storage import JsonObject

SMOKE_TEST_SUFFIX = "-rehearsal"
"""Suffix of the name of a smoke test's study."""
_OPTION = "--smoke-test"


class SmokeTestConfig(FrozenConfig):
    """`configs/rehearsal.yaml`: replacements for everything that a laptop does not have."""

    models: dict[str, str]
    """Model -> toy model."""
    recipes: dict[str, str]
    """Recipe -> recipe of the toy models."""
    data: str | JsonObject
    """Replaces the data of any sweep."""
    evaluation: str | JsonObject
    """Replaces the evaluation of any sweep that has one."""
    runtime: JsonObject
    """Replaces `runtime`."""
    seeds: int = Field(gt=0)
    """Number of seeds kept, the first ones; of each claim's selection seeds, one more is kept."""
    scale: dict[str, FiniteFloat]
    """Field of the recipe or the data -> factor of all its values in a sweep, ranges and claims included."""


def make_smoke_test(sweep: Mapping[str, Any], config: SmokeTestConfig) -> JsonObject:
    """Make the smoke test of a sweep.

    Args:
        sweep: the mapping in the sweep's file; its claims with all their fields.
        config: the replacements.

    Returns:
        A mapping of the same kind, whose keys keep their lines. The sweep's own `rehearsal` block is merged over the
        result.

    Raises:
        ConfigError: a model or recipe without a replacement.
    """
    toy: JsonObject = copy_within_limits(sweep, math.inf)  # a CommentedMap stays one
    own = toy.pop("rehearsal", None) or {}
    toy.pop("budget", None)  # it limits GPUs and money
    toy.pop("until", None)  # it trains every seed that it keeps, and looks once
    toy["accept_underpowered"] = True
    for key, suffix in (("name", SMOKE_TEST_SUFFIX), ("question", " (smoke test with toy models)")):
        if key in toy:
            toy[key] = f"{toy[key]}{suffix}"
    if isinstance(toy.get("recipe"), str | dict):
        config = _skip_scaling_for_toy_recipe(toy["recipe"], config)
        toy["recipe"] = _substitute_recipe(toy["recipe"], config)
    for key in ("data", "evaluation", "runtime"):
        if toy.get(key) is not None:
            toy[key] = copy_within_limits(getattr(config, key))
    claims = [claim for claim in toy.get("claims") or [] if isinstance(claim, dict)]
    if isinstance(axes := toy.get("axes"), dict):
        seeds = _select_seeds(axes.get("seed"), claims, config.seeds)
        for axis in axes:
            axes[axis] = seeds if axis == "seed" else _substitute_values(axis, axes[axis], config)
        for claim in claims:
            _substitute_claim(claim, seeds, config)
    _merge_mappings(toy, own)
    return toy


def _skip_scaling_for_toy_recipe(recipe: str | JsonObject, config: SmokeTestConfig) -> SmokeTestConfig:
    """Return a configuration that scales nothing if the recipe is one of the toy models already."""
    name = recipe if isinstance(recipe, str) else recipe.get("extends")
    return config.model_copy(update={"scale": {}}) if name in config.recipes.values() else config


def _substitute_recipe(recipe: str | JsonObject, config: SmokeTestConfig) -> str | JsonObject:
    if isinstance(recipe, str):
        return _substitute_name("recipe", recipe, config.recipes)
    if "extends" not in recipe:
        raise ConfigError(
            _OPTION,
            requested="recipe",
            found="fields that do not extend a named recipe",
            hint="recipe: {extends: …}",
        )
    recipe["extends"] = _substitute_name("recipe", str(recipe["extends"]), config.recipes)
    for field in recipe:
        recipe[field] = _substitute_value(field, recipe[field], config)
    return recipe


def _substitute_name(category: str, name: str, substitutes: Mapping[str, str]) -> str:
    """Return the toy for a name; a toy is its own."""
    if name in substitutes.values():
        return name
    if name not in substitutes:
        raise ConfigError(
            _OPTION,
            requested=f"{category} {name}",
            found=f"no replacement in configs/rehearsal.yaml, which has those for {', '.join(substitutes)}",
            hint=f"add it under `{category}s` there",
        )
    return substitutes[name]


def _substitute_value(axis: str, value: AxisValue, config: SmokeTestConfig) -> AxisValue:
    """Replace or scale one value of an axis. Integers stay integers, at least 1 and at most what they were."""
    if axis == "model":
        return _substitute_name("model", str(value), config.models)
    if axis not in config.scale or isinstance(value, bool) or not isinstance(value, int | float):
        return value
    # Rounded to six digits, so that 5e-5 x 200 is a value that a claim can name.
    scaled = float(f"{value * config.scale[axis]:.6g}")
    return scaled if isinstance(value, float) else min(value, max(1, round(scaled)))


def _substitute_values(axis: str, entry: Any, config: SmokeTestConfig) -> Any:
    """Replace the values of an axis: a list, or what a search chooses from, conditions (`when`) included."""
    if isinstance(entry, dict):
        return {
            key: {other: _substitute_values(other, values, config) for other, values in value.items()}
            if key == "when"
            else _substitute_values(axis, value, config)
            for key, value in entry.items()
        }
    if not isinstance(entry, list):
        return entry
    values = [_substitute_value(axis, value, config) for value in entry]
    if axis == "model" and len(set(values)) < len(values):
        raise ConfigError(_OPTION, requested=f"models {entry}", found=f"the same toy model for two of them: {values}")
    return values


def _select_seeds(seeds: Any, claims: Sequence[Mapping[str, Any]], count: int) -> Any:
    """Return the first seeds, and the first of each claim's selection seeds."""
    if not isinstance(seeds, list):
        return seeds
    selections = [claim["selection_seeds"] for claim in claims if claim.get("selection_seeds")]
    others = [seed for seed in seeds if not any(seed in selection for selection in selections)][:count]
    return [seed for seed in seeds if seed in others or any(seed == selection[0] for selection in selections)]


def _substitute_claim(claim: JsonObject, seeds: Any, config: SmokeTestConfig) -> None:
    """Make a claim one about the toy models, on the seeds that are kept."""
    axis = claim.get("axis")
    claim["text"] = f"Smoke test with toy models: {claim.get('text', '')}"
    for key in ("looks", "spend"):
        claim.pop(key, None)
    if axis is not None and "candidate" in claim:
        claim["candidate"] = _substitute_value(axis, claim["candidate"], config)
    if axis is not None and isinstance(claim.get("against"), list):
        claim["against"] = _substitute_values(axis, claim["against"], config)
    if isinstance(claim.get("where"), dict):
        claim["where"] = {name: _substitute_value(name, value, config) for name, value in claim["where"].items()}
    if isinstance(claim.get("price_per_hour"), dict) and axis == "model":
        claim["price_per_hour"] = {_substitute_value(axis, arm, config): 1.0 for arm in claim["price_per_hour"]}
    if "train_flops" in claim:
        claim["train_flops"] = _substitute_value("train_flops_budget", claim["train_flops"], config)
    for key in ("selection_seeds", "confirmation_seeds"):
        if isinstance(claim.get(key), list) and isinstance(seeds, list):
            claim[key] = [seed for seed in claim[key] if seed in seeds]


def _merge_mappings(base: JsonObject, overrides: Mapping[str, Any], *, is_deep: bool = True) -> None:
    """Merge key by key, lines included. The values of an axis are replaced as a whole, in whatever form."""
    lines, new_lines = (getattr(getattr(mapping, "lc", None), "data", None) for mapping in (base, overrides))
    for key, value in overrides.items():
        if is_deep and isinstance(base.get(key), dict) and isinstance(value, dict):
            _merge_mappings(base[key], value, is_deep=key != "axes")
        else:
            base[key] = value
            if lines is not None and new_lines and key in new_lines:
                lines[key] = new_lines[key]

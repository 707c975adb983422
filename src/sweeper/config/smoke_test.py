"""A sweep -> its rehearsal: the same design with toy models on the generated world. Pure, and before validation."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import Field, FiniteFloat

from sweeper.config.base import FrozenConfig
from sweeper.errors import ConfigError

SMOKE_TEST_SUFFIX = "-rehearsal"
"""What the name of a rehearsal's study ends in."""


class SmokeTestConfig(FrozenConfig):
    """`configs/rehearsal.yaml`: what stands for what."""

    models: dict[str, str]
    """Model -> the toy that stands for it."""
    recipes: dict[str, str]
    """Recipe -> the toys' own."""
    data: Any
    """Takes the place of any data."""
    evaluation: Any
    """Takes the place of any evaluation; a sweep that evaluates nothing still does not."""
    runtime: dict[str, Any]
    """Takes the place of `runtime`."""
    seeds: int = Field(gt=0)
    """So many seeds are kept, the first; of those on which a claim selects, one besides."""
    scale: dict[str, FiniteFloat]
    """Field of the recipe or the data -> factor of every value of it that a sweep names, ranges and claims included."""


def make_smoke_test(sweep: Mapping[str, Any], smoke_test: SmokeTestConfig) -> dict[str, Any]:
    """The rehearsal of a sweep, given and returned as the mapping of its file; its claims are given with all fields.

    Keys keep their places, so that a mistake is still found in its line. The sweep's own `rehearsal` is merged over the
    result. Raises ConfigError for a model or recipe that nothing stands for.
    """
    toy = cast("dict[str, Any]", copy.deepcopy(sweep))  # a CommentedMap stays one
    own = toy.pop("rehearsal", None) or {}
    toy.pop("budget", None)  # of GPUs and money
    toy["accept_underpowered"] = True
    for key, change in (("name", "{}" + SMOKE_TEST_SUFFIX), ("question", "{} (a rehearsal with toy models)")):
        if key in toy:
            toy[key] = change.format(toy[key])
    if isinstance(toy.get("recipe"), str | dict):
        smoke_test = _skip_scaling_for_toy_recipe(toy["recipe"], smoke_test)
        toy["recipe"] = _substitute_recipe(toy["recipe"], smoke_test)
    for key in ("data", "evaluation", "runtime"):
        if toy.get(key) is not None:
            toy[key] = copy.deepcopy(getattr(smoke_test, key))
    claims = [claim for claim in toy.get("claims") or [] if isinstance(claim, dict)]
    if isinstance(axes := toy.get("axes"), dict):
        seeds = _select_seeds(axes.get("seed"), claims, smoke_test.seeds)
        for axis in axes:
            axes[axis] = seeds if axis == "seed" else _substitute_values(axis, axes[axis], smoke_test)
        for claim in claims:
            _substitute_claim(claim, seeds, smoke_test)
    _merge_mappings(toy, own)
    return toy


def _skip_scaling_for_toy_recipe(recipe: Any, smoke_test: SmokeTestConfig) -> SmokeTestConfig:
    """Nothing is scaled where the recipe is a toy's already."""
    name = recipe if isinstance(recipe, str) else recipe.get("extends")
    return smoke_test.model_copy(update={"scale": {}}) if name in smoke_test.recipes.values() else smoke_test


def _substitute_recipe(recipe: Any, smoke_test: SmokeTestConfig) -> Any:
    if isinstance(recipe, str):
        return _substitute_name("recipe", recipe, smoke_test.recipes)
    if "extends" not in recipe:
        raise ConfigError(
            "--rehearse",
            requested="recipe",
            found="fields without a recipe that they extend",
            hint="recipe: {extends: …}",
        )
    recipe["extends"] = _substitute_name("recipe", str(recipe["extends"]), smoke_test.recipes)
    for field in recipe:
        recipe[field] = _substitute_value(field, recipe[field], smoke_test)
    return recipe


def _substitute_name(category: str, name: str, substitutes: Mapping[str, str]) -> str:
    """A toy stands for itself."""
    if name in substitutes.values():
        return name
    if name not in substitutes:
        raise ConfigError(
            "--rehearse",
            requested=f"{category} {name}",
            found=f"configs/rehearsal.yaml names none that stands for it; it has {', '.join(substitutes)}",
            hint=f"add it under `{category}s` there",
        )
    return substitutes[name]


def _substitute_value(axis: str, value: Any, smoke_test: SmokeTestConfig) -> Any:
    """One value of an axis. Whole numbers stay whole, and above 0."""
    if axis == "model":
        return _substitute_name("model", str(value), smoke_test.models)
    if axis not in smoke_test.scale or isinstance(value, bool) or not isinstance(value, int | float):
        return value
    # To six digits: 5e-5 x 200 is a value that a claim can name.
    scaled = float(f"{value * smoke_test.scale[axis]:.6g}")
    return scaled if isinstance(value, float) else min(value, max(1, round(scaled)))


def _substitute_values(axis: str, entry: Any, smoke_test: SmokeTestConfig) -> Any:
    """An axis: a list of values, or what a search chooses from, with the conditions it is under."""
    if isinstance(entry, dict):
        return {
            key: {other: _substitute_values(other, held, smoke_test) for other, held in value.items()}
            if key == "when"
            else _substitute_values(axis, value, smoke_test)
            for key, value in entry.items()
        }
    if not isinstance(entry, list):
        return entry
    found = [_substitute_value(axis, value, smoke_test) for value in entry]
    if axis == "model" and len(set(found)) < len(found):
        raise ConfigError("--rehearse", requested=f"models {entry}", found=f"two of them would be one toy: {found}")
    return found


def _select_seeds(seeds: Any, claims: Sequence[Mapping[str, Any]], count: int) -> Any:
    """The first seeds, and of each claim's selection seeds the first besides."""
    if not isinstance(seeds, list):
        return seeds
    selecting = [claim["selection_seeds"] for claim in claims if claim.get("selection_seeds")]
    others = [seed for seed in seeds if not any(seed in own for own in selecting)][:count]
    return [seed for seed in seeds if seed in others or any(seed == own[0] for own in selecting)]


def _substitute_claim(claim: dict[str, Any], seeds: Any, smoke_test: SmokeTestConfig) -> None:
    """A claim about the toys that stand for its arms, on the seeds that are left."""
    axis = claim.get("axis")
    claim["text"] = f"Rehearsal, of toy models: {claim.get('text', '')}"
    if axis is not None and "candidate" in claim:
        claim["candidate"] = _substitute_value(axis, claim["candidate"], smoke_test)
    if axis is not None and isinstance(claim.get("against"), list):
        claim["against"] = _substitute_values(axis, claim["against"], smoke_test)
    if isinstance(claim.get("where"), dict):
        claim["where"] = {name: _substitute_value(name, value, smoke_test) for name, value in claim["where"].items()}
    if isinstance(claim.get("price_per_hour"), dict) and axis == "model":
        claim["price_per_hour"] = {_substitute_value(axis, arm, smoke_test): 1.0 for arm in claim["price_per_hour"]}
    if "train_flops" in claim:
        claim["train_flops"] = _substitute_value("train_flops_budget", claim["train_flops"], smoke_test)
    for key in ("selection_seeds", "confirmation_seeds"):
        if isinstance(claim.get(key), list) and isinstance(seeds, list):
            claim[key] = [seed for seed in claim[key] if seed in seeds]


def _merge_mappings(base: dict[str, Any], overrides: Mapping[str, Any], *, deep: bool = True) -> None:
    """Mappings key by key, all else replaced; the values of an axis are one thing, however they are written."""
    lines, places = (
        getattr(getattr(base, "lc", None), "data", None),
        getattr(getattr(overrides, "lc", None), "data", None),
    )
    for key, value in overrides.items():
        if deep and isinstance(base.get(key), dict) and isinstance(value, dict):
            _merge_mappings(base[key], value, deep=key != "axes")
        else:
            base[key] = value
            if lines is not None and places and key in places:
                lines[key] = places[key]

"""A sweep -> its rehearsal: the same design with toy models on the generated world. Pure, and before validation."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import Field, FiniteFloat

from sweeper.errors import ConfigError
from sweeper.spec.parts import Part

SUFFIX = "-rehearsal"
"""What the name of a rehearsal's study ends in."""


class Rehearsal(Part):
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


def rehearse(sweep: Mapping[str, Any], rehearsal: Rehearsal) -> dict[str, Any]:
    """The rehearsal of a sweep, given and returned as the mapping of its file; its claims are given with all fields.

    Keys keep their places, so that a mistake is still found in its line. The sweep's own `rehearsal` is merged over the
    result. Raises ConfigError for a model or recipe that nothing stands for.
    """
    toy = cast("dict[str, Any]", copy.deepcopy(sweep))  # a CommentedMap stays one
    own = toy.pop("rehearsal", None) or {}
    toy.pop("budget", None)  # of GPUs and money
    toy["accept_underpowered"] = True
    for key, change in (("name", "{}" + SUFFIX), ("question", "{} (a rehearsal with toy models)")):
        if key in toy:
            toy[key] = change.format(toy[key])
    if isinstance(toy.get("recipe"), str | dict):
        rehearsal = _for_recipe(toy["recipe"], rehearsal)
        toy["recipe"] = _recipe(toy["recipe"], rehearsal)
    for key in ("data", "evaluation", "runtime"):
        if toy.get(key) is not None:
            toy[key] = copy.deepcopy(getattr(rehearsal, key))
    claims = [claim for claim in toy.get("claims") or [] if isinstance(claim, dict)]
    if isinstance(axes := toy.get("axes"), dict):
        seeds = _seeds(axes.get("seed"), claims, rehearsal.seeds)
        for axis in axes:
            axes[axis] = seeds if axis == "seed" else _values(axis, axes[axis], rehearsal)
        for claim in claims:
            _to_toys(claim, seeds, rehearsal)
    _merge(toy, own)
    return toy


def _for_recipe(recipe: Any, rehearsal: Rehearsal) -> Rehearsal:
    """Nothing is scaled where the recipe is a toy's already."""
    name = recipe if isinstance(recipe, str) else recipe.get("extends")
    return rehearsal.model_copy(update={"scale": {}}) if name in rehearsal.recipes.values() else rehearsal


def _recipe(recipe: Any, rehearsal: Rehearsal) -> Any:
    if isinstance(recipe, str):
        return _stand_in("recipe", recipe, rehearsal.recipes)
    if "extends" not in recipe:
        raise ConfigError(
            "--rehearse", asked="recipe", found="fields without a recipe that they extend", do="recipe: {extends: …}"
        )
    recipe["extends"] = _stand_in("recipe", str(recipe["extends"]), rehearsal.recipes)
    for field in recipe:
        recipe[field] = _value(field, recipe[field], rehearsal)
    return recipe


def _stand_in(what: str, name: str, known: Mapping[str, str]) -> str:
    """A toy stands for itself."""
    if name in known.values():
        return name
    if name not in known:
        raise ConfigError(
            "--rehearse",
            asked=f"{what} {name}",
            found=f"configs/rehearsal.yaml names none that stands for it; it has {', '.join(known)}",
            do=f"add it under `{what}s` there",
        )
    return known[name]


def _value(axis: str, value: Any, rehearsal: Rehearsal) -> Any:
    """One value of an axis. Whole numbers stay whole, and above 0."""
    if axis == "model":
        return _stand_in("model", str(value), rehearsal.models)
    if axis not in rehearsal.scale or isinstance(value, bool) or not isinstance(value, int | float):
        return value
    # To six digits: 5e-5 x 200 is a value that a claim can name.
    scaled = float(f"{value * rehearsal.scale[axis]:.6g}")
    return scaled if isinstance(value, float) else min(value, max(1, round(scaled)))


def _values(axis: str, entry: Any, rehearsal: Rehearsal) -> Any:
    """An axis: a list of values, or what a search chooses from, with the conditions it is under."""
    if isinstance(entry, dict):
        return {
            key: {other: _values(other, held, rehearsal) for other, held in value.items()}
            if key == "when"
            else _values(axis, value, rehearsal)
            for key, value in entry.items()
        }
    if not isinstance(entry, list):
        return entry
    found = [_value(axis, value, rehearsal) for value in entry]
    if axis == "model" and len(set(found)) < len(found):
        raise ConfigError("--rehearse", asked=f"models {entry}", found=f"two of them would be one toy: {found}")
    return found


def _seeds(seeds: Any, claims: Sequence[Mapping[str, Any]], count: int) -> Any:
    """The first seeds, and of each claim's selection seeds the first besides."""
    if not isinstance(seeds, list):
        return seeds
    selecting = [claim["selection_seeds"] for claim in claims if claim.get("selection_seeds")]
    others = [seed for seed in seeds if not any(seed in own for own in selecting)][:count]
    return [seed for seed in seeds if seed in others or any(seed == own[0] for own in selecting)]


def _to_toys(claim: dict[str, Any], seeds: Any, rehearsal: Rehearsal) -> None:
    """A claim about the toys that stand for its arms, on the seeds that are left."""
    axis = claim.get("axis")
    claim["text"] = f"Rehearsal, of toy models: {claim.get('text', '')}"
    if axis is not None and "candidate" in claim:
        claim["candidate"] = _value(axis, claim["candidate"], rehearsal)
    if axis is not None and isinstance(claim.get("against"), list):
        claim["against"] = _values(axis, claim["against"], rehearsal)
    if isinstance(claim.get("where"), dict):
        claim["where"] = {name: _value(name, value, rehearsal) for name, value in claim["where"].items()}
    if isinstance(claim.get("price_per_hour"), dict) and axis == "model":
        claim["price_per_hour"] = {_value(axis, arm, rehearsal): 1.0 for arm in claim["price_per_hour"]}
    if "train_flops" in claim:
        claim["train_flops"] = _value("train_flops_budget", claim["train_flops"], rehearsal)
    for key in ("selection_seeds", "confirmation_seeds"):
        if isinstance(claim.get(key), list) and isinstance(seeds, list):
            claim[key] = [seed for seed in claim[key] if seed in seeds]


def _merge(base: dict[str, Any], over: Mapping[str, Any], *, deep: bool = True) -> None:
    """Mappings key by key, all else replaced; the values of an axis are one thing, however they are written."""
    lines, places = getattr(getattr(base, "lc", None), "data", None), getattr(getattr(over, "lc", None), "data", None)
    for key, value in over.items():
        if deep and isinstance(base.get(key), dict) and isinstance(value, dict):
            _merge(base[key], value, deep=key != "axes")
        else:
            base[key] = value
            if lines is not None and places and key in places:
                lines[key] = places[key]

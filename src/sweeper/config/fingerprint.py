"""What makes two trials the same trial."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sweeper.config.model import ModelSpec
from sweeper.config.recipe import Recipe
from sweeper.config.sweep import Branch

TRAINING_SEMANTICS = 1
"""Raised whenever a change to `trial/` changes the result of an unchanged specification."""

_FIELDS_OUTSIDE_IDENTITY = {
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "dataloader_num_workers",
    "dataloader_pin_memory",
    "gradient_checkpointing",
}


def extract_recipe_identity(recipe: Recipe) -> dict[str, Any]:
    """The recipe's fields that can change a result, with the *effective* batch in place of how it is split.

    The number of epochs changes nothing where steps or compute end the run.
    """
    fields = recipe.model_dump(exclude=_FIELDS_OUTSIDE_IDENTITY)
    if not recipe.ends_by_epochs:
        fields["num_train_epochs"] = None
    if recipe.decay_fraction is None:
        del fields["decay_fraction"]  # no other schedule has one, and recipes older than it keep their identity
    return fields | {"effective_batch_size": recipe.effective_batch_size}


def compute_trial_fingerprint(
    model: ModelSpec,
    recipe: Recipe,
    seed: int,
    *,
    weights_fingerprint: str,
    data_fingerprint: str,
    branch: Branch | None = None,
    branch_points: tuple[float, ...] = (),
) -> str:
    """SHA-256 (first 16 hex digits) over everything that can change the result and nothing else.

    `weights` is the hash of the initial weights (or of the config they are drawn from), `data` that of the tokenised
    data set, encoding policy included. Names, paths, engine, micro-batch and worker count are left out.

    A trial that goes on from another one's branch point, and one that keeps such points, is another trial than the same
    schedule run alone: how it came about differs, even where the result does not. At which optimiser step it branches
    off follows from recipe and data. A branch with a step of its own is trained alone where that is gone, and is the
    same trial either way.
    """
    identity: dict[str, Any] = {
        "weights": weights_fingerprint,
        "data": data_fingerprint,
        "recipe": extract_recipe_identity(recipe),
        "seed": seed,
        "training_semantics": TRAINING_SEMANTICS,
    }
    if branch is not None and branch.step is None:
        identity["branch"] = branch.model_dump(exclude_none=True)
    if branch_points:
        identity["branch_points"] = branch_points
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]

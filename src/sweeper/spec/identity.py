"""What makes two trials the same trial."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sweeper.spec.parts import ModelSpec, Recipe

TRAINING_SEMANTICS = 1
"""Raised whenever a change to `trial/` changes the result of an unchanged specification."""

_NOT_IDENTITY = {
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "dataloader_num_workers",
    "dataloader_pin_memory",
    "gradient_checkpointing",
}


def recipe_identity(recipe: Recipe) -> dict[str, Any]:
    """The recipe's fields that can change a result, with the *effective* batch in place of how it is split.

    The number of epochs changes nothing where steps or compute end the run.
    """
    fields = recipe.model_dump(exclude=_NOT_IDENTITY)
    if not recipe.ends_by_epochs:
        fields["num_train_epochs"] = None
    return fields | {"effective_batch_size": recipe.effective_batch_size}


def fingerprint(model: ModelSpec, recipe: Recipe, seed: int, *, weights: str, data: str) -> str:
    """SHA-256 (first 16 hex digits) over everything that can change the result and nothing else.

    `weights` is the hash of the initial weights (or of the config they are drawn from), `data` that of the tokenised
    data set, encoding policy included. Names, paths, engine, micro-batch and worker count are left out.
    """
    identity = {
        "weights": weights,
        "data": data,
        "recipe": recipe_identity(recipe),
        "seed": seed,
        "training_semantics": TRAINING_SEMANTICS,
    }
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]

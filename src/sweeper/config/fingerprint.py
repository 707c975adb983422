"""The fingerprint of a trial: equal fingerprints mean the same trial."""

from __future__ import annotations

import hashlib
import json

from sweeper.config.recipe import Recipe
from sweeper.config.sweep import Branch

TRAINING_SEMANTICS = 1
"""Version of the training code, raised when a change to `training/` changes the result of an equal specification."""

_FIELDS_OUTSIDE_IDENTITY = {
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "dataloader_num_workers",
    "dataloader_pin_memory",
    "gradient_checkpointing",
}


def compute_trial_fingerprint(
    recipe: Recipe,
    seed: int,
    *,
    weights_fingerprint: str,
    data_fingerprint: str,
    branch: Branch | None = None,
    branch_points: tuple[float, ...] = (),
    half_weights: bool = False,
) -> str:
    """Hash everything that can change the result of a trial, and nothing else.

    Names, paths, micro-batch and number of workers are left out: trials that differ only in these are the same. Of the
    engine only `half_weights` counts.
    A branch, and a trial that keeps branch points, differ from the same schedule trained from scratch, because they
    come about differently. The step of a branch point follows from recipe and data, so it is left out. A branch with a
    step of its own falls back to training from scratch, so it equals the trial without a branch.

    Args:
        recipe: hyperparameters.
        seed: seed of the trial.
        weights_fingerprint: hash of the initial weights, or of the config they are drawn from.
        data_fingerprint: hash of the tokenized data, length policy included.
        branch: the trial that this one continues.
        branch_points: `num_train_epochs` of the arms that continue this one.
        half_weights: whether the model's own weights are in half precision (`TrialSpec.holds_half_weights`). It changes
            the loss, in bf16 by several times what rounding does (`benchmarks/precision.py`).

    Returns:
        The first 16 hex digits of a SHA-256.
    """
    identity: dict[str, object] = {
        "weights": weights_fingerprint,
        "data": data_fingerprint,
        "recipe": _extract_identity(recipe),
        "seed": seed,
        "training_semantics": TRAINING_SEMANTICS,
    }
    if branch is not None and branch.step is None:
        identity["branch"] = branch.model_dump(exclude_none=True)
    if half_weights:
        identity["half_weights"] = True
    if branch_points:
        identity["branch_points"] = branch_points
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _extract_identity(recipe: Recipe) -> dict[str, object]:
    """Return the fields that can change a result, with the effective batch instead of its split."""
    fields = recipe.model_dump(exclude=_FIELDS_OUTSIDE_IDENTITY)
    if not recipe.ends_by_epochs:
        fields["num_train_epochs"] = None
    if recipe.decay_fraction is None:
        del fields["decay_fraction"]  # recipes from before that field keep their identity
    return fields | {"effective_batch_size": recipe.effective_batch_size}

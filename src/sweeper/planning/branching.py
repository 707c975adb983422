"""Branched epochs: arms that differ only in epochs continue from checkpoints of the longest arm, their trunk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from sweeper.config import Branch, TrialSpec
from sweeper.planning.plan import PlannedTrial
from sweeper.storage import Store
from sweeper.training import FAILED, read_record


def branch_specs(specs: Sequence[TrialSpec], compute_fingerprint: Callable[[TrialSpec], str]) -> list[TrialSpec]:
    """Turn specs that differ only in `num_train_epochs` into one trunk (the longest) and its branches.

    Args:
        specs: trials of a sweep.
        compute_fingerprint: returns the fingerprint of a spec, empty if it is unknown. Nothing branches from an
            unknown trunk; the plan has a problem anyway.

    Returns:
        The specs in their order.
    """
    groups: dict[str, list[TrialSpec]] = {}
    for spec in specs:
        groups.setdefault(_make_group_key(spec), []).append(spec)
    trunks = {key: _build_trunk(members) for key, members in groups.items()}
    fingerprints = {key: compute_fingerprint(trunk) for key, trunk in trunks.items()}
    branched = []
    for spec in specs:
        key = _make_group_key(spec)
        trunk, fingerprint = trunks[key], fingerprints[key]
        if spec.recipe.num_train_epochs == trunk.recipe.num_train_epochs:
            branched.append(trunk)
        else:
            branched.append(spec.model_copy(update={"branch": Branch(trunk=fingerprint)}) if fingerprint else spec)
    return branched


def _make_group_key(spec: TrialSpec) -> str:
    return spec.model_copy(update={"recipe": spec.make_recipe_for_epochs(1)}).model_dump_json()


def _build_trunk(members: Sequence[TrialSpec]) -> TrialSpec:
    *shorter, longest = sorted(members, key=lambda spec: spec.recipe.num_train_epochs)
    return longest.model_copy(update={"branch_points": tuple(spec.recipe.num_train_epochs for spec in shorter)})


def split_into_batches(trials: Iterable[PlannedTrial]) -> list[list[PlannedTrial]]:
    """Split trials into batches to run in order: a branch comes after its trunk if that is among the trials."""
    trials = list(trials)
    present = {trial.fingerprint for trial in trials}
    late = [trial for trial in trials if trial.spec.branch is not None and trial.spec.branch.trunk in present]
    late_fingerprints = {trial.fingerprint for trial in late}
    first = [trial for trial in trials if trial.fingerprint not in late_fingerprints]
    return [batch for batch in (first, late) if batch]


def delete_unneeded_branch_checkpoints(trials: Iterable[PlannedTrial], store: Store) -> None:
    """Delete the branch checkpoints of trunks whose branches have all finished."""
    has_unfinished_branch: dict[str, bool] = {}
    for trial in trials:
        if trial.spec.branch is not None and trial.spec.branch.step is None:
            record = read_record(store.record_path(trial.fingerprint))
            unfinished = record is None or record.status == FAILED
            trunk = trial.spec.branch.trunk
            has_unfinished_branch[trunk] = has_unfinished_branch.get(trunk, False) or unfinished
    for trunk, is_needed in has_unfinished_branch.items():
        if not is_needed and store.list_subfolders(store.branch_points_folder(trunk)):
            store.delete(store.branch_points_folder(trunk))


def delete_branch_checkpoints(trials: Iterable[PlannedTrial], store: Store) -> None:
    """Delete the checkpoints that members of an ended population kept for others to continue from."""
    for trial in trials:
        if store.list_subfolders(store.branch_points_folder(trial.fingerprint)):
            store.delete(store.branch_points_folder(trial.fingerprint))


def find_restarted_trials(trials: Iterable[PlannedTrial], store: Store) -> list[str]:
    """Return the fingerprints of branches whose checkpoint was missing, so that they trained from the start."""
    branches = [trial.fingerprint for trial in trials if trial.spec.branch is not None]
    records = [read_record(store.record_path(name)) for name in branches]
    return [record.fingerprint for record in records if record and record.metrics.get("branched_from_step") == 0]

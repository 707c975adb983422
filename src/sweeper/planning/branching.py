"""Arms of a sweep over epochs as branches of the longest: who goes on from whom, in which order, and what it saves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from sweeper.config import Branch, TrialSpec
from sweeper.planning.plan import PlannedTrial
from sweeper.storage import Store
from sweeper.training import FAILED, read_record


def branch_specs(specs: Sequence[TrialSpec], compute_fingerprint: Callable[[TrialSpec], str]) -> list[TrialSpec]:
    """The specs, in their order, those that differ in `num_train_epochs` alone as one trunk and its branches.

    The longest is the trunk. `identity`: a spec's fingerprint, empty where it cannot be known yet; then nothing can
    branch off, and the plan has a problem anyway.
    """
    cells: dict[str, list[TrialSpec]] = {}
    for spec in specs:
        cells.setdefault(_make_group_key(spec), []).append(spec)
    trunks = {cell: _build_trunk(members) for cell, members in cells.items()}
    identities = {cell: compute_fingerprint(trunk) for cell, trunk in trunks.items()}
    found = []
    for spec in specs:
        trunk, name = trunks[_make_group_key(spec)], identities[_make_group_key(spec)]
        if spec.recipe.num_train_epochs == trunk.recipe.num_train_epochs:
            found.append(trunk)
        else:
            found.append(spec.model_copy(update={"branch": Branch(trunk=name)}) if name else spec)
    return found


def _make_group_key(spec: TrialSpec) -> str:
    return spec.model_copy(update={"recipe": spec.make_recipe_for_epochs(1)}).model_dump_json()


def _build_trunk(members: Sequence[TrialSpec]) -> TrialSpec:
    *shorter, longest = sorted(members, key=lambda spec: spec.recipe.num_train_epochs)
    return longest.model_copy(update={"branch_points": tuple(spec.recipe.num_train_epochs for spec in shorter)})


def dependency_batches(trials: Iterable[PlannedTrial]) -> list[list[PlannedTrial]]:
    """The trials in groups that can be run one after the other: whose trunk is among them comes after it."""
    trials = list(trials)
    there = {trial.fingerprint for trial in trials}
    late = [trial for trial in trials if trial.spec.branch is not None and trial.spec.branch.trunk in there]
    names = {trial.fingerprint for trial in late}
    first = [trial for trial in trials if trial.fingerprint not in names]
    return [wave for wave in (first, late) if wave]


def delete_unneeded_branch_checkpoints(trials: Iterable[PlannedTrial], store: Store) -> None:
    """Delete the branch points of trunks whose branches have all ended well: nobody else can go on from them."""
    waiting: dict[str, bool] = {}
    for trial in trials:
        if trial.spec.branch is not None and trial.spec.branch.step is None:
            record = read_record(store.record_path(trial.fingerprint))
            unfinished = record is None or record.status == FAILED
            waiting[trial.spec.branch.trunk] = waiting.get(trial.spec.branch.trunk, False) or unfinished
    for trunk, some_wait in waiting.items():
        if not some_wait and store.list_subfolders(store.branch_points_folder(trunk)):
            store.delete(store.branch_points_folder(trunk))


def delete_branch_checkpoints(trials: Iterable[PlannedTrial], store: Store) -> None:
    """Delete what trials keep for others to go on from: of a population, once its search has ended."""
    for trial in trials:
        if store.list_subfolders(store.branch_points_folder(trial.fingerprint)):
            store.delete(store.branch_points_folder(trial.fingerprint))


def restarted_from_scratch(trials: Iterable[PlannedTrial], store: Store) -> list[str]:
    """Of trials that may go on from a checkpoint: those that did not find it, and took all its steps once more."""
    branches = [trial.fingerprint for trial in trials if trial.spec.branch is not None]
    records = [read_record(store.record_path(name)) for name in branches]
    return [record.fingerprint for record in records if record and record.metrics.get("branched_from_step") == 0]

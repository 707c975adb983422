"""Whether a sweep is the one that a study of its name ran: another sweep never replaces results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sweeper.config import Sweep
from sweeper.errors import UsageError
from sweeper.results.study_tables import check_journal, read_stored_sweep
from sweeper.storage import Store, read_json

_IDENTITY = ("recipe", "data", "evaluation", "search", "branch_epochs", "searched")
"""Fields of a sweep that a study keeps. Claims, resources and budgets may change, and values may be added to axes."""
_FREE = {
    *("data.assumed", "search.trials", "search.max_concurrent"),
    *("recipe.dataloader_num_workers", "recipe.dataloader_pin_memory"),
}
"""Parts of these that change no result: more trials extend a search."""

_MAX_SHOWN_CHARACTERS = 80


def check_study_identity(sweep: Sweep, store: Store) -> None:
    """Check that a sweep may run under its name.

    Args:
        sweep: the sweep to run. Values that it adds to axes extend the study.
        store: the store, whose study of this name may have results.

    Raises:
        UsageError: the study has results of another sweep.
        StoreError: its sweep cannot be read.
    """
    folder = store.study_folder(sweep.name)
    if not (folder / "sweep.yaml").exists() or not _has_results(sweep.name, store):
        return
    earlier = read_stored_sweep(folder / "sweep.yaml")
    check_journal(folder)
    if differences := list(_list_differences(earlier, sweep)):
        raise UsageError(
            f"study {sweep.name}",
            requested="; ".join(differences),
            found=f"results of another sweep of this name in {store.location}",
            hint=f"to keep both: --set name={sweep.name}-2",
        )


def _has_results(name: str, store: Store) -> bool:
    plan = store.study_folder(name) / "plan.json"
    if not plan.exists():
        return False
    fingerprints = [str(row.get("fingerprint", "")) for row in read_json(plan).get("trials", ())]
    return any(fingerprint and store.record_path(fingerprint).exists() for fingerprint in fingerprints)


def _list_differences(earlier: Sweep, sweep: Sweep) -> Iterator[str]:
    """List what differs, as `recipe.learning_rate 1e-05, was 0.0001`."""
    before, after = earlier.model_dump(mode="json"), sweep.model_dump(mode="json")
    for field in _IDENTITY:
        yield from _compare(field, before[field], after[field])
    has_looks = any(claim.looks for claim in (*earlier.claims, *sweep.claims))
    for axis in dict.fromkeys([*before["axes"], *after["axes"]]):
        old, new = before["axes"].get(axis), after["axes"].get(axis)
        if old is None or new is None:
            yield f"axes.{axis} {_describe(new)}, was {_describe(old)}"
        elif missing := [value for value in old if value not in new]:
            yield f"axes.{axis} without {', '.join(map(_describe, missing))}"
        elif axis == "seed" and has_looks and new[: len(old)] != old:
            yield f"axes.seed {_describe(new)}, was {_describe(old)}: looks are on the first seeds"
    for name in before["models"].keys() & after["models"].keys():
        yield from _compare(f"models.{name}", before["models"][name], after["models"][name])


def _compare(path: str, old: object, new: object) -> Iterator[str]:
    if path in _FREE:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            yield from _compare(f"{path}.{key}", old.get(key), new.get(key))
    elif old != new:
        yield f"{path} {_describe(new)}, was {_describe(old)}"


def _describe(value: object) -> str:
    return "none" if value is None else str(value)[:_MAX_SHOWN_CHARACTERS]

"""Where a search lies: Optuna's storage, and the one question that a study in it answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.config import SearchSpec, Sweep
from sweeper.errors import UsageError
from sweeper.search.space import require_search

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage


JOURNAL_FILE = "optuna.journal"
"""Optuna's journal file, in the study's folder."""


def open_storage(search: SearchSpec, folder: Path) -> BaseStorage:
    """Optuna's storage of a study: its database, else a journal in its folder. `optuna-dashboard` opens both."""
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    if search.storage is not None:
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return RDBStorage(_resolve_database_url(search.storage, folder))
        except (SQLAlchemyError, ImportError) as error:
            raise UsageError(
                "search.storage",
                requested=search.storage,
                found=str(error).splitlines()[0],
                hint="a database that can be reached, with its driver installed; or leave it out",
            ) from error
    folder.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(str(folder / JOURNAL_FILE)))


def is_search_started(search: SearchSpec, folder: Path) -> bool:
    """Whether a search has begun, as far as files say: looking must not make any."""
    if search.storage is None:
        return (folder / JOURNAL_FILE).exists()
    scheme, _, path = _resolve_database_url(search.storage, folder).partition(":///")
    return scheme != "sqlite" or Path(path).exists()


def _resolve_database_url(url: str, folder: Path) -> str:
    """SQLite's file lies in the study's folder unless its path is absolute: not wherever a process was started."""
    scheme, _, path = url.partition(":///")
    return f"{scheme}:///{folder / path}" if scheme == "sqlite" and path and not path.startswith("/") else url


def format_study_name(sweep: Sweep, group: str) -> str:
    """What Optuna calls it: the sweep, and the model where each has its own."""
    return f"{sweep.name}/{group}" if group else sweep.name


def check_study_matches(study: optuna.Study, sweep: Sweep, *, record_if_missing: bool = False) -> None:
    """A study holds the answers to one question: other axes, recipe, data or metric are another. More trials are not.

    `begin` writes the question down where there is none yet: who only looks writes nothing. Raises UsageError.
    """
    search = require_search(sweep)
    asked = {
        "searched": {axis: how.model_dump(mode="json") for axis, how in sweep.searched.items()},
        "axes": sweep.axes,
        "recipe": sweep.recipe.model_dump(mode="json"),
        "data": sweep.data.model_dump(mode="json", exclude={"name", "path", "assumed"}),
        "metric": search.metric,
        "rungs": [
            search.scheduler,
            search.rungs.model_dump(mode="json") if search.rungs else None,
            *([search.pbt_config.model_dump(mode="json")] if search.pbt_config else []),
        ],
    }
    text = json.dumps(asked, sort_keys=True)
    before = study.user_attrs.get("asked")
    if before is None:
        if record_if_missing:
            study.set_user_attr("asked", text)
    elif before != text:
        old = json.loads(before)
        changed = ", ".join(key for key in asked if json.loads(text)[key] != old.get(key))
        raise UsageError(
            f"search {study.study_name}",
            requested=f"another {changed} than it was begun with",
            found=f"{len(study.get_trials(deepcopy=False))} proposals that answer the old question",
            hint="--set name=NAME for another study, or the sweep as it was",
        )

"""Storage of a search's proposals, and the check that a stored search belongs to the sweep."""

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
"""Name of Optuna's journal file in the study's folder."""
SPEC_ATTRIBUTE = "asked"
"""User attribute of Optuna's study that holds what its proposals depend on. Stored studies have this name."""


def open_storage(search: SearchSpec, folder: Path) -> BaseStorage:
    """Open Optuna's storage: the database that the search names, else a journal file. `optuna-dashboard` opens both.

    Args:
        folder: the study's folder, created where needed.

    Raises:
        UsageError: the database cannot be opened.
        StoreError: the journal is damaged.
    """
    from optuna.storages import JournalStorage, RDBStorage

    from sweeper.search.checked_journal import CheckedJournal

    if search.storage is not None:
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return RDBStorage(_resolve_database_url(search.storage, folder))
        except (SQLAlchemyError, ImportError) as error:
            raise UsageError(
                "search.storage",
                requested=search.storage,
                found=str(error).splitlines()[0],
                hint="start the database and install its driver, or leave `storage` out to use a journal file",
            ) from error
    folder.mkdir(parents=True, exist_ok=True)
    return JournalStorage(CheckedJournal(str(folder / JOURNAL_FILE)))


def is_search_started(search: SearchSpec, folder: Path) -> bool:
    """Return whether the storage may hold a search. Creates no files, unlike opening a SQLite database."""
    if search.storage is None:
        return (folder / JOURNAL_FILE).exists()
    scheme, _, path = _resolve_database_url(search.storage, folder).partition(":///")
    return scheme != "sqlite" or Path(path).exists()


def _resolve_database_url(url: str, folder: Path) -> str:
    """Resolve a relative SQLite path against the study's folder, not the working directory."""
    scheme, _, path = url.partition(":///")
    return f"{scheme}:///{folder / path}" if scheme == "sqlite" and path and not path.startswith("/") else url


def format_study_name(sweep: Sweep, group: str) -> str:
    """Return the name of a group's study in Optuna's storage: the sweep, and the group if it has a name."""
    return f"{sweep.name}/{group}" if group else sweep.name


def check_study_matches(study: optuna.Study, sweep: Sweep, *, record_if_missing: bool = False) -> None:
    """Check that a stored search has the axes, recipe, data, metric and rungs of a sweep.

    The number of trials may differ.

    Args:
        study: Optuna's study.
        record_if_missing: store them where the study has none yet. Readers leave it off and write nothing.

    Raises:
        UsageError: the study was started with others.
    """
    search = require_search(sweep)
    spec = {
        "searched": {axis: searched_axis.model_dump(mode="json") for axis, searched_axis in sweep.searched.items()},
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
    text = json.dumps(spec, sort_keys=True)
    stored = study.user_attrs.get(SPEC_ATTRIBUTE)
    if stored is None:
        if record_if_missing:
            study.set_user_attr(SPEC_ATTRIBUTE, text)
    elif stored != text:
        before, now = json.loads(stored), json.loads(text)
        changed = ", ".join(key for key in spec if now[key] != before.get(key))
        count = len(study.get_trials(deepcopy=False))
        raise UsageError(
            f"search {study.study_name}",
            requested=f"other {changed}",
            found=f"{count} proposals of a search that was started with the former {changed}",
            hint="--set name=NAME starts a new study; or restore the sweep file",
        )

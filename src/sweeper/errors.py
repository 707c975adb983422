"""The one error hierarchy. Every message says where, what was requested, what was found, and gives a hint."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class SweeperError(Exception):
    """Base of all errors that a person is meant to read. Survives pickling (Ray ships errors between processes).

    Args:
        where: the part that refuses, e.g. a file and line, an option or a trial.
        requested: what it was given.
        found: what it found instead.
        hint: what helps.
    """

    exit_code = 1

    def __init__(self, where: str, *, requested: str = "", found: str = "", hint: str = "") -> None:
        super().__init__(where, requested, found, hint)
        self.where, self.requested, self.found, self.hint = where, requested, found, hint

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_error, (type(self), self.where, self.requested, self.found, self.hint)

    def __str__(self) -> str:
        lines = [self.where]
        for label, text in (("requested", self.requested), ("found", self.found), ("hint", self.hint)):
            if text:
                lines.append(f"  {label + ':':<11}{text}")
        return "\n".join(lines)


_OUT_OF_MEMORY_MESSAGES = ("out of memory", "ALLOC_FAILED")
"""An allocator's words: torch's and the system's, and cuBLAS's and cuDNN's own for their workspaces."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory, of the machine or of a GPU, did not suffice."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or any(words in str(error) for words in _OUT_OF_MEMORY_MESSAGES)


def _rebuild_error(error_class: type[SweeperError], where: str, requested: str, found: str, hint: str) -> SweeperError:
    return error_class(where, requested=requested, found=found, hint=hint)


def suggest_nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint with the known name nearest to a word, and all known names.

    Example:
        >>> suggest_nearest("orcale", ["oracle", "rules"])
        'did you mean `oracle`? known: oracle, rules'
    """
    known = sorted(set(known))
    nearest = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return (f"did you mean `{nearest[0]}`? " if nearest else "") + f"known: {', '.join(known)}"


class UsageError(SweeperError):
    """The request itself is wrong: nothing was started."""

    exit_code = 2


class ConfigError(UsageError):
    """A YAML file is wrong; `who` holds file and line."""


class DataError(SweeperError):
    """Training or evaluation data that cannot be read, or of which nothing is left."""


class MissingPathError(UsageError, DataError):
    """A path that was given and does not exist."""


class EvaluationError(SweeperError):
    """An evaluation of which nothing can be scored: what it asks answered nothing."""


class StoppedError(SweeperError):
    """A person stopped the work (Ctrl-C); `who` says from where it goes on."""

    exit_code = 130


class PreemptedError(SweeperError):
    """The machine is about to go (SIGTERM); a checkpoint was saved, and the trial is not finished."""

    exit_code = 143


class LostWorkerError(SweeperError):
    """A worker, or what it needs, is gone: the same work can succeed elsewhere or later."""


class StorageUnavailableError(LostWorkerError):
    """The store cannot be written: full, unmounted, out of reach."""


class ModelError(SweeperError):
    """A model that cannot be found, built or loaded."""


class BranchError(SweeperError):
    """The checkpoint of another trial that this one was to go on from is not there, or is damaged."""


class AppliedMismatchError(SweeperError):
    """What the optimiser or trainer applied differs from what the trial asked for."""


class StoreError(SweeperError):
    """The store on disk holds something it should not, or cannot be used."""


class BudgetReachedError(SweeperError):
    """A study has spent what it may; what is finished is kept."""


class TrialsFailedError(SweeperError):
    """A study ended with failed trials."""

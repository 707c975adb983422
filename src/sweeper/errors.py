"""The error hierarchy. A message has a place, what was requested, what was found instead, and a hint."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

__all__ = [
    "AppliedMismatchError",
    "BranchError",
    "BudgetReachedError",
    "ConfigError",
    "DataError",
    "EvaluationError",
    "LostWorkerError",
    "MissingPathError",
    "ModelError",
    "PreemptedError",
    "StoppedError",
    "StorageUnavailableError",
    "StoreError",
    "SweeperError",
    "TrialsFailedError",
    "UsageError",
    "has_secret",
    "is_out_of_memory",
    "redact_secrets",
    "suggest_nearest",
]


_PASSWORD_IN_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/@]*:(?!\d+(?:[/?#]|$))[^\s@]*@", re.IGNORECASE)
"""A password may have a slash in it, as secret keys of S3 do; what is only digits up to a slash is a port."""
_USER_IN_URL = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/?#@'\"]*@", re.IGNORECASE)
_SECRET_IN_QUERY = re.compile(
    r"([?&][\w.-]*(?:key|token|secret|passw|signature|credential|\bsig)[\w.-]*=)[^&#\s'\"]+", re.IGNORECASE
)


def has_secret(text: str) -> bool:
    """Tell whether a text has a URL with a password, or with a key in its query.

    Args:
        text: a value of a file or of an option.

    Returns:
        Whether it has.

    Example:
        >>> has_secret("s3://key:secret@bucket"), has_secret("http://host:8000/@v1"), has_secret("sftp://me@host")
        (True, False, False)
    """
    return bool(_PASSWORD_IN_URL.search(text) or ("://" in text and _SECRET_IN_QUERY.search(text)))


def redact_secrets(text: str) -> str:
    """Return a text without the user names, passwords and keys of its URLs.

    Args:
        text: a message.

    Returns:
        The text, with `…` in their place.

    Example:
        >>> redact_secrets("no answer from http://me:secret@host/v1?api_key=abc")
        'no answer from http://…@host/v1?api_key=…'
    """
    text = _PASSWORD_IN_URL.sub(lambda match: f"{match[0].partition('://')[0]}://…@", text)
    return _SECRET_IN_QUERY.sub(r"\1…", _USER_IN_URL.sub(r"\1…@", text))


class SweeperError(Exception):
    """Base of all errors with a message for users, in which the secrets of URLs are redacted.

    It survives pickling, because Ray sends errors between processes.

    Args:
        where: place of the error, such as a file and line, an option or a trial.
        requested: what was requested there.
        found: what was found instead.
        hint: how to fix it.

    Example:
        >>> print(SweeperError("--storage", requested="a.txt", found="a file", hint="give a folder"))
        --storage
          requested: a.txt
          found:     a file
          hint:      give a folder
    """

    exit_code = 1

    def __init__(self, where: str, *, requested: str = "", found: str = "", hint: str = "") -> None:
        parts = tuple(redact_secrets(text) for text in (where, requested, found, hint))
        super().__init__(*parts)
        self.where, self.requested, self.found, self.hint = parts

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_error, (type(self), self.where, self.requested, self.found, self.hint)

    def __str__(self) -> str:
        lines = [self.where]
        for label, text in (("requested", self.requested), ("found", self.found), ("hint", self.hint)):
            if text:
                lines.append(f"  {label + ':':<11}{text}")
        return "\n".join(lines)


_OUT_OF_MEMORY_MESSAGES = ("out of memory", "ALLOC_FAILED")
"""Parts of the messages of torch and the system, and of cuBLAS and cuDNN for their workspaces."""


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error is a lack of memory, of the machine or of a GPU.

    Args:
        error: any exception.

    Returns:
        Whether it is a lack of memory.

    Example:
        >>> is_out_of_memory(MemoryError()), is_out_of_memory(ValueError("bad"))
        (True, False)
    """
    has_type = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return has_type or any(message in str(error) for message in _OUT_OF_MEMORY_MESSAGES)


def _rebuild_error(error_class: type[SweeperError], where: str, requested: str, found: str, hint: str) -> SweeperError:
    return error_class(where, requested=requested, found=found, hint=hint)


def suggest_nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint with the known name nearest to a word, and all known names.

    Args:
        word: what was given.
        known: the names that exist.

    Returns:
        The hint.

    Example:
        >>> suggest_nearest("orcale", ["oracle", "rules"])
        'did you mean `oracle`? known: oracle, rules'
    """
    known = sorted(set(known))
    nearest = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return (f"did you mean `{nearest[0]}`? " if nearest else "") + f"known: {', '.join(known)}"


class UsageError(SweeperError):
    """An invalid request: nothing was started."""

    exit_code = 2


class ConfigError(UsageError):
    """A mistake in a YAML file; `where` has file and line."""


class DataError(SweeperError):
    """Training or evaluation data that cannot be read, or have no usable rows."""


class MissingPathError(UsageError, DataError):
    """A path that does not exist."""


class EvaluationError(SweeperError):
    """An evaluation without a score: the model, the environment or the judge did not answer."""


class NonFiniteModelError(EvaluationError):
    """A model with NaN or infinite weights or logits: whatever it answered would be noise."""


class StoppedError(SweeperError):
    """The user interrupted the work (Ctrl-C); `where` says where it resumes."""

    exit_code = 130


class PreemptedError(SweeperError):
    """The machine is being shut down (SIGTERM): a checkpoint was saved, and the trial is unfinished."""

    exit_code = 143


class LostWorkerError(SweeperError):
    """A worker or one of its resources was lost: the same work can succeed elsewhere or later."""


class StorageUnavailableError(LostWorkerError):
    """The store cannot be used at the moment: full, unmounted or unreachable."""


class ModelError(SweeperError):
    """A model that cannot be found, built or loaded."""


class BranchError(SweeperError):
    """The checkpoint of the trial to continue from is missing or damaged."""


class AppliedMismatchError(SweeperError):
    """The settings of the running optimizer or trainer differ from the requested ones."""


class StoreError(SweeperError):
    """The store has unexpected content, or cannot be used."""


class BudgetReachedError(SweeperError):
    """The budget of a study is spent; finished trials are kept."""


class TrialsFailedError(SweeperError):
    """A study ended with failed trials."""

from __future__ import annotations

import pickle

import pytest

from sweeper import errors
from sweeper.errors import ConfigError, MissingPathError, StoppedError, SweeperError, UsageError, is_out_of_memory

CLASSES = [getattr(errors, name) for name in errors.__all__ if isinstance(getattr(errors, name), type)]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_error_survives_pickling(cls: type[SweeperError]) -> None:
    error = cls("sweep.yaml:3", requested="a", found="b", hint="c")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is cls
    assert (again.where, again.requested, again.found, again.hint) == ("sweep.yaml:3", "a", "b", "c")
    assert str(again) == str(error)


def test_message_leaves_out_what_is_not_given() -> None:
    assert str(SweeperError("Ray", found="no cluster")) == "Ray\n  found:     no cluster"
    assert str(SweeperError("Ray")) == "Ray"


@pytest.mark.parametrize(
    ("cls", "code"), [(SweeperError, 1), (UsageError, 2), (ConfigError, 2), (MissingPathError, 2), (StoppedError, 130)]
)
def test_exit_code_tells_usage_from_failure(cls: type[SweeperError], code: int) -> None:
    assert cls.exit_code == code


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        type("OutOfMemoryError", (RuntimeError,), {})("CUDA"),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
    ],
    ids=["machine", "torch", "message", "cuBLAS"],
)
def test_lack_of_memory_is_recognized(error: BaseException) -> None:
    assert is_out_of_memory(error)
    assert not is_out_of_memory(ValueError("memory of an elephant"))


def test_unlike_names_are_only_listed() -> None:
    assert errors.suggest_nearest("zzz", ["oracle", "rules"]) == "known: oracle, rules"

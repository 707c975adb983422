from __future__ import annotations

import pickle

import pytest

from sweeper import errors
from sweeper.errors import (
    ConfigError,
    MissingPathError,
    StoppedError,
    SweeperError,
    UsageError,
    has_secret,
    is_out_of_memory,
    redact_secrets,
)

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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://key:secret@bucket/x failed", "s3://…@bucket/x failed"),
        ("s3://key:sec/ret+x=@bucket/x", "s3://…@bucket/x"),
        ("ray://u:pw@host:10001, then http://me@host", "ray://…@host:10001, then http://…@host"),
        ("(given: 'http://u:pw@host/v1')", "(given: 'http://…@host/v1')"),
        ("https://host/x?a=1&api_key=abc&b=2", "https://host/x?a=1&api_key=…&b=2"),
        ("https://b.s3.host/x?X-Amz-Signature=abc", "https://b.s3.host/x?X-Amz-Signature=…"),
        ("http://host:8000/@scope/x and me@example.org", "http://host:8000/@scope/x and me@example.org"),
        ("hub:facebook/opt@main, opt: a:b@c", "hub:facebook/opt@main, opt: a:b@c"),
    ],
)
def test_secrets_of_urls_are_redacted_in_every_part_of_a_message(text: str, shown: str) -> None:
    assert redact_secrets(text) == redact_secrets(shown) == shown
    error = SweeperError(text, requested=text, found=text, hint=text)
    assert {error.where, error.requested, error.found, error.hint} == {shown}
    assert str(error.args) == str((shown,) * 4)


def test_only_passwords_and_keys_are_secrets() -> None:
    assert all(map(has_secret, ("s3://a:b@c", "s3://a:b/d@c", "http://h/?token=x", "see http://a:b@c now")))
    assert not any(map(has_secret, ("sftp://me@host/x", "http://host:80/a@b", "what?token=x", "a:b@c", "C:/x@y")))

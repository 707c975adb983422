"""Workload of trials whose data are not prepared."""

from __future__ import annotations

from sweeper.config import DataSpec, load_data_spec
from sweeper.data import DataSize
from sweeper.planning.workload import assume_size


def test_assume_size_is_bounded_by_the_row_length() -> None:
    spec = load_data_spec("toolbench")
    assert assume_size(spec) == DataSize(187542, 187542 * 2048, 512)
    assert assume_size(DataSpec.model_validate(spec.model_dump() | {"assumed": None})) is None
    long = spec.model_copy(update={"assumed": spec.assumed.model_copy(update={"mean_tokens": 9e9})})  # type: ignore[union-attr]
    assert assume_size(long) == assume_size(spec)

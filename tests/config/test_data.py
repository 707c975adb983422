from __future__ import annotations

import pytest
from pydantic import ValidationError

from sweeper.config import DATA_AXES, DataSpec, load_data_spec

DATA = load_data_spec("toolworld").model_dump()


def test_axes_of_the_data_are_fields() -> None:
    assert set(DATA_AXES) <= set(DataSpec.model_fields)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fit": "sometimes"}, "no length policy of this name"),
        ({"api_format": "xml"}, "no API format of this name"),
        ({"toolworld": {"train_querys": 3}}, "train_queries"),
        ({"validation_fraction": 1}, "less than 1"),
        ({"max_length": 0}, "greater than 0"),
        ({"assumed": {"examples": 0}}, "greater than 0"),
    ],
)
def test_invalid_field_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DataSpec.model_validate(DATA | change)


def test_equal_fields_are_equal_data() -> None:
    assert DataSpec.model_validate(DATA) == load_data_spec("toolworld")
    assert DataSpec.model_validate(DATA | {"vocab_size": 600}) != load_data_spec("toolworld")

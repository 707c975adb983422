from __future__ import annotations

import pytest
from pydantic import ValidationError

from sweeper.config import ModelSpec, load_model_spec


@pytest.mark.parametrize("origin", [{}, {"source": "facebook/opt-125m", "config": {"hidden_size": 8}}])
def test_model_has_exactly_one_origin(origin: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="exactly one of `source`"):
        ModelSpec.model_validate({"name": "m"} | origin)


def test_shipped_models_are_pretrained_or_toys() -> None:
    assert load_model_spec("opt-350m").source == "facebook/opt-350m"
    toy = load_model_spec("opt-tiny-64")
    assert toy.source is None and toy.config is not None and toy.config["hidden_size"] == 64

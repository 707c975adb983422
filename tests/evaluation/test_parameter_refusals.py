"""Parameters that an endpoint refuses."""

from __future__ import annotations

import pytest

from sweeper.evaluation.parameter_refusals import ParameterRefusals

FIELDS = {"model": "m", "max_tokens": 9, "temperature": 0.2, "seed": 1}


def refuse(name: str) -> dict[str, object]:
    message = f"Unsupported parameter: '{name}' is not supported with this model."
    return {"message": message, "code": "unsupported_parameter", "param": name}


def test_max_tokens_is_renamed_and_then_left_out() -> None:
    refusals = ParameterRefusals()
    assert refusals.learn(FIELDS, refuse("max_tokens"))
    assert refusals.adapt(FIELDS) == {"model": "m", "max_completion_tokens": 9, "temperature": 0.2, "seed": 1}
    assert refusals.learn(FIELDS, refuse("max_tokens")), "sent before it was learned: worth another try"
    assert refusals.describe() == ["max_tokens sent as max_completion_tokens"]
    assert refusals.learn(refusals.adapt(FIELDS), refuse("max_completion_tokens"))
    assert refusals.adapt(FIELDS) == {"model": "m", "temperature": 0.2, "seed": 1}
    assert refusals.describe() == ["max_tokens not sent"]
    assert not refusals.learn(refusals.adapt(FIELDS), refuse("max_tokens"))


def test_message_alone_names_the_parameter() -> None:
    refusals = ParameterRefusals()
    message = "Unsupported value: 'temperature' does not support 0.2. Only the default (1) value is supported."
    assert refusals.learn(FIELDS, {"error": {"message": message}})
    assert refusals.describe() == ["temperature not sent"]
    renamed = "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    assert refusals.learn(FIELDS, {"message": renamed})
    assert refusals.describe() == ["max_tokens sent as max_completion_tokens", "temperature not sent"]


@pytest.mark.parametrize(
    "body", [None, "unsupported", {}, {"message": "too long"}, refuse("model"), refuse("messages")]
)
def test_other_errors_change_nothing(body: object) -> None:
    refusals = ParameterRefusals()
    assert not refusals.learn(FIELDS, body)
    assert refusals.adapt(FIELDS) == FIELDS

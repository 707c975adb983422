"""The registry of length policies."""

from __future__ import annotations

import pytest
from tool_conversations import count_tokens, last_turn, make_limiter, make_long_conversation

from sweeper.config import DataSpec
from sweeper.data.length_policies.base import LENGTH_POLICIES, TokenizedRow
from sweeper.errors import UsageError


def test_registry_has_one_policy_a_file() -> None:
    assert LENGTH_POLICIES.names == ("compact-apis", "keep-target", "strict", "truncate")
    assert len({type(LENGTH_POLICIES.load(name)) for name in LENGTH_POLICIES.names}) == 4
    with pytest.raises(UsageError, match="keep-target"):
        LENGTH_POLICIES.load("keep-targets")


@pytest.mark.parametrize("name", LENGTH_POLICIES.names)
def test_configuration_accepts_every_policy(name: str) -> None:
    values = {"name": "d", "source": "toolbench", "path": "x", "api_format": "toolbench", "fold_steps": False}
    assert DataSpec.model_validate(values | {"max_length": 9, "fit": name}).fit == name


@pytest.mark.parametrize("name", LENGTH_POLICIES.names)
def test_policy_applies_only_to_rows_that_are_too_long(name: str) -> None:
    conversation = make_long_conversation()
    length = count_tokens(conversation)
    whole = make_limiter(name, length).make_row(conversation, last_turn(conversation))
    assert len(whole.input_ids) == length
    shortened = make_limiter(name, length - 1).make_row(conversation, last_turn(conversation))
    if name == "strict":
        assert shortened == "too-long"
    else:
        assert isinstance(shortened, TokenizedRow)
        assert len(shortened.input_ids) < length
        assert shortened.is_prompt_cut or shortened.is_target_cut

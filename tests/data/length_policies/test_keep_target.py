"""`keep-target` cuts the middle of the prompt and nothing else."""

from __future__ import annotations

from tool_conversations import get_tokenizer, last_turn, make_limiter, make_long_conversation

from sweeper.data.length_policies.base import TokenizedRow


def test_keep_target_cuts_the_middle_to_exactly_the_limit() -> None:
    conversation, limit = make_long_conversation(), 600
    row = make_limiter("keep-target", limit).make_row(conversation, last_turn(conversation))
    assert isinstance(row, TokenizedRow)
    assert len(row.input_ids) == limit
    shown = get_tokenizer().decode(row.input_ids)
    assert shown.startswith("<s>System: be good.")
    assert "find me a city" in shown
    assert row.is_prompt_cut
    assert row.lost_apis > 0
    assert make_limiter("keep-target", 20).make_row(conversation, last_turn(conversation)) == "target-does-not-fit"

"""`strict` shortens nothing."""

from __future__ import annotations

from tool_conversations import make_limiter, make_long_conversation

from sweeper.data.length_policies.base import Prompt


def test_strict_and_truncate_shorten_no_prompt() -> None:
    conversation = make_long_conversation()
    for policy in ("strict", "truncate"):
        assert make_limiter(policy, 10).make_prompt(Prompt("s", "q", conversation.apis, []), 50) is None

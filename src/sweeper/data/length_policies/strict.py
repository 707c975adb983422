"""`strict`: drop what is too long."""

from __future__ import annotations

from sweeper.data.conversations import Conversation
from sweeper.data.length_policies.base import DropReason, Prompt, TokenIds, TokenizedRow
from sweeper.data.length_policy import LengthLimiter


class Strict:
    """Drops every example that is too long."""

    def shorten_example(
        self, limiter: LengthLimiter, conversation: Conversation, target_turns: frozenset[int], row: TokenizedRow
    ) -> TokenizedRow | DropReason:
        """Drop it."""
        return "too-long"

    def shorten_prompt(self, limiter: LengthLimiter, prompt: Prompt, max_tokens: int) -> TokenIds | None:
        """Return None: nothing is shortened."""
        return None


POLICY = Strict()

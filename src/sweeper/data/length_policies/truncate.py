"""`truncate`: keep the first tokens, as TRL does. What is lost is often the target."""

from __future__ import annotations

from sweeper.data.conversations import Conversation
from sweeper.data.length_policies.base import DropReason, Prompt, TokenIds, TokenizedRow
from sweeper.data.length_policy import IGNORE_INDEX, LengthLimiter


class Truncate:
    """Cuts the end off; drops an example without a single target token left."""

    def shorten_example(
        self, limiter: LengthLimiter, conversation: Conversation, target_turns: frozenset[int], row: TokenizedRow
    ) -> TokenizedRow | DropReason:
        """Keep the first tokens."""
        ids, labels = row.input_ids[: limiter.max_length], row.labels[: limiter.max_length]
        if not (labels != IGNORE_INDEX).any():
            return "target-cut-away"
        lost = limiter.count_lost_apis(conversation.apis, ids)
        return TokenizedRow(ids, labels, is_target_cut=True, lost_apis=lost)

    def shorten_prompt(self, limiter: LengthLimiter, prompt: Prompt, max_tokens: int) -> TokenIds | None:
        """Return None: a prompt without its end does not elicit an answer."""
        return None


POLICY = Truncate()

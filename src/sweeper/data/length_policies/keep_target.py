"""`keep-target`: cut the middle of the prompt, never the query or the target."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sweeper.data.conversations import Conversation
from sweeper.data.length_policies.base import DropReason, Prompt, TokenIds, TokenizedRow
from sweeper.data.length_policy import ASSISTANT_PROMPT, IGNORE_INDEX, LengthLimiter, TokenizeSegment
from sweeper.data.prompt_format import Segment, make_conversation_segments


class KeepTarget:
    """Cuts the middle of the prompt; drops an example whose query and target alone are too long."""

    def shorten_example(
        self, limiter: LengthLimiter, conversation: Conversation, target_turns: frozenset[int], row: TokenizedRow
    ) -> TokenizedRow | DropReason:
        """Cut the prompt to the length that the target leaves."""
        *prompt, ask, target = make_conversation_segments(conversation, limiter.api_format)
        tail = [limiter.tokenize(ask), limiter.tokenize(target)]
        cut = cut_middle(prompt, limiter.tokenize, limiter.max_length - 1 - sum(map(len, tail)))
        if cut is None:
            return "target-does-not-fit"
        ids = limiter.prepend_bos([cut, *tail])
        labels = np.full_like(ids, IGNORE_INDEX)
        labels[len(ids) - len(tail[1]) :] = tail[1]
        lost = limiter.count_lost_apis(conversation.apis, cut)
        return TokenizedRow(ids, labels, is_prompt_cut=True, lost_apis=lost)

    def shorten_prompt(self, limiter: LengthLimiter, prompt: Prompt, max_tokens: int) -> TokenIds | None:
        """Cut the middle; None where the query alone does not fit."""
        ask = limiter.tokenize(ASSISTANT_PROMPT)
        cut = cut_middle(limiter.make_prompt_segments(prompt)[:-1], limiter.tokenize, max_tokens - 1 - len(ask))
        return None if cut is None else limiter.prepend_bos([cut, ask])


def cut_middle(prompt: Sequence[Segment], tokenize: TokenizeSegment, max_tokens: int) -> TokenIds | None:
    """Return the prompt's tokens without a stretch in their middle.

    The first user segment (the query) is never cut. Of all other tokens, as many stay at the start as at the end, one
    more at the start where their number is odd.

    Args:
        prompt: segments, one of which is the user's.
        tokenize: returns the token ids of a segment.
        max_tokens: tokens to keep at most.

    Returns:
        Token ids; None where the query alone does not fit.
    """
    query = next(k for k, part in enumerate(prompt) if part.role == "user")
    pieces = [tokenize(part) for part in prompt]
    is_free = np.concatenate([np.full(len(piece), k != query) for k, piece in enumerate(pieces)])
    keep = max_tokens - len(pieces[query])
    if keep < 0:
        return None
    free = np.flatnonzero(is_free)
    start = -(-keep // 2)
    ids: TokenIds = np.concatenate(pieces)
    return np.delete(ids, free[start : start + max(len(free) - keep, 0)])


POLICY = KeepTarget()

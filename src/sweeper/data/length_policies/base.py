"""The interface of length policies, and the rows that they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from sweeper.data.conversations import ApiList, Conversation
from sweeper.registry import Registry

if TYPE_CHECKING:
    from sweeper.data.length_policy import LengthLimiter

TokenIds = np.ndarray[Any, np.dtype[np.int32]]
DropReason = Literal["too-long", "target-cut-away", "target-does-not-fit", "unreadable-api-list"]
"""Why a policy drops an example."""


@dataclass(frozen=True)
class TokenizedRow:
    """A training row that fits."""

    input_ids: TokenIds
    """Token ids."""
    labels: TokenIds
    """The same, `IGNORE_INDEX` where a position has no loss."""
    is_prompt_cut: bool = False
    """Whether the prompt lost something."""
    is_target_cut: bool = False
    """Whether the target lost something."""
    lost_apis: int = 0
    """APIs that are no longer listed."""


@dataclass(frozen=True)
class Prompt:
    """A prompt of the agent, before it is tokenized."""

    system: str
    """System message without the API list."""
    query: str
    """The user's query."""
    apis: ApiList
    """The APIs on offer."""
    turns: Sequence[tuple[str, str]]
    """(role, content) after the query."""


class LengthPolicy(Protocol):
    """One way to handle what is too long."""

    def shorten_example(
        self, limiter: LengthLimiter, conversation: Conversation, target_turns: frozenset[int], row: TokenizedRow
    ) -> TokenizedRow | DropReason:
        """Return a row that fits, or why there is none.

        Args:
            limiter: the maximum length, the tokenizer and the API format.
            conversation: the example.
            target_turns: its one turn to learn, counted among the assistant's turns.
            row: the whole example, which is too long.
        """
        ...

    def shorten_prompt(self, limiter: LengthLimiter, prompt: Prompt, max_tokens: int) -> TokenIds | None:
        """Return at most `max_tokens` tokens of an agent's prompt; None where it cannot be shortened.

        The APIs that the answer will use are unknown here, so no API is removed.
        """
        ...


LENGTH_POLICIES: Registry[LengthPolicy] = Registry("length policy", "data/length_policies", attribute="POLICY")

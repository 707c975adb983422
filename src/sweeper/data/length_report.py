"""Report the token lengths of a source, and what each length policy would keep of it. Trains nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np

from sweeper.config import DataSpec, ModelSpec
from sweeper.data.conversations import ReaderCounts
from sweeper.data.length_policies.base import LENGTH_POLICIES
from sweeper.data.length_policy import LengthPolicyCounts
from sweeper.data.manifest import SourceDescription
from sweeper.data.prepare import train_source_tokenizer
from sweeper.data.prompt_format import make_conversation_segments
from sweeper.data.readers.base import FractionReporter
from sweeper.data.sources import open_source
from sweeper.data.tokenize import ROWS_PER_BATCH, make_length_limiter
from sweeper.data.tokenizer import load_tokenizer
from sweeper.errors import DataError
from sweeper.models import resolve_extended_positions
from sweeper.storage import JsonObject


@dataclass(frozen=True)
class LengthReport:
    """Counts and token lengths of a source, one row per example, nothing folded."""

    source: SourceDescription
    """What was read."""
    model: str
    """Name of the model whose tokenizer counts."""
    max_length: int
    """Longest row, tokens."""
    policy: str
    """The configured length policy."""
    reader: ReaderCounts
    """What was read and left out."""
    prompt_tokens: tuple[int, ...]
    """Tokens of every prompt."""
    target_tokens: tuple[int, ...]
    """Tokens of every target."""
    by_policy: Mapping[str, LengthPolicyCounts]
    """Length policy -> what it would keep and lose."""

    def to_document(self) -> JsonObject:
        """Return the report as `data inspect --json` prints it."""
        configured = self.by_policy[self.policy]
        return {
            "source": self.source.model_dump(mode="json"),
            "model": self.model,
            "max_length": self.max_length,
            "fit_policy": self.policy,
            "examples": configured.examples,
            "truncated": configured.truncated_rows,
            "unreadable": dict(self.reader.drop_counts),
            "dropped": dict(self.reader.drop_counts + configured.drop_counts),
            "valid_queries": self.reader.valid_queries,
            "invalid_queries": self.reader.invalid_queries,
            "arguments_not_json": self.reader.arguments_not_json,
            "duplicate_ids": self.reader.duplicate_ids,
            "prompt_tokens": _compute_quantiles(self.prompt_tokens),
            "target_tokens": _compute_quantiles(self.target_tokens),
            "fit": {policy: counts.summarize().model_dump() for policy, counts in self.by_policy.items()},
            "problems": self.reader.problems,
        }


def report_lengths(
    data: DataSpec, model: ModelSpec, on_progress: FractionReporter = lambda share: None
) -> LengthReport:
    """Measure the examples of a source under every length policy.

    Args:
        data: the source, the longest row and the configured policy.
        model: the model whose tokenizer counts.
        on_progress: receives the share read.

    Returns:
        What every policy keeps, cuts and drops, and quantiles of tokens.

    Raises:
        DataError: the source has no usable example.
        UsageError: the model has too few positions.

    Example:
        >>> from sweeper.config import load_data_spec
        >>> world = {"train_queries": 6, "validation_queries": 3, "test_queries_per_subset": 1}
        >>> data = load_data_spec("toolworld", toolworld=world)
        >>> from sweeper.config import load_model_spec
        >>> model = load_model_spec("opt-tiny-32")
        >>> report_lengths(data, model).to_document()["valid_queries"]
        9
    """
    resolve_extended_positions(model, data)
    source, reader = open_source(data), ReaderCounts()
    tokenizer = load_tokenizer(model) if model.source else train_source_tokenizer(source, data)
    _, segments = make_length_limiter(tokenizer, data.fit, data.max_length, data.api_format)
    limiters = {
        policy: make_length_limiter(tokenizer, policy, data.max_length, data.api_format, segments)[0]
        for policy in LENGTH_POLICIES.names
    }
    by_policy = {policy: LengthPolicyCounts() for policy in limiters}
    prompts: list[int] = []
    targets: list[int] = []
    stream = (conversation for _, conversation in source.read_conversations(reader, on_progress))
    while batch := list(islice(stream, ROWS_PER_BATCH)):
        segments.tokenize_ahead(part for c in batch for part in make_conversation_segments(c, data.api_format))
        for conversation in batch:
            parts = make_conversation_segments(conversation, data.api_format)
            *prompt, target = (len(segments(part)) for part in parts)
            prompts.append(1 + sum(prompt))
            targets.append(target)
            last = frozenset({sum(turn.role == "assistant" for turn in conversation.turns) - 1})
            for policy, limiter in limiters.items():
                by_policy[policy].count_row(limiter.make_row(conversation, last), 1, conversation.apis)
    if not targets:
        raise DataError(
            f"data {data.path or data.name}",
            requested="examples",
            found=f"none in {reader.files} files: " + ("; ".join(reader.problems[:5]) or "all marked invalid"),
        )
    return LengthReport(
        source.describe(),
        model.name,
        data.max_length,
        data.fit,
        reader,
        tuple(prompts),
        tuple(targets),
        by_policy,
    )


def _compute_quantiles(values: tuple[int, ...]) -> dict[str, float]:
    p50, p90 = np.quantile(values, [0.5, 0.9])
    return {"p50": round(float(p50), 1), "p90": round(float(p90), 1), "max": float(max(values))}

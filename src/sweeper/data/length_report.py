"""What a source holds, in a model's tokens, and what each fitting policy would keep of it. Trains on nothing."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np

from sweeper.config import DataSpec, ModelSpec
from sweeper.data.conversations import ReaderCounts
from sweeper.data.length_policy import POLICY_NAMES, LengthPolicyCounts
from sweeper.data.prepare import describe_source, train_source_tokenizer
from sweeper.data.prompt_format import make_conversation_segments
from sweeper.data.sources import FractionReporter, open_source
from sweeper.data.tokenize import ROWS_PER_BATCH, make_length_limiter
from sweeper.data.tokenizer import load_tokenizer
from sweeper.errors import DataError
from sweeper.models import resolve_extended_positions


def report_lengths(
    data: DataSpec, model: ModelSpec, on_progress: FractionReporter = lambda share: None
) -> dict[str, Any]:
    """Counts and token quantiles of a source, one row per example, nothing folded.

    Raises DataError, and UsageError where the model has too few positions.

    `examples`, `truncated` and `dropped` are those of the policy asked for, `data.fit`; `fit` has all policies.
    """
    resolve_extended_positions(model, data)
    source, counts = open_source(data), ReaderCounts()
    tokenizer = load_tokenizer(model) if model.source else train_source_tokenizer(source, data)
    _, texts = make_length_limiter(tokenizer, data.fit, data.max_length, data.api_format)
    fitters = {
        policy: make_length_limiter(tokenizer, policy, data.max_length, data.api_format, texts)[0]
        for policy in POLICY_NAMES
    }
    fits = {policy: LengthPolicyCounts() for policy in POLICY_NAMES}
    prompts, targets = [], []
    stream = (conversation for _, conversation in source.read_conversations(counts, on_progress))
    while batch := list(islice(stream, ROWS_PER_BATCH)):
        texts.tokenize_ahead(part for c in batch for part in make_conversation_segments(c, data.api_format))
        for conversation in batch:
            *prompt, target = (len(texts(part)) for part in make_conversation_segments(conversation, data.api_format))
            prompts.append(1 + sum(prompt))
            targets.append(target)
            last = frozenset({sum(turn.role == "assistant" for turn in conversation.turns) - 1})
            for policy, fit in fitters.items():
                fits[policy].count_row(fit.make_row(conversation, last), 1, conversation.apis)
    if not targets:
        raise DataError(
            f"data {data.path or data.name}",
            requested="examples",
            found=f"none in {counts.files} files: " + ("; ".join(counts.problems[:5]) or "all marked invalid"),
        )
    asked = fits[data.fit]
    return {
        "source": describe_source(source),
        "model": model.name,
        "max_length": data.max_length,
        "fit_policy": data.fit,
        "examples": asked.examples,
        "truncated": asked.truncated_rows,
        "unreadable": dict(counts.drop_counts),
        "dropped": dict(counts.drop_counts + asked.drop_counts),
        "valid_queries": counts.valid_queries,
        "invalid_queries": counts.invalid_queries,
        "arguments_not_json": counts.arguments_not_json,
        "duplicate_ids": counts.duplicate_ids,
        "prompt_tokens": _compute_quantiles(prompts),
        "target_tokens": _compute_quantiles(targets),
        "fit": {policy: found.to_dict() for policy, found in fits.items()},
        "problems": counts.problems,
    }


def _compute_quantiles(values: list[int]) -> dict[str, float]:
    p50, p90 = np.quantile(values, [0.5, 0.9])
    return {"p50": round(float(p50), 1), "p90": round(float(p90), 1), "max": float(max(values))}

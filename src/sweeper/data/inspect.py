"""What a source holds, in a model's tokens, and what each fitting policy would keep of it. Trains on nothing."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np

from sweeper.data.conversations import Counts
from sweeper.data.encode import BATCH, fitter
from sweeper.data.fit import POLICIES, FitCounts
from sweeper.data.prepare import source_json, trained_tokenizer
from sweeper.data.render import conversation_segments
from sweeper.data.source import Tell, open_source
from sweeper.data.tokenizer import load_tokenizer
from sweeper.errors import DataError
from sweeper.models import stretched_to
from sweeper.spec import DataSpec, ModelSpec


def inspect(data: DataSpec, model: ModelSpec, tell: Tell = lambda share: None) -> dict[str, Any]:
    """Counts and token quantiles of a source, one row per example, nothing folded.

    Raises DataError, and UsageError where the model has too few positions.

    `examples`, `truncated` and `dropped` are those of the policy asked for, `data.fit`; `fit` has all policies.
    """
    stretched_to(model, data)
    source, counts = open_source(data), Counts()
    tokenizer = load_tokenizer(model) if model.source else trained_tokenizer(source, data)
    _, texts = fitter(tokenizer, data.fit, data.max_length, data.api_format)
    fitters = {policy: fitter(tokenizer, policy, data.max_length, data.api_format, texts)[0] for policy in POLICIES}
    fits = {policy: FitCounts() for policy in POLICIES}
    prompts, targets = [], []
    stream = (conversation for _, conversation in source.read(counts, tell))
    while batch := list(islice(stream, BATCH)):
        texts.ahead(part for c in batch for part in conversation_segments(c, data.api_format))
        for conversation in batch:
            *prompt, target = (len(texts(part)) for part in conversation_segments(conversation, data.api_format))
            prompts.append(1 + sum(prompt))
            targets.append(target)
            last = frozenset({sum(turn.role == "assistant" for turn in conversation.turns) - 1})
            for policy, fit in fitters.items():
                fits[policy].add(fit.row(conversation, last), 1, conversation.apis)
    if not targets:
        raise DataError(
            f"data {data.path or data.name}",
            asked="examples",
            found=f"none in {counts.files} files: " + ("; ".join(counts.problems[:5]) or "all marked invalid"),
        )
    asked = fits[data.fit]
    return {
        "source": source_json(source),
        "model": model.name,
        "max_length": data.max_length,
        "fit_policy": data.fit,
        "examples": asked.examples,
        "truncated": asked.truncated,
        "unreadable": dict(counts.dropped),
        "dropped": dict(counts.dropped + asked.dropped),
        "valid_queries": counts.valid_queries,
        "invalid_queries": counts.invalid_queries,
        "arguments_not_json": counts.arguments_not_json,
        "duplicate_ids": counts.duplicate_ids,
        "prompt_tokens": _quantiles(prompts),
        "target_tokens": _quantiles(targets),
        "fit": {policy: found.json() for policy, found in fits.items()},
        "problems": counts.problems,
    }


def _quantiles(values: list[int]) -> dict[str, float]:
    p50, p90 = np.quantile(values, [0.5, 0.9])
    return {"p50": round(float(p50), 1), "p90": round(float(p90), 1), "max": float(max(values))}

"""What a source holds, in a model's tokens, without training on it."""

from __future__ import annotations

from typing import Any

from sweeper.data.conversations import Counts
from sweeper.data.encode import IGNORED, encode, fold
from sweeper.data.render import conversation_segments
from sweeper.data.source import read_split
from sweeper.data.tokenizer import load_tokenizer, train_tokenizer
from sweeper.spec import DataSpec, ModelSpec

_VOCABULARY = 512


def inspect(source: str, model: ModelSpec, max_length: int) -> dict[str, Any]:
    """Counts and token quantiles of a source, one row per example, nothing folded. Raises DataError.

    `examples` fit `max_length` tokens; `dropped` holds the others by reason; `truncated` is 0: nothing is cut here.
    """
    import numpy as np

    world = source == "toolworld"
    spec = DataSpec(
        name=source,
        source="toolworld" if world else "toolbench",
        path=None if world else source,
        api_format="signature" if world else "toolbench",
        fold_steps=False,
        max_length=max_length,
        vocab_size=_VOCABULARY,
    )
    counts = Counts()
    split = read_split(spec, counts)
    conversations = [conversation for part in split.values() for conversation in part]
    texts = (s.text for c in split["train"] for s in conversation_segments(c, spec.api_format))
    tokenizer = load_tokenizer(model) if model.source else train_tokenizer(texts, _VOCABULARY)
    everything = encode(fold(conversations, fold_steps=False), tokenizer, spec.api_format, 2**62, Counts())
    prompts = np.array([sum(x == IGNORED for x in labels) for labels in everything["labels"]])
    targets = np.array(everything["target_tokens"])
    kept = int(((prompts + targets) <= max_length).sum())
    counts.dropped["too-long"] += len(prompts) - kept
    return {
        "source": source,
        "model": model.name,
        "max_length": max_length,
        "files": counts.files,
        "examples": kept,
        "truncated": 0,
        "dropped": {reason: count for reason, count in counts.dropped.items() if count},
        "valid_queries": counts.valid_queries,
        "invalid_queries": counts.invalid_queries,
        "prompt_tokens": _quantiles(prompts),
        "target_tokens": _quantiles(targets),
        "problems": counts.problems,
    }


def _quantiles(values: Any) -> dict[str, float]:
    import numpy as np

    p50, p90 = np.quantile(values, [0.5, 0.9])
    return {"p50": float(p50), "p90": float(p90), "max": float(values.max())}

"""Which test queries the training data give away, and whether each subset keeps its "unseen" promise."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from sweeper.data.api_names import possible_tools
from sweeper.data.conversations import Counts
from sweeper.data.queries import Query, Suite
from sweeper.data.source import Source, Tell, open_source
from sweeper.errors import DataError
from sweeper.spec import DataSpec

SHINGLE_WORDS = 3
"""Queries are compared by their runs of so many words."""
PERMUTATIONS = 128
THRESHOLD = 0.7
"""Jaccard similarity from which two queries count as near duplicates; usual for deduplication of text (0.7 to 0.8)."""
CANDIDATE_SLACK = 0.3
"""The hash tables look for pairs this far below the threshold, so that hardly a pair above it is missed; whether a
candidate counts is decided by its exact similarity."""

_SHOWN = 80
"""Characters of a training query that a reason shows; `duplicates` has both texts whole."""

PROMISES = {"instruction": "unseen instructions", "tool": "unseen tools", "category": "unseen categories"}
"""What the name of a subset says of its queries, by ToolBench (arXiv 2307.16789, section 3.2)."""

Verdict = Literal["holds", "broken", "unknown"]


def words(text: str) -> tuple[str, ...]:
    """The words of a query, without case and punctuation."""
    return tuple(re.findall(r"\w+", text.casefold()))


def shingles(text: str) -> frozenset[str]:
    """Runs of `SHINGLE_WORDS` words; of a shorter text, all its words as one run."""
    found = words(text)
    return frozenset(
        " ".join(found[k : k + SHINGLE_WORDS]) for k in range(max(1, len(found) - SHINGLE_WORDS + 1)) if found
    )


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    """Size of the intersection over that of the union; 1 for two empty sets."""
    return len(a & b) / len(a | b) if a or b else 1.0


@dataclass
class Training:
    """What is known of the training data: names of functions and tools, and the closest query to each test query."""

    queries: int = 0
    functions: set[str] = field(default_factory=set)
    tools: set[str] = field(default_factory=set)
    closest: dict[tuple[str, str], tuple[float, str]] = field(default_factory=dict)
    """(subset, test id) -> (similarity, training query)."""
    unreadable_api_lists: int = 0


def audit(
    data: DataSpec, suite: Suite, threshold: float = THRESHOLD, tell: Tell = lambda share: None
) -> dict[str, Any]:
    """The document of `data leakage --json`: duplicates, shared tools and APIs, promises kept, ids to exclude.

    Streams the training data once; memory grows with the test set and the number of distinct training queries alone.
    Raises DataError.
    """
    source, counts = open_source(data), Counts()
    training = _compare(source, suite, threshold, counts, tell)
    if not training.queries:
        why = "; ".join(counts.problems[:5]) or "no usable answer"
        raise DataError(f"data {source.location}", asked="training queries to compare with", found=f"none: {why}")
    categories = source.categories() | _agreed(suite)
    known = {tool: categories[tool] for tool in training.tools if tool in categories}
    seen_categories = set(known.values())
    rows, exclude, pairs = [], [], []
    for subset, queries in suite.subsets.items():
        reasons = {query.id: _reasons(subset, query, training, seen_categories, threshold) for query in queries}
        rows.append(_row(subset, queries, reasons, training, known, seen_categories, whole=not counts.problems))
        exclude += [{"subset": subset, "query_id": i, "reasons": why} for i, why in reasons.items() if why]
        pairs += [
            {"subset": subset, "query_id": query.id, "similarity": similarity, "test": query.text, "training": near}
            for query in queries
            for similarity, near in [training.closest.get((subset, query.id), (0.0, ""))]
            if similarity >= threshold
        ]
    return {
        "train": {
            "kind": source.kind,
            "location": source.location,
            "conversations": counts.conversations,
            "queries": training.queries,
            "functions": len(training.functions),
            "tools_with_known_category": len(known),
            "unreadable_api_lists": training.unreadable_api_lists,
            "dropped": dict(counts.dropped),
            "problems": counts.problems,
        },
        "test": suite.json(),
        "method": {"threshold": threshold, "shingle_words": SHINGLE_WORDS, "permutations": PERMUTATIONS},
        "subsets": rows,
        "duplicates": pairs,
        "exclude": exclude,
    }


def _compare(source: Source, suite: Suite, threshold: float, counts: Counts, tell: Tell) -> Training:
    from datasketch import MinHash, MinHashLSH

    empty = MinHash(num_perm=PERMUTATIONS)  # its permutations take longer to draw than to use

    def minhash(grams: Iterable[str]) -> Any:
        found = empty.copy()
        found.update_batch([gram.encode("utf-8", "surrogatepass") for gram in grams])
        return found

    test = {(subset, q.id): shingles(q.text) for subset, queries in suite.subsets.items() for q in queries}
    tables = MinHashLSH(threshold=max(0.1, threshold - CANDIDATE_SLACK), num_perm=PERMUTATIONS)
    for key, grams in test.items():
        tables.insert(key, minhash(grams))
    training, seen = Training(), set[int]()
    for query, functions in _distinct(source, counts, seen, training, tell):
        training.functions |= functions
        training.tools |= {tool for name in functions for tool in possible_tools(name)}
        grams = shingles(query)
        for key in tables.query(minhash(grams)):
            similarity = jaccard(test[key], grams)
            if similarity > training.closest.get(key, (0.0, ""))[0]:
                training.closest[key] = (similarity, query)
    training.queries = len(seen)
    return training


def _distinct(
    source: Source, counts: Counts, seen: set[int], training: Training, tell: Tell
) -> Iterator[tuple[str, set[str]]]:
    """Each distinct training query with the APIs offered with it; validation queries are not trained on."""
    for split, conversation in source.read(counts, tell):
        key = hash((conversation.query, conversation.apis.text))
        if split == "validation" or key in seen:
            continue
        seen.add(key)
        training.unreadable_api_lists += conversation.apis.functions is None
        yield conversation.query, set(conversation.apis.names) - {"Finish"}


def _agreed(suite: Suite) -> dict[str, str]:
    """Tool -> category as the test queries have it."""
    return {api.tool: api.category for queries in suite.subsets.values() for query in queries for api in query.apis}


def _promise(subset: str) -> str:
    return PROMISES.get(subset.rpartition("_")[2], PROMISES["instruction"])


def _reasons(subset: str, query: Query, training: Training, seen_categories: set[str], threshold: float) -> list[str]:
    """Why a test query should be left out: it was trained on, or it is not as unseen as its subset says."""
    similarity, near = training.closest.get((subset, query.id), (0.0, ""))
    reasons = []
    if similarity >= threshold:
        exact = words(query.text) == words(near)
        kind = "exact duplicate" if exact else f"near duplicate ({similarity:.2f})"
        reasons.append(f"{kind} of the training query: {near[:_SHOWN]}{'…' if len(near) > _SHOWN else ''}")
    promise = _promise(subset)
    if promise != PROMISES["instruction"] and (tools := sorted(query.needed & training.tools)):
        reasons.append(f"tool seen in training: {', '.join(tools)}")
    if promise == PROMISES["category"]:
        seen = sorted({api.category for api in query.apis if api.tool in query.needed} & seen_categories)
        if seen:
            reasons.append(f"category seen in training: {', '.join(seen)}")
    return reasons


def _row(
    subset: str,
    queries: tuple[Query, ...],
    reasons: dict[str, list[str]],
    training: Training,
    known: dict[str, str],
    seen_categories: set[str],
    *,
    whole: bool,
) -> dict[str, Any]:
    tools = set().union(*(query.needed for query in queries))
    functions = {api.function for query in queries for api in query.apis}
    categories = {api.category for query in queries for api in query.apis if api.tool in query.needed}
    flagged = [why for why in reasons.values() if why]
    promise = _promise(subset)
    duplicates = sum("duplicate" in why[0] for why in flagged)
    kept = {
        PROMISES["instruction"]: not duplicates,
        PROMISES["tool"]: not tools & training.tools,
        PROMISES["category"]: not tools & training.tools and not categories & seen_categories,
    }[promise]
    verdict: Verdict = "holds" if kept else "broken"
    if kept and (not whole or (promise == PROMISES["category"] and len(known) < _least_tools(training))):
        verdict = "unknown"  # what was not read, or is of no known category, may break it
    return {
        "subset": subset,
        "queries": len(queries),
        "exact_duplicates": sum(any(r.startswith("exact") for r in why) for why in flagged),
        "near_duplicates": sum(any(r.startswith("near") for r in why) for why in flagged),
        "tools": len(tools),
        "tools_in_training": len(tools & training.tools),
        "apis": len(functions),
        "apis_in_training": len(functions & training.functions),
        "categories": len(categories),
        "categories_in_training": len(categories & seen_categories) if known else None,
        "promise": promise,
        "verdict": verdict,
        "excluded": len(flagged),
    }


def _least_tools(training: Training) -> int:
    """Tools the training data have at least: of the possible readings of each name, one is right."""
    return len({min(possible_tools(name), key=len) for name in training.functions})

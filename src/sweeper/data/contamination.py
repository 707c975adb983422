"""Which test queries the training data give away, and whether each subset keeps its "unseen" promise."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from sweeper.config import DataSpec
from sweeper.data.api_names import find_candidate_tools
from sweeper.data.conversations import ReaderCounts
from sweeper.data.sources import FractionReporter, Source, open_source
from sweeper.data.test_queries import Suite, SuiteQuery
from sweeper.errors import DataError

SHINGLE_WORDS = 3
"""Queries are compared by their runs of so many words."""
MINHASH_PERMUTATIONS = 128
SIMILARITY_THRESHOLD = 0.7
"""Jaccard similarity from which two queries count as near duplicates; usual for deduplication of text (0.7 to 0.8)."""
CANDIDATE_SLACK = 0.3
"""The hash tables look for pairs this far below the threshold, so that hardly a pair above it is missed; whether a
candidate counts is decided by its exact similarity."""

_MAX_SHOWN_CHARACTERS = 80
"""Characters of a training query that a reason shows; `duplicates` has both texts whole."""

PROMISES = {"instruction": "unseen instructions", "tool": "unseen tools", "category": "unseen categories"}
"""What the name of a subset says of its queries, by ToolBench (arXiv 2307.16789, section 3.2)."""

PromiseStatus = Literal["holds", "broken", "unknown"]


def split_words(text: str) -> tuple[str, ...]:
    """The words of a query, without case and punctuation."""
    return tuple(re.findall(r"\w+", text.casefold()))


def make_shingles(text: str) -> frozenset[str]:
    """Runs of `SHINGLE_WORDS` words; of a shorter text, all its words as one run."""
    found = split_words(text)
    return frozenset(
        " ".join(found[k : k + SHINGLE_WORDS]) for k in range(max(1, len(found) - SHINGLE_WORDS + 1)) if found
    )


def jaccard_similarity(a: frozenset[str], b: frozenset[str]) -> float:
    """Size of the intersection over that of the union; 1 for two empty sets."""
    return len(a & b) / len(a | b) if a or b else 1.0


@dataclass
class TrainingDataSummary:
    """What is known of the training data: names of functions and tools, and the closest query to each test query."""

    query_count: int = 0
    function_names: set[str] = field(default_factory=set)
    tool_names: set[str] = field(default_factory=set)
    closest_queries: dict[tuple[str, str], tuple[float, str]] = field(default_factory=dict)
    """(subset, test id) -> (similarity, training query)."""
    unreadable_api_lists: int = 0


def audit_contamination(
    data: DataSpec,
    suite: Suite,
    threshold: float = SIMILARITY_THRESHOLD,
    on_progress: FractionReporter = lambda share: None,
) -> dict[str, Any]:
    """The document of `data leakage --json`: duplicates, shared tools and APIs, promises kept, ids to exclude.

    Streams the training data once; memory grows with the test set and the number of distinct training queries alone.
    Raises DataError.
    """
    source, counts = open_source(data), ReaderCounts()
    training = _compare_queries(source, suite, threshold, counts, on_progress)
    if not training.query_count:
        why = "; ".join(counts.problems[:5]) or "no usable answer"
        raise DataError(f"data {source.location}", requested="training queries to compare with", found=f"none: {why}")
    categories = source.load_categories() | _collect_test_categories(suite)
    known = {tool: categories[tool] for tool in training.tool_names if tool in categories}
    seen_categories = set(known.values())
    rows, exclude, pairs = [], [], []
    for subset, queries in suite.subsets.items():
        reasons = {
            query.id: _list_exclusion_reasons(subset, query, training, seen_categories, threshold) for query in queries
        }
        rows.append(
            _make_subset_row(
                subset, queries, reasons, training, known, seen_categories, is_complete=not counts.problems
            )
        )
        exclude += [{"subset": subset, "query_id": i, "reasons": why} for i, why in reasons.items() if why]
        pairs += [
            {"subset": subset, "query_id": query.id, "similarity": similarity, "test": query.text, "training": near}
            for query in queries
            for similarity, near in [training.closest_queries.get((subset, query.id), (0.0, ""))]
            if similarity >= threshold
        ]
    return {
        "train": {
            "kind": source.kind,
            "location": source.location,
            "conversations": counts.conversations,
            "queries": training.query_count,
            "functions": len(training.function_names),
            "tools_with_known_category": len(known),
            "unreadable_api_lists": training.unreadable_api_lists,
            "dropped": dict(counts.drop_counts),
            "problems": counts.problems,
        },
        "test": suite.to_dict(),
        "method": {"threshold": threshold, "shingle_words": SHINGLE_WORDS, "permutations": MINHASH_PERMUTATIONS},
        "subsets": rows,
        "duplicates": pairs,
        "exclude": exclude,
    }


def _compare_queries(
    source: Source, suite: Suite, threshold: float, counts: ReaderCounts, on_progress: FractionReporter
) -> TrainingDataSummary:
    from datasketch import MinHash, MinHashLSH

    empty = MinHash(num_perm=MINHASH_PERMUTATIONS)  # its permutations take longer to draw than to use

    def minhash(grams: Iterable[str]) -> Any:
        found = empty.copy()
        found.update_batch([gram.encode("utf-8", "surrogatepass") for gram in grams])
        return found

    test = {(subset, q.id): make_shingles(q.text) for subset, queries in suite.subsets.items() for q in queries}
    tables = MinHashLSH(threshold=max(0.1, threshold - CANDIDATE_SLACK), num_perm=MINHASH_PERMUTATIONS)
    for key, grams in test.items():
        tables.insert(key, minhash(grams))
    training, seen = TrainingDataSummary(), set[int]()
    for query, functions in _iterate_distinct_queries(source, counts, seen, training, on_progress):
        training.function_names |= functions
        training.tool_names |= {tool for name in functions for tool in find_candidate_tools(name)}
        grams = make_shingles(query)
        for key in tables.query(minhash(grams)):
            similarity = jaccard_similarity(test[key], grams)
            if similarity > training.closest_queries.get(key, (0.0, ""))[0]:
                training.closest_queries[key] = (similarity, query)
    training.query_count = len(seen)
    return training


def _iterate_distinct_queries(
    source: Source,
    counts: ReaderCounts,
    seen_hashes: set[int],
    training: TrainingDataSummary,
    on_progress: FractionReporter,
) -> Iterator[tuple[str, set[str]]]:
    """Each distinct training query with the APIs offered with it; validation queries are not trained on."""
    for split, conversation in source.read_conversations(counts, on_progress):
        key = hash((conversation.query, conversation.apis.text))
        if split == "validation" or key in seen_hashes:
            continue
        seen_hashes.add(key)
        training.unreadable_api_lists += conversation.apis.functions is None
        yield conversation.query, set(conversation.apis.names) - {"Finish"}


def _collect_test_categories(suite: Suite) -> dict[str, str]:
    """Tool -> category as the test queries have it."""
    return {api.tool: api.category for queries in suite.subsets.values() for query in queries for api in query.apis}


def _get_promise(subset: str) -> str:
    return PROMISES.get(subset.rpartition("_")[2], PROMISES["instruction"])


def _list_exclusion_reasons(
    subset: str, query: SuiteQuery, training: TrainingDataSummary, seen_categories: set[str], threshold: float
) -> list[str]:
    """Why a test query should be left out: it was trained on, or it is not as unseen as its subset says."""
    similarity, near = training.closest_queries.get((subset, query.id), (0.0, ""))
    reasons = []
    if similarity >= threshold:
        exact = split_words(query.text) == split_words(near)
        kind = "exact duplicate" if exact else f"near duplicate ({similarity:.2f})"
        reasons.append(
            f"{kind} of the training query: {near[:_MAX_SHOWN_CHARACTERS]}{'…' if len(near) > _MAX_SHOWN_CHARACTERS else ''}"
        )
    promise = _get_promise(subset)
    if promise != PROMISES["instruction"] and (tools := sorted(query.needed_tools & training.tool_names)):
        reasons.append(f"tool seen in training: {', '.join(tools)}")
    if promise == PROMISES["category"]:
        seen = sorted({api.category for api in query.apis if api.tool in query.needed_tools} & seen_categories)
        if seen:
            reasons.append(f"category seen in training: {', '.join(seen)}")
    return reasons


def _make_subset_row(
    subset: str,
    queries: tuple[SuiteQuery, ...],
    reasons: dict[str, list[str]],
    training: TrainingDataSummary,
    tool_categories: dict[str, str],
    seen_categories: set[str],
    *,
    is_complete: bool,
) -> dict[str, Any]:
    tools = set().union(*(query.needed_tools for query in queries))
    functions = {api.function for query in queries for api in query.apis}
    categories = {api.category for query in queries for api in query.apis if api.tool in query.needed_tools}
    flagged = [why for why in reasons.values() if why]
    promise = _get_promise(subset)
    duplicates = sum("duplicate" in why[0] for why in flagged)
    kept = {
        PROMISES["instruction"]: not duplicates,
        PROMISES["tool"]: not tools & training.tool_names,
        PROMISES["category"]: not tools & training.tool_names and not categories & seen_categories,
    }[promise]
    verdict: PromiseStatus = "holds" if kept else "broken"
    if kept and (
        not is_complete or (promise == PROMISES["category"] and len(tool_categories) < _count_tools_at_least(training))
    ):
        verdict = "unknown"  # what was not read, or is of no known category, may break it
    return {
        "subset": subset,
        "queries": len(queries),
        "exact_duplicates": sum(any(r.startswith("exact") for r in why) for why in flagged),
        "near_duplicates": sum(any(r.startswith("near") for r in why) for why in flagged),
        "tools": len(tools),
        "tools_in_training": len(tools & training.tool_names),
        "apis": len(functions),
        "apis_in_training": len(functions & training.function_names),
        "categories": len(categories),
        "categories_in_training": len(categories & seen_categories) if tool_categories else None,
        "promise": promise,
        "verdict": verdict,
        "excluded": len(flagged),
    }


def _count_tools_at_least(training: TrainingDataSummary) -> int:
    """Tools the training data have at least: of the possible readings of each name, one is right."""
    return len({min(find_candidate_tools(name), key=len) for name in training.function_names})

"""Train/test contamination: leaked test queries, and whether each subset keeps its "unseen" promise."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

from sweeper.config import DataSpec
from sweeper.data.api_names import find_candidate_tools
from sweeper.data.conversations import ReaderCounts
from sweeper.data.near_duplicates import ClosestSetSearch
from sweeper.data.readers.base import FractionReporter, Source
from sweeper.data.sources import open_source
from sweeper.data.test_queries import Suite, SuiteQuery
from sweeper.errors import DataError
from sweeper.storage import JsonObject

SHINGLE_WORDS = 3
"""Words of a shingle; queries are compared by their shingles."""
SIMILARITY_THRESHOLD = 0.7
"""Jaccard similarity from which two queries are near duplicates; usual for deduplication of text (0.7 to 0.8)."""

_MAX_SHOWN_CHARACTERS = 80
"""Characters of a training query in a reason; `duplicates` has both texts in full."""

PROMISES = {"instruction": "unseen instructions", "tool": "unseen tools", "category": "unseen categories"}
"""Last word of a subset's name -> its promise about the queries, by ToolBench (arXiv 2307.16789, section 3.2)."""

PromiseStatus = Literal["holds", "broken", "unknown"]
Duplicate = Literal["exact", "near"]


@dataclass(frozen=True)
class SubsetContamination:
    """Contamination of one subset of the test queries."""

    subset: str
    queries: int
    exact_duplicates: int
    near_duplicates: int
    tools: int
    """Tools that its queries need."""
    tools_in_training: int
    apis: int
    """APIs that its queries offer."""
    apis_in_training: int
    categories: int
    categories_in_training: int | None
    """None where no category of a training tool is known."""
    promise: str
    """What the subset's name promises."""
    verdict: PromiseStatus
    """Whether the promise holds; unknown where training data were unreadable, or tools have no known category."""
    excluded: int
    """Queries with a reason to exclude them."""


@dataclass(frozen=True)
class Exclusion:
    """A test query that should be left out."""

    subset: str
    query_id: str
    reasons: list[str]


@dataclass(frozen=True)
class DuplicatePair:
    """A test query and the most similar training query."""

    subset: str
    query_id: str
    similarity: float
    """Jaccard similarity of their shingles."""
    test: str
    """Text of the test query."""
    training: str
    """Text of the training query."""


@dataclass(frozen=True)
class ContaminationReport:
    """Leaked test queries of a suite, and the promises of its subsets."""

    source: Source
    """The training data."""
    counts: ReaderCounts
    """What was read and left out."""
    training: TrainingDataSummary
    """Their queries and API names."""
    tools_with_known_category: int
    suite: Suite
    """The test queries."""
    threshold: float
    """Jaccard similarity from which two queries are near duplicates."""
    subsets: tuple[SubsetContamination, ...]
    duplicates: tuple[DuplicatePair, ...]
    exclude: tuple[Exclusion, ...]

    def to_document(self) -> JsonObject:
        """Return the report as `data leakage --json` prints it."""
        return {
            "train": {
                "kind": self.source.kind,
                "location": self.source.location,
                "conversations": self.counts.conversations,
                "queries": self.training.query_count,
                "functions": len(self.training.function_names),
                "tools_with_known_category": self.tools_with_known_category,
                "unreadable_api_lists": self.training.unreadable_api_lists,
                "dropped": dict(self.counts.drop_counts),
                "problems": self.counts.problems,
            },
            "test": self.suite.to_document(),
            "method": {
                "threshold": self.threshold,
                "shingle_words": SHINGLE_WORDS,
            },
            "subsets": [asdict(row) for row in self.subsets],
            "duplicates": [asdict(pair) for pair in self.duplicates],
            "exclude": [asdict(query) for query in self.exclude],
        }


@dataclass
class TrainingDataSummary:
    """Names in the training data, and the most similar training query of each test query."""

    query_count: int = 0
    """Distinct queries."""
    function_names: set[str] = field(default_factory=set)
    tool_names: set[str] = field(default_factory=set)
    """Standard names of all tools that a function can belong to."""
    closest_queries: dict[tuple[str, str], tuple[float, str]] = field(default_factory=dict)
    """(subset, test id) -> (similarity, training query); those of at least the threshold."""
    unreadable_api_lists: int = 0

    def find_closest(self, subset: str, query: SuiteQuery) -> tuple[float, str]:
        """Return (similarity, text) of the most similar training query; (0, "") below the threshold."""
        return self.closest_queries.get((subset, query.id), (0.0, ""))

    def count_tools_at_least(self) -> int:
        """Return a lower bound of the number of tools: each name has exactly one true tool among its candidates."""
        return len({min(find_candidate_tools(name), key=len) for name in self.function_names})


def split_words(text: str) -> tuple[str, ...]:
    """Return the words of a query, without case and punctuation."""
    return tuple(re.findall(r"\w+", text.casefold()))


def make_shingles(text: str) -> frozenset[str]:
    """Return all runs of `SHINGLE_WORDS` words; of a shorter text, all its words as one run.

    Example:
        >>> sorted(make_shingles("Book me a flight"))
        ['book me a', 'me a flight']
    """
    words = split_words(text)
    return frozenset(
        " ".join(words[k : k + SHINGLE_WORDS]) for k in range(max(1, len(words) - SHINGLE_WORDS + 1)) if words
    )


def audit_contamination(
    data: DataSpec,
    suite: Suite,
    threshold: float = SIMILARITY_THRESHOLD,
    on_progress: FractionReporter = lambda share: None,
) -> ContaminationReport:
    """Compare training data with test queries: duplicates, shared tools and APIs, promises kept, queries to exclude.

    Streams the training data once; memory grows only with the test set and the number of distinct training queries.

    Args:
        data: the training data.
        suite: the test queries.
        threshold: Jaccard similarity from which two queries are near duplicates.
        on_progress: receives the share of the training data read.

    Returns:
        Duplicates by subset, what each subset promises, and the queries to exclude.

    Raises:
        DataError: the training data cannot be read, or hold no query.

    Example:
        >>> from sweeper.config import load_data_spec
        >>> world = {"train_queries": 6, "validation_queries": 3, "test_queries_per_subset": 1}
        >>> data = load_data_spec("toolworld", toolworld=world)
        >>> report = audit_contamination(data, open_suite(data))
        >>> report.to_document()["subsets"][0]["exact_duplicates"]
        0
    """
    source, counts = open_source(data), ReaderCounts()
    training = _compare_queries(source, suite, threshold, counts, on_progress)
    if not training.query_count:
        why = "; ".join(counts.problems[:5]) or "no usable answer"
        raise DataError(f"data {source.location}", requested="training queries to compare with", found=f"none: {why}")
    categories = (source.load_categories() if source.load_categories else {}) | _collect_test_categories(suite)
    auditor = _SubsetAuditor(
        training,
        {tool: categories[tool] for tool in training.tool_names if tool in categories},
        threshold,
        is_complete=not counts.problems,
    )
    rows: list[SubsetContamination] = []
    exclude: list[Exclusion] = []
    duplicates: list[DuplicatePair] = []
    for subset, queries in suite.subsets.items():
        exclusions = [
            Exclusion(subset, query.id, reasons)
            for query in queries
            if (reasons := auditor.list_exclusion_reasons(subset, query))
        ]
        rows.append(auditor.audit_subset(subset, queries, excluded=len(exclusions)))
        exclude += exclusions
        for query in queries:
            similarity, text = training.find_closest(subset, query)
            if similarity >= threshold:
                duplicates.append(DuplicatePair(subset, query.id, similarity, query.text, text))
    known = len(auditor.tool_categories)
    return ContaminationReport(
        source, counts, training, known, suite, threshold, tuple(rows), tuple(duplicates), tuple(exclude)
    )


def _compare_queries(
    source: Source, suite: Suite, threshold: float, counts: ReaderCounts, on_progress: FractionReporter
) -> TrainingDataSummary:
    """Find the most similar training query of every test query, and the names in the training data."""
    search = ClosestSetSearch(
        {(subset, q.id): make_shingles(q.text) for subset, queries in suite.subsets.items() for q in queries}, threshold
    )
    training, seen = TrainingDataSummary(closest_queries=search.closest), set[int]()
    for query, functions in _iterate_distinct_queries(source, counts, seen, training, on_progress):
        training.function_names |= functions
        training.tool_names |= {tool for name in functions for tool in find_candidate_tools(name)}
        search.offer(make_shingles(query), query)
    training.query_count = len(seen)
    return training


def _iterate_distinct_queries(
    source: Source,
    counts: ReaderCounts,
    seen_hashes: set[int],
    training: TrainingDataSummary,
    on_progress: FractionReporter,
) -> Iterator[tuple[str, set[str]]]:
    """Yield each distinct training query with the names of its APIs; validation queries are not trained on."""
    for split, conversation in source.read_conversations(counts, on_progress):
        key = hash((conversation.query, conversation.apis.text))
        if split == "validation" or key in seen_hashes:
            continue
        seen_hashes.add(key)
        training.unreadable_api_lists += conversation.apis.functions is None
        yield conversation.query, set(conversation.apis.names) - {"Finish"}


def _collect_test_categories(suite: Suite) -> dict[str, str]:
    """Map each tool of the test queries to its category."""
    return {api.tool: api.category for queries in suite.subsets.values() for query in queries for api in query.apis}


def _get_promise(subset: str) -> str:
    return PROMISES.get(subset.rpartition("_")[2], PROMISES["instruction"])


class _SubsetAuditor:
    """Compares the queries of one subset after another with a summary of the training data."""

    def __init__(
        self,
        training: TrainingDataSummary,
        tool_categories: Mapping[str, str],
        threshold: float,
        *,
        is_complete: bool,
    ) -> None:
        self.training, self.tool_categories, self.threshold = training, tool_categories, threshold
        self.is_complete = is_complete
        """Whether all training data were readable."""
        self._seen_categories = set(tool_categories.values())

    def list_exclusion_reasons(self, subset: str, query: SuiteQuery) -> list[str]:
        """Return why a test query should be left out: it is in the training data, or breaks its subset's promise."""
        reasons = []
        if kind := self._find_duplicate(subset, query):
            similarity, text = self.training.find_closest(subset, query)
            label = "exact duplicate" if kind == "exact" else f"near duplicate ({similarity:.2f})"
            shown = text[:_MAX_SHOWN_CHARACTERS] + ("…" if len(text) > _MAX_SHOWN_CHARACTERS else "")
            reasons.append(f"{label} of the training query: {shown}")
        promise = _get_promise(subset)
        if promise != PROMISES["instruction"] and (tools := sorted(query.needed_tools & self.training.tool_names)):
            reasons.append(f"tool seen in training: {', '.join(tools)}")
        if promise == PROMISES["category"] and (seen := sorted(_list_categories([query]) & self._seen_categories)):
            reasons.append(f"category seen in training: {', '.join(seen)}")
        return reasons

    def audit_subset(self, subset: str, queries: tuple[SuiteQuery, ...], *, excluded: int) -> SubsetContamination:
        """Return the counts of a subset, and whether its promise holds."""
        duplicates = [self._find_duplicate(subset, query) for query in queries]
        tools = frozenset[str]().union(*(query.needed_tools for query in queries))
        functions = {api.function for query in queries for api in query.apis}
        categories = _list_categories(queries)
        seen_categories = len(categories & self._seen_categories)
        return SubsetContamination(
            subset=subset,
            queries=len(queries),
            exact_duplicates=duplicates.count("exact"),
            near_duplicates=duplicates.count("near"),
            tools=len(tools),
            tools_in_training=len(tools & self.training.tool_names),
            apis=len(functions),
            apis_in_training=len(functions & self.training.function_names),
            categories=len(categories),
            categories_in_training=seen_categories if self.tool_categories else None,
            promise=_get_promise(subset),
            verdict=self._judge_promise(
                _get_promise(subset),
                has_duplicates=any(duplicates),
                has_seen_tools=bool(tools & self.training.tool_names),
                has_seen_categories=seen_categories > 0,
            ),
            excluded=excluded,
        )

    def _judge_promise(
        self, promise: str, *, has_duplicates: bool, has_seen_tools: bool, has_seen_categories: bool
    ) -> PromiseStatus:
        is_broken = {
            PROMISES["instruction"]: has_duplicates,
            PROMISES["tool"]: has_seen_tools,
            PROMISES["category"]: has_seen_tools or has_seen_categories,
        }[promise]
        if is_broken:
            return "broken"
        needs_categories = promise == PROMISES["category"]
        if needs_categories and len(self.tool_categories) < self.training.count_tools_at_least():
            return "unknown"  # a tool of unknown category may break it
        return "holds" if self.is_complete else "unknown"  # what was unreadable may break it

    def _find_duplicate(self, subset: str, query: SuiteQuery) -> Duplicate | None:
        similarity, text = self.training.find_closest(subset, query)
        if similarity < self.threshold:
            return None
        return "exact" if split_words(query.text) == split_words(text) else "near"


def _list_categories(queries: Iterable[SuiteQuery]) -> set[str]:
    """Return the categories of the tools that queries need."""
    return {api.category for query in queries for api in query.apis if api.tool in query.needed_tools}

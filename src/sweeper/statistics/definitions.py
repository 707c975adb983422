"""Pass rates of judged answers, under each of the definitions in use.

`strict` is the headline. `tooleval` is ToolBench's pass rate (Qin et al. 2023, arXiv 2307.16789) as its
`eval_pass_rate.py` prints it: a tied query passes, although the file that it writes, and another commit, flip a coin.
`stabletoolbench` is StableToolBench's solve rate (Guo et al. 2024, arXiv 2403.07714).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from sweeper.errors import DataError
from sweeper.statistics.aliases import QueryKey
from sweeper.statistics.intervals import Interval, wilson_interval
from sweeper.statistics.vote_scores import (
    TASK_STATUSES,
    VOTE_STATUSES,
    VoteRow,
    Votes,
    count_votes,
    keep_scored_votes,
    score_stabletoolbench,
    score_strict,
    score_tooleval,
)

if TYPE_CHECKING:
    import pandas as pd

DEFINITIONS = ("strict", "stabletoolbench", "tooleval")
"""Names of the definitions, the headline first."""
_VOTE_KEY_COLUMNS = ["subset", "query_id", "judge", "vote"]
_EXPECTED_ROWS = "one row per (subset, query, judge, vote)"


@dataclass(frozen=True)
class DefinitionRate:
    """A pass rate under one definition."""

    value: float
    """0 to 1; NaN without a query."""
    interval: Interval
    n: int
    """Its denominator, in queries."""

    def to_json(self) -> dict[str, object]:
        """Return the fields, with `interval` as [low, high]."""
        return {"value": self.value, "interval": [self.interval.low, self.interval.high], "n": self.n}


@dataclass(frozen=True)
class JudgedRates:
    """The pass rates of one judge's votes."""

    n: int
    """All queries, judged or missing."""
    unscored: int
    """Queries without a scored vote: in no denominator."""
    missing: int
    """Queries without an answer."""
    votes: Mapping[str, int]
    """Number of votes by status."""
    pass_rate: Mapping[str, DefinitionRate]
    """Definition -> rate."""

    def to_json(self) -> dict[str, object]:
        """Return the fields as the report has them."""
        return {
            "n": self.n,
            "unscored": self.unscored,
            "missing": self.missing,
            "votes": dict(self.votes),
            "pass_rate": {name: rate.to_json() for name, rate in self.pass_rate.items()},
        }


@dataclass(frozen=True)
class SubsetRates:
    """Pass rates over all queries and by subset."""

    overall: JudgedRates
    """Every query with equal weight."""
    subsets: Mapping[str, JudgedRates]
    subset_mean: Mapping[str, float]
    """Definition -> plain mean of the subsets' rates; NaN where one is undefined."""


@dataclass(frozen=True)
class DefinitionComparison:
    """The pass rate under every definition."""

    rows: tuple[tuple[str, str, DefinitionRate], ...]
    """Definition, queries (`all` or `solvable`) and rate."""
    spread: float
    """Largest minus smallest rate; NaN where one is undefined."""

    def to_json(self) -> dict[str, object]:
        """Return `rows` and `spread`."""
        rows = [{"definition": name, "queries": queries, **rate.to_json()} for name, queries, rate in self.rows]
        return {"rows": rows, "spread": self.spread}


@dataclass(frozen=True)
class RatesByJudge:
    """The pass rates of several judges on the same queries."""

    judges: Mapping[str, JudgedRates]
    left_out: int
    """Judged queries that some judge did not score."""

    def to_json(self) -> dict[str, object]:
        """Return `judges` and `left_out`."""
        return {"judges": {name: rates.to_json() for name, rates in self.judges.items()}, "left_out": self.left_out}


def compute_judged_rates(
    votes: pd.DataFrame,
    missing: Iterable[QueryKey],
    *,
    solvable_queries: Set[QueryKey] | None = None,
    seed: int = 0,
    alpha: float = 0.05,
) -> JudgedRates:
    """Compute the pass rates of one judge's votes under every definition, with Wilson intervals.

    Args:
        votes: one row per (subset, query_id, judge, vote) with `status` (None = unscored), `task` (None = not judged)
            and `answered` (whether the episode ended with Finish and an answer).
        missing: queries of the suite without any answer: `strict` counts them as 0, the others leave them out.
        solvable_queries: restricts the rates to these queries.
        seed: seed of ToolEval's coins.
        alpha: intervals are at 1 - alpha.

    Returns:
        The rate under every definition, the numbers of queries and votes, and what was not scored.

    Raises:
        DataError: a table that breaks this contract, with duplicate rows, or of several judges.

    Example:
        >>> import pandas as pd
        >>> votes = pd.DataFrame({"subset": "G1_tool", "query_id": ["1", "2"], "judge": "rules", "vote": 0})
        >>> votes = votes.assign(status=["solved", "unsolved"], task=None, answered=True)
        >>> rates = compute_judged_rates(votes, missing=[("G1_tool", "3")])
        >>> round(rates.pass_rate["strict"].value, 3)
        0.333
    """
    return _summarize_votes(*_collect_requested_votes(votes, missing, solvable_queries), seed, alpha)


def compute_rates_by_subset(
    votes: pd.DataFrame,
    missing: Iterable[QueryKey],
    *,
    solvable_queries: Set[QueryKey] | None = None,
    seed: int = 0,
    alpha: float = 0.05,
) -> SubsetRates:
    """Compute `compute_judged_rates` of all queries and of each subset, and the plain mean of the subsets.

    Args:
        votes: one row per (subset, query_id, judge, vote) with `status`, `task` and `answered`, as for
            `compute_judged_rates`.
        missing: queries of the suite without any answer.
        solvable_queries: restricts the rates to these queries.
        seed: seed of ToolEval's coins.
        alpha: the interval is at 1 - alpha.

    Returns:
        The rates of all queries, of each subset, and the mean of the subsets.

    Example:
        >>> import pandas as pd
        >>> votes = pd.DataFrame({"subset": "G1_tool", "query_id": ["1", "2"], "judge": "rules", "vote": 0})
        >>> votes = votes.assign(status=["solved", "unsolved"], task=None, answered=True)
        >>> list(compute_rates_by_subset(votes, []).subsets)
        ['G1_tool']
    """
    queries, absent = _collect_requested_votes(votes, missing, solvable_queries)
    subsets = {
        name: _summarize_votes(
            {query: own for query, own in queries.items() if query[0] == name},
            [query for query in absent if query[0] == name],
            seed,
            alpha,
        )
        for name in sorted({subset for subset, _ in [*queries, *absent]})
    }
    means = {}
    for name in DEFINITIONS:
        values = [rates.pass_rate[name].value for rates in subsets.values()]
        means[name] = math.fsum(values) / len(values) if values else math.nan
    return SubsetRates(_summarize_votes(queries, absent, seed, alpha), subsets, means)


def compare_definitions(
    votes: pd.DataFrame,
    missing: Iterable[QueryKey],
    *,
    solvable_queries: Set[QueryKey] | None = None,
    seed: int = 0,
    alpha: float = 0.05,
) -> DefinitionComparison:
    """Compute the rate under every definition, on all queries and, where given, on the solvable ones.

    Args:
        votes: one row per (subset, query_id, judge, vote) with `status`, `task` and `answered`, as for
            `compute_judged_rates`.
        missing: queries of the suite without any answer.
        solvable_queries: restricts the rates to these queries.
        seed: seed of ToolEval's coins.
        alpha: the interval is at 1 - alpha.

    Returns:
        The rates by definition and set of queries, and how far they differ.

    Example:
        >>> import pandas as pd
        >>> votes = pd.DataFrame({"subset": "G1_tool", "query_id": ["1", "2"], "judge": "rules", "vote": 0})
        >>> votes = votes.assign(status=["solved", "unsolved"], task=None, answered=True)
        >>> compare_definitions(votes, []).spread
        0.0
    """
    absent = list(missing)
    populations: dict[str, Set[QueryKey] | None] = {"all": None}
    if solvable_queries is not None:
        populations["solvable"] = solvable_queries
    rows = []
    for name, kept in populations.items():
        rates = compute_judged_rates(votes, absent, solvable_queries=kept, seed=seed, alpha=alpha).pass_rate
        rows += [(definition, name, rates[definition]) for definition in DEFINITIONS]
    values = [rate.value for _, _, rate in rows]
    spread = math.nan if any(map(math.isnan, values)) else max(values) - min(values)
    return DefinitionComparison(tuple(rows), spread)


def compute_rates_by_judge(
    votes: pd.DataFrame,
    missing: Iterable[QueryKey],
    *,
    solvable_queries: Set[QueryKey] | None = None,
    seed: int = 0,
    alpha: float = 0.05,
) -> RatesByJudge:
    """Compute the rates of each judge on the queries that every judge scored.

    Args:
        votes: one row per (subset, query_id, judge, vote), of several judges.
        missing: queries of the suite without any answer.
        solvable_queries: restricts the rates to these queries.
        seed: seed of ToolEval's coins.
        alpha: the interval is at 1 - alpha.

    Returns:
        The rates of each judge, and the number of queries left out.

    Example:
        >>> import pandas as pd
        >>> votes = pd.DataFrame({"subset": "G1_tool", "query_id": ["1", "2"], "judge": "rules", "vote": 0})
        >>> votes = votes.assign(status=["solved", "unsolved"], task=None, answered=True)
        >>> both = pd.concat([votes, votes.assign(judge="llm", status=["solved", None])])
        >>> compute_rates_by_judge(both, []).left_out
        1
    """
    if votes.empty:
        return RatesByJudge({}, 0)
    _check_vote_columns(votes)
    absent = list(missing)
    names = votes["judge"].astype(str)
    by_judge = {
        name: _collect_requested_votes(votes[names == name], absent, solvable_queries)
        for name in sorted(names.unique())
    }
    judged = set().union(*(queries for queries, _ in by_judge.values()))
    shared = {q for q in judged if all(keep_scored_votes(queries.get(q, [])) for queries, _ in by_judge.values())}
    rates = {
        name: _summarize_votes({q: queries[q] for q in queries if q in shared}, kept, seed, alpha)
        for name, (queries, kept) in by_judge.items()
    }
    return RatesByJudge(rates, len(judged - shared))


def _summarize_votes(
    queries: Mapping[QueryKey, Votes], missing: Sequence[QueryKey], seed: int, alpha: float
) -> JudgedRates:
    every = [vote for votes in queries.values() for vote in votes]
    counts = {status: count_votes(every, status) for status in VOTE_STATUSES}
    judged = [votes for votes in queries.values() if keep_scored_votes(votes)]
    definitions: dict[str, Callable[[Votes], float]] = {
        "strict": score_strict,
        "stabletoolbench": score_stabletoolbench,
        "tooleval": partial(score_tooleval, seed=seed),
    }
    rates = {}
    for name, definition in definitions.items():
        n = len(judged) + (len(missing) if name == "strict" else 0)
        passed = math.fsum(definition(votes) for votes in judged)
        interval = wilson_interval(passed, n, alpha)
        value = passed / n if n else math.nan
        rates[name] = DefinitionRate(value, interval, n)
    return JudgedRates(
        n=len(queries) + len(missing),
        unscored=len(queries) - len(judged),
        missing=len(missing),
        votes=counts | {"unscored": len(every) - sum(counts.values())},
        pass_rate=rates,
    )


def _collect_requested_votes(
    votes: pd.DataFrame, missing: Iterable[QueryKey], solvable_queries: Set[QueryKey] | None
) -> tuple[dict[QueryKey, list[VoteRow]], list[QueryKey]]:
    """Return the votes on each query, and the queries without an answer; where given, of the solvable ones only."""
    absent = [(str(subset), str(query)) for subset, query in missing]
    queries = _group_by_query(votes)
    again = [query for query, times in Counter(absent).items() if times > 1 or query in queries]
    if again:
        raise DataError(
            "votes table",
            requested="every query once, judged or missing",
            found=f"{len(again)} missing queries that are judged or listed twice, first {again[0]}",
        )
    if solvable_queries is None:
        return queries, absent
    kept = {(str(subset), str(query)) for subset, query in solvable_queries}
    return {q: own for q, own in queries.items() if q in kept}, [q for q in absent if q in kept]


def _group_by_query(votes: pd.DataFrame) -> dict[QueryKey, list[VoteRow]]:
    if votes.empty:
        return {}
    _check_votes(votes)
    found: dict[QueryKey, list[VoteRow]] = {}
    columns = {name: _to_builtin_values(votes[name]) for name in [*_VOTE_KEY_COLUMNS, "status", "task", "answered"]}
    for row in zip(*columns.values(), strict=True):
        vote = dict(zip(columns, row, strict=True))
        found.setdefault((str(vote["subset"]), str(vote["query_id"])), []).append(vote)
    return found


def _to_builtin_values(column: pd.Series) -> list[object]:
    """Return Python values, with one None for the several missing values of pandas."""
    return [None if gone else value for value, gone in zip(column.tolist(), column.isna(), strict=True)]


def _check_vote_columns(votes: pd.DataFrame) -> None:
    lacking = [name for name in [*_VOTE_KEY_COLUMNS, "status", "task", "answered"] if name not in votes.columns]
    if lacking:
        raise DataError("votes table", requested=_EXPECTED_ROWS, found=f"no column {lacking}")


def _check_votes(votes: pd.DataFrame) -> None:
    _check_vote_columns(votes)
    if votes[_VOTE_KEY_COLUMNS].isna().any(axis=None):
        raise DataError(
            "votes table", requested=_EXPECTED_ROWS, found=f"a missing value in one of the columns {_VOTE_KEY_COLUMNS}"
        )
    # As text: query 7 of one row and query "7" of another are the same.
    repeated = votes[_VOTE_KEY_COLUMNS].astype(str).duplicated()
    if repeated.any():
        first = votes.loc[repeated.to_numpy(), _VOTE_KEY_COLUMNS].iloc[0].to_dict()
        raise DataError(
            "votes table", requested=_EXPECTED_ROWS, found=f"{int(repeated.sum())} duplicate rows, first {first}"
        )
    judges = sorted(votes["judge"].astype(str).unique())
    if len(judges) > 1:
        raise DataError("votes table", requested="votes of one judge", found=f"{judges}", hint="give one judge's rows")
    for name, known in (("status", VOTE_STATUSES), ("task", TASK_STATUSES)):
        others = sorted(
            {str(value) for value in _to_builtin_values(votes[name]) if value is not None and value not in known}
        )
        if others:
            raise DataError("votes table", requested=f"`{name}` one of {list(known)} or None", found=f"{others}")
    if not votes["answered"].isin([True, False]).all():
        raise DataError("votes table", requested="`answered` true or false", found="other values")

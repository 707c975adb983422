"""Pass rates of judged answers, under each of the definitions in use.

`strict` is the headline. `tooleval` is ToolBench's pass rate (Qin et al. 2023, arXiv 2307.16789) as its
`eval_pass_rate.py` prints it: a tied query passes, although the file that it writes, and another commit, flip a coin.
`stabletoolbench` is StableToolBench's solve rate (Guo et al. 2024, arXiv 2403.07714).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

import numpy as np

from sweeper.errors import DataError
from sweeper.statistics.aliases import QueryKey
from sweeper.statistics.intervals import Interval, wilson_interval

if TYPE_CHECKING:
    import pandas as pd

DEFINITIONS = ("strict", "stabletoolbench", "tooleval")
"""Names of the definitions, the headline first."""
VOTE_STATUSES = ("solved", "unsolved", "unsure")
TASK_STATUSES = ("solvable", "unsolvable", "unsure")
_VOTE_KEY_COLUMNS = ["subset", "query_id", "judge", "vote"]
_EXPECTED_ROWS = "one row per (subset, query, judge, vote)"

VoteRow = Mapping[str, object]
"""One vote: `subset`, `query_id`, `vote` (its number), `status`, `task` and `answered`."""
Votes = Sequence[VoteRow]
"""The votes on one query."""


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


def score_strict(votes: Votes) -> float:
    """Return 1 if more than half of the query's scored votes are `solved`, else 0.

    A tie fails, and `unsure` is not solved. NaN where no vote is scored.

    Args:
        votes: the votes on one query.

    Returns:
        1, 0 or NaN.

    Example:
        >>> vote = {"subset": "G1_tool", "query_id": "1", "vote": 0, "task": None, "answered": True}
        >>> votes = [vote | {"status": status, "vote": k} for k, status in enumerate(["solved", "unsure"])]
        >>> score_strict(votes)
        0.0
    """
    scored = _keep_scored_votes(votes)
    return float(2 * _count_votes(scored, "solved") > len(scored)) if scored else math.nan


def score_stabletoolbench(votes: Votes) -> float:
    """Return the mean over the query's scored votes of solved 1, unsure 0.5, unsolved 0; NaN where none is scored.

    Args:
        votes: the votes on one query.

    Returns:
        The score, 0 to 1.

    Example:
        >>> vote = {"subset": "G1_tool", "query_id": "1", "vote": 0, "task": None, "answered": True}
        >>> votes = [vote | {"status": status, "vote": k} for k, status in enumerate(["solved", "unsure"])]
        >>> score_stabletoolbench(votes)
        0.75
    """
    scored = _keep_scored_votes(votes)
    return (_count_votes(scored, "solved") + _count_votes(scored, "unsure") / 2) / len(scored) if scored else math.nan


def score_tooleval(votes: Votes, seed: int = 0) -> float:
    """Return 1 if at least half of the query's scored votes pass, else 0; NaN where no vote is scored.

    A vote passes if it is solved or the task is unsolvable, fails if it is unsolved otherwise, and flips a coin if it
    is unsure, or unsolved while the task is unsure. An answer without Finish fails in every vote.

    Args:
        votes: the votes on one query.
        seed: seed of the coins.

    Returns:
        1, 0 or NaN.

    Example:
        >>> vote = {"subset": "G1_tool", "query_id": "1", "vote": 0, "task": None, "answered": True}
        >>> votes = [vote | {"status": status, "vote": k} for k, status in enumerate(["solved", "unsure"])]
        >>> score_tooleval(votes)
        1.0
    """
    passed = [_passes_tooleval(vote, seed) for vote in _keep_scored_votes(votes)]
    return float(2 * sum(passed) >= len(passed)) if passed else math.nan


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
    shared = {q for q in judged if all(_keep_scored_votes(queries.get(q, [])) for queries, _ in by_judge.values())}
    rates = {
        name: _summarize_votes({q: queries[q] for q in queries if q in shared}, kept, seed, alpha)
        for name, (queries, kept) in by_judge.items()
    }
    return RatesByJudge(rates, len(judged - shared))


def _keep_scored_votes(votes: Votes) -> list[VoteRow]:
    return [vote for vote in votes if vote["status"] in VOTE_STATUSES]


def _count_votes(votes: Votes, status: str) -> int:
    return sum(vote["status"] == status for vote in votes)


def _passes_tooleval(vote: VoteRow, seed: int) -> bool:
    if not vote["answered"]:
        return False
    if vote["status"] == "solved" or vote["task"] == "unsolvable":
        return True
    if vote["status"] == "unsolved" and vote["task"] != "unsure":
        return False
    return bool(_make_vote_generator(vote, seed).random() < 0.5)


def _make_vote_generator(vote: VoteRow, seed: int) -> np.random.Generator:
    """Return a generator of this vote alone: its coin depends neither on the order of rows nor on other votes."""
    key = json.dumps([seed, str(vote["subset"]), str(vote["query_id"]), int(cast(int, vote["vote"]))])
    return np.random.default_rng(int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "big"))


def _summarize_votes(
    queries: Mapping[QueryKey, Votes], missing: Sequence[QueryKey], seed: int, alpha: float
) -> JudgedRates:
    every = [vote for votes in queries.values() for vote in votes]
    counts = {status: _count_votes(every, status) for status in VOTE_STATUSES}
    judged = [votes for votes in queries.values() if _keep_scored_votes(votes)]
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

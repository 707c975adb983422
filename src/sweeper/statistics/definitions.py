"""Pass rates of judged answers, under each of the definitions in use.

`strict` is the headline. `tooleval` is ToolBench's pass rate (Qin et al. 2023, arXiv 2307.16789) as its
`eval_pass_rate.py` prints it: a tied query passes, where the file beside it, and another commit's print, throw a coin.
`stabletoolbench` is StableToolBench's solve rate (Guo et al. 2024, arXiv 2403.07714).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeper.errors import DataError
from sweeper.statistics.aliases import QueryKey
from sweeper.statistics.intervals import wilson_interval

if TYPE_CHECKING:
    import pandas as pd

DEFINITIONS = ("strict", "stabletoolbench", "tooleval")
"""Names of the definitions, the headline first."""
VOTE_STATUSES = ("solved", "unsolved", "unsure")
TASK_STATUSES = ("solvable", "unsolvable", "unsure")
_VOTE_KEY_COLUMNS = ["subset", "query_id", "judge", "vote"]
_EXPECTED_ROWS = "one row per (subset, query, judge, vote)"

Votes = Sequence[Mapping[str, Any]]
"""One query's votes: mappings with subset, query_id, vote, status, task and answered."""


def score_strict(votes: Votes) -> float:
    """1 if more than half of the query's scored votes are `solved`, else 0: a tie fails, unsure is not solved. NaN
    where no vote is scored."""
    scored = _keep_scored_votes(votes)
    return float(2 * _count_votes(scored, "solved") > len(scored)) if scored else math.nan


def score_stabletoolbench(votes: Votes) -> float:
    """Mean over the query's scored votes of solved 1, unsure 0.5, unsolved 0. NaN where no vote is scored."""
    scored = _keep_scored_votes(votes)
    return (_count_votes(scored, "solved") + _count_votes(scored, "unsure") / 2) / len(scored) if scored else math.nan


def score_tooleval(votes: Votes, seed: int = 0) -> float:
    """1 if at least half of the query's scored votes pass, else 0: a tie passes. NaN where no vote is scored.

    A vote passes if solved or if the task is unsolvable, fails if unsolved otherwise, and is a coin if unsure, or if
    unsolved while the task is unsure. An answer without Finish fails in every vote, whatever the judge said.
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
) -> dict[str, Any]:
    """Pass rates of one judge's votes under every definition, with Wilson intervals at 1 - alpha.

    `votes`: one row per (subset, query_id, judge, vote) with `status` (None = unscored), `task` (None = not said) and
    `answered` (the episode ended with Finish and an answer). `missing`: suite queries without any answer: `strict`
    counts them 0, the others leave them out. `solvable`: only these queries. Returns `n` (queries asked: judged and
    missing), `unscored` (queries without a scored vote: in no denominator), `missing`, `votes` (counts by status) and
    `pass_rate`: definition -> `value` (0..1, NaN without a query), `interval` [low, high] and `n`, its denominator.
    Raises DataError for tables that break this contract, duplicate rows and several judges among it.
    """
    return _summarize_votes(*_collect_requested_votes(votes, missing, solvable_queries), seed, alpha)


def compute_rates_by_subset(
    votes: pd.DataFrame,
    missing: Iterable[QueryKey],
    *,
    solvable_queries: Set[QueryKey] | None = None,
    seed: int = 0,
    alpha: float = 0.05,
) -> dict[str, Any]:
    """`rates` of all queries (`overall`, every query alike) and of each subset by name (`subsets`), and `subset_mean`:
    definition -> plain mean of the subsets' values, NaN where one is undefined. Raises DataError as `rates` does."""
    queries, absent = _collect_requested_votes(votes, missing, solvable_queries)
    subsets = {
        name: _summarize_votes(
            {query: found for query, found in queries.items() if query[0] == name},
            [query for query in absent if query[0] == name],
            seed,
            alpha,
        )
        for name in sorted({subset for subset, _ in [*queries, *absent]})
    }
    means = {}
    for name in DEFINITIONS:
        values = [found["pass_rate"][name]["value"] for found in subsets.values()]
        means[name] = math.fsum(values) / len(values) if values else math.nan
    return {"overall": _summarize_votes(queries, absent, seed, alpha), "subsets": subsets, "subset_mean": means}


def compare_definitions(
    votes: pd.DataFrame,
    missing: Iterable[QueryKey],
    *,
    solvable_queries: Set[QueryKey] | None = None,
    seed: int = 0,
    alpha: float = 0.05,
) -> dict[str, Any]:
    """How far the number depends on its definition.

    `rows`: every definition on all queries and, where `solvable` is given, on those alone: `definition`, `queries`
    ("all" or "solvable"), `value`, `interval`, `n`. `spread`: largest minus smallest value, NaN where one is
    undefined. Raises DataError as `rates` does.
    """
    absent = list(missing)
    populations: dict[str, Set[QueryKey] | None] = {"all": None}
    if solvable_queries is not None:
        populations["solvable"] = solvable_queries
    rows = []
    for name, kept in populations.items():
        found = compute_judged_rates(votes, absent, solvable_queries=kept, seed=seed, alpha=alpha)["pass_rate"]
        rows += [{"definition": definition, "queries": name, **found[definition]} for definition in DEFINITIONS]
    values = [row["value"] for row in rows]
    defined = not any(math.isnan(value) for value in values)
    return {"rows": rows, "spread": max(values) - min(values) if defined else math.nan}


def compute_rates_by_judge(
    votes: pd.DataFrame,
    missing: Iterable[QueryKey],
    *,
    solvable_queries: Set[QueryKey] | None = None,
    seed: int = 0,
    alpha: float = 0.05,
) -> dict[str, Any]:
    """What each judge would have reported of the same answers: `judges` (judge -> what `rates` returns) on the queries
    that every judge scored, and `left_out`, the judged queries that some judge did not. Raises DataError as `rates`."""
    if votes.empty:
        return {"judges": {}, "left_out": 0}
    _check_vote_columns(votes)
    absent = list(missing)
    names = votes["judge"].astype(str)
    asked = {
        name: _collect_requested_votes(votes[names == name], absent, solvable_queries)
        for name in sorted(names.unique())
    }
    judged = set().union(*(queries for queries, _ in asked.values()))
    shared = {q for q in judged if all(_keep_scored_votes(queries.get(q, [])) for queries, _ in asked.values())}
    found = {
        name: _summarize_votes({q: queries[q] for q in queries if q in shared}, kept, seed, alpha)
        for name, (queries, kept) in asked.items()
    }
    return {"judges": found, "left_out": len(judged - shared)}


def _keep_scored_votes(votes: Votes) -> list[Mapping[str, Any]]:
    return [vote for vote in votes if vote["status"] in VOTE_STATUSES]


def _count_votes(votes: Votes, status: str) -> int:
    return sum(vote["status"] == status for vote in votes)


def _passes_tooleval(vote: Mapping[str, Any], seed: int) -> bool:
    if not vote["answered"]:
        return False
    if vote["status"] == "solved" or vote["task"] == "unsolvable":
        return True
    if vote["status"] == "unsolved" and vote["task"] != "unsure":
        return False
    return bool(_make_vote_generator(vote, seed).random() < 0.5)


def _make_vote_generator(vote: Mapping[str, Any], seed: int) -> np.random.Generator:
    """A generator of this vote alone, so that neither the order of rows nor other votes change its coin."""
    key = json.dumps([seed, str(vote["subset"]), str(vote["query_id"]), int(vote["vote"])])
    return np.random.default_rng(int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "big"))


def _summarize_votes(
    queries: Mapping[QueryKey, Votes], missing: Sequence[QueryKey], seed: int, alpha: float
) -> dict[str, Any]:
    every = [vote for votes in queries.values() for vote in votes]
    counts = {status: _count_votes(every, status) for status in VOTE_STATUSES}
    judged = [votes for votes in queries.values() if _keep_scored_votes(votes)]
    definitions: dict[str, Callable[[Votes], float]] = {
        "strict": score_strict,
        "stabletoolbench": score_stabletoolbench,
        "tooleval": partial(score_tooleval, seed=seed),
    }
    found = {}
    for name, definition in definitions.items():
        n = len(judged) + (len(missing) if name == "strict" else 0)
        passed = math.fsum(definition(votes) for votes in judged)
        interval = wilson_interval(passed, n, alpha)
        value = passed / n if n else math.nan
        found[name] = {"value": value, "interval": [interval.low, interval.high], "n": n}
    return {
        "n": len(queries) + len(missing),
        "unscored": len(queries) - len(judged),
        "missing": len(missing),
        "votes": counts | {"unscored": len(every) - sum(counts.values())},
        "pass_rate": found,
    }


def _collect_requested_votes(
    votes: pd.DataFrame, missing: Iterable[QueryKey], solvable_queries: Set[QueryKey] | None
) -> tuple[dict[QueryKey, list[dict[str, Any]]], list[QueryKey]]:
    """The votes of each query, and the queries without an answer; only the solvable ones where those are given."""
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
    return {q: found for q, found in queries.items() if q in kept}, [q for q in absent if q in kept]


def _group_by_query(votes: pd.DataFrame) -> dict[QueryKey, list[dict[str, Any]]]:
    if votes.empty:
        return {}
    _check_votes(votes)
    found: dict[QueryKey, list[dict[str, Any]]] = {}
    columns = {name: _to_builtin_values(votes[name]) for name in [*_VOTE_KEY_COLUMNS, "status", "task", "answered"]}
    for row in zip(*columns.values(), strict=True):
        vote = dict(zip(columns, row, strict=True))
        found.setdefault((str(vote["subset"]), str(vote["query_id"])), []).append(vote)
    return found


def _to_builtin_values(column: pd.Series[Any]) -> list[Any]:
    """Values as Python holds them, one None for pandas' several kinds of nothing."""
    return [None if gone else value for value, gone in zip(column.tolist(), column.isna(), strict=True)]


def _check_vote_columns(votes: pd.DataFrame) -> None:
    lacking = [name for name in [*_VOTE_KEY_COLUMNS, "status", "task", "answered"] if name not in votes.columns]
    if lacking:
        raise DataError("votes table", requested=_EXPECTED_ROWS, found=f"no column {lacking}")


def _check_votes(votes: pd.DataFrame) -> None:
    _check_vote_columns(votes)
    if votes[_VOTE_KEY_COLUMNS].isna().any(axis=None):
        raise DataError(
            "votes table", requested=_EXPECTED_ROWS, found=f"nothing in one of the columns {_VOTE_KEY_COLUMNS}"
        )
    # As text: a query that is 7 in one row and "7" in another is one query.
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

"""Judged answers -> rates under every definition, rules, agreement: the document of `judge --json`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeper.evaluation.answers import FINISH, Answer
from sweeper.evaluation.judges import Vote
from sweeper.statistics import (
    compare_definitions,
    compute_rates_by_judge,
    compute_rates_by_subset,
    compute_win_rate,
    measure_agreement,
)

if TYPE_CHECKING:
    import pandas as pd

    from sweeper.evaluation.pairwise import PairwiseResult

VotesByJudge = Mapping[str, Sequence[Sequence[Vote]]]
"""Judge -> the votes on each answer, in the order of the answers. The first judge is the headline."""
QueryKey = tuple[str, str]
SEED = 0
"""Of ToolEval's coins and of the bootstrap, so that the same votes give the same document."""


def build_votes_table(answers: Sequence[Answer], votes: Sequence[Sequence[Vote]]) -> pd.DataFrame:
    """One row per (subset, query_id, judge, vote), as `statistics.definitions` takes it."""
    import pandas as pd

    columns = ["subset", "query_id", "judge", "vote", "status", "task", "answered"]
    rows = [
        # ToolEval asks whether Finish was called at all, whatever it was given.
        (*answer.key, v.judge, v.index, v.status, v.task_status, any(call.name == FINISH for call in answer.calls))
        for answer, cast in zip(answers, votes, strict=True)
        for v in cast
    ]
    return pd.DataFrame(rows, columns=columns)


def summarize_votes(
    answers: Sequence[Answer],
    votes_by_judge: VotesByJudge,
    *,
    missing: Iterable[QueryKey] = (),
    solvable: set[QueryKey] | None = None,
    alpha: float = 0.05,
) -> dict[str, Any]:
    """`overall`, `subsets` and `subset_mean` of the first judge, the same of each under `judges`, `sensitivity`, and
    `agreement` by pair of judges and between the votes of one. `missing`: queries of the suite without an answer."""
    import pandas as pd

    absent = sorted(set(missing))
    judges = {name: _summarize_judge(answers, votes, absent, solvable, alpha) for name, votes in votes_by_judge.items()}
    headline = next(iter(judges))
    pairs = _compute_agreements(answers, votes_by_judge, alpha)
    counts = {"answers": len(answers), "missing": len(absent)}
    document = judges[headline] | {"judge": headline, **counts, "judges": judges}
    document["overall"] = document["overall"] | {"agreement": pairs}
    document["agreement"] = pairs
    tables = [build_votes_table(answers, votes) for votes in votes_by_judge.values()]
    # What each judge would have given the same answers: on the queries that all of them scored.
    document["same_answers"] = compute_rates_by_judge(
        pd.concat(tables, ignore_index=True), absent, seed=SEED, alpha=alpha
    )
    return document


def summarize_comparisons(
    comparisons: Sequence[PairwiseResult], answers: Sequence[Answer], alpha: float = 0.05
) -> dict[str, Any]:
    """The document of `compare --json`: win rate of A over B, overall and by subset, and how each pair was decided.
    Undecided pairs are in no denominator, and counted apart from unscored ones."""
    subsets: dict[str, list[PairwiseResult]] = {}
    for answer, comparison in zip(answers, comparisons, strict=True):
        subsets.setdefault(answer.subset, []).append(comparison)
    ways = ("pass", "preference", "tie", "undecided", "unscored")
    decided = {by: sum(c.decided_by == by for c in comparisons) for by in ways}
    return {
        "overall": _summarize_win_rate(comparisons, alpha),
        "subsets": {name: _summarize_win_rate(found, alpha) for name, found in subsets.items()},
        "decided_by": decided,
        "pairs": [
            {"subset": a.subset, "query_id": a.query_id, "outcome": c.winner, "by": c.decided_by, "reason": c.reason}
            for a, c in zip(answers, comparisons, strict=True)
        ],
    }


def _summarize_win_rate(comparisons: Sequence[PairwiseResult], alpha: float) -> dict[str, Any]:
    undecided = sum(c.decided_by == "undecided" for c in comparisons)
    found = compute_win_rate([c.winner for c in comparisons], alpha)
    return found | {"unscored": found["unscored"] - undecided, "undecided": undecided}


def _summarize_judge(
    answers: Sequence[Answer],
    votes: Sequence[Sequence[Vote]],
    missing_queries: Sequence[QueryKey],
    solvable: set[QueryKey] | None,
    alpha: float,
) -> dict[str, Any]:
    table = build_votes_table(answers, votes)
    found = compute_rates_by_subset(table, missing_queries, seed=SEED, alpha=alpha)
    shares = _count_rule_failures(answers, votes)
    found["overall"] |= {"rules": shares.get("", {})}
    for name, rates in found["subsets"].items():
        rates |= {"rules": shares.get(name, {})}
    every = [vote for cast in votes for vote in cast]
    panel = compare_definitions(table, missing_queries, solvable_queries=solvable, seed=SEED, alpha=alpha)
    return found | {
        "sensitivity": panel,
        "unscored_reasons": dict(Counter(vote.reason for vote in every if vote.status is None)),
        "task_unanswered": dict(Counter(vote.task_fault for vote in every if vote.task_fault)),
    }


def _count_rule_failures(
    answers: Sequence[Answer], votes: Sequence[Sequence[Vote]]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Subset ('' for all) -> rule -> share of answers failing it, of those where it could be decided."""
    counts: dict[str, dict[str, list[bool | None]]] = {}
    for answer, cast in zip(answers, votes, strict=True):
        for name in ("", answer.subset):
            for rule, holds in cast[0].rules.items() if cast else ():
                counts.setdefault(name, {}).setdefault(rule, []).append(holds)
    return {
        name: {
            rule: {
                "failed": found.count(False),
                "undecided": found.count(None),
                "n": len(found),
                "share": found.count(False) / decided if (decided := len(found) - found.count(None)) else None,
            }
            for rule, found in rules.items()
        }
        for name, rules in counts.items()
    }


def _compute_agreements(answers: Sequence[Answer], votes_by_judge: VotesByJudge, alpha: float) -> dict[str, Any]:
    """Agreement on passed or not by majority, for each two judges; and among the votes of a judge with several."""
    import pandas as pd

    from sweeper.evaluation.pairwise import find_majority

    def word(cast: Sequence[Vote]) -> str | None:
        found = find_majority(cast)
        return None if found is None else "passed" if found == "passes" else "not passed"

    majorities = {name: [word(cast) for cast in votes] for name, votes in votes_by_judge.items()}
    found = {}
    for one, other in combinations(majorities, 2):
        labels = pd.DataFrame({one: majorities[one], other: majorities[other]}, dtype=object)
        found[f"{one}~{other}"] = measure_agreement(labels, rng=np.random.default_rng(SEED), alpha=alpha)
    for name, votes in votes_by_judge.items():
        most = max((len(cast) for cast in votes), default=0)
        if most > 1:
            columns = {k: [cast[k].status if k < len(cast) else None for cast in votes] for k in range(most)}
            labels = pd.DataFrame(columns, dtype=object)
            found[f"{name} (votes)"] = measure_agreement(labels, rng=np.random.default_rng(SEED), alpha=alpha)
    return found

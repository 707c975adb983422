"""Judged answers -> rates under every definition, rules, agreement: the document of `judge --json`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeper.evaluate.answers import FINISH, Answer
from sweeper.evaluate.judges import Vote
from sweeper.statistics import agreement, by_subset, rate_by_judge, sensitivity, win_rate

if TYPE_CHECKING:
    import pandas as pd

    from sweeper.evaluate.compare import Comparison

Judged = Mapping[str, Sequence[Sequence[Vote]]]
"""Judge -> the votes on each answer, in the order of the answers. The first judge is the headline."""
Query = tuple[str, str]
SEED = 0
"""Of ToolEval's coins and of the bootstrap, so that the same votes give the same document."""


def votes_table(answers: Sequence[Answer], votes: Sequence[Sequence[Vote]]) -> pd.DataFrame:
    """One row per (subset, query_id, judge, vote), as `statistics.definitions` takes it."""
    import pandas as pd

    columns = ["subset", "query_id", "judge", "vote", "status", "task", "answered"]
    rows = [
        # ToolEval asks whether Finish was called at all, whatever it was given.
        (*answer.key, v.judge, v.vote, v.status, v.task, any(call.name == FINISH for call in answer.calls))
        for answer, cast in zip(answers, votes, strict=True)
        for v in cast
    ]
    return pd.DataFrame(rows, columns=columns)


def judge_document(
    answers: Sequence[Answer],
    judged: Judged,
    *,
    missing: Iterable[Query] = (),
    solvable: set[Query] | None = None,
    alpha: float = 0.05,
) -> dict[str, Any]:
    """`overall`, `subsets` and `subset_mean` of the first judge, the same of each under `judges`, `sensitivity`, and
    `agreement` by pair of judges and between the votes of one. `missing`: queries of the suite without an answer."""
    import pandas as pd

    absent = sorted(set(missing))
    judges = {name: _of_judge(answers, votes, absent, solvable, alpha) for name, votes in judged.items()}
    headline = next(iter(judges))
    pairs = _pairs(answers, judged, alpha)
    counts = {"answers": len(answers), "missing": len(absent)}
    document = judges[headline] | {"judge": headline, **counts, "judges": judges}
    document["overall"] = document["overall"] | {"agreement": pairs}
    document["agreement"] = pairs
    tables = [votes_table(answers, votes) for votes in judged.values()]
    # What each judge would have given the same answers: on the queries that all of them scored.
    document["same_answers"] = rate_by_judge(pd.concat(tables, ignore_index=True), absent, seed=SEED, alpha=alpha)
    return document


def outcomes_of(comparisons: Sequence[Comparison], answers: Sequence[Answer], alpha: float = 0.05) -> dict[str, Any]:
    """The document of `compare --json`: win rate of A over B, overall and by subset, and how each pair was decided.
    Undecided pairs are in no denominator, and counted apart from unscored ones."""
    subsets: dict[str, list[Comparison]] = {}
    for answer, comparison in zip(answers, comparisons, strict=True):
        subsets.setdefault(answer.subset, []).append(comparison)
    ways = ("pass", "preference", "tie", "undecided", "unscored")
    decided = {by: sum(c.by == by for c in comparisons) for by in ways}
    return {
        "overall": _won(comparisons, alpha),
        "subsets": {name: _won(found, alpha) for name, found in subsets.items()},
        "decided_by": decided,
        "pairs": [
            {"subset": a.subset, "query_id": a.query_id, "outcome": c.outcome, "by": c.by, "reason": c.reason}
            for a, c in zip(answers, comparisons, strict=True)
        ],
    }


def _won(comparisons: Sequence[Comparison], alpha: float) -> dict[str, Any]:
    undecided = sum(c.by == "undecided" for c in comparisons)
    found = win_rate([c.outcome for c in comparisons], alpha)
    return found | {"unscored": found["unscored"] - undecided, "undecided": undecided}


def _of_judge(
    answers: Sequence[Answer],
    votes: Sequence[Sequence[Vote]],
    absent: Sequence[Query],
    solvable: set[Query] | None,
    alpha: float,
) -> dict[str, Any]:
    table = votes_table(answers, votes)
    found = by_subset(table, absent, seed=SEED, alpha=alpha)
    shares = _rules(answers, votes)
    found["overall"] |= {"rules": shares.get("", {})}
    for name, rates in found["subsets"].items():
        rates |= {"rules": shares.get(name, {})}
    every = [vote for cast in votes for vote in cast]
    panel = sensitivity(table, absent, solvable=solvable, seed=SEED, alpha=alpha)
    return found | {
        "sensitivity": panel,
        "unscored_reasons": dict(Counter(vote.reason for vote in every if vote.status is None)),
        "task_unanswered": dict(Counter(vote.task_fault for vote in every if vote.task_fault)),
    }


def _rules(answers: Sequence[Answer], votes: Sequence[Sequence[Vote]]) -> dict[str, dict[str, dict[str, Any]]]:
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


def _pairs(answers: Sequence[Answer], judged: Judged, alpha: float) -> dict[str, Any]:
    """Agreement on passed or not by majority, for each two judges; and among the votes of a judge with several."""
    import pandas as pd

    from sweeper.evaluate.compare import majority

    def word(cast: Sequence[Vote]) -> str | None:
        found = majority(cast)
        return None if found is None else "passed" if found == "passes" else "not passed"

    majorities = {name: [word(cast) for cast in votes] for name, votes in judged.items()}
    found = {}
    for one, other in combinations(majorities, 2):
        labels = pd.DataFrame({one: majorities[one], other: majorities[other]}, dtype=object)
        found[f"{one}~{other}"] = agreement(labels, rng=np.random.default_rng(SEED), alpha=alpha)
    for name, votes in judged.items():
        most = max((len(cast) for cast in votes), default=0)
        if most > 1:
            columns = {k: [cast[k].status if k < len(cast) else None for cast in votes] for k in range(most)}
            labels = pd.DataFrame(columns, dtype=object)
            found[f"{name} (votes)"] = agreement(labels, rng=np.random.default_rng(SEED), alpha=alpha)
    return found

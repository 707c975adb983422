"""Rates of judged answers: pass rates under every definition, rule failures, agreement, win rates."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from sweeper.evaluation.answers import FINISH, Answer, QueryKey
from sweeper.evaluation.judges import Vote
from sweeper.evaluation.judges.human import HumanJudge
from sweeper.evaluation.openai_client import EndpointUsage
from sweeper.evaluation.pairwise import PairwiseResult, find_majority
from sweeper.statistics import (
    CorrectedEstimate,
    compare_definitions,
    compute_rates_by_judge,
    compute_rates_by_subset,
    compute_win_rate,
    estimate_corrected_rate,
    measure_agreement,
)

if TYPE_CHECKING:
    import pandas as pd

VotesByJudge = Mapping[str, Sequence[Sequence[Vote]]]
"""Judge -> its votes on each answer, in the order of the answers. The first judge is the headline."""
SEED = 0
"""Seed of ToolEval's coin flips and of the bootstrap: the same votes give the same document."""


@dataclass(frozen=True)
class ComparisonReport:
    """Win rate of A over B by one judge."""

    rates: dict[str, object]
    """The document of `summarize_comparisons`."""
    judge: str
    queries: int
    """Number of queries that both sides answer."""
    only_a: int
    """Number of answers of A without an answer of B."""
    only_b: int
    judging_usage: Mapping[str, EndpointUsage]
    problems: tuple[str, ...]
    """Why there is no win rate; empty where there is one."""
    difference: CorrectedEstimate | None = None
    """Strict pass rate of A minus that of B, corrected by labels; None without labels."""

    def to_document(self) -> dict[str, object]:
        """Make the document of `compare --json`."""
        return {
            **self.rates,
            "judge": self.judge,
            "queries": self.queries,
            "answered_by_one_side_only": {"a": self.only_a, "b": self.only_b},
            "judging_usage": {name: usage.to_document() for name, usage in self.judging_usage.items()},
            "problems": list(self.problems),
            "prediction_powered": {} if self.difference is None else {self.judge: self.difference.to_json()},
        }


@dataclass(frozen=True)
class JudgeRates:
    """Rates of the answers by one judge."""

    overall: Mapping[str, object]
    """Rates over all queries (`sweeper.statistics`), and violations by rule."""
    subsets: Mapping[str, Mapping[str, object]]
    """Subset -> the same over its queries."""
    subset_mean: Mapping[str, float]
    """Definition -> plain mean of the subsets' pass rates."""
    sensitivity: Mapping[str, object]
    """Pass rates under every definition."""
    unscored_reasons: Mapping[str, int]
    """Reason -> votes without a status."""
    task_unanswered: Mapping[str, int]
    """Reason -> votes without a task status."""

    def to_document(self) -> dict[str, object]:
        """Make the judge's entry in the document of `judge --json`."""
        return dict(vars(self))


def build_votes_table(answers: Sequence[Answer], votes: Sequence[Sequence[Vote]]) -> pd.DataFrame:
    """Build one row per (subset, query_id, judge, vote), as `sweeper.statistics` reads it."""
    import pandas as pd

    columns = ["subset", "query_id", "judge", "vote", "status", "task", "answered"]
    rows = [
        # As in ToolEval, a query is answered if Finish was called, whatever its arguments.
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
) -> dict[str, object]:
    """Compute the rates of judged answers.

    Args:
        answers: what was judged.
        votes_by_judge: the votes; the first judge is the headline.
        missing: queries of the suite without an answer.
        solvable: the queries that count as solvable; None takes the judges' votes.
        alpha: confidence intervals have level 1 - `alpha`.

    Returns:
        `overall`, `subsets`, `subset_mean` and `sensitivity` of the headline judge, the same of every judge under
        `judges`, `agreement` of each two judges and among the votes of one, and under `prediction_powered` the strict
        rate of each judge's scored answers corrected by the labels, where the judge `human` is one of several.
    """
    import pandas as pd

    absent = sorted(set(missing))
    judges = {name: _summarize_judge(answers, votes, absent, solvable, alpha) for name, votes in votes_by_judge.items()}
    headline = next(iter(judges))
    pairs = _compute_agreements(answers, votes_by_judge, alpha)
    counts = {"answers": len(answers), "missing": len(absent)}
    tables = [build_votes_table(answers, votes) for votes in votes_by_judge.values()]
    # The rates of each judge on the queries that all judges scored.
    same_answers = compute_rates_by_judge(pd.concat(tables, ignore_index=True), absent, seed=SEED, alpha=alpha)
    return {
        **judges[headline].to_document(),
        "overall": {**judges[headline].overall, "agreement": pairs},
        "judge": headline,
        **counts,
        "judges": {name: rates.to_document() for name, rates in judges.items()},
        "agreement": pairs,
        "same_answers": same_answers.to_json(),
        "prediction_powered": _correct_rates_by_labels(answers, votes_by_judge, alpha),
    }


def summarize_comparisons(
    comparisons: Sequence[PairwiseResult], answers: Sequence[Answer], alpha: float = 0.05
) -> dict[str, object]:
    """Compute the win rate of A over B, overall and by subset, and count how each pair was decided.

    Undecided pairs are in no denominator, and are counted separately from unscored ones.
    """
    subsets: dict[str, list[PairwiseResult]] = {}
    for answer, comparison in zip(answers, comparisons, strict=True):
        subsets.setdefault(answer.subset, []).append(comparison)
    ways = ("pass", "preference", "tie", "undecided", "unscored")
    return {
        "overall": _summarize_win_rate(comparisons, alpha),
        "subsets": {name: _summarize_win_rate(pairs, alpha) for name, pairs in subsets.items()},
        "decided_by": {way: sum(c.decided_by == way for c in comparisons) for way in ways},
        "pairs": [c.to_document(answer) for answer, c in zip(answers, comparisons, strict=True)],
    }


def _summarize_win_rate(comparisons: Sequence[PairwiseResult], alpha: float) -> dict[str, object]:
    undecided = sum(c.decided_by == "undecided" for c in comparisons)
    rate = compute_win_rate([c.winner for c in comparisons], alpha)
    return rate.to_json() | {"unscored": rate.unscored - undecided, "undecided": undecided}


def _summarize_judge(
    answers: Sequence[Answer],
    votes: Sequence[Sequence[Vote]],
    missing_queries: Sequence[QueryKey],
    solvable: set[QueryKey] | None,
    alpha: float,
) -> JudgeRates:
    table = build_votes_table(answers, votes)
    rates = compute_rates_by_subset(table, missing_queries, seed=SEED, alpha=alpha)
    failures = _count_rule_failures(answers, votes)
    every = [vote for cast in votes for vote in cast]
    sensitivity = compare_definitions(table, missing_queries, solvable_queries=solvable, seed=SEED, alpha=alpha)
    return JudgeRates(
        overall={**rates.overall.to_json(), "rules": failures.get("", {})},
        subsets={name: {**own.to_json(), "rules": failures.get(name, {})} for name, own in rates.subsets.items()},
        subset_mean=dict(rates.subset_mean),
        sensitivity=sensitivity.to_json(),
        unscored_reasons=dict(Counter(vote.reason for vote in every if vote.status is None)),
        task_unanswered=dict(Counter(vote.task_fault for vote in every if vote.task_fault)),
    )


def _count_rule_failures(
    answers: Sequence[Answer], votes: Sequence[Sequence[Vote]]
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Return subset ('' for all) -> rule -> the share of violations among the answers where it can be decided."""
    counts: dict[str, dict[str, list[bool | None]]] = {}
    for answer, cast in zip(answers, votes, strict=True):
        for name in ("", answer.subset):
            for rule, holds in cast[0].rules.items() if cast else ():
                counts.setdefault(name, {}).setdefault(rule, []).append(holds)
    return {
        name: {
            rule: {
                "failed": holds.count(False),
                "undecided": holds.count(None),
                "n": len(holds),
                "share": holds.count(False) / decided if (decided := len(holds) - holds.count(None)) else None,
            }
            for rule, holds in rules.items()
        }
        for name, rules in counts.items()
    }


def score_majorities(votes: Sequence[Sequence[Vote]]) -> list[float]:
    """Score each answer as `strict` does: 1 where most of its scored votes are `solved`, else 0; NaN without any."""
    majorities = [find_majority(cast) for cast in votes]
    return [math.nan if majority is None else float(majority == "passes") for majority in majorities]


def _correct_rates_by_labels(
    answers: Sequence[Answer], votes_by_judge: VotesByJudge, alpha: float
) -> dict[str, dict[str, object]]:
    """Return judge -> its rates corrected by the labels, `overall` and by subset; nothing without labels."""
    if HumanJudge.name not in votes_by_judge:
        return {}
    labels = score_majorities(votes_by_judge[HumanJudge.name])
    subsets = [answer.subset for answer in answers]
    corrected: dict[str, dict[str, object]] = {}
    for judge, votes in votes_by_judge.items():
        if judge != HumanJudge.name:
            scores = score_majorities(votes)
            by_subset: dict[str, object] = {}
            for name in sorted(set(subsets)):
                own = [k for k, subset in enumerate(subsets) if subset == name]
                estimate = estimate_corrected_rate(
                    [labels[k] for k in own], [scores[k] for k in own], [name] * len(own), alpha=alpha
                )
                by_subset[name] = estimate.to_json()
            overall = estimate_corrected_rate(labels, scores, subsets, alpha=alpha)
            corrected[judge] = {"overall": overall.to_json(), "subsets": by_subset}
    return corrected


def _compute_agreements(answers: Sequence[Answer], votes_by_judge: VotesByJudge, alpha: float) -> dict[str, object]:
    """Measure the agreement on majority passes of each two judges, and among the votes of a judge with several."""
    import pandas as pd

    def label_majority(cast: Sequence[Vote]) -> str | None:
        majority = find_majority(cast)
        return None if majority is None else "passed" if majority == "passes" else "not passed"

    majorities = {name: [label_majority(cast) for cast in votes] for name, votes in votes_by_judge.items()}
    agreements: dict[str, object] = {}
    for one, other in combinations(majorities, 2):
        labels = pd.DataFrame({one: majorities[one], other: majorities[other]}, dtype=object)
        agreements[f"{one}~{other}"] = measure_agreement(labels, rng=np.random.default_rng(SEED), alpha=alpha).to_json()
    for name, votes in votes_by_judge.items():
        max_votes = max((len(cast) for cast in votes), default=0)
        if max_votes > 1:
            columns = {k: [cast[k].status if k < len(cast) else None for cast in votes] for k in range(max_votes)}
            labels = pd.DataFrame(columns, dtype=object)
            agreements[f"{name} (votes)"] = measure_agreement(
                labels, rng=np.random.default_rng(SEED), alpha=alpha
            ).to_json()
    return agreements

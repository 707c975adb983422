"""`generalises`: an arm's pass rate on unseen tools and categories minus that on seen ones, within the margin."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, assert_never

import numpy as np

from sweeper.claims.comparison import Hypothesis, make_comparison
from sweeper.claims.kinds.base import (
    ARM_FIELDS,
    ESTIMAND_FIELDS,
    LOOK_FIELDS,
    ClaimKind,
    ComparisonSet,
    list_missing_values,
    require_direction,
)
from sweeper.claims.minimum_detectable import TRUE_RATE, SingleArmModel, estimate_detectable_margin
from sweeper.claims.planned_power import NO_EVALUATION, NO_QUERIES, ClaimPower, search_required_seeds
from sweeper.claims.simulated_power import AssumedTruth
from sweeper.claims.tables import select_single_arm
from sweeper.claims.two_samples import estimate_two_sample_difference, estimate_two_sample_variance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sweeper.claims.planned_power import ClaimDesign
    from sweeper.claims.tables import ClaimTables
    from sweeper.config import Claim
    from sweeper.statistics.aliases import Array, BoolArray
    from sweeper.statistics.paired import VarianceEstimate

UNSEEN_SUFFIXES = ("_tool", "_category")
"""Ends of the names of subsets over tools or categories that are not in the training data."""
SEEN_SUFFIXES = ("_instruction",)
"""Ends of the names of subsets over tools that are in the training data."""


class Generalises(ClaimKind):
    """The pass rate of one arm on unseen against seen tools."""

    required_fields = frozenset({"direction"})
    optional_fields = LOOK_FIELDS | ARM_FIELDS | ESTIMAND_FIELDS | {"clusters"}
    can_simulate = True

    def check_field(self, name: str, value: object, fields: Mapping[str, object]) -> None:
        """Refuse the direction `at-most`."""
        if name == "direction" and value == "at-most":
            raise ValueError("`kind: generalises` takes `at-least` or `about`")

    def list_missing_arms(self, claim: Claim, axes: Mapping[str, object]) -> Iterable[tuple[str, str]]:
        """Return the axes that vary although the claim is about one arm."""
        return list_missing_values(claim, axes)

    def build_comparisons(self, claim: Claim, tables: ClaimTables) -> ComparisonSet:
        """Compare the arm's runs on both samples of queries."""
        rows, name, problem = select_single_arm(claim, tables)
        if problem:
            return ComparisonSet((), problem, tables.rows if rows.empty else rows)
        subsets = [str(subset) for subset in tables.matrix.index.get_level_values("subset")]
        unseen = np.asarray([subset.endswith(UNSEEN_SUFFIXES) for subset in subsets], dtype=bool)
        seen = np.asarray([subset.endswith(SEEN_SUFFIXES) for subset in subsets], dtype=bool)
        missing = [
            what
            for what, mask in (("unseen (*_tool, *_category)", unseen), ("seen (*_instruction)", seen))
            if not mask.any()
        ]
        hypothesis = Hypothesis(
            test=require_direction(claim),
            axis="subset",
            first="unseen",
            second="seen",
            margin=claim.margin,
            labels=(f"unseen tools and categories ({name})", "seen ones"),
            preposition="on",
            observations="outcomes",
        )
        clusters = select_clusters(claim, tables)
        difference = estimate_two_sample_difference(tables.matrix, tables.list_runs(rows), unseen, seen, clusters)
        comparison = make_comparison(hypothesis, difference, alpha=claim.alpha, n_comparisons=1)
        others = sorted({subset for subset in subsets if not subset.endswith((*UNSEEN_SUFFIXES, *SEEN_SUFFIXES))})
        note = f" Subsets that are neither are left out: {', '.join(others)}." if others else ""
        note += describe_clusters(claim, clusters, (unseen, seen))
        problem = f"no {' and no '.join(missing)} subset was evaluated" if missing else ""
        if clusters is not None and not missing and min(count_clusters(clusters, (unseen, seen))) < 2:
            problem = f"all queries on one side are about one {claim.clusters}"
        return ComparisonSet((comparison,), problem, rows, note)

    def assume_truth(self, claim: Claim, design: ClaimDesign) -> AssumedTruth | None:
        """Assume equal rates on unseen and seen tools."""
        n_seen, n_unseen = count_samples(design)
        return AssumedTruth((TRUE_RATE,), model=make_model(n_seen)) if min(n_seen, n_unseen) else None

    def estimate_power(self, claim: Claim, design: ClaimDesign) -> ClaimPower:
        """Simulate studies of equal true rates."""
        if design.query_counts is None:
            return ClaimPower(reason=NO_QUERIES)
        if not design.n_queries:
            return ClaimPower(reason=NO_EVALUATION)
        n_seen, n_unseen = count_samples(design)
        model = make_model(n_seen)

        def compute_effect(n_seeds: int) -> float:
            if min(n_seen, n_unseen) == 0:
                return math.nan
            return estimate_detectable_margin(
                claim, model, n_queries=n_seen + n_unseen, n_seeds=n_seeds, rng=design.rng
            )

        return search_required_seeds(claim, design.n_seeds, compute_effect)


def select_clusters(claim: Claim, tables: ClaimTables) -> list[str] | None:
    """Return what each query is about, as far as the claim counts such queries together; None for single queries."""
    match claim.clusters:
        case "tool" | "category":
            return tables.list_clusters(claim.clusters)
        case "none":
            return None
        case _:
            assert_never(claim.clusters)


def describe_clusters(claim: Claim, clusters: list[str] | None, masks: Sequence[BoolArray]) -> str:
    """Describe how many clusters the interval rests on."""
    if claim.clusters == "none":
        return " Every query counts by itself, as the claim says."
    if clusters is None:
        return f" The {claim.clusters} of each query is not known: every query counts by itself."
    counts = count_clusters(clusters, masks)
    return f" Queries about one {claim.clusters} count together: {counts[0]} unseen and {counts[1]} seen."


def count_clusters(clusters: Sequence[str], masks: Sequence[BoolArray]) -> list[int]:
    """Return the number of clusters of each sample of queries."""
    return [len({cluster for cluster, own in zip(clusters, mask, strict=True) if own}) for mask in masks]


def count_samples(design: ClaimDesign) -> tuple[int, int]:
    """Return the numbers of queries about seen and about unseen tools."""
    counts = (design.query_counts or {}).items()
    seen = sum(count for subset, count in counts if subset.endswith(SEEN_SUFFIXES))
    return seen, sum(count for subset, count in counts if subset.endswith(UNSEEN_SUFFIXES))


def make_model(n_seen: int) -> SingleArmModel:
    """Return the model of simulated studies, whose first `n_seen` queries are about seen tools."""

    def estimate(samples: Sequence[Array]) -> tuple[Array, VarianceEstimate]:
        unseen, seen = samples
        return unseen.mean(axis=(1, 2)) - seen.mean(axis=(1, 2)), estimate_two_sample_variance(unseen, seen)

    return SingleArmModel(
        rate=TRUE_RATE,
        limits=(-1.0, 1.0),
        split=lambda passed: (passed[:, n_seen:], passed[:, :n_seen]),
        estimate=estimate,
        estimate_reported=lambda matrix, runs: estimate_two_sample_difference(
            matrix, runs, np.arange(len(matrix)) >= n_seen, np.arange(len(matrix)) < n_seen
        ),
    )


KIND = Generalises()

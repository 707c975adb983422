"""The claims of a sweep, checked against its axes: each must be decidable by what the sweep runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sweeper.config.claim import CLAIM_KINDS, Claim
from sweeper.config.evaluation import EvaluationSpec
from sweeper.config.search import SearchedAxis
from sweeper.config.sweep import AxisValue, Sweep
from sweeper.config.yaml_lines import Problem, YamlFile

Axes = Mapping[str, list[AxisValue] | SearchedAxis]


def check_claims(sweep: Sweep, source: YamlFile) -> None:
    """Check that the sweep has what every claim compares.

    Raises:
        ConfigError: a claim about an arm that the sweep does not have, or one that its design cannot decide.
    """
    source.raise_first(_find_problems(sweep))


def _find_problems(sweep: Sweep) -> Iterator[Problem]:
    axes: Axes = {**sweep.searched, **sweep.claim_axes}
    ids = set[str]()
    if sweep.search is not None and sweep.until == "decided":
        found = "a search, whose trials are all confirmed before claims are decided"
        yield Problem(("until",), "until: decided", found, "until: complete")
    for i, claim in enumerate(sweep.claims):
        keys, name = ("claims", i), f"claim {claim.id}"
        if claim.id in ids:
            yield Problem(keys, name, "a second claim with this id")
        ids.add(claim.id)
        if (claim.protocol == "searched") != (sweep.search is not None and claim.axis == "model"):
            found = f"a sweep with {'a search' if sweep.search else 'no search'}"
            yield Problem(
                keys,
                f"{name}: protocol {claim.protocol}",
                found + ("" if claim.axis == "model" else f", and the axis {claim.axis}"),
                "protocol: searched compares the models of a search, and nothing else",
            )
        if claim.protocol == "searched" and sweep.search and sweep.search.equal_per != "model":
            yield Problem(
                keys,
                f"{name}: protocol searched",
                "one search over all models, which gives more trials to the models that do better",
                "search: {equal_per: model}",
            )
        for requested, found in _list_missing_parts(claim, axes, sweep.evaluation):
            yield Problem(keys, f"{name}: {requested}", found, "--set claims=[] runs the sweep without its claims")


def _list_missing_parts(claim: Claim, axes: Axes, evaluation: EvaluationSpec | None) -> Iterator[tuple[str, str]]:
    """Yield (what the claim needs, what the sweep has) for everything that the sweep lacks."""
    arms = [] if claim.axis is None else [(claim.axis, value) for value in (claim.candidate, *claim.against)]
    for axis, value in [*arms, *claim.where.items()]:
        values = axes.get(axis)
        if not isinstance(values, list):
            yield f"{axis} = {value!r}", "a searched axis, which has no arms" if values else "not an axis of this sweep"
        elif value not in values:
            yield f"{axis} = {value!r}", f"the axis has {values}"
    kind = CLAIM_KINDS.load(claim.kind)
    if evaluation is None and kind.needs_evaluation(claim):
        yield claim.kind, "the sweep evaluates nothing (`evaluation: null`)"
    elif "gold_nll" in (claim.metric, claim.predictor) and (evaluation is None or evaluation.gold is None):
        yield "gold_nll", "the evaluation has no gold answers (`gold: toolworld`, or a path of answers)"
    yield from kind.list_missing_arms(claim, axes)
    if claim.looks:
        yield from _list_look_problems(claim, axes["seed"])
    if claim.protocol == "tuned":
        yield from _list_tuning_problems(claim, axes)


def _list_look_problems(claim: Claim, seeds: list[AxisValue] | SearchedAxis) -> Iterator[tuple[str, str]]:
    count = len(seeds) if isinstance(seeds, list) else 0
    if count > claim.looks[-1]:
        yield f"looks: {claim.looks}", f"the sweep has {count} seeds; those after the last look are not used"


def _list_tuning_problems(claim: Claim, axes: Axes) -> Iterator[tuple[str, str]]:
    values, seeds = axes.get(str(claim.tuned_axis)), axes["seed"]
    if not isinstance(values, list) or len(values) < 2:
        yield f"tuned_axis: {claim.tuned_axis}", f"{values}: not several values to choose from"
    if not isinstance(seeds, list):
        return
    for seed in [*claim.selection_seeds, *claim.confirmation_seeds]:
        if seed not in seeds:
            yield f"seed {seed}", f"the sweep has the seeds {seeds}"
    if not [seed for seed in seeds if seed not in claim.selection_seeds]:
        yield "seeds to confirm on", f"all seeds {seeds} are selection seeds"

"""`predicts`: smaller arms predict the candidate's pass rate, or loss, to within the margin."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from sweeper.claims.comparison import PASS_RATE, Hypothesis, make_comparison
from sweeper.claims.interval_estimates import IntervalEstimate, make_undefined_estimate
from sweeper.claims.kinds.base import ARM_FIELDS, ESTIMAND_FIELDS, PASS_RATE_OR_LOSS, ClaimKind, ComparisonSet
from sweeper.claims.losses import LOSSES, find_loss_problem, read_losses
from sweeper.claims.planned_power import ClaimPower
from sweeper.claims.tables import order_arms
from sweeper.config.axes import format_arm_name
from sweeper.statistics.intervals import UNDEFINED_INTERVAL
from sweeper.statistics.loss_law import MIN_SIZES, RunCells, group_runs
from sweeper.statistics.paired import Exclusions
from sweeper.statistics.prediction import LadderRuns, Prediction, find_ladder_problem, fit_ladder

if TYPE_CHECKING:
    import pandas as pd

    from sweeper.claims.planned_power import ClaimDesign
    from sweeper.claims.tables import ClaimTables
    from sweeper.config import Claim


class Predicts(ClaimKind):
    """The candidate's mean over runs minus what the law of the smaller sizes predicts for it."""

    metrics = PASS_RATE_OR_LOSS
    required_fields = ARM_FIELDS
    optional_fields = ESTIMAND_FIELDS | {"predictor"}

    def check_field(self, name: str, value: object, fields: Mapping[str, object]) -> None:
        """Refuse another axis than the model, and a loss that is predicted from another."""
        if name == "axis" and value != "model":
            raise ValueError("`kind: predicts` extrapolates over sizes: `axis: model`")
        if name == "predictor" and fields.get("metric") in LOSSES and value not in ("val_loss", fields["metric"]):
            raise ValueError("a loss is predicted by itself: leave out `predictor`")

    def list_missing_arms(self, claim: Claim, axes: Mapping[str, object]) -> Iterable[tuple[str, str]]:
        """Return the axis if it has too few sizes, and the other axes that vary.

        Models are ordered by parameters, which are counted when the trials are planned.
        """
        values = axes["model"]
        if isinstance(values, list) and len(values) <= MIN_SIZES:
            yield f"{MIN_SIZES} models smaller than {claim.candidate}", f"the axis has {values}"
        fixed = {"model", "seed", *claim.where}
        for axis, others in axes.items():
            if axis not in fixed and isinstance(others, list) and len(others) > 1:
                yield "one recipe for all sizes", f"the axis {axis} has {others}: name one of them in `where`"

    def build_comparisons(self, claim: Claim, tables: ClaimTables) -> ComparisonSet:
        """Compare the candidate with its prediction."""
        order, problem = order_arms(claim, tables.rows)
        by_loss = claim if claim.is_about_loss else claim.model_copy(update={"metric": claim.predictor})
        problem = problem or find_loss_problem(by_loss, tables)
        if problem:
            return ComparisonSet((), problem, tables.rows)
        size = order[claim.candidate]
        smaller = [arm for arm in order if order[arm] < size]
        rows = tables.leave_out(tables.rows)
        rows = rows[rows["model"].isin([*smaller, claim.candidate])]
        runs = _collect_runs(by_loss, rows, tables)
        earlier = runs.select(runs.sizes < size)
        if problem := find_ladder_problem(earlier, "size", min_sizes=MIN_SIZES):
            return ComparisonSet((), f"below {claim.candidate}: {problem}", rows)
        rng = np.random.default_rng(zlib.crc32(claim.id.encode()))
        ladder = fit_ladder(earlier, "size", rng=rng)
        if not claim.is_about_loss and ladder.link is None:
            return ComparisonSet((), ladder.link_problem, rows)
        predicted = ladder.predict_loss(size, 1.0) if claim.is_about_loss else ladder.predict_pass_rate(size, 1.0)
        values = runs.losses if claim.is_about_loss else runs.pass_rates
        gap = _estimate_gap(group_runs(runs.sizes, runs.tokens, values), size, predicted, rng)
        hypothesis = Hypothesis(
            test="about",
            axis="model",
            first=claim.candidate,
            second=None,
            margin=claim.margin,
            metric=LOSSES[claim.metric] if claim.is_about_loss else PASS_RATE,
            labels=(format_arm_name("model", claim.candidate), f"the prediction of {len(smaller)} smaller models"),
            observations="runs",
            is_reference=True,
        )
        comparison = make_comparison(hypothesis, gap, alpha=claim.alpha, n_comparisons=1)
        note = "" if claim.is_about_loss else " The interval is over runs, on these test queries."
        return ComparisonSet((comparison,), "", rows, note=note)

    def estimate_power(self, claim: Claim, design: ClaimDesign) -> ClaimPower:
        """Return no figure."""
        return ClaimPower(reason="no figure: how exactly a ladder predicts depends on its curve")


def _collect_runs(claim: Claim, rows: pd.DataFrame, tables: ClaimTables) -> LadderRuns:
    """Collect size, loss and pass rate of the runs. All have the same recipe, so tokens are left at 1."""
    losses = read_losses(claim, rows)
    names = list(losses)
    rates = [float(tables.matrix[name].mean()) if name in tables.matrix.columns else np.nan for name in names]
    ones = np.ones(len(names))
    sizes = rows["parameters"].to_numpy(dtype=np.float64)
    return LadderRuns(sizes, ones, ones, np.array(list(losses.values())), np.array(rates))


def _estimate_gap(cells: RunCells, size: float, predicted: Prediction, rng: np.random.Generator) -> IntervalEstimate:
    """Estimate the candidate's mean minus its prediction, with the interval of a bootstrap over runs."""
    place = int(np.searchsorted(cells.sizes, size))
    if place == len(cells.sizes):
        return make_undefined_estimate(Exclusions(), "the candidate has no finished run", is_run_level=True)
    observed, error = float(cells.means[place]), math.sqrt(cells.variances[place] / cells.counts[place])
    draws = observed + error * rng.normal(size=len(predicted.draws)) - predicted.draws
    gap = Prediction(observed - predicted.value, draws, predicted.df)
    return IntervalEstimate(
        estimate=gap.value,
        compute_interval=gap.compute_interval,
        predict_interval=lambda queries, seeds, alpha: UNDEFINED_INTERVAL,
        n_queries=0,
        n_seeds=int(cells.counts.min()),
        n_runs=int(cells.counts.sum()),
        exclusions=Exclusions(),
        method="bootstrap over runs of a law of the loss",
        is_run_level=True,
    )


KIND = Predicts()

"""Kind of claim -> the comparisons that it rests on, all of which have to be shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeper.claims import interval_estimates as ev
from sweeper.claims.comparison import Comparison, ComparisonMetric, ComparisonTest, make_comparison
from sweeper.claims.protocols import extract_metric
from sweeper.config.axes import format_arm_name
from sweeper.statistics.paired import Array, Exclusions, Pairing, equals_value, match_runs
from sweeper.statistics.pass_matrix import QUERY_COLUMNS, build_pass_matrix

if TYPE_CHECKING:
    import pandas as pd

    from sweeper.config import Claim

UNSEEN_SUFFIXES = ("_tool", "_category")
"""Ends of the names of subsets over tools or categories that training does not show; `_instruction` shows its tools."""
SPIKE_WINDOW = 10
"""Logged steps before one, whose median loss a spike is held against."""
SPIKE_RATIO = 1.5
"""A logged loss above this multiple of that median is a spike."""
JACKKNIFE_BLOCKS = 40
"""Blocks of queries left out in turn for the error of an agreement."""
HARDWARE_COLUMNS = ("engine", "cpus", "gpus")
"""Columns of the trials table that say what a run occupied."""


@dataclass(frozen=True)
class ClaimTables:
    """What a claim is decided from. `rows`: its planned trials; `matrix`: `pass_matrix`'s; `outcomes`: of every judge;
    `histories`: fingerprint -> logged steps, None where not given."""

    rows: pd.DataFrame
    matrix: pd.DataFrame
    outcomes: pd.DataFrame
    axes: tuple[str, ...]
    histories: Mapping[str, pd.DataFrame] | None
    cached_differences: dict[tuple[Any, Any], ev.IntervalEstimate] = field(default_factory=dict)
    """Comparisons of two arms already made: several readings share them."""

    def list_runs(self, rows: pd.DataFrame) -> list[tuple[int, str]]:
        """(seed, fingerprint) of runs."""
        return [(int(seed), str(name)) for seed, name in zip(rows["seed"], rows["fingerprint"], strict=True)]

    def match_arm_runs(self, axis: str, first: object, second: object) -> Pairing:
        """Runs of two arms that agree in seed and all other axes."""
        return match_runs(self.rows, axis, first, second, self.axes)

    def estimate_arm_difference(self, axis: str, first: Any, second: Any) -> ev.IntervalEstimate:
        """Difference in pass rate of two arms."""
        if (first, second) not in self.cached_differences:
            pairing = self.match_arm_runs(axis, first, second)
            self.cached_differences[first, second] = ev.estimate_pass_rate_difference(self.matrix, pairing)
        return self.cached_differences[first, second]


@dataclass(frozen=True)
class ComparisonSet:
    """What a kind of claim rests on. `problem`: what is missing for a decision ('' for nothing); `rows`: planned runs
    that need a result; `note`: what a reader should know."""

    comparisons: tuple[Comparison, ...]
    problem: str
    required_rows: pd.DataFrame
    note: str = ""
    needs_outcomes: bool = True
    """Whether those runs need outcomes."""


def build_claim_comparisons(claim: Claim, tables: ClaimTables) -> ComparisonSet:
    """The comparisons of a claim under its protocol's rows; of `judge-independent`, those between judges."""
    return _COMPARISON_BUILDERS[claim.kind](claim, tables)


def _compare_best_of(claim: Claim, tables: ClaimTables) -> ComparisonSet:
    return compare_with_interpretation(claim, tables, claim.reading)


def compare_with_interpretation(claim: Claim, tables: ClaimTables, interpretation: str) -> ComparisonSet:
    """`best-of` in one of its readings."""
    axis, candidate = str(claim.axis), claim.candidate
    order, problem = _order_arms(claim, tables.rows)
    if problem:
        return ComparisonSet((), problem, tables.rows)
    here = order[candidate]
    smaller = [arm for arm in order if order[arm] < here]
    beyond = [arm for arm in order if order[arm] >= here and arm != candidate]
    sides = [name for name, arms in (("smaller", smaller), ("larger", beyond)) if not arms]
    tests: list[tuple[ComparisonTest, Any, Any]]
    if interpretation == "interior":
        tests = [("superior", candidate, arm) for arm in [*smaller[-1:], *beyond[:1]]]
    elif interpretation == "smallest-non-inferior":
        tests = [("superior-by", candidate, arm) for arm in smaller] + [("no-better", arm, candidate) for arm in beyond]
    else:
        tests = [("superior", candidate, arm) for arm in smaller] + [("no-better", arm, candidate) for arm in beyond]
    found = [
        make_comparison(
            test,
            (axis, a, b),
            claim.margin,
            tables.estimate_arm_difference(axis, a, b),
            alpha=claim.alpha,
            n_comparisons=len(tests),
        )
        for test, a, b in tests
    ]
    return ComparisonSet(tuple(found), f"no {' and no '.join(sides)} arm is planned" if sides else "", tables.rows)


def _compare_no_gain_beyond(claim: Claim, tables: ClaimTables) -> ComparisonSet:
    axis, candidate = str(claim.axis), claim.candidate
    order, problem = _order_arms(claim, tables.rows)
    if problem:
        return ComparisonSet((), problem, tables.rows)
    beyond = [arm for arm in order if order[arm] >= order[candidate] and arm != candidate]
    found = [
        make_comparison(
            "no-better",
            (axis, arm, candidate),
            claim.margin,
            tables.estimate_arm_difference(axis, arm, candidate),
            alpha=claim.alpha,
            n_comparisons=len(beyond),
        )
        for arm in beyond
    ]
    if claim.overfitting:
        losses = extract_metric(tables.rows, "val_loss").where(tables.rows["status"] == "COMPLETE")
        by_name = dict(zip(tables.rows["fingerprint"], losses, strict=True))
        found += [
            _compare_run_values(claim, tables, ("superior", arm, candidate), by_name, "val_loss") for arm in beyond
        ]
    missing = "" if beyond else f"no arm beyond {format_arm_name(axis, candidate)} is planned"
    return ComparisonSet(tuple(found), missing, tables.rows)


def _order_arms(claim: Claim, rows: pd.DataFrame) -> tuple[dict[Any, float], str]:
    """Arm -> its place on the axis, ascending: parameters for models, else the value itself; and what is missing."""
    axis = str(claim.axis)
    if not equals_value(rows[axis], claim.candidate).any():
        return {}, f"{format_arm_name(axis, claim.candidate)} is not among the planned trials"
    column = "parameters" if axis == "model" else axis
    places: dict[Any, Any] = dict(zip(rows[axis], rows[column], strict=True))
    known = {arm: math.nan if place is None else float(place) for arm, place in places.items()}
    unknown = [format_arm_name(axis, arm) for arm, place in known.items() if place != place]
    if unknown:
        return {}, f"the size of {', '.join(unknown)} is unknown, so arms cannot be ordered"
    return dict(sorted(known.items(), key=lambda item: item[1])), ""


def _select_single_arm(claim: Claim, tables: ClaimTables) -> tuple[pd.DataFrame, str, str]:
    """The runs of the one arm a claim is about, its name, and what is missing."""
    rows = tables.rows
    if claim.axis is not None:
        rows = rows[equals_value(rows[claim.axis], claim.candidate)]
    if rows.empty:
        return rows, "", "the arm is not among the planned trials"
    several = [axis for axis in tables.axes if axis in rows.columns and rows[axis].nunique(dropna=False) > 1]
    named = [format_arm_name(axis, rows[axis].iloc[0]) for axis in dict.fromkeys(["model", *claim.where, claim.axis or ""])
             if axis in rows.columns and axis != "seed"]  # fmt: skip
    problem = f"more than one arm: {', '.join(several)} varies, so name a value of it" if several else ""
    return rows, ", ".join(named), problem


def _compare_reaches(claim: Claim, tables: ClaimTables) -> ComparisonSet:
    rows, name, problem = _select_single_arm(claim, tables)
    if problem:
        return ComparisonSet((), problem, tables.rows if rows.empty else rows)
    reference, test = _to_float(claim.reference), _require_direction(claim)
    found = ev.estimate_reference_gap(tables.matrix, tables.list_runs(rows), reference)
    sides = (claim.axis or "model", claim.candidate or str(rows["model"].iloc[0]), reference)
    labels = (name, f"the reference {100 * reference:g} %")
    one = make_comparison(test, sides, claim.margin, found, alpha=claim.alpha, n_comparisons=1, labels=labels)
    return ComparisonSet((one,), "", rows)


def _compare_generalizes(claim: Claim, tables: ClaimTables) -> ComparisonSet:
    rows, name, problem = _select_single_arm(claim, tables)
    if problem:
        return ComparisonSet((), problem, tables.rows if rows.empty else rows)
    subsets = [str(subset) for subset in tables.matrix.index.get_level_values("subset")]
    unseen = [subset.endswith(UNSEEN_SUFFIXES) for subset in subsets]
    seen = [subset.endswith("_instruction") for subset in subsets]
    lacking = [
        what
        for what, mask in (("unseen (*_tool, *_category)", unseen), ("seen (*_instruction)", seen))
        if not any(mask)
    ]
    found = ev.estimate_two_sample_difference(tables.matrix, tables.list_runs(rows), unseen, seen)
    labels = (f"unseen tools and categories ({name})", "seen ones")
    one = make_comparison(
        _require_direction(claim),
        ("subset", "unseen", "seen"),
        claim.margin,
        found,
        alpha=claim.alpha,
        n_comparisons=1,
        labels=labels,
    )
    other = sorted({s for s, a, b in zip(subsets, unseen, seen, strict=True) if not a and not b})
    note = f" Subsets that are neither are left out: {', '.join(other)}." if other else ""
    return ComparisonSet((one,), f"no {' and no '.join(lacking)} subset was asked" if lacking else "", rows, note)


def _compare_stabilizes(claim: Claim, tables: ClaimTables) -> ComparisonSet:
    axis, candidate = str(claim.axis), claim.candidate
    rows = tables.rows
    if not equals_value(rows[axis], candidate).any():
        return ComparisonSet((), f"{format_arm_name(axis, candidate)} is not among the planned trials", rows)
    values = list(dict.fromkeys(None if value != value else value for value in rows[axis]))
    others = claim.against or [value for value in values if value != candidate]
    gone = [format_arm_name(axis, arm) for arm in others if not equals_value(rows[axis], arm).any()]
    if gone or not others:
        what = f"{', '.join(gone)} is" if gone else "no other value is"
        return ComparisonSet((), f"{what} not among the planned trials" if gone else f"{what} planned", rows)
    used = np.logical_or.reduce([equals_value(rows[axis], arm).to_numpy(dtype=bool) for arm in [candidate, *others]])
    rows = rows[used]
    counted = rows["status"].isin(("COMPLETE", "DIVERGED"))
    diverged = (rows["status"] == "DIVERGED").astype(float).where(counted)
    by_name = dict(zip(rows["fingerprint"], diverged, strict=True))
    spreading, resolution = _collect_seed_values(claim, tables, rows)
    found, beside = [], []
    for other in others:
        pairing = tables.match_arm_runs(axis, other, candidate)
        first, second, seeds, lost = _match_run_values(pairing, by_name)
        shares = ev.estimate_share_difference(first, second, seeds, pairing.unmatched_runs + lost)
        count, alpha = 2 * len(others), claim.alpha
        sides = (axis, other, candidate)
        found.append(
            make_comparison(
                "reduces", sides, claim.margin, shares, alpha=alpha, n_comparisons=count, metric="divergence_rate"
            )
        )
        spread = ev.estimate_seed_spread_difference(
            _group_by_cell(rows, axis, candidate, spreading, tables.axes),
            _group_by_cell(rows, axis, other, spreading, tables.axes),
            resolution,
        )
        metric: ComparisonMetric = "pass_rate_spread" if claim.spread_of == "pass_rate" else "val_loss_spread"
        back = (axis, candidate, other)
        found.append(
            make_comparison("no-better", back, claim.margin, spread, alpha=alpha, n_comparisons=count, metric=metric)
        )
        if tables.histories is not None:
            spikes, tails = _compute_step_shares(claim, rows, tables.histories)
            beside.append(_compare_run_values(claim, tables, ("superior", other, candidate), spikes, "loss_spikes"))
            beside.append(_compare_run_values(claim, tables, ("superior", other, candidate), tails, "gradient_tail"))
    note = "" if tables.histories is not None else " Loss spikes and gradient norms: no histories given."
    return ComparisonSet((*found, *beside), "", rows, note, needs_outcomes=claim.spread_of == "pass_rate")


def _collect_seed_values(claim: Claim, tables: ClaimTables, rows: pd.DataFrame) -> tuple[dict[str, float], float]:
    """What spreads over seeds, by run, and the smallest step it can take."""
    if claim.spread_of == "val_loss":
        losses = extract_metric(rows, "val_loss").where(rows["status"] == "COMPLETE")
        return dict(zip(rows["fingerprint"], losses, strict=True)), 0.0
    runs = tables.matrix[[name for name in rows["fingerprint"] if name in tables.matrix.columns]]
    # The same queries for every run, or the spread would be one between queries.
    whole = runs.dropna()
    rates = {str(name): float(whole[name].mean()) for name in whole.columns}
    return rates, 1 / len(whole) if len(whole) else 0.0


def _group_by_cell(
    rows: pd.DataFrame, axis: str, value: object, values: Mapping[str, float], axes: Sequence[str]
) -> dict[Any, Array]:
    """Cell of the other axes -> the values of its runs."""
    found: dict[Any, list[float]] = {}
    others = [name for name in axes if name != axis and name in rows.columns]
    for row in rows[equals_value(rows[axis], value)].to_dict("records"):
        cell = tuple(None if row[name] != row[name] else row[name] for name in others)
        found.setdefault(cell, []).append(values.get(str(row["fingerprint"]), math.nan))
    return {cell: np.asarray(each, dtype=np.float64) for cell, each in found.items()}


def _compute_step_shares(
    claim: Claim, rows: pd.DataFrame, histories: Mapping[str, pd.DataFrame]
) -> tuple[dict[str, float], dict[str, float]]:
    """By run: share of logged steps with a loss spike, and with a gradient norm above the clip."""
    spikes, tails = {}, {}
    for row in rows.to_dict("records"):
        history = histories.get(row["fingerprint"])
        if history is None:
            continue
        clip = claim.candidate if claim.axis == "max_grad_norm" else row.get("max_grad_norm")
        spikes[row["fingerprint"]] = compute_spike_share(history)
        tails[row["fingerprint"]] = compute_tail_share(history, math.nan if clip is None else float(clip))
    return spikes, tails


def compute_spike_share(history: pd.DataFrame) -> float:
    """Share of logged steps whose loss exceeds SPIKE times the median of the WINDOW before, or is not finite; NaN with
    fewer than WINDOW + 1 logged losses."""
    # Rows of the validation loss have neither; a training row whose loss is not a number is a spike.
    there = [name for name in ("loss", "grad_norm") if name in history.columns]
    losses = history.loc[history[there].notna().any(axis=1), "loss"]
    if len(losses) <= SPIKE_WINDOW:
        return math.nan
    before = losses.shift(1).rolling(SPIKE_WINDOW, min_periods=1).median()
    return float((~np.isfinite(losses) | (losses > SPIKE_RATIO * before)).iloc[SPIKE_WINDOW:].mean())


def compute_tail_share(history: pd.DataFrame, clip: float) -> float:
    """Share of logged gradient norms (before clipping) above `clip`; NaN without any, or without a clip."""
    if "grad_norm" not in history.columns or math.isnan(clip):
        return math.nan
    norms = history["grad_norm"].dropna()
    return float((norms > clip).mean()) if len(norms) else math.nan


def _compare_run_values(
    claim: Claim,
    tables: ClaimTables,
    test_and_arms: tuple[ComparisonTest, Any, Any],
    values: Mapping[str, float],
    metric: ComparisonMetric,
) -> Comparison:
    """A comparison of one number per run, reported beside the claim."""
    test, first, second = test_and_arms
    pairing = tables.match_arm_runs(str(claim.axis), first, second)
    a, b, seeds, lost = _match_run_values(pairing, values)
    found = ev.estimate_run_mean_difference(a, b, seeds, pairing.unmatched_runs + lost)
    sides = (str(claim.axis), first, second)
    return make_comparison(
        test, sides, claim.margin, found, alpha=claim.alpha, n_comparisons=1, metric=metric, is_deciding=False
    )


def _match_run_values(pairing: Pairing, values: Mapping[str, float]) -> tuple[Array, Array, list[int], int]:
    """Numbers of matched runs, both known, with their seeds; and how many runs that leaves out."""
    both = [(seed, values.get(a, math.nan), values.get(b, math.nan)) for seed, a, b in pairing.pairs]
    known = [item for item in both if not math.isnan(item[1]) and not math.isnan(item[2])]
    first, second = (np.asarray([item[side] for item in known], dtype=np.float64) for side in (1, 2))
    return first, second, [item[0] for item in known], 2 * (len(both) - len(known))


def _compare_cheaper(claim: Claim, tables: ClaimTables) -> ComparisonSet:
    axis, candidate, other = str(claim.axis), claim.candidate, claim.against[0]
    rows = tables.rows
    gone = [format_arm_name(axis, arm) for arm in (candidate, other) if not equals_value(rows[axis], arm).any()]
    if gone:
        return ComparisonSet((), f"{', '.join(gone)} is not among the planned trials", rows)
    rows = rows[equals_value(rows[axis], candidate) | equals_value(rows[axis], other)]
    varied = [name for name in HARDWARE_COLUMNS if name in rows.columns and rows[name].nunique(dropna=False) > 1]
    pairing = tables.match_arm_runs(axis, candidate, other)
    there = [p for p in pairing.pairs if p[1] in tables.matrix.columns and p[2] in tables.matrix.columns]
    costs = _compute_query_costs(claim, tables, rows)
    unknown = [name for _, a, b in there for name in (a, b) if math.isnan(costs.get(name, math.nan))]
    alone = pairing.unmatched_runs + 2 * (len(pairing.pairs) - len(there))
    incomparable = bool(varied) and not claim.price_per_hour
    if incomparable or not there or unknown:
        why = "time on different hardware" if incomparable else "no matched runs of known cost"
        found = ev.make_undefined_estimate(Exclusions(runs=alone), why)
    else:
        both = [a for _, a, _ in there], [b for _, _, b in there]
        passed = [tables.matrix[names].to_numpy(dtype=float) for names in both]
        spent = [np.asarray([costs[name] for name in names], dtype=np.float64) for names in both]
        seeds = [p[0] for p in there]
        found = ev.estimate_cost_ratio(passed[0], passed[1], (spent[0], spent[1]), seeds)
    sides = (axis, candidate, other)
    ratio = make_comparison(
        "stays-below",
        sides,
        _to_float(claim.reference),
        found,
        alpha=claim.alpha,
        n_comparisons=2,
        metric="cost_per_solved",
    )
    quality = make_comparison(
        "no-better",
        (axis, other, candidate),
        claim.margin,
        tables.estimate_arm_difference(axis, other, candidate),
        alpha=claim.alpha,
        n_comparisons=2,
    )
    problem = ""
    if incomparable:
        problem = f"the arms ran on different hardware ({', '.join(varied)}), so their times need a `price_per_hour`"
    elif unknown:
        problem = f"{len(unknown)} runs have no `train_seconds` or no `eval_seconds`"
    elif there and math.isnan(found.estimate):
        problem = found.method
    unit = "price" if claim.price_per_hour else "time"
    spread = f"{claim.amortised_over:,} queries" if claim.amortised_over else "the suite's queries"
    note = f" Cost is {unit} of training, spread over {spread}, and of evaluation."
    return ComparisonSet((ratio, quality), problem, rows, note)


def _compute_query_costs(claim: Claim, tables: ClaimTables, rows: pd.DataFrame) -> dict[str, float]:
    """Cost of one query by run: training's share and evaluation's, in seconds or at the claim's price."""
    asked: dict[str, int] = {}
    if not tables.outcomes.empty:
        each = tables.outcomes[["fingerprint", *QUERY_COLUMNS]].drop_duplicates()
        asked = {str(name): int(count) for name, count in each["fingerprint"].value_counts().items()}
    train, evaluation = extract_metric(rows, "train_seconds"), extract_metric(rows, "eval_seconds")
    found = {}
    for row, trained, evaluated in zip(rows.to_dict("records"), train, evaluation, strict=True):
        name, price = str(row["fingerprint"]), 1.0
        if claim.price_per_hour:
            arm = row[str(claim.axis)]
            price = claim.price_per_hour[str(arm) if isinstance(arm, str) else f"{float(arm):g}"] / 3600
        if row["status"] == "DIVERGED" and name not in asked:
            # It was never asked, which took no time.
            per_query = 0.0
        else:
            per_query = evaluated / asked[name] if name in asked else math.nan
        served = claim.amortised_over or asked.get(name) or len(tables.matrix)
        found[name] = price * (trained / served + per_query) if served else math.nan
    return found


def _compare_judge_independent(claim: Claim, tables: ClaimTables) -> ComparisonSet:
    judges = [] if tables.outcomes.empty else list(dict.fromkeys(tables.outcomes["judge"].astype(str)))
    if len(judges) < 2:
        said = f"one judge only ({judges[0]})" if judges else "no judged outcome"
        return ComparisonSet((), f"{said}: agreement needs the same answers judged by two", tables.rows)
    # A diverged run's zeros are not a judge's word: judges would agree on them for nothing.
    rows = tables.rows[tables.rows["status"] == "COMPLETE"]
    own = tables.outcomes[tables.outcomes["fingerprint"].isin(set(rows["fingerprint"]))]
    words = own["judge"].astype(str)
    matrices = {judge: build_pass_matrix(rows, own[words == judge]) for judge in judges}
    runs = [run for run in tables.list_runs(rows) if all(run[1] in matrix.columns for matrix in matrices.values())]
    if not runs:
        return ComparisonSet((), "no run was judged by every judge", tables.rows)
    index = matrices[judges[0]].index
    for matrix in matrices.values():
        index = index.union(matrix.index)
    names, seeds = [name for _, name in runs], [seed for seed, _ in runs]
    said_by = {judge: matrix.reindex(index)[names].to_numpy(dtype=float) for judge, matrix in matrices.items()}
    bound = _to_float(claim.reference)
    count = len(judges)
    axis = "judge"
    labels = (" and ".join(judges), f"{bound:g}")
    found = [
        make_comparison(
            "exceeds",
            (axis, labels[0], bound),
            bound,
            _estimate_agreement(said_by, len(set(seeds))),
            alpha=claim.alpha,
            n_comparisons=count,
            metric="agreement",
            labels=labels,
        )
    ]
    for judge in judges[1:]:
        score = ev.estimate_score_difference(said_by[judge], said_by[judges[0]], seeds)
        labels = (f"judge {judge}", f"judge {judges[0]}")
        sides = (axis, judge, judges[0])
        found.append(
            make_comparison("about", sides, claim.margin, score, alpha=claim.alpha, n_comparisons=count, labels=labels)
        )
    lost = len(tables.rows[tables.rows["status"] == "COMPLETE"]) - len(runs)
    note = f" {lost} finished runs were not judged by every judge." if lost else ""
    return ComparisonSet(tuple(found), "", tables.rows, note, needs_outcomes=False)


def _estimate_agreement(passes_by_judge: Mapping[str, Array], seeds: int) -> ev.IntervalEstimate:
    """Gwet's AC1 of pass or fail; error by leaving out blocks of queries, since one query's answers go together."""
    import pandas as pd
    from scipy import special

    from sweeper.statistics.intervals import Interval
    from sweeper.statistics.judge_agreement import gwet_ac1

    queries, runs = next(iter(passes_by_judge.values())).shape
    labels = pd.DataFrame({judge: values.ravel() for judge, values in passes_by_judge.items()})
    query = np.repeat(np.arange(queries), runs)
    judged = (labels.notna().sum(axis=1) >= 2).to_numpy()
    labels, query = labels[judged], query[judged]
    different = np.unique(query)
    if len(different) < 2:
        return ev.make_undefined_estimate(Exclusions(), "fewer than two queries judged by two")
    value = float(gwet_ac1(labels, categories=2)["value"])
    blocks = min(len(different), JACKKNIFE_BLOCKS)
    block = np.searchsorted(different, query) % blocks
    left = np.asarray([gwet_ac1(labels[block != b], categories=2)["value"] for b in range(blocks)])
    error = math.sqrt((blocks - 1) / blocks * float(((left - left.mean()) ** 2).sum()))
    # Without any disagreement no method sees a spread: Wilson's end then, on one answer of each query.
    first = labels.iloc[np.unique(query, return_index=True)[1]]
    perfect = bool((labels.nunique(axis=1) == 1).all())

    def interval(alpha: float) -> Interval:
        if perfect:
            low = gwet_ac1(first, alpha=alpha, categories=2)["interval"][0]
            return Interval(float(low), 1.0)
        half = float(special.stdtrit(blocks - 1, 1 - alpha / 2)) * error
        return Interval(max(-1.0, value - half), min(1.0, value + half))

    def predict(n: float, _: float, alpha: float) -> Interval:
        half = float(special.stdtrit(max(min(n, JACKKNIFE_BLOCKS) - 1, 1), 1 - alpha / 2)) * error
        half *= math.sqrt(len(different) / n)
        return ev.UNDEFINED_INTERVAL if perfect else Interval(max(-1.0, value - half), min(1.0, value + half))

    return ev.IntervalEstimate(
        estimate=value,
        compute_interval=interval,
        predict_interval=predict,
        n_queries=len(different),
        n_seeds=seeds,
        n_runs=runs,
        exclusions=Exclusions(queries=queries - len(different), outcomes=int((~judged).sum())),
        method="Gwet's AC1, blocks of queries left out in turn",
    )


def _require_direction(claim: Claim) -> ComparisonTest:
    if claim.direction is None:
        raise ValueError(f"claim {claim.id} has no direction")
    return claim.direction


def _to_float(value: float | None) -> float:
    return math.nan if value is None else float(value)


_COMPARISON_BUILDERS: dict[str, Callable[[Claim, ClaimTables], ComparisonSet]] = {
    "best-of": _compare_best_of,
    "no-gain-beyond": _compare_no_gain_beyond,
    "reaches": _compare_reaches,
    "generalises": _compare_generalizes,
    "stabilises": _compare_stabilizes,
    "cheaper": _compare_cheaper,
    "judge-independent": _compare_judge_independent,
}

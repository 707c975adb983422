"""The report as one JSON document: its parts and their types. Every number that is shown anywhere comes from here.

Undefined numbers are NaN while the document is built, and None in the finished one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict, cast

from sweeper.report.claim_document import AxisValue, ClaimEntry, Number, Range
from sweeper.report.cost_document import PredictedCostEntry


class StudyEntry(TypedDict):
    """The study that the report is about."""

    name: str
    question: str
    miniature: bool
    caveat: str
    evaluated: bool
    axes: list[str]
    varied: list[str]
    alpha: float
    """Level of the intervals of single rates."""
    planned: int
    statuses: dict[str, int]
    partial: bool


class RateEntry(TypedDict):
    """A pass rate with its interval."""

    pass_rate: Number
    interval: Range
    n_queries: int
    n_outcomes: int
    unscored: int


class SeedEntry(TypedDict):
    """One finished run of an arm."""

    seed: int
    status: str
    val_loss: Number
    train_flops: Number
    pass_rate: Number


class CostEntry(TypedDict):
    """Mean seconds and FLOPs of an arm's finished runs."""

    train_seconds: Number
    eval_seconds: Number
    train_flops: Number
    eval_seconds_per_solved: Number
    seconds_per_solved: Number


class ArmEntry(RateEntry):
    """One combination of the axes. It also has one key per axis: see `get_axis`."""

    label: str
    model: str
    parameters: Number
    run_interval: Range
    """Of the pass rate over queries and seeds, as claims compute it; None with one seed. `interval`: over queries."""
    subset_mean: RateEntry
    without_leaked: RateEntry | None
    val_loss: Number
    definitions: dict[str, float]
    signatures: dict[str, Number]
    cost: CostEntry
    runs: int
    runs_done: int
    runs_diverged: int
    seeds: list[SeedEntry]


class SubsetEntry(RateEntry):
    """An arm on one subset of the queries."""

    arm: str
    subset: str


class BandEntry(TypedDict):
    """Median and band of several values; all None without any."""

    low: Number
    median: Number
    high: Number


class MarginalEntry(TypedDict):
    """The arms that have one value of an axis."""

    value: AxisValue
    parameters: Number
    arms: int
    pass_rate: BandEntry
    val_loss: BandEntry


class HeatmapCell(TypedDict):
    """The finished runs of a model at one learning rate and clipping."""

    model: str
    learning_rate: AxisValue
    max_grad_norm: Number
    value: Number
    runs_done: int
    runs_diverged: int


class HeatmapEntry(TypedDict):
    """Learning rate x clipping. `over`: the other axes that a cell averages over."""

    metric: str
    over: list[str]
    cells: list[HeatmapCell]


class CurveEntry(TypedDict):
    """A trial's learning curve, downsampled."""

    step: list[int]
    loss: list[Number]
    grad_norm: list[Number]
    val_step: list[int]
    val_loss: list[Number]


class LossBandEntry(TypedDict):
    """Training loss of all trials of a model. `reached_by`: trials that reach each step."""

    model: str
    trials: int
    step: list[int]
    low: list[Number]
    median: list[Number]
    high: list[Number]
    reached_by: list[int]


class FitCurveEntry(TypedDict):
    """A fitted curve with its band."""

    size: list[float]
    value: list[Number]
    low: list[Number]
    high: list[Number]


class CurveBacktestEntry(TypedDict):
    """What a curve without its largest size predicts for it, undefined where too few sizes are left."""

    size: float
    predicted: Number
    observed: Number


class FitEntry(TypedDict):
    """A fitted curve of a metric against size, as `statistics` describes it."""

    group: str
    axes: dict[str, AxisValue]
    metric: str
    size: str
    name: str
    parameters: dict[str, Number]
    r2: Number
    aicc: Number
    n_sizes: int
    n_runs: int
    residual_df: int
    caveat: str
    lack_of_fit_p: Number
    """Of an F test against free means by size."""
    curve: FitCurveEntry
    backtest: CurveBacktestEntry


class PredictedNumbers(TypedDict):
    """What a law predicts for one size, with 95 % intervals over runs."""

    size: float
    tokens: float
    loss: Number
    loss_interval: Range
    pass_rate: Number
    pass_rate_interval: Range


class BacktestEntry(PredictedNumbers):
    """What the fit without the largest size predicted for it, and what was observed."""

    observed_loss: Number
    observed_pass_rate: Number


class BestSizeEntry(TypedDict):
    """The size of least loss at a compute budget."""

    train_flops: float
    size: Number
    interval: Range
    inside: bool


class PredictionEntry(TypedDict):
    """A law of the loss, the pass rate from it, and what both predict beyond the largest size."""

    group: str
    axes: dict[str, AxisValue]
    loss: str
    law: str
    formula: str
    problem: str
    """Why nothing is fitted; '' where something is."""
    parameters: dict[str, Number]
    link: dict[str, Number]
    """Parameters of the sigmoid from loss to pass rate; empty without one."""
    link_problem: str
    n_runs: int
    n_sizes: int
    dropped: int
    """Ended runs without the loss, its size or its tokens, such as diverged ones."""
    residual_df: int
    lack_of_fit_p: Number
    beyond: PredictedNumbers | None
    curve: list[PredictedNumbers]
    backtest: BacktestEntry | None
    best_sizes: list[BestSizeEntry]
    sentences: list[str]


class FailureEntry(TypedDict):
    """Why a trial failed."""

    kind: str
    message: str
    traceback: str


class TrialEntry(TypedDict):
    """A planned trial. It also has its axes and resources, as `status --json` prints them: see `get_axis`."""

    fingerprint: str
    model: str
    seed: int
    status: str
    parameters: Number
    failure: FailureEntry | None
    metrics: dict[str, Number]
    asked: dict[str, object]
    applied: dict[str, object]


class ImportanceEntry(TypedDict):
    """Importance of each axis, and the trials drawn as parallel coordinates."""

    metric: str
    method: str
    axes: list[str]
    importances: dict[str, float]
    n_trials: int
    lines: list[dict[str, AxisValue]]


class SearchStepEntry(TypedDict):
    """A proposal of a search and the best one so far of its model. `rung`: the last loss of a pruned one."""

    trial: int
    model: str
    anchor: bool
    value: Number
    rung: Number
    state: str
    best: Number


class FinalistEntry(TypedDict):
    """A proposal that was confirmed on fresh seeds."""

    proposal: str
    model: str
    anchor: bool
    axes: dict[str, AxisValue]
    changes: list[dict[str, AxisValue]]
    explored: float
    confirmed: Number
    interval: Range
    seeds: int
    seeds_planned: int
    diverged: int
    shrinkage: Number


class SearchEntry(TypedDict):
    """What a search explored and confirmed."""

    algorithm: str
    scheduler: str
    metrics: list[str]
    directions: list[str]
    planned: int
    confirmed_by: str
    states: dict[str, int]
    population: dict[str, int] | None
    best: list[SearchStepEntry]
    finalists: list[FinalistEntry]


class ConfoundEntry(TypedDict):
    """A model whose architecture differs from that of its family."""

    model: str
    embedding_width: int
    hidden_size: int
    layer_norm: str
    text: str


class Report(TypedDict):
    """The report of a study."""

    study: StudyEntry
    claims: list[ClaimEntry]
    later_claims: list[ClaimEntry]
    """Claims added or changed after trials had finished. Only their own p-values are adjusted over these as well."""
    withdrawn_claims: list[str]
    """Ids of registered claims that the sweep no longer has."""
    protocols: list[list[str]]
    arms: list[ArmEntry]
    subsets: list[SubsetEntry]
    margins: dict[str, list[MarginalEntry]]
    fits: list[FitEntry]
    predictions: list[PredictionEntry]
    map: HeatmapEntry | None
    confounds: list[ConfoundEntry]
    search: ImportanceEntry | None
    exploration: SearchEntry | None
    trials: list[TrialEntry]
    leakage: dict[str, object] | None
    histories: dict[str, CurveEntry]
    learning: list[LossBandEntry]
    references: list[dict[str, object]]
    data: list[dict[str, object]]
    manifest: dict[str, object]
    """The last run."""
    runs: list[dict[str, object]]
    hardware: list[dict[str, object]]
    predicted: PredictedCostEntry | None
    commands: list[str]


def list_claims(document: Report) -> list[ClaimEntry]:
    """Return the registered claims, then those added or changed later."""
    return [*document["claims"], *document["later_claims"]]


def get_axis(entry: ArmEntry | TrialEntry, axis: str) -> AxisValue:
    """Return an arm's or a trial's value of an axis; None where it has none."""
    return cast(Mapping[str, AxisValue], entry).get(axis)


def get_metric(entry: ArmEntry | SeedEntry, metric: str) -> Number:
    """Return the pass rate or the validation loss of an arm or a seed."""
    return entry["pass_rate"] if metric == "pass_rate" else entry["val_loss"]

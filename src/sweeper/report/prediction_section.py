"""Trials -> what their sizes predict beyond the largest: the law of the loss, the pass rate from it, and a backtest."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from sweeper.claims.losses import LOSSES
from sweeper.config.axes import format_arm_name
from sweeper.report.claim_document import AxisValue
from sweeper.report.document import (
    BacktestEntry,
    BestSizeEntry,
    PredictedNumbers,
    PredictionEntry,
    TrialEntry,
    get_axis,
)
from sweeper.report.formatting import format_short_count, is_undefined
from sweeper.statistics.loss_law import LawForm
from sweeper.statistics.pass_matrix import COUNTED_STATUSES
from sweeper.statistics.prediction import (
    OCTAVE,
    Backtest,
    Ladder,
    LadderRuns,
    Prediction,
    backtest_ladder,
    choose_ladder_forms,
    find_best_sizes,
    find_ladder_problem,
    fit_ladder,
)
from sweeper.statistics.scaling_fits import LACK_OF_FIT_LEVEL

MAX_PREDICTION_GROUPS = 6
"""Combinations of the other axes with laws of their own; with more, nothing is predicted, and the page says so."""
N_CURVE_POINTS = 25
FORM_FORMULAS: dict[LawForm, str] = {
    "size": "E + A / N^alpha",
    "additive": "E + A / N^alpha + B / D^beta",
    "multiplicative": "E + A / (N^alpha D^beta)",
}
"""N: parameters. D: training tokens."""


@dataclass(frozen=True)
class _Group:
    """The trials of one combination of the other axes."""

    axes: dict[str, AxisValue]
    trials: Sequence[TrialEntry]

    @property
    def name(self) -> str:
        return " · ".join(format_arm_name(axis, value) for axis, value in self.axes.items())


def predict_sizes(trials: Sequence[TrialEntry], varying_axes: Sequence[str]) -> list[PredictionEntry]:
    """Fit the laws of each loss and predict twice the largest size, with a backtest.

    Epochs are amounts of training tokens where sizes have at least three of them; a repeated token counts as a new one.
    Random draws are seeded by the name of the group.

    Args:
        trials: the trials that form arms.
        varying_axes: axes with several values.

    Returns:
        One entry per combination of the other axes, loss and form of the law; empty with one size, and with more than
        `MAX_PREDICTION_GROUPS` combinations.
    """
    others = [axis for axis in varying_axes if axis != "model"]
    joint = _group_trials(trials, [axis for axis in others if axis != "num_train_epochs"])
    is_joint = "num_train_epochs" in others and all(_has_several_amounts(group) for group in joint)
    groups = joint if is_joint else _group_trials(trials, others)
    if len(groups) > MAX_PREDICTION_GROUPS:
        return []
    return [entry for group in groups for loss in LOSSES for entry in _predict_group(group, loss)]


def _group_trials(trials: Sequence[TrialEntry], axes: Sequence[str]) -> list[_Group]:
    groups: dict[tuple[AxisValue, ...], list[TrialEntry]] = {}
    for trial in trials:
        groups.setdefault(tuple(get_axis(trial, axis) for axis in axes), []).append(trial)
    return [_Group(dict(zip(axes, values, strict=True)), own) for values, own in groups.items()]


def _has_several_amounts(group: _Group) -> bool:
    runs, _ = _collect_runs(group, "val_loss")
    return bool(len(runs.sizes)) and choose_ladder_forms(runs) != ("size",)


def _collect_runs(group: _Group, loss: str) -> tuple[LadderRuns, int]:
    """Collect the finished runs with this loss, and count the ended ones without it, such as diverged ones.

    The tokens of an arm are the mean of its runs', so that its seeds are one amount.
    """
    ended = [trial for trial in group.trials if trial["status"] in COUNTED_STATUSES]
    columns = {
        name: np.array([_read_number(trial, name) for trial in ended]) for name in ("tokens", "train_flops", loss)
    }
    losses = columns[loss]
    losses[[trial["status"] != "COMPLETE" for trial in ended]] = math.nan
    sizes = np.array([math.nan if trial["parameters"] is None else trial["parameters"] for trial in ended], dtype=float)
    arms = [(trial["parameters"], get_axis(trial, "num_train_epochs")) for trial in ended]
    for arm in dict.fromkeys(arms):
        own = np.array([other == arm for other in arms])
        columns["tokens"][own] = columns["tokens"][own].mean()
    rates = np.array([_read_number(trial, "pass_rate") for trial in ended])
    runs = LadderRuns(sizes, columns["tokens"], columns["train_flops"], losses, rates)
    is_known = np.isfinite(sizes) & np.isfinite(runs.tokens) & np.isfinite(losses)
    return runs.select(is_known), int((~is_known).sum())


def _read_number(trial: TrialEntry, name: str) -> float:
    value = trial["metrics"].get(name)
    return math.nan if value is None else float(value)


def _predict_group(group: _Group, loss: str) -> list[PredictionEntry]:
    runs, n_dropped = _collect_runs(group, loss)
    if len(runs.known_sizes) < 2:
        return []
    entries = []
    for form in choose_ladder_forms(runs):
        entry = _make_entry(group, loss, form, n_dropped)
        if problem := find_ladder_problem(runs, form):
            entry["problem"] = f"Not fitted: {problem}."
        else:
            rng = np.random.default_rng(zlib.crc32(f"{group.name} {loss} {form}".encode()))
            ladder = fit_ladder(runs, form, rng=rng)
            _describe_ladder(entry, runs, ladder, backtest_ladder(runs, form, rng=rng))
        entries.append(entry)
    return entries


def _make_entry(group: _Group, loss: str, form: LawForm, n_dropped: int) -> PredictionEntry:
    return {
        "group": group.name,
        "axes": group.axes,
        "loss": loss,
        "law": form,
        "formula": FORM_FORMULAS[form],
        "problem": "",
        "parameters": {},
        "link": {},
        "link_problem": "",
        "n_runs": 0,
        "n_sizes": 0,
        "dropped": n_dropped,
        "residual_df": 0,
        "lack_of_fit_p": math.nan,
        "beyond": None,
        "curve": [],
        "backtest": None,
        "best_sizes": [],
        "sentences": [],
    }


def _describe_ladder(entry: PredictionEntry, runs: LadderRuns, ladder: Ladder, backtest: Backtest | None) -> None:
    """Add a fit to its entry."""
    largest, tokens = float(runs.known_sizes[-1]), float(runs.tokens.max())
    sizes = np.geomspace(runs.known_sizes[0], OCTAVE * largest, N_CURVE_POINTS)
    curve = [
        _serialize(float(size), tokens, ladder.predict_loss(size, tokens), ladder.predict_pass_rate(size, tokens))
        for size in sizes
    ]
    entry["parameters"] = dict(ladder.law.parameters)
    entry["link"] = dict(ladder.link.parameters) if ladder.link else {}
    entry["link_problem"] = ladder.link_problem
    entry["n_runs"], entry["n_sizes"], entry["residual_df"] = ladder.n_runs, ladder.n_sizes, ladder.residual_df
    entry["lack_of_fit_p"] = ladder.lack_of_fit_p
    entry["curve"], entry["beyond"] = curve, curve[-1]
    if backtest is not None:
        predicted = _serialize(backtest.size, backtest.tokens, backtest.loss, backtest.pass_rate)
        observed = {"observed_loss": backtest.observed_loss, "observed_pass_rate": backtest.observed_pass_rate}
        entry["backtest"] = cast(BacktestEntry, {**predicted, **observed})
    entry["best_sizes"] = [
        {
            "train_flops": each.train_flops,
            "size": each.size,
            "interval": [each.interval.low, each.interval.high],
            "inside": each.is_inside,
        }
        for each in find_best_sizes(runs, ladder)
    ]
    entry["sentences"] = [_format_beyond(entry, curve[-1]), _format_backtest(entry["backtest"])]
    if ladder.lack_of_fit_p < LACK_OF_FIT_LEVEL:
        entry["sentences"].append(f"The runs contradict this law (lack of fit, p = {ladder.lack_of_fit_p:.2g}).")
    entry["sentences"] += map(_format_best_size, entry["best_sizes"])
    if entry["dropped"]:
        entry["sentences"].append(f"Left out: {entry['dropped']} runs that diverged or have no loss.")


def _serialize(size: float, tokens: float, loss: Prediction, rate: Prediction) -> PredictedNumbers:
    ends, rate_ends = loss.compute_interval(), rate.compute_interval()
    return {
        "size": size,
        "tokens": tokens,
        "loss": loss.value,
        "loss_interval": [ends.low, ends.high],
        "pass_rate": rate.value,
        "pass_rate_interval": [float(np.clip(end, 0.0, 1.0)) for end in (rate_ends.low, rate_ends.high)],
    }


def _format_beyond(entry: PredictionEntry, beyond: PredictedNumbers) -> str:
    title, size = LOSSES[entry["loss"]].title, format_short_count(beyond["size"])
    rate = f", pass rate {_format_rate(beyond)}." if entry["link"] else f". No pass rate: {entry['link_problem']}."
    return f"At {size} parameters, twice the largest size: {title} {_format_loss(beyond)}{rate}"


def _format_backtest(backtest: BacktestEntry | None) -> str:
    if backtest is None:
        return "No backtest: without the largest size too few sizes remain."
    text = f"Without the largest size ({format_short_count(backtest['size'])}) the fit predicts a loss of "
    text += f"{_format_loss(backtest)}; observed: {backtest['observed_loss']:.3f}."
    if not is_undefined(backtest["pass_rate"]) and not is_undefined(backtest["observed_pass_rate"]):
        text += f" It predicts a pass rate of {_format_rate(backtest)}; "
        text += f"observed: {100 * cast(float, backtest['observed_pass_rate']):.1f} %."
    return text


def _format_best_size(best: BestSizeEntry) -> str:
    ends = [format_short_count(end) if 0 < cast(float, end) < math.inf else "no bound" for end in best["interval"]]
    text = f"Least loss at {best['train_flops']:.3g} training FLOPs: {format_short_count(best['size'])} parameters"
    text += "" if any(map(is_undefined, best["interval"])) else f" ({ends[0]} to {ends[1]})"
    return text + ("." if best["inside"] else ", beyond the observed sizes: an extrapolation.")


def _format_loss(numbers: PredictedNumbers) -> str:
    low, high = numbers["loss_interval"]
    return f"{numbers['loss']:.3f}" + ("" if is_undefined(low) else f" ({low:.3f} to {high:.3f})")


def _format_rate(numbers: PredictedNumbers) -> str:
    value, low, high = (cast(float, number) for number in (numbers["pass_rate"], *numbers["pass_rate_interval"]))
    return f"{100 * value:.1f} %" + ("" if is_undefined(low) else f" ({100 * low:.1f} to {100 * high:.1f})")

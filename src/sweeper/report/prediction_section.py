"""Trials -> what their sizes predict beyond the largest: the law of the loss, the pass rate from it, and a backtest."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from sweeper.config.axes import format_arm_name
from sweeper.report.claim_document import AxisValue
from sweeper.report.document import PredictedNumbers, PredictionEntry, TrialEntry, get_axis
from sweeper.report.formatting import format_short_count
from sweeper.statistics.loss_law import LawForm
from sweeper.statistics.prediction import (
    OCTAVE,
    Backtest,
    BestSize,
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
LOSS_NAMES = {"val_loss": "validation loss", "gold_nll": "loss on gold answers"}
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
        trials: the report's trials.
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
    return [entry for group in groups for loss in LOSS_NAMES for entry in _predict_group(group, loss)]


def _group_trials(trials: Sequence[TrialEntry], axes: Sequence[str]) -> list[_Group]:
    groups: dict[tuple[AxisValue, ...], list[TrialEntry]] = {}
    for trial in trials:
        groups.setdefault(tuple(get_axis(trial, axis) for axis in axes), []).append(trial)
    return [_Group(dict(zip(axes, values, strict=True)), own) for values, own in groups.items()]


def _has_several_amounts(group: _Group) -> bool:
    runs = _collect_runs(group, "val_loss")
    return bool(len(runs.sizes)) and choose_ladder_forms(runs) != ("size",)


def _collect_runs(group: _Group, loss: str) -> LadderRuns:
    """Collect the finished runs with this loss. The tokens of an arm are the mean of its runs'."""
    rows = []
    for trial in group.trials:
        numbers = [trial["parameters"], *(trial["metrics"].get(name) for name in ("tokens", "train_flops", loss))]
        known = [math.nan if value is None else float(value) for value in numbers]
        rate = trial["metrics"].get("pass_rate")
        if trial["status"] == "COMPLETE" and known[0] > 0 and known[3] > 0 and math.isfinite(known[3]):
            rows.append((*known, math.nan if rate is None else float(rate), get_axis(trial, "num_train_epochs")))
    sizes, tokens, flops, losses, rates = np.array([row[:5] for row in rows], dtype=np.float64).reshape(-1, 5).T
    arms = [(row[0], row[5]) for row in rows]
    for arm in dict.fromkeys(arms):
        own = np.array([other == arm for other in arms])
        tokens[own] = tokens[own].mean() if np.isfinite(tokens[own]).all() else 1.0
    return LadderRuns(sizes, tokens, flops, losses, rates)


def _predict_group(group: _Group, loss: str) -> list[PredictionEntry]:
    runs = _collect_runs(group, loss)
    if len(runs.known_sizes) < 2:
        return []
    entries = []
    for form in choose_ladder_forms(runs):
        if problem := find_ladder_problem(runs, form):
            entries.append(_make_entry(group, loss, form, f"Not fitted: {problem}."))
            continue
        rng = np.random.default_rng(zlib.crc32(f"{group.name} {loss} {form}".encode()))
        ladder = fit_ladder(runs, form, rng=rng)
        if ladder.residual_df < 1:
            problem = "as many parameters as combinations of size and tokens, so nothing could contradict the law"
            entries.append(_make_entry(group, loss, form, f"Not fitted: {problem}."))
            continue
        backtest = backtest_ladder(runs, form, rng=rng)
        entries.append(_describe_ladder(group, loss, runs, ladder, backtest))
    return entries


def _make_entry(group: _Group, loss: str, form: LawForm, problem: str) -> PredictionEntry:
    return {
        "group": group.name,
        "axes": group.axes,
        "loss": loss,
        "law": form,
        "formula": FORM_FORMULAS[form],
        "problem": problem,
        "parameters": {},
        "link": {},
        "link_problem": "",
        "n_runs": 0,
        "n_sizes": 0,
        "residual_df": 0,
        "lack_of_fit_p": math.nan,
        "beyond": None,
        "curve": [],
        "backtest": None,
        "best_sizes": [],
        "sentences": [],
    }


def _describe_ladder(
    group: _Group, loss: str, runs: LadderRuns, ladder: Ladder, backtest: Backtest | None
) -> PredictionEntry:
    largest, tokens = float(runs.known_sizes[-1]), float(runs.tokens.max())
    beyond = _predict_numbers(ladder, OCTAVE * largest, tokens)
    curve = [
        _predict_numbers(ladder, float(size), tokens)
        for size in np.geomspace(runs.known_sizes[0], OCTAVE * largest, N_CURVE_POINTS)
    ]
    best = find_best_sizes(runs, ladder)
    entry = _make_entry(group, loss, ladder.law.form, "") | {
        "parameters": ladder.law.parameters,
        "link": ladder.link.parameters if ladder.link else {},
        "link_problem": ladder.link_problem,
        "n_runs": ladder.n_runs,
        "n_sizes": ladder.n_sizes,
        "residual_df": ladder.residual_df,
        "lack_of_fit_p": ladder.lack_of_fit_p,
        "beyond": beyond,
        "curve": curve,
        "backtest": _serialize_backtest(backtest),
        "best_sizes": [
            {
                "train_flops": each.train_flops,
                "size": each.size,
                "interval": [each.interval.low, each.interval.high],
                "inside": each.is_inside,
            }
            for each in best
        ],
        "sentences": _list_sentences(loss, ladder, beyond, backtest, best),
    }
    return cast(PredictionEntry, entry)


def _predict_numbers(ladder: Ladder, size: float, tokens: float) -> PredictedNumbers:
    loss = _serialize("loss", ladder.predict_loss(size, tokens))
    rate = _serialize("pass_rate", ladder.predict_pass_rate(size, tokens), is_rate=True)
    return cast(PredictedNumbers, {"size": size, "tokens": tokens} | loss | rate)


def _serialize(name: str, prediction: Prediction, *, is_rate: bool = False) -> dict[str, object]:
    interval = prediction.compute_interval()
    ends = [interval.low, interval.high]
    if is_rate:
        ends = [min(max(end, 0.0), 1.0) if math.isfinite(end) else end for end in ends]
    return {name: prediction.value, f"{name}_interval": ends}


def _serialize_backtest(backtest: Backtest | None) -> dict[str, object] | None:
    if backtest is None:
        return None
    return {
        "size": backtest.size,
        "tokens": backtest.tokens,
        **_serialize("loss", backtest.loss),
        **_serialize("pass_rate", backtest.pass_rate, is_rate=True),
        "observed_loss": backtest.observed_loss,
        "observed_pass_rate": backtest.observed_pass_rate,
    }


def _list_sentences(
    loss: str, ladder: Ladder, beyond: PredictedNumbers, backtest: Backtest | None, best: Sequence[BestSize]
) -> list[str]:
    sentences = [
        f"At {format_short_count(beyond['size'])} parameters, twice the largest size: {LOSS_NAMES[loss]} "
        f"{_format_loss(ladder.predict_loss(beyond['size'], beyond['tokens']))}"
        + (
            f", pass rate {_format_rate(ladder.predict_pass_rate(beyond['size'], beyond['tokens']))}."
            if ladder.link
            else f". No pass rate: {ladder.link_problem}."
        )
    ]
    if backtest is None:
        sentences.append("No backtest: without the largest size too few sizes remain.")
    else:
        text = f"Without the largest size ({format_short_count(backtest.size)}) the fit predicted "
        text += f"{_format_loss(backtest.loss)}; observed {backtest.observed_loss:.3f}"
        if math.isfinite(backtest.pass_rate.value):
            text += f". Pass rate predicted: {_format_rate(backtest.pass_rate)}"
            text += f"; observed {100 * backtest.observed_pass_rate:.1f} %"
        sentences.append(f"{text}.")
    if ladder.lack_of_fit_p < LACK_OF_FIT_LEVEL:
        sentences.append(f"The runs contradict this law (lack of fit, p = {ladder.lack_of_fit_p:.2g}).")
    for each in best:
        bounds = (each.interval.low, each.interval.high)
        ends = [format_short_count(end) if 0 < end < math.inf else "no bound" for end in bounds]
        text = f"Least loss at {each.train_flops:.3g} training FLOPs: {format_short_count(each.size)} parameters"
        text += f" ({ends[0]} to {ends[1]})" if not math.isnan(each.interval.low) else ""
        sentences.append(text + ("." if each.is_inside else ", beyond the observed sizes: an extrapolation."))
    return sentences


def _format_loss(prediction: Prediction) -> str:
    interval = prediction.compute_interval()
    ends = f" ({interval.low:.3f} to {interval.high:.3f})" if math.isfinite(interval.low) else ""
    return f"{prediction.value:.3f}{ends}"


def _format_rate(prediction: Prediction) -> str:
    interval = prediction.compute_interval()
    low, high = (100 * min(max(end, 0.0), 1.0) if math.isfinite(end) else end for end in (interval.low, interval.high))
    ends = f" ({low:.1f} to {high:.1f})" if math.isfinite(low) else ""
    return f"{100 * prediction.value:.1f} %{ends}"

"""Columns of the tables with one row per trial: that of `sweeper status`, and that of the report's page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

from sweeper.config.axes import format_axis_value, get_axis_label
from sweeper.report.claim_document import AxisValue, Number
from sweeper.report.document import TrialEntry, get_axis
from sweeper.report.formatting import MISSING, format_duration, format_number


@dataclass(frozen=True)
class TrialColumn:
    """One column. To add one, define it in this file and list it in the tables that show it.

    Args:
        label: header.
        read: returns the value of a trial, by which the page sorts.
        format: formats that value.
        css_class: on the page: `n` for numbers, `mono`, or `nowrap`; text sorts by itself.
    """

    label: str
    read: Callable[[TrialEntry], AxisValue]
    format: Callable[[AxisValue], str]
    css_class: str = "n"


def shorten_fingerprint(fingerprint: str) -> str:
    """Return the first eight characters, or `unknown` for an empty fingerprint."""
    return str(fingerprint)[:8] or "unknown"


def _read_metric(name: str) -> Callable[[TrialEntry], AxisValue]:
    return lambda trial: trial["metrics"].get(name)


def _format_number(format_spec: str) -> Callable[[AxisValue], str]:
    return lambda value: format_number(cast(Number, value), format_spec)


def _format_seconds(value: AxisValue) -> str:
    return format_duration(cast(Number, value))


def _format_percent(value: AxisValue) -> str:
    return MISSING if value is None else f"{100 * cast(float, value):.1f} %"


def _make_axis_column(axis: str, *, is_narrow: bool) -> TrialColumn:
    return TrialColumn(get_axis_label(axis, short=is_narrow), partial(get_axis, axis=axis), format_axis_value)


TRIAL = TrialColumn("trial", lambda trial: shorten_fingerprint(trial["fingerprint"]), str, "mono")
MODEL = TrialColumn("model", lambda trial: str(trial["model"]), str, "nowrap")
PARAMETERS = TrialColumn("parameters", lambda trial: trial.get("parameters"), _format_number(",.0f"))
SEED = TrialColumn("seed", lambda trial: trial["seed"], _format_number(",.0f"))
STATUS = TrialColumn("status", lambda trial: str(trial["status"]), str, "")
PASS_RATE = TrialColumn("pass rate", _read_metric("pass_rate"), _format_percent)
LOSS = TrialColumn("val. loss", _read_metric("val_loss"), _format_number(".3f"))
TRAINING = TrialColumn("training", _read_metric("train_seconds"), _format_seconds)
EVALUATION = TrialColumn("evaluation", _read_metric("eval_seconds"), _format_seconds)


def list_status_columns(axes: Sequence[str]) -> list[TrialColumn]:
    """List the columns of `sweeper status`.

    Args:
        axes: axes of the sweep that are shown.

    Returns:
        The columns, in order.

    Example:
        >>> [column.label for column in list_status_columns(["learning_rate"])]
        ['trial', 'model', 'lr', 'seed', 'status', 'val loss', 'pass rate']
    """
    axis_columns = [_make_axis_column(axis, is_narrow=True) for axis in axes]
    seed, loss = replace(SEED, format=str), replace(LOSS, label="val loss")
    return [TRIAL, MODEL, *axis_columns, seed, STATUS, loss, replace(PASS_RATE, format=_format_number(".1%"))]


def list_page_columns(axes: Sequence[str]) -> list[TrialColumn]:
    """List the columns of the report's page."""
    axis_columns = [_make_axis_column(axis, is_narrow=False) for axis in axes]
    return [TRIAL, MODEL, PARAMETERS, *axis_columns, SEED, STATUS, PASS_RATE, LOSS, TRAINING, EVALUATION]

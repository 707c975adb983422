"""Columns of the tables of trials, as the terminal and the page show them."""

from __future__ import annotations

from typing import cast

from rich.console import Console

from sweeper.cli.tables_study import render_status_table
from sweeper.report.document import TrialEntry
from sweeper.report.trial_columns import STATUS, TrialColumn, list_page_columns, list_status_columns
from sweeper.training import TrialRow

PLANNED = {"model": "opt", "parameters": 45_344, "seed": 12_345, "learning_rate": 1e-5, "max_grad_norm": None}
ROW = TrialRow("0123456789abcdef", "COMPLETE", {"val_loss": 1.23456, "pass_rate": 0.775}, planned=PLANNED)
AXES = ["learning_rate", "max_grad_norm"]


def show(columns: list[TrialColumn], row: TrialRow) -> dict[str, str]:
    entry = cast(TrialEntry, row.to_document())
    return {column.label: column.format(column.read(entry)) for column in columns}


def test_status_columns_are_narrow() -> None:
    assert show(list_status_columns(AXES), ROW) == {
        "trial": "01234567",
        "model": "opt",
        "lr": "1e-05",
        "clip": "off",
        "seed": "12345",
        "status": "COMPLETE",
        "val loss": "1.235",
        "pass rate": "77.5%",
    }


def test_page_columns_have_size_and_times_also() -> None:
    assert show(list_page_columns(AXES), ROW) == {
        "trial": "01234567",
        "model": "opt",
        "parameters": "45,344",
        "learning rate": "1e-05",
        "clip": "off",
        "seed": "12,345",
        "status": "COMPLETE",
        "pass rate": "77.5 %",
        "val. loss": "1.235",
        "training": "–",
        "evaluation": "–",
    }


def test_missing_values_are_shown_as_such() -> None:
    shown = show(list_status_columns([]), TrialRow("", "PENDING", planned=PLANNED))
    assert (shown["trial"], shown["val loss"], shown["pass rate"]) == ("unknown", "–", "–")


def test_both_tables_have_the_column_that_is_colored_or_filtered() -> None:
    assert STATUS in list_status_columns(AXES)
    assert STATUS in list_page_columns(AXES)


def test_status_table_prints_one_line_per_trial() -> None:
    row = TrialRow(ROW.fingerprint, ROW.status, ROW.metrics, planned=PLANNED | {"num_train_epochs": 3.0})
    console = Console(width=120)
    with console.capture() as printed:
        console.print(render_status_table("study", [row.to_document()], ["learning_rate"]))
    lines = printed.get().splitlines()
    assert lines[2].split() == ["01234567", "opt", "3", "1e-05", "off", "12345", "COMPLETE", "1.235", "77.5%"]
    assert lines[3] == "1 COMPLETE"

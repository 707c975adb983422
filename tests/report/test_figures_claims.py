from __future__ import annotations

from copy import deepcopy

import pytest
from report_tables import document

from sweeper.report.figures_claims import LABEL_WIDTH, plot_claim_intervals

CLAIM = document()["claims"][0]


def list_traces(claim: dict[str, object]) -> dict[str, object]:
    return {trace.name: trace for trace in plot_claim_intervals(claim).data}  # type: ignore[arg-type]


def test_comparisons_are_drawn_in_percentage_points_with_their_intervals() -> None:
    trace = list_traces(CLAIM)["comparison"]
    own = [part for part in CLAIM["components"] if part["estimate"] is not None]
    assert list(trace.x) == pytest.approx([100 * part["estimate"] for part in own])  # type: ignore[attr-defined]
    ends = [x + e for x, e in zip(trace.x, trace.error_x.array, strict=True)]  # type: ignore[attr-defined]
    assert ends == pytest.approx([100 * part["interval"][1] for part in own])


def test_bounds_are_those_of_the_tests() -> None:
    bounds = list(list_traces(CLAIM)["bound"].x)  # type: ignore[attr-defined]
    expected = {"superior": 0.0, "no-better": 100 * 0.1}
    assert bounds == pytest.approx([expected[part["test"]] for part in CLAIM["components"]])


def test_rows_of_one_name_stay_apart() -> None:
    claim = deepcopy(CLAIM)
    claim["components"].append(deepcopy(claim["components"][0]))
    names = list(list_traces(claim)["comparison"].y)  # type: ignore[attr-defined]
    assert len(set(names)) == len(names) == len(claim["components"])


def test_long_names_are_wrapped_and_open_ends_have_no_bar() -> None:
    claim = deepcopy(CLAIM)
    claim["components"] = [claim["components"][0] | {"names": ["a " * 40, "b"], "interval": [None, 0.5]}]
    trace = list_traces(claim)["comparison"]
    assert all(len(line) <= LABEL_WIDTH for line in trace.y[0].split("<br>"))  # type: ignore[attr-defined]
    assert list(trace.error_x.arrayminus) == [0.0]  # type: ignore[attr-defined]

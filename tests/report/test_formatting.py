from __future__ import annotations

import math

import pytest

from sweeper.report import formatting
from sweeper.report.formatting import format_percentage_points


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "–"), (math.nan, "–"), (47.2, "47 s"), (720, "12 min"), (12_240, "3.4 h")]
)
def test_format_duration_has_the_unit_that_fits(seconds: float | None, text: str) -> None:
    assert formatting.format_duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "points", "–"),
        (0.0253, "points", "+2.5"),
        (-0.0253, None, "−2.5"),
        (-0.0001, "points", "0.0"),
        (-0.0001, "nats", "0.000"),
        (-0.25, "nats", "−0.250"),
        (1.5, "ratio", "1.50"),
        (math.inf, "nats", "∞"),
    ],
)
def test_format_estimate_signs_differences_only(value: float | None, unit: str | None, text: str) -> None:
    assert formatting.format_estimate(value, unit) == text


def test_format_p_value_bounds_the_smallest() -> None:
    assert [formatting.format_p_value(p) for p in (None, 0.0312, 1e-14)] == ["–", "0.031", "≤ 1e-14"]


def test_format_counts_scales_by_thousands() -> None:
    assert formatting.format_short_count(1_300_000) == "1.3 M"
    assert formatting.format_short_count(45_000) == "45 k"
    assert formatting.format_si(5.76e9) == "5.76 G"
    assert formatting.format_si(45_000) == "45,000"
    assert [formatting.format_bytes(n) for n in (512, 2.5e9, math.nan)] == ["0.512 kB", "2.5 GB", "–"]


def test_format_range_shows_one_number_where_both_ends_agree() -> None:
    assert formatting.format_range(58, 87.2, 180) == "87.2 (58 to 180)"
    assert formatting.format_range(3, 3, 3) == "3"
    assert formatting.format_range(math.nan, math.nan, math.nan) == "unknown"
    assert formatting.format_significant(1_234_567) == "1,230,000"


def test_format_lists_and_counts_on_one_line() -> None:
    assert formatting.format_counts({"too-long": 22, "no-target": 1}) == "22 too-long, 1 no-target"
    assert formatting.format_counts({}) == "none"
    assert formatting.join_names("abc", limit=2) == "a, b, …"
    assert formatting.format_manifest_value({"dirty": True, "gpus": [], "commit": None}) == "dirty yes, gpus , commit –"


def test_format_percentage_points_has_a_true_minus_and_no_signed_zero() -> None:
    assert [format_percentage_points(x) for x in (-0.0123, 0.0, -0.0001, 0.25)] == ["−1.2", "0.0", "0.0", "+25.0"]

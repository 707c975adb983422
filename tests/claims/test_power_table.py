from __future__ import annotations

from claim_cases import ONCE

from sweeper.claims.power_table import StudyDesign, build_power_rows

ROWS = [{"model": "small", "num_train_epochs": epochs, "seed": seed} for epochs in (1, 3) for seed in range(4)]
DESIGN = StudyDesign(
    {"num_train_epochs": [1, 3], "seed": [0, 1, 2, 3]}, ROWS, ("num_train_epochs", "seed"), {"G1_tool": 300}
)


def test_row_counts_seeds_queries_and_arms() -> None:
    (row,) = build_power_rows([ONCE], DESIGN)
    assert (row.arms, row.n_seeds, row.n_queries) == ((1, 3), 4, 300)
    document = row.to_document()
    assert (document["seeds"], document["queries"], document["margin"]) == (4, 300, 0.05)
    assert document["underpowered"] == (document["detectable_effect"] > 0.05)


def test_more_queries_and_seeds_detect_less() -> None:
    more = StudyDesign({"num_train_epochs": [1, 3], "seed": list(range(12))}, ROWS, DESIGN.axes, {"G1_tool": 3000})
    effects = [build_power_rows([ONCE], design)[0].power.detectable_effect for design in (DESIGN, more)]
    assert effects[0] is not None and effects[1] is not None and effects[1] < effects[0]


def test_selection_seeds_do_not_count() -> None:
    claim = ONCE.model_copy(update={"selection_seeds": [0, 1]})
    assert build_power_rows([claim], DESIGN)[0].n_seeds == 2


def test_one_seed_allows_no_verdict() -> None:
    """An effect of 30 points was printed for a design that can give no verdict at all."""
    one = StudyDesign({"num_train_epochs": [1, 3], "seed": [0]}, ROWS[::4], DESIGN.axes, {"G1_tool": 300})
    (row,) = build_power_rows([ONCE], one)
    assert row.power.detectable_effect is None
    assert row.power.is_underpowered
    assert row.power.reason == "no verdict possible: 1 seed to compare on, and a verdict needs at least 2"


def test_fewer_seeds_than_the_first_look_allow_no_verdict() -> None:
    (row,) = build_power_rows([ONCE.model_copy(update={"looks": [6, 9]})], DESIGN)
    assert row.power.reason == "no verdict possible: 4 seeds to compare on, and its first look 6"
    assert row.power.is_underpowered and row.simulated is None


def test_equal_designs_have_equal_figures() -> None:
    assert build_power_rows([ONCE], DESIGN)[0].power == build_power_rows([ONCE], DESIGN)[0].power

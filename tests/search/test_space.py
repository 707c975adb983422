"""The search space: proposals and the values they can have."""

from __future__ import annotations

from pathlib import Path

from searches import make_sweep, run_search

from sweeper.search import Proposal, load_proposal_records


def test_suggest_values_skips_inactive_axes(tmp_path: Path) -> None:
    axes = (
        "max_grad_norm: {loguniform: [0.1, 1], or_null: true}\n  lr_scheduler_type: [linear, constant_with_warmup]\n"
        "  warmup_steps: {int_uniform: [1, 30], when: {lr_scheduler_type: [linear]}}"
    )
    sweep = make_sweep(tmp_path, axes, "algorithm: random, trials: 60")
    run_search(sweep, tmp_path, lambda values: 1.0)
    entries = load_proposal_records(sweep, tmp_path)
    assert {entry.proposal.values["max_grad_norm"] is None for entry in entries} == {True, False}
    for entry in entries:
        values = entry.proposal.values
        assert ("warmup_steps" in values) == (values["lr_scheduler_type"] == "linear")
    assert entries[0].proposal.values == {"max_grad_norm": 0.3, "lr_scheduler_type": "linear", "warmup_steps": 20}


def test_proposals_are_equal_by_group_and_number() -> None:
    one = Proposal("opt-tiny-32", 3, False, {"learning_rate": 1.0})
    assert one == Proposal("opt-tiny-32", 3, False, {}) and one.key == "opt-tiny-32#3"

"""Reports of a training run, and their form between processes."""

from __future__ import annotations

from sweeper.training import TrainingProgress


def test_to_document_leaves_out_what_was_not_measured() -> None:
    assert TrainingProgress(3, 9, val_loss=0.5).to_document() == {"step": 3.0, "steps": 9.0, "val_loss": 0.5}


def test_from_document_restores_a_report() -> None:
    report = TrainingProgress(3, 9, loss=1.5, grad_norm=0.1, learning_rate=1e-3, tokens_per_second=7.0)
    assert TrainingProgress.from_document(report.to_document()) == report

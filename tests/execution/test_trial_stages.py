"""The two stages of a trial: a failed evaluation leaves the training as it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from small_studies import load_small_sweep, run_inline

from sweeper.errors import TrialsFailedError
from sweeper.planning.planner import plan_sweep
from sweeper.results.study_tables import collect_study
from sweeper.storage import Store


@pytest.mark.slow
def test_run_trial_keeps_the_training_of_a_failed_evaluation(tmp_path: Path) -> None:
    plan, store = plan_sweep(load_small_sweep("axes.seed=[0]")), Store(tmp_path)
    (trial,) = plan.trials
    assert "pass rate" in run_inline(plan, store)
    shutil.rmtree(store.trial_folder(trial.fingerprint) / "evaluation")
    weights = store.trial_folder(trial.fingerprint) / "model" / "model.safetensors"
    kept = weights.read_bytes()
    weights.write_bytes(b"broken")
    with pytest.raises(TrialsFailedError, match=trial.fingerprint):
        run_inline(plan, store)
    (row,) = collect_study(plan, store).trials
    assert row.failure is not None
    assert row.status == "FAILED"
    assert "Traceback" in row.failure.traceback
    assert row.get_metric("val_loss") > 0
    before = store.record_path(trial.fingerprint).read_bytes()
    weights.write_bytes(kept)
    run_inline(plan, store)
    assert collect_study(plan, store).trials[0].status == "COMPLETE"
    assert store.record_path(trial.fingerprint).read_bytes() == before

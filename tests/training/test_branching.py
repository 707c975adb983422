"""A branch ends as the same schedule trained alone, to the last digit, or is refused with the reason."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tiny_trial import (
    CHANGED,
    EIGHT_STEPS,
    SIXTY_STEPS,
    make_changing_spec,
    make_wsd_spec,
    read_history,
    read_weights,
    train_spec,
)

from sweeper import data
from sweeper.storage import Store, read_json
from sweeper.training import TrainingProgress, TrialRecord


def comparable_metrics(record: TrialRecord) -> dict[str, float | None]:
    """Return the metrics, except times and the branch point."""
    excluded = ("train_seconds", "own_train_seconds", "branched_from_step")
    return {key: value for key, value in record.metrics.items() if key not in excluded}


def assert_same_trial(store: Store, one: str, record: TrialRecord, other: str, alone: TrialRecord) -> None:
    assert record.status == alone.status == "COMPLETE", (record.failure, alone.failure)
    pd.testing.assert_frame_equal(read_history(store, one), read_history(store, other), check_exact=True)
    assert comparable_metrics(record) == comparable_metrics(alone)
    assert (record.asked, record.applied) == (alone.asked, alone.applied)
    assert read_weights(store, one) == read_weights(store, other)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("epochs", "fields", "steps"),
    [
        pytest.param((1, 2, 3), EIGHT_STEPS, {1: 6, 2: 12}, id="several arms"),
        pytest.param((1, 2), SIXTY_STEPS, {1: 46}, id="between two logged steps"),
        pytest.param((2, 3), {"decay_fraction": 0.5}, {2: 8}, id="at the end of an epoch"),
        pytest.param(
            (1, 2),
            EIGHT_STEPS
            | {
                "per_device_train_batch_size": 4,
                "gradient_accumulation_steps": 2,
                "train_sampling_strategy": "group_by_length",
            },
            {1: 6},
            id="grouped by length, two micro-batches",
        ),
    ],
)
def test_branch_equals_the_same_schedule_trained_alone(
    prepared: data.PreparedData, tmp_path: Path, epochs: tuple[int, ...], fields: dict[str, Any], steps: dict[int, int]
) -> None:
    store, longest = Store(tmp_path), epochs[-1]
    trunk = train_spec(prepared, store, "trunk", make_wsd_spec(longest, points=epochs[:-1], **fields))
    assert_same_trial(
        store, "trunk", trunk, "alone", train_spec(prepared, store, "alone", make_wsd_spec(longest, **fields))
    )
    assert {path.name for path in store.branch_points_folder("trunk").iterdir()} == {
        f"checkpoint-{step}" for step in steps.values()
    }
    for arm, step in steps.items():
        steps_trained: list[float] = []

        def on_progress(progress: TrainingProgress, steps_trained: list[float] = steps_trained) -> None:
            steps_trained.append(progress.step)

        name = f"arm {arm}"
        branched = train_spec(prepared, store, name, make_wsd_spec(arm, trunk="trunk", **fields), on_progress)
        alone = train_spec(prepared, store, f"{name} alone", make_wsd_spec(arm, **fields))
        assert_same_trial(store, name, branched, f"{name} alone", alone)
        assert min(steps_trained) >= step, "only its decay was trained"
        assert branched.resumed_from_step is None, "nothing interrupted it"
        assert branched.metrics["branched_from_step"] == step
        assert "own_train_seconds" not in alone.metrics
        assert not (store.trial_folder(name) / "checkpoints").exists()


@pytest.mark.slow
def test_branch_records_the_time_of_the_whole_schedule_and_its_own(prepared: data.PreparedData, tmp_path: Path) -> None:
    store = Store(tmp_path)
    train_spec(prepared, store, "trunk", make_wsd_spec(2, points=(1,), **EIGHT_STEPS))
    shared = read_json(store.branch_point_folder("trunk", 6) / "sweeper-complete")["train_seconds"]
    metrics = train_spec(prepared, store, "arm", make_wsd_spec(1, trunk="trunk", **EIGHT_STEPS)).metrics
    whole, own = metrics["train_seconds"], metrics["own_train_seconds"]
    assert whole is not None
    assert own is not None
    assert own > 0
    assert whole == pytest.approx(shared + own)


@pytest.mark.slow
def test_interrupted_trunk_keeps_the_same_branch_points(prepared: data.PreparedData, tmp_path: Path) -> None:
    trunk, stores = make_wsd_spec(2, points=(1,), **EIGHT_STEPS), [Store(tmp_path / name) for name in ("whole", "cut")]
    train_spec(prepared, stores[0], "trunk", trunk)

    def interrupt(progress: TrainingProgress) -> None:
        if progress.step >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_spec(prepared, stores[1], "trunk", trunk, interrupt)
    assert not list(stores[1].trial_folder("trunk").glob("branches/checkpoint-*")), (
        "no branch point before it is complete"
    )
    train_spec(prepared, stores[1], "trunk", trunk)
    states = [(store.branch_point_folder("trunk", 6) / "model.safetensors").read_bytes() for store in stores]
    assert states[0] == states[1]
    arms = [train_spec(prepared, store, "arm", make_wsd_spec(1, trunk="trunk", **EIGHT_STEPS)) for store in stores]
    assert comparable_metrics(arms[0]) == comparable_metrics(arms[1])


KILLED_BRANCH = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {helpers!r})
from tiny_trial import SIXTY_STEPS, make_wsd_spec, train_spec
from sweeper import data
from sweeper.storage import Store
store = Store(Path({store!r}))
def on_progress(progress):
    if progress.step >= {step}:
        os.kill(os.getpid(), signal.SIGKILL)
prepared = data.open_prepared_data(Store(Path({data!r})), {identity!r})
train_spec(prepared, store, "arm", make_wsd_spec(1, trunk="trunk", **SIXTY_STEPS), on_progress)
"""


@pytest.mark.slow
def test_killed_branch_resumes_from_its_own_newest_checkpoint(prepared: data.PreparedData, tmp_path: Path) -> None:
    store = Store(tmp_path)
    train_spec(prepared, store, "trunk", make_wsd_spec(2, points=(1,), **SIXTY_STEPS))
    code = KILLED_BRANCH.format(
        helpers=str(Path(__file__).parents[1] / "helpers"),
        store=str(tmp_path),
        data=str(prepared.directory.parents[1]),
        identity=prepared.fingerprint,
        step=54,
    )
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not store.record_path("arm").exists()
    resumed = train_spec(prepared, store, "arm", make_wsd_spec(1, trunk="trunk", **SIXTY_STEPS))
    assert resumed.resumed_from_step == 51, "every third step: a fifth of its own 14"
    assert resumed.metrics["branched_from_step"] == 46
    alone = train_spec(prepared, store, "alone", make_wsd_spec(1, **SIXTY_STEPS))
    assert_same_trial(store, "arm", resumed, "alone", alone)


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["a flipped bit", "a missing file", "no mark", "another trial's", "not there"])
def test_damaged_branch_point_is_refused(prepared: data.PreparedData, tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path)
    train_spec(prepared, store, "trunk", make_wsd_spec(2, points=(1,), **EIGHT_STEPS))
    point = store.branch_point_folder("trunk", 6)
    file, mark = point / "optimizer.pt", point / "sweeper-complete"
    if damage == "a flipped bit":
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    elif damage == "a missing file":
        file.unlink()
    elif damage == "no mark":
        mark.unlink()
    elif damage == "another trial's":
        mark.write_text(json.dumps(json.loads(mark.read_text()) | {"fingerprint": "another"}))
    else:
        store.delete(store.branch_points_folder("trunk"))
    record = train_spec(prepared, store, "arm", make_wsd_spec(1, trunk="trunk", **EIGHT_STEPS))
    assert record.status == "FAILED"
    assert record.failure is not None
    assert record.failure.kind == "bad-input"
    assert "the checkpoint of step 6 of trial trunk" in record.failure.message
    assert "the trunk: COMPLETE" in record.failure.message
    assert "delete trials/trunk" in record.failure.message


@pytest.mark.slow
def test_branch_before_its_trunk_fails_and_is_retried(prepared: data.PreparedData, tmp_path: Path) -> None:
    store = Store(tmp_path)
    early = train_spec(prepared, store, "arm", make_wsd_spec(1, trunk="trunk", **EIGHT_STEPS))
    assert early.failure is not None
    assert "the trunk: not finished" in early.failure.message
    train_spec(prepared, store, "trunk", make_wsd_spec(2, points=(1,), **EIGHT_STEPS))
    assert train_spec(prepared, store, "arm", make_wsd_spec(1, trunk="trunk", **EIGHT_STEPS)).status == "COMPLETE"


@pytest.mark.slow
def test_branch_of_a_diverged_trunk_diverges_as_it_would_alone(prepared: data.PreparedData, tmp_path: Path) -> None:
    wild = SIXTY_STEPS | {"learning_rate": 30.0, "max_grad_norm": None}
    store = Store(tmp_path)
    trunk = train_spec(prepared, store, "trunk", make_wsd_spec(2, points=(1,), **wild))
    assert trunk.status == "DIVERGED"
    assert (trunk.metrics["steps"] or 0) <= 46
    branched = train_spec(prepared, store, "arm", make_wsd_spec(1, trunk="trunk", **wild))
    alone = train_spec(prepared, store, "alone", make_wsd_spec(1, **wild))
    assert branched.status == alone.status == "DIVERGED"
    assert branched.metrics["branched_from_step"] == 0
    assert branched.metrics["own_train_seconds"] == branched.metrics["train_seconds"]
    pd.testing.assert_frame_equal(read_history(store, "arm"), read_history(store, "alone"))


@pytest.mark.slow
def test_branch_continues_on_another_machine_through_a_remote_store(
    prepared: data.PreparedData, tmp_path: Path
) -> None:
    here, there = (Store(tmp_path / name, "memory://branches/store") for name in ("here", "there"))
    train_spec(prepared, here, "trunk", make_wsd_spec(2, points=(1,), **EIGHT_STEPS))
    branched = train_spec(prepared, there, "arm", make_wsd_spec(1, trunk="trunk", **EIGHT_STEPS))
    alone = train_spec(prepared, there, "alone", make_wsd_spec(1, **EIGHT_STEPS))
    assert_same_trial(there, "arm", branched, "alone", alone)


def assert_same_files(store: Store, one: str, other: str) -> None:
    pd.testing.assert_frame_equal(read_history(store, one), read_history(store, other), check_exact=True)
    assert read_weights(store, one) == read_weights(store, other)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "fields"),
    [
        pytest.param(3, {}, id="between epochs"),
        pytest.param(8, {}, id="at the end of an epoch"),
        pytest.param(2, {}, id="in the warm-up"),
        pytest.param(
            5,
            {
                "lr_scheduler_type": "cosine",
                "per_device_train_batch_size": 4,
                "gradient_accumulation_steps": 2,
                "train_sampling_strategy": "group_by_length",
            },
            id="cosine, grouped by length, two micro-batches",
        ),
        pytest.param(7, {"lr_scheduler_type": "warmup_stable_decay", "decay_fraction": 0.5}, id="with a decay"),
        pytest.param(
            5, {"weight_decay": 0.0, "lr_scheduler_type": "constant", "warmup_steps": 0}, id="weight decay switched on"
        ),
    ],
)
def test_branch_with_changes_equals_the_same_recipe_trained_alone(
    prepared: data.PreparedData, tmp_path: Path, first: int, fields: dict[str, Any]
) -> None:
    store = Store(tmp_path)
    one = {"step": first, "learning_rate": 0.03, "max_grad_norm": None, "weight_decay": 0.2}
    train_spec(prepared, store, "parent", make_changing_spec([], **fields), rung_steps=first)
    steps_trained: list[float] = []
    child = make_changing_spec([one], "parent", first, **fields)
    record = train_spec(
        prepared, store, "child", child, lambda progress: steps_trained.append(progress.step), rung_steps=first
    )
    alone = train_spec(prepared, store, "alone", make_changing_spec([one], **fields), rung_steps=first)
    assert record.status == alone.status == "COMPLETE", (record.failure, alone.failure)
    assert_same_files(store, "child", "alone")
    assert (record.asked, record.applied) == (alone.asked, alone.applied)
    assert min(steps_trained) >= first, "only the later steps were trained"
    assert record.metrics["branched_from_step"] == first
    assert read_weights(store, "child") != read_weights(store, "parent")
    steps = {int(path.name.rpartition("-")[2]) for path in store.branch_points_folder("child").glob("*")}
    assert steps == {step for step in range(first, 16, first) if step > first}


@pytest.mark.slow
def test_interrupted_branch_of_a_branch_equals_the_same_recipe_trained_alone(
    prepared: data.PreparedData, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    first, second = {"step": 4, "learning_rate": 0.02}, {"step": 8, "max_grad_norm": 0.02}
    train_spec(prepared, store, "parent", make_changing_spec([]), rung_steps=4)
    train_spec(prepared, store, "child", make_changing_spec([first], "parent", 4), rung_steps=4)

    def interrupt(progress: TrainingProgress) -> None:
        if progress.step >= 12:
            raise KeyboardInterrupt

    grandchild = make_changing_spec([first, second], "child", 8)
    with pytest.raises(KeyboardInterrupt):
        train_spec(prepared, store, "grandchild", grandchild, interrupt, rung_steps=4)
    record = train_spec(prepared, store, "grandchild", grandchild, rung_steps=4)
    assert record.resumed_from_step is not None
    assert record.resumed_from_step > 8
    train_spec(prepared, store, "alone", make_changing_spec([first, second]))
    searched, alone = read_history(store, "grandchild"), read_history(store, "alone")
    kept = searched[searched["rung_loss"].isna()].drop(columns="rung_loss").reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, alone, check_exact=True)
    assert read_weights(store, "grandchild") == read_weights(store, "alone")


@pytest.mark.slow
def test_branch_without_its_checkpoint_is_trained_from_scratch(prepared: data.PreparedData, tmp_path: Path) -> None:
    store = Store(tmp_path)
    train_spec(prepared, store, "parent", make_changing_spec([]), rung_steps=4)
    train_spec(prepared, store, "child", make_changing_spec(CHANGED[:1], "parent", 4), rung_steps=4)
    store.delete(store.branch_points_folder("parent"))
    record = train_spec(prepared, store, "again", make_changing_spec(CHANGED[:1], "parent", 4), rung_steps=4)
    assert record.metrics["branched_from_step"] == 0
    assert_same_files(store, "again", "child")

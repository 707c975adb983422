"""An arm that goes on from its trunk ends as the same schedule run alone would, to the last digit; or says why not."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError
from tiny_trial import DATA, MODEL, RECIPE

from sweeper import data
from sweeper.config import Branch, Recipe, Runtime, TrialSpec, compute_trial_fingerprint
from sweeper.errors import UsageError
from sweeper.storage import Store, read_json
from sweeper.training import TrainingProgress, TrialJob, TrialRecord, train_trial
from sweeper.training.schedule import choose_logging_steps, compute_decay_start, count_decay_steps

EIGHT_STEPS = {"decay_fraction": 0.25}
"""An epoch is 8 optimizer steps, each logged: a run of one decays from step 6 on."""
SIXTY_STEPS = {"decay_fraction": 0.23, "per_device_train_batch_size": 1}
"""An epoch is 60 steps, every third logged: it decays from step 46 on, which is not."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> data.PreparedData:
    return data.prepare_data(DATA, MODEL, tmp_path_factory.mktemp("store"))


def recipe(epochs: float, **fields: Any) -> Recipe:
    schedule = {"lr_scheduler_type": "warmup_stable_decay", "num_train_epochs": epochs}
    return Recipe.model_validate(RECIPE.model_dump() | schedule | fields)


def spec(epochs: float, trunk: str = "", points: tuple[float, ...] = (), **fields: Any) -> TrialSpec:
    return TrialSpec(
        model=MODEL,
        data=DATA,
        recipe=recipe(epochs, **fields),
        seed=3,
        runtime=Runtime(),
        branch=Branch(trunk=trunk) if trunk else None,
        branch_points=points,
    )


def train(
    prepared: data.PreparedData, store: Store, name: str, asked: TrialSpec, tell: Any = lambda progress: None
) -> TrialRecord:
    return train_trial(TrialJob(asked, name, prepared.fingerprint), lambda: prepared, store, tell)


def history(store: Store, name: str) -> pd.DataFrame:
    return pd.read_parquet(store.trial_folder(name) / "history.parquet")


def weights(store: Store, name: str) -> bytes:
    return (store.trial_folder(name) / "model" / "model.safetensors").read_bytes()


def numbers(record: TrialRecord) -> dict[str, float | None]:
    """Its metrics, without times and without what says that it was branched."""
    untold = ("train_seconds", "own_train_seconds", "branched_from_step")
    return {key: value for key, value in record.metrics.items() if key not in untold}


def assert_the_same(store: Store, one: str, record: TrialRecord, other: str, alone: TrialRecord) -> None:
    assert record.status == alone.status == "COMPLETE", (record.failure, alone.failure)
    pd.testing.assert_frame_equal(history(store, one), history(store, other), check_exact=True)
    assert numbers(record) == numbers(alone)
    assert (record.asked, record.applied) == (alone.asked, alone.applied)
    assert weights(store, one) == weights(store, other)


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
def test_a_branch_equals_the_same_schedule_run_alone(
    prepared: data.PreparedData, tmp_path: Path, epochs: tuple[int, ...], fields: dict[str, Any], steps: dict[int, int]
) -> None:
    store, longest = Store(tmp_path), epochs[-1]
    trunk = train(prepared, store, "trunk", spec(longest, points=epochs[:-1], **fields))
    assert_the_same(store, "trunk", trunk, "alone", train(prepared, store, "alone", spec(longest, **fields)))
    assert {path.name for path in store.branch_points_folder("trunk").iterdir()} == {
        f"checkpoint-{step}" for step in steps.values()
    }
    for arm, step in steps.items():
        told: list[float] = []

        def tell(progress: TrainingProgress, told: list[float] = told) -> None:
            told.append(progress.step)

        name = f"arm {arm}"
        branched = train(prepared, store, name, spec(arm, trunk="trunk", **fields), tell)
        alone = train(prepared, store, f"{name} alone", spec(arm, **fields))
        assert_the_same(store, name, branched, f"{name} alone", alone)
        assert min(told) >= step, "only its decay was trained"
        assert branched.resumed_from_step is None, "nothing interrupted it"
        assert branched.metrics["branched_from_step"] == step
        assert "own_train_seconds" not in alone.metrics
        assert not (store.trial_folder(name) / "checkpoints").exists()


@pytest.mark.slow
def test_time_is_that_of_the_whole_schedule_and_its_own_part_beside_it(
    prepared: data.PreparedData, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    train(prepared, store, "trunk", spec(2, points=(1,), **EIGHT_STEPS))
    shared = read_json(store.branch_point_folder("trunk", 6) / "sweeper-complete")["train_seconds"]
    metrics = train(prepared, store, "arm", spec(1, trunk="trunk", **EIGHT_STEPS)).metrics
    whole, own = metrics["train_seconds"], metrics["own_train_seconds"]
    assert whole is not None
    assert own is not None
    assert own > 0
    assert whole == pytest.approx(shared + own)


@pytest.mark.slow
def test_an_interrupted_trunk_keeps_the_same_points(prepared: data.PreparedData, tmp_path: Path) -> None:
    asked, stores = spec(2, points=(1,), **EIGHT_STEPS), [Store(tmp_path / name) for name in ("whole", "cut")]
    train(prepared, stores[0], "trunk", asked)

    def interrupt(progress: TrainingProgress) -> None:
        if progress.step >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(prepared, stores[1], "trunk", asked, interrupt)
    assert not list(stores[1].trial_folder("trunk").glob("branches/checkpoint-*")), "not there before its mark is"
    train(prepared, stores[1], "trunk", asked)
    states = [(store.branch_point_folder("trunk", 6) / "model.safetensors").read_bytes() for store in stores]
    assert states[0] == states[1]
    arms = [train(prepared, store, "arm", spec(1, trunk="trunk", **EIGHT_STEPS)) for store in stores]
    assert numbers(arms[0]) == numbers(arms[1])


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {folder!r})
sys.path.insert(0, {helpers!r})
from test_branching import EIGHT_STEPS, SIXTY_STEPS, spec, train
from sweeper import data
from sweeper.storage import Store
store = Store(Path({store!r}))
def tell(progress):
    if progress.step >= {step}:
        os.kill(os.getpid(), signal.SIGKILL)
prepared = data.open_prepared_data(Store(Path({data!r})), {identity!r})
train(prepared, store, "arm", spec(1, trunk="trunk", **SIXTY_STEPS), tell)
"""


@pytest.mark.slow
def test_a_killed_branch_goes_on_from_its_own_newest_checkpoint(prepared: data.PreparedData, tmp_path: Path) -> None:
    store = Store(tmp_path)
    train(prepared, store, "trunk", spec(2, points=(1,), **SIXTY_STEPS))
    code = KILLED.format(
        folder=str(Path(__file__).parent),
        helpers=str(Path(__file__).parents[1] / "helpers"),
        store=str(tmp_path),
        data=str(prepared.directory.parents[1]),
        identity=prepared.fingerprint,
        step=54,
    )
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not store.record_path("arm").exists()
    resumed = train(prepared, store, "arm", spec(1, trunk="trunk", **SIXTY_STEPS))
    assert resumed.resumed_from_step == 51, "every third step: a fifth of its own 14"
    assert resumed.metrics["branched_from_step"] == 46
    alone = train(prepared, store, "alone", spec(1, **SIXTY_STEPS))
    assert_the_same(store, "arm", resumed, "alone", alone)


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["a flipped bit", "a missing file", "no mark", "another trial's", "not there"])
def test_a_damaged_point_is_refused(prepared: data.PreparedData, tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path)
    train(prepared, store, "trunk", spec(2, points=(1,), **EIGHT_STEPS))
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
    record = train(prepared, store, "arm", spec(1, trunk="trunk", **EIGHT_STEPS))
    assert record.status == "FAILED"
    assert record.failure is not None
    assert record.failure.kind == "bad-input"
    assert "to go on from step 6 of trial trunk" in record.failure.message
    assert "the trunk: COMPLETE" in record.failure.message
    assert "delete trials/trunk" in record.failure.message


@pytest.mark.slow
def test_an_arm_before_its_trunk_fails_and_is_tried_again(prepared: data.PreparedData, tmp_path: Path) -> None:
    store = Store(tmp_path)
    early = train(prepared, store, "arm", spec(1, trunk="trunk", **EIGHT_STEPS))
    assert early.failure is not None
    assert "the trunk: not finished" in early.failure.message
    train(prepared, store, "trunk", spec(2, points=(1,), **EIGHT_STEPS))
    assert train(prepared, store, "arm", spec(1, trunk="trunk", **EIGHT_STEPS)).status == "COMPLETE"


@pytest.mark.slow
def test_an_arm_whose_trunk_diverged_first_diverges_as_it_would_alone(
    prepared: data.PreparedData, tmp_path: Path
) -> None:
    wild = SIXTY_STEPS | {"learning_rate": 30.0, "max_grad_norm": None}
    store = Store(tmp_path)
    trunk = train(prepared, store, "trunk", spec(2, points=(1,), **wild))
    assert trunk.status == "DIVERGED"
    assert (trunk.metrics["steps"] or 0) <= 46
    branched = train(prepared, store, "arm", spec(1, trunk="trunk", **wild))
    alone = train(prepared, store, "alone", spec(1, **wild))
    assert branched.status == alone.status == "DIVERGED"
    assert branched.metrics["branched_from_step"] == 0
    assert branched.metrics["own_train_seconds"] == branched.metrics["train_seconds"]
    pd.testing.assert_frame_equal(history(store, "arm"), history(store, "alone"))


@pytest.mark.slow
def test_another_machine_branches_off_through_the_store_behind_a_url(
    prepared: data.PreparedData, tmp_path: Path
) -> None:
    here, there = (Store(tmp_path / name, "memory://branches/store") for name in ("here", "there"))
    train(prepared, here, "trunk", spec(2, points=(1,), **EIGHT_STEPS))
    branched = train(prepared, there, "arm", spec(1, trunk="trunk", **EIGHT_STEPS))
    alone = train(prepared, there, "alone", spec(1, **EIGHT_STEPS))
    assert_the_same(there, "arm", branched, "alone", alone)


@pytest.mark.slow
def test_a_warm_up_that_runs_into_the_decay_is_refused(prepared: data.PreparedData, tmp_path: Path) -> None:
    record = train(prepared, Store(tmp_path), "f", spec(1, warmup_steps=7, **EIGHT_STEPS))
    assert record.failure is not None
    assert record.failure.kind == "bad-input"
    assert "whose decay begins after 6" in record.failure.message


@pytest.mark.slow
def test_the_learning_rate_stays_at_its_peak_then_falls_in_a_line(prepared: data.PreparedData, tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = train(prepared, store, "f", spec(2, decay_fraction=0.5, warmup_steps=4))
    assert record.status == "COMPLETE", record.failure
    assert record.applied["decay"] == record.asked["decay"] == "linear over 8 of 16 steps"
    rates = history(store, "f").dropna(subset="loss")["learning_rate"].tolist()
    peak = RECIPE.learning_rate
    shares = [0, 0.25, 0.5, 0.75, *[1] * 4, *[1 - i / 8 for i in range(8)]]
    assert rates == pytest.approx([peak * share for share in shares])


def test_decay_and_its_fraction_go_together() -> None:
    with pytest.raises(ValidationError, match="go together"):
        recipe(1)
    with pytest.raises(ValidationError, match="go together"):
        Recipe.model_validate(RECIPE.model_dump() | {"decay_fraction": 0.2})


def test_where_the_decay_begins() -> None:
    asked = recipe(1, decay_fraction=0.2, warmup_steps=3)
    assert [count_decay_steps(asked, steps) for steps in (4, 5, 100)] == [1, 1, 20]
    assert count_decay_steps(RECIPE, 100) is None
    assert [compute_decay_start(asked, steps) for steps in (4, 5, 100)] == [3, 4, 80]
    with pytest.raises(UsageError, match="decay begins after 2"):
        compute_decay_start(asked, 3)
    starts = [compute_decay_start(asked, steps) for steps in range(4, 400)]
    assert starts == sorted(starts), "a longer run never decays earlier: it passes by every shorter one's point"


def test_runs_of_any_whole_number_of_epochs_log_at_the_same_steps() -> None:
    assert {choose_logging_steps(recipe(epochs, **EIGHT_STEPS), epochs * 100) for epochs in (1, 2, 3, 5)} == {5}
    assert choose_logging_steps(RECIPE, 200) == 10, "another schedule: by the run's own length, as before"


def test_branched_from_whom_and_for_whom_is_part_of_a_trials_identity() -> None:
    def identity(asked: TrialSpec) -> str:
        return compute_trial_fingerprint(
            asked.recipe,
            0,
            weights_fingerprint="w",
            data_fingerprint="d",
            branch=asked.branch,
            branch_points=asked.branch_points,
        )

    specs = [
        spec(2, **EIGHT_STEPS),
        spec(2, trunk="t", **EIGHT_STEPS),
        spec(2, trunk="u", **EIGHT_STEPS),
        spec(2, points=(1,), **EIGHT_STEPS),
        spec(2, points=(1, 1.5), **EIGHT_STEPS),
        spec(2, decay_fraction=0.3),
    ]
    assert len({identity(asked) for asked in specs}) == len(specs)

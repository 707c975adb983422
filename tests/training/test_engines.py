"""Engines: the same trial whatever the number of workers and however they share the model."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from forked_workers import make_forked_launcher
from pydantic import ValidationError
from safetensors.torch import load_file
from tiny_trial import CONFIG, DATA, RECIPE

from sweeper import data
from sweeper.config import EngineSpec, ModelSpec, Recipe, Runtime, TrialSpec, read_yaml_as_dict
from sweeper.errors import LostWorkerError, UsageError
from sweeper.execution.ray_backend import train as on_ray
from sweeper.storage import Store, lease, read_json, write_json
from sweeper.training import TrainingProgress, TrialJob, TrialRecord, WorkerFailedError, torchrun, train_trial
from sweeper.training.applied_settings import list_mismatches, read_deepspeed_settings
from sweeper.training.batching import split_batch
from sweeper.training.checkpoint_manifest import CheckpointIdentity, find_checkpoint_problem
from sweeper.training.sft_config import make_deepspeed_config
from sweeper.training.torchrun import make_torchrun_launcher

ROOT = Path(__file__).resolve().parents[2]
NO_DROPOUT = ModelSpec(name="tiny", config=CONFIG | {"dropout": 0.0, "num_hidden_layers": 2})
ENGINES = {
    "single": EngineSpec(name="single"),
    "ddp": EngineSpec(name="ddp", distributed=True),
    "zero2": EngineSpec(name="zero2", distributed=True, zero_stage=2),
    "zero3": EngineSpec(name="zero3", distributed=True, zero_stage=3),
    "zero3-offload": EngineSpec(name="zero3-offload", distributed=True, zero_stage=3, offload=True),
}


def spec_of(engine: str, workers: int, **recipe: Any) -> TrialSpec:
    return TrialSpec(
        model=NO_DROPOUT,
        data=DATA,
        recipe=Recipe.model_validate(RECIPE.model_dump() | {"gradient_accumulation_steps": 2} | recipe),
        seed=3,
        runtime=Runtime(engine=engine, workers=workers),
        engine=ENGINES[engine],
    )


def train(root: Path, prepared: data.PreparedData, spec: TrialSpec) -> tuple[TrialRecord, pd.DataFrame]:
    store = Store(root)
    several = spec.engine is not None and spec.engine.distributed
    job, launch = TrialJob(spec, "f", prepared.fingerprint), None
    if spec.engine is not None and spec.engine.zero_stage:
        launch = make_forked_launcher(job, store)
    elif several:
        launch = make_torchrun_launcher(job, store, lambda progress: None)
    record = train_trial(job, lambda: prepared, store, lambda progress: None, launch)
    assert record.status == "COMPLETE", record.failure
    return record, pd.read_parquet(store.trial_folder("f") / "history.parquet")


@pytest.fixture(scope="module")
def store_with_data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, data.PreparedData]:
    root = tmp_path_factory.mktemp("store")
    return root, data.prepare_data(DATA, NO_DROPOUT, root)


@pytest.fixture(scope="module")
def alone(store_with_data: tuple[Path, data.PreparedData], tmp_path_factory: pytest.TempPathFactory) -> Any:
    _, prepared = store_with_data
    store = Store(tmp_path_factory.mktemp("alone"))
    spec = spec_of("single", 1)
    record = train_trial(TrialJob(spec, "f", prepared.fingerprint), lambda: prepared, store, lambda progress: None)
    weights = load_file(store.trial_folder("f") / "model" / "model.safetensors")
    return record, pd.read_parquet(store.trial_folder("f") / "history.parquet"), weights


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ddp", "zero2", "zero3", "zero3-offload"])
def test_two_workers_train_the_same_model_as_one(
    engine: str, alone: Any, store_with_data: tuple[Path, data.PreparedData]
) -> None:
    root, prepared = store_with_data
    shutil.rmtree(root / "trials", ignore_errors=True)
    record, history = train(root, prepared, spec_of(engine, 2))
    expected, expected_history, expected_weights = alone
    np.testing.assert_allclose(history.to_numpy(float), expected_history.to_numpy(float), rtol=2e-4)
    assert list_mismatches(record.asked, record.applied) == []
    assert {key: record.applied[key] for key in expected.applied} == pytest.approx(expected.applied)
    assert record.applied.get("zero_stage", 0) == ENGINES[engine].zero_stage
    assert record.environment["workers"] == 2
    for key in ("tokens", "steps", "train_flops"):
        assert record.metrics[key] == expected.metrics[key], "stand-ins at the end of an epoch are not counted"
    assert record.parameters == expected.parameters
    folder = root / "trials" / "f" / "model"
    assert [path.name for path in folder.glob("*.safetensors")] == ["model.safetensors"], "whole, not in shares"
    weights = load_file(folder / "model.safetensors")
    for tied in weights.keys() - expected_weights.keys():  # DeepSpeed's copy of the tied output embedding
        assert tied == "lm_head.weight"
        torch.testing.assert_close(weights.pop(tied), weights["model.decoder.embed_tokens.weight"])
    assert weights.keys() == expected_weights.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, expected_weights[name], rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_clipping_off_and_groups_of_length_are_applied_by_an_engine_too(
    store_with_data: tuple[Path, data.PreparedData],
) -> None:
    root, prepared = store_with_data
    shutil.rmtree(root / "trials", ignore_errors=True)
    other = {"max_grad_norm": None, "train_sampling_strategy": "group_by_length", "num_train_epochs": 1}
    record, history = train(root, prepared, spec_of("zero2", 2, **other))
    assert record.applied["max_grad_norm"] is None
    store = Store(root / "alone")
    whole = train_trial(
        TrialJob(spec_of("single", 1, **other), "f", prepared.fingerprint),
        lambda: prepared,
        store,
        lambda progress: None,
    )
    assert whole.metrics["val_loss"] == pytest.approx(record.metrics["val_loss"], rel=1e-4)
    expected = pd.read_parquet(store.trial_folder("f") / "history.parquet")
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=2e-4)


@pytest.mark.slow
def test_a_killed_worker_is_a_lost_worker_and_the_trial_goes_on_from_its_checkpoint(
    alone: Any, store_with_data: tuple[Path, data.PreparedData]
) -> None:
    root, prepared = store_with_data
    shutil.rmtree(root / "trials", ignore_errors=True)
    spec, store = spec_of("zero2", 2), Store(root)

    def kill(progress: TrainingProgress) -> None:
        if progress.step == 6:
            mine = psutil.Process().children(recursive=True)
            launched = [process for process in mine if "sweeper.training.torchrun" in process.cmdline()]
            workers = [process for process in launched if "torch.distributed.run" not in process.cmdline()]
            workers[-1].kill()

    launch = make_torchrun_launcher(TrialJob(spec, "f", prepared.fingerprint), store, kill)
    with pytest.raises(LostWorkerError, match="died"):
        train_trial(TrialJob(spec, "f", prepared.fingerprint), lambda: prepared, store, lambda progress: None, launch)
    assert not store.record_path("f").exists()
    record, history = train(root, prepared, spec)
    assert record.resumed_from_step is not None
    assert record.resumed_from_step >= 4
    np.testing.assert_allclose(history.to_numpy(float), alone[1].to_numpy(float), rtol=2e-4)


ONE_OF_TWO_MACHINES = """
import os, sys, time
from pathlib import Path
from sweeper import data
from sweeper.config import TrialSpec
from sweeper.storage import Store, lease, read_json, write_json
from sweeper.execution.ray_backend import train as on_ray
from sweeper.training import TrialJob, train_worker

spec, tokens, folder, dies_at = sys.argv[1:]
prepared = data.open_prepared_data(Path(tokens).parents[1], Path(tokens).name)

def tell(progress):
    if progress.step == int(dies_at):
        far = Path(folder, "far", "trials/f/checkpoints")
        for _ in range(600):  # until two have gone up, and nothing of a third is there
            there = {file.relative_to(far).parts[0] for file in far.rglob("*") if file.is_file()}
            if len(list(far.glob("*/sweeper-complete"))) == len(there) == 2:
                break
            time.sleep(0.1)
        os._exit(1)

# Two machines that share nothing but the URL.
store = Store(Path(folder) / f"machine {os.environ['GROUP_RANK']} {dies_at}", f"file://{folder}/far")
job = TrialJob(TrialSpec.model_validate_json(Path(spec).read_text()), "f", prepared.fingerprint)
train_worker(job, prepared, store, tell)
"""


def two_machines(folder: Path, prepared: data.PreparedData, spec: TrialSpec, dies_at: int) -> list[int]:
    """Exit codes of the launchers of a trial with one worker on each of two machines."""
    (folder / "worker.py").write_text(ONE_OF_TWO_MACHINES)
    (folder / "spec.json").write_text(spec.model_dump_json())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    command += ["--master-addr=127.0.0.1", f"--master-port={port}"]
    asked = [folder / "worker.py", folder / "spec.json", prepared.directory, folder, str(dies_at)]
    logs = [folder / f"log {machine} {dies_at}" for machine in range(2)]
    running = [
        subprocess.Popen([*command, f"--node-rank={machine}", *asked], stdout=log.open("wb"), stderr=subprocess.STDOUT)
        for machine, log in enumerate(logs)
    ]
    codes = [process.wait(timeout=300) for process in running]
    assert dies_at or codes == [0, 0], "".join(log.read_text() for log in logs)[-4000:]
    return codes


@pytest.mark.slow
def test_two_machines_behind_a_url_go_on_within_an_epoch_from_what_both_have_sent(
    alone: Any, store_with_data: tuple[Path, data.PreparedData], tmp_path: Path
) -> None:
    prepared, spec = store_with_data[1], spec_of("zero2", 2)
    identity = CheckpointIdentity("f", "zero2", 2)
    assert any(two_machines(tmp_path, prepared, spec, dies_at=7))
    third = Store(tmp_path / "third machine", f"file://{tmp_path}/far")
    checkpoints = third.trial_folder("f") / "checkpoints"
    third.pull(checkpoints)
    whole = {
        checkpoint.name for checkpoint in checkpoints.iterdir() if not find_checkpoint_problem(checkpoint, identity)
    }
    assert whole == {"checkpoint-4", "checkpoint-6"}
    [share] = (checkpoints / "checkpoint-6").rglob("*zero_pp_rank_1*optim_states.pt")  # not of the machine that marks
    share.write_bytes(share.read_bytes()[:-1] + b"!")
    assert share.name in find_checkpoint_problem(checkpoints / "checkpoint-6", identity)
    two_machines(tmp_path, prepared, spec, dies_at=0)
    record = json.loads((tmp_path / "far" / "trials" / "f" / "record.json").read_text())
    assert record["resumed_from_step"] == 6, "within the second epoch"
    history = pd.read_parquet(tmp_path / "far" / "trials" / "f" / "history.parquet")
    np.testing.assert_allclose(history.to_numpy(float), alone[1].to_numpy(float), rtol=2e-4)


@pytest.mark.parametrize("launcher", ["torchrun", "ray"])
def test_workers_publish_nothing_once_their_launcher_was_taken_for_dead(
    launcher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The launcher holds the lock of its trial; each worker asks by the lock's generation."""
    monkeypatch.setenv("SWEEPER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr(lease, "RENEW_SECONDS", 60)
    monkeypatch.setattr(lease, "EXPIRY_SECONDS", 0.1)
    monkeypatch.setattr(lease, "POLL_SECONDS", 0.05)

    def train(*_: Any, check_lease: Any, **rest: Any) -> None:
        check_lease()

    for module in (torchrun, on_ray):
        monkeypatch.setattr(module, "train_worker", train)
        monkeypatch.setattr(module.data, "open_prepared_data", lambda store, identity: None)
    store, spec = Store.from_location("memory://launchers/store"), spec_of("ddp", 2)

    def work(generation: int | None) -> str:
        """One worker's failure, in words."""
        if launcher == "ray":
            planned: Any = SimpleNamespace(spec=spec, fingerprint=launcher, data_fingerprint="d")
            try:
                on_ray._make_worker(planned, store, None, None, generation, None)()
            except WorkerFailedError as error:
                return f"{error.failure.kind}: {error.failure.message}"
            return ""
        job = tmp_path / "job.json"
        asked = {"spec": spec.model_dump(mode="json"), "fingerprint": launcher, "data": "d", "at_most": None}
        write_json(job, asked | {"storage": store.location, "marked": store.is_marked, "generation": generation})
        if torchrun.run_worker(job) == 0:
            return ""
        failure = read_json(tmp_path / "failure-0.json")
        return f"{failure['kind']}: {failure['message']}"

    with store.lock_folder(store.trial_folder(launcher)) as mine:
        assert work(mine.generation) == ""
        elsewhere = Store(tmp_path / "elsewhere", store.url)
        with elsewhere.lock_folder(elsewhere.trial_folder(launcher)) as other:
            assert work(other.generation) == ""
            assert "lost-worker" in work(mine.generation)
            assert "took it over" in work(mine.generation)


def test_the_effective_batch_is_shared_out_and_never_changed() -> None:
    recipe = RECIPE.model_copy(update={"per_device_train_batch_size": 8, "gradient_accumulation_steps": 3})
    for workers, at_most, expected in [
        (1, None, (8, 3)),
        (2, None, (6, 2)),
        (3, None, (8, 1)),
        (4, None, (6, 1)),
        (1, 4, (4, 6)),
        (2, 4, (4, 3)),
        (24, None, (1, 1)),
    ]:
        share = split_batch(recipe, workers, at_most)
        assert (share.micro_batch, share.accumulation_steps) == expected
        assert share.micro_batch * share.accumulation_steps * workers == recipe.effective_batch_size
    with pytest.raises(UsageError, match="5 workers"):
        split_batch(recipe, 5)


def test_deepspeed_is_told_nothing_twice() -> None:
    assert make_deepspeed_config(ENGINES["single"]) is make_deepspeed_config(ENGINES["ddp"]) is None
    config = make_deepspeed_config(ENGINES["zero3"])
    assert config is not None
    assert config["gradient_clipping"] == config["train_batch_size"] == "auto"
    assert config["train_micro_batch_size_per_gpu"] == config["gradient_accumulation_steps"] == "auto"
    assert config["fp16"]["enabled"] == config["bf16"]["enabled"] == "auto"
    offloaded = make_deepspeed_config(EngineSpec(name="o", distributed=True, zero_stage=3, offload=True))
    assert offloaded is not None
    assert offloaded["zero_optimization"]["offload_optimizer"] == {"device": "cpu"}


def test_an_engine_that_clips_elsewhere_is_found_out() -> None:
    part = SimpleNamespace(dtype=torch.float32)
    engine = SimpleNamespace(
        optimizer=SimpleNamespace(single_partition_of_fp32_groups=[part]),
        zero_optimization_stage=lambda: 2,
        fp16_enabled=lambda: False,
        bfloat16_enabled=lambda: False,
        gradient_clipping=lambda: 1.0,  # DeepSpeed's default, where its JSON does not say
        train_batch_size=lambda: 16,
    )
    applied = read_deepspeed_settings(SimpleNamespace(deepspeed=engine))
    assert list_mismatches({"max_grad_norm": 0.3, "effective_batch_size": 16}, applied) == [
        "max_grad_norm: requested 0.3, applied 1.0"
    ]
    engine.gradient_clipping = lambda: 0.0
    assert read_deepspeed_settings(SimpleNamespace(deepspeed=engine))["max_grad_norm"] is None


@pytest.mark.parametrize("file", sorted((ROOT / "configs/engines").glob("*.yaml")), ids=lambda path: path.stem)
def test_engines_under_test_are_those_shipped(file: Path) -> None:
    shipped = EngineSpec.model_validate(read_yaml_as_dict(file))
    assert ENGINES[shipped.name] == shipped


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"zero_stage": 2}, "distributed"),
        ({"distributed": True, "zero_stage": 2, "offload": True}, "zero_stage: 3"),
        ({"distributed": True, "zero_stage": 1}, "zero_stage"),
    ],
)
def test_engines_that_make_no_sense_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        EngineSpec(name="wrong", **wrong)

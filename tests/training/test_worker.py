"""What a worker, or several together, train and record."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tiny_engines import ENGINES, make_engine_spec, train_with_engine
from tiny_trial import CONFIG, DATA, MODEL, read_history, train_tiny

from sweeper import data
from sweeper.config import EngineSpec, ModelSpec, TrialSpec, read_yaml_as_dict
from sweeper.models import compute_train_flops, load_config
from sweeper.storage import Store
from sweeper.training import TrialJob, train_trial
from sweeper.training.applied_settings import list_mismatches
from sweeper.training.checkpoint_manifest import CheckpointIdentity, find_checkpoint_problem

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ddp", "zero2", "zero3", "zero3-offload"])
def test_two_workers_train_the_same_model_as_one(
    engine: str, single_worker_run: Any, store_with_data: tuple[Path, data.PreparedData]
) -> None:
    root, prepared = store_with_data
    shutil.rmtree(root / "trials", ignore_errors=True)
    record, history = train_with_engine(root, prepared, make_engine_spec(engine, 2))
    expected, expected_history, expected_weights = single_worker_run
    np.testing.assert_allclose(history.to_numpy(float), expected_history.to_numpy(float), rtol=2e-4)
    assert list_mismatches(record.asked, record.applied) == []
    assert {key: record.applied[key] for key in expected.applied} == pytest.approx(expected.applied)
    assert record.applied.get("zero_stage", 0) == ENGINES[engine].zero_stage
    assert record.environment["workers"] == 2
    for key in ("tokens", "steps", "train_flops"):
        assert record.metrics[key] == expected.metrics[key], "padding rows at the end of an epoch are not counted"
    assert record.parameters == expected.parameters
    folder = root / "trials" / "f" / "model"
    assert [path.name for path in folder.glob("*.safetensors")] == ["model.safetensors"], "one file, not one per worker"
    weights = load_file(folder / "model.safetensors")
    for tied in weights.keys() - expected_weights.keys():  # DeepSpeed's copy of the tied output embedding
        assert tied == "lm_head.weight"
        torch.testing.assert_close(weights.pop(tied), weights["model.decoder.embed_tokens.weight"])
    assert weights.keys() == expected_weights.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, expected_weights[name], rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_engine_applies_clipping_off_and_grouping_by_length(
    store_with_data: tuple[Path, data.PreparedData],
) -> None:
    root, prepared = store_with_data
    shutil.rmtree(root / "trials", ignore_errors=True)
    other = {"max_grad_norm": None, "train_sampling_strategy": "group_by_length", "num_train_epochs": 1}
    record, history = train_with_engine(root, prepared, make_engine_spec("zero2", 2, **other))
    assert record.applied["max_grad_norm"] is None
    store = Store(root / "alone")
    whole = train_trial(
        TrialJob(make_engine_spec("single", 1, **other), "f", prepared.fingerprint),
        lambda: prepared,
        store,
        lambda progress: None,
    )
    assert whole.metrics["val_loss"] == pytest.approx(record.metrics["val_loss"], rel=1e-4)
    expected = pd.read_parquet(store.trial_folder("f") / "history.parquet")
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=2e-4)


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

def on_progress(progress):
    if progress.step == int(dies_at):
        far = Path(folder, "far", "trials/f/checkpoints")
        for _ in range(600):  # until two are uploaded, and nothing of a third
            there = {file.relative_to(far).parts[0] for file in far.rglob("*") if file.is_file()}
            if len(list(far.glob("*/sweeper-complete"))) == len(there) == 2:
                break
            time.sleep(0.1)
        os._exit(1)

# Two machines that share nothing but the URL.
store = Store(Path(folder) / f"machine {os.environ['GROUP_RANK']} {dies_at}", f"file://{folder}/far")
job = TrialJob(TrialSpec.model_validate_json(Path(spec).read_text()), "f", prepared.fingerprint)
train_worker(job, prepared, store, on_progress)
"""


def run_on_two_machines(folder: Path, prepared: data.PreparedData, spec: TrialSpec, dies_at: int) -> list[int]:
    """Return the exit codes of the launchers of a trial with one worker on each of two machines."""
    (folder / "worker.py").write_text(ONE_OF_TWO_MACHINES)
    (folder / "spec.json").write_text(spec.model_dump_json())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    command += ["--master-addr=127.0.0.1", f"--master-port={port}"]
    arguments = [folder / "worker.py", folder / "spec.json", prepared.directory, folder, str(dies_at)]
    logs = [folder / f"log {machine} {dies_at}" for machine in range(2)]
    running = [
        subprocess.Popen(
            [*command, f"--node-rank={machine}", *arguments], stdout=log.open("wb"), stderr=subprocess.STDOUT
        )
        for machine, log in enumerate(logs)
    ]
    codes = [process.wait(timeout=300) for process in running]
    assert dies_at or codes == [0, 0], "".join(log.read_text() for log in logs)[-4000:]
    return codes


@pytest.mark.slow
def test_two_machines_resume_within_an_epoch_from_what_both_uploaded(
    single_worker_run: Any, store_with_data: tuple[Path, data.PreparedData], tmp_path: Path
) -> None:
    prepared, spec = store_with_data[1], make_engine_spec("zero2", 2)
    identity = CheckpointIdentity("f", "zero2", 2)
    assert any(run_on_two_machines(tmp_path, prepared, spec, dies_at=7))
    third = Store(tmp_path / "third machine", f"file://{tmp_path}/far")
    checkpoints = third.trial_folder("f") / "checkpoints"
    third.pull(checkpoints)
    whole = {
        checkpoint.name for checkpoint in checkpoints.iterdir() if not find_checkpoint_problem(checkpoint, identity)
    }
    assert whole == {"checkpoint-4", "checkpoint-6"}
    [share] = (checkpoints / "checkpoint-6").rglob(
        "*zero_pp_rank_1*optim_states.pt"
    )  # from the machine that does not write the manifest
    share.write_bytes(share.read_bytes()[:-1] + b"!")
    assert share.name in find_checkpoint_problem(checkpoints / "checkpoint-6", identity)
    run_on_two_machines(tmp_path, prepared, spec, dies_at=0)
    record = json.loads((tmp_path / "far" / "trials" / "f" / "record.json").read_text())
    assert (record["status"], record["resumed_from_step"]) == ("COMPLETE", 6), "within the second epoch"
    assert record["applied"]["examples_seen"] == 120, "of both machines, before and after"
    history = pd.read_parquet(tmp_path / "far" / "trials" / "f" / "history.parquet")
    np.testing.assert_allclose(history.to_numpy(float), single_worker_run[1].to_numpy(float), rtol=2e-4)


@pytest.mark.parametrize("file", sorted((ROOT / "configs/engines").glob("*.yaml")), ids=lambda path: path.stem)
def test_engines_under_test_are_those_shipped(file: Path) -> None:
    shipped = EngineSpec.model_validate(read_yaml_as_dict(file))
    assert ENGINES[shipped.name] == shipped


NEOX = ModelSpec(
    name="tiny-neox",
    config={
        "model_type": "gpt_neox",
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 300,
    },
)


@pytest.mark.slow
def test_requested_settings_are_applied_and_recorded(prepared: data.PreparedData, tmp_path: Path) -> None:
    record = train_tiny(prepared, tmp_path, gradient_accumulation_steps=2)
    assert record.status == "COMPLETE", record.failure
    assert list_mismatches(record.asked, record.applied) == []
    assert record.applied["effective_batch_size"] == 16
    assert record.applied["optimizer_steps"] == 2 * 4
    assert record.applied["examples_seen"] == 120
    assert record.applied["max_grad_norm"] == 0.3
    manifest = prepared.manifest
    tokens = record.metrics["tokens"]
    assert tokens == 2 * manifest.tokens.train
    mean_length = manifest.tokens.train / manifest.rows.train
    config = load_config(MODEL, manifest.vocab_size)
    assert record.metrics["train_flops"] == pytest.approx(compute_train_flops(config, tokens, mean_length))
    directory = Store(tmp_path).trial_folder("f")
    assert (directory / "model" / "model.safetensors").exists()
    assert not (directory / "checkpoints").exists()
    rows = read_history(tmp_path)
    assert rows["step"].is_monotonic_increasing
    assert rows["val_loss"].notna().sum() == 2, "one at the end of each epoch"
    assert rows["grad_norm"].max() > 0.3, "norms are recorded before clipping"


@pytest.mark.slow
def test_clipping_off_is_applied_as_off(prepared: data.PreparedData, tmp_path: Path) -> None:
    record = train_tiny(prepared, tmp_path, max_grad_norm=None, num_train_epochs=1)
    assert record.status == "COMPLETE", record.failure
    assert record.applied["max_grad_norm"] is None


@pytest.mark.slow
def test_equal_trials_have_equal_histories(prepared: data.PreparedData, tmp_path: Path) -> None:
    for name in ("a", "b"):
        train_tiny(prepared, tmp_path / name)
    pd.testing.assert_frame_equal(read_history(tmp_path / "a"), read_history(tmp_path / "b"))


@pytest.mark.slow
def test_data_loader_workers_serve_the_same_rows_in_the_same_order(prepared: data.PreparedData, tmp_path: Path) -> None:
    for workers in (0, 2):
        record = train_tiny(prepared, tmp_path / str(workers), dataloader_num_workers=workers)
        assert record.status == "COMPLETE", record.failure
    pd.testing.assert_frame_equal(read_history(tmp_path / "0"), read_history(tmp_path / "2"))


@pytest.mark.slow
def test_max_steps_ends_a_run_as_epochs_do_or_within_one(prepared: data.PreparedData, tmp_path: Path) -> None:
    train_tiny(prepared, tmp_path / "epochs")
    by_steps = train_tiny(prepared, tmp_path / "steps", max_steps=16, num_train_epochs=7)
    assert by_steps.status == "COMPLETE", by_steps.failure
    pd.testing.assert_frame_equal(read_history(tmp_path / "epochs"), read_history(tmp_path / "steps"))
    record = train_tiny(prepared, tmp_path / "within", max_steps=6, gradient_accumulation_steps=2)
    assert record.status == "COMPLETE", record.failure
    assert record.asked["examples_seen"] == record.applied["examples_seen"] == 60 + 2 * 16
    tokens, whole = record.metrics["tokens"], prepared.manifest.tokens.train
    assert tokens is not None
    assert whole < tokens < 2 * whole
    assert record.metrics["val_loss"] == read_history(tmp_path / "within")["val_loss"].dropna().iloc[-1]
    assert read_history(tmp_path / "within")["val_loss"].notna().sum() == 2, "at the epoch's end and at the run's"


@pytest.mark.slow
def test_equal_compute_budget_at_two_sizes(prepared: data.PreparedData, tmp_path: Path) -> None:
    budget = 7e9
    records = [
        train_tiny(prepared, tmp_path / model.name, model=model, train_flops_budget=budget) for model in (MODEL, NEOX)
    ]
    for record in records:
        assert record.status == "COMPLETE", record.failure
        assert record.metrics["train_flops"] == pytest.approx(budget, rel=0.05)
    small, large = (record.applied["optimizer_steps"] for record in records)
    assert small > 3 * large
    assert (records[0].parameters or 0) < (records[1].parameters or 0)


@pytest.mark.slow
def test_run_that_blows_up_is_diverged(prepared: data.PreparedData, tmp_path: Path) -> None:
    record = train_tiny(prepared, tmp_path, learning_rate=50.0, max_grad_norm=None, num_train_epochs=6, warmup_steps=1)
    assert record.status == "DIVERGED"
    assert (Store(tmp_path).trial_folder("f") / "model").exists()


@pytest.mark.slow
def test_interpolated_positions_are_trained_and_recorded(prepared: data.PreparedData, tmp_path: Path) -> None:
    short = ModelSpec(name="short", config=CONFIG | {"max_position_embeddings": 100})
    longer = DATA.model_copy(update={"extend_positions": "interpolate"})
    record = train_tiny(prepared, tmp_path, model=short, data_spec=longer, num_train_epochs=1)
    assert record.status == "COMPLETE", record.failure
    assert record.asked["positions"] == record.applied["positions"] == 300
    saved = json.loads((Store(tmp_path).trial_folder("f") / "model" / "config.json").read_text())
    assert saved["max_position_embeddings"] == 300

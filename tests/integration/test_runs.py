"""Runs as a user types them, in one process: to the report, to a failure, and broken off."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
import tiny_models
import torch
from commands import TINY, broken_off, document, sweeper
from tiny_models import instantiate
from warm import start

from sweeper.data.tokenizer import train_tokenizer
from sweeper.toolworld import WorldConfig, build_world, export_world

pytestmark = pytest.mark.slow


def test_inline_run_report_and_second_run(tmp_path: Path, tiny: Path) -> None:
    store = str(tmp_path / "store")
    arguments = ("run", str(tiny), "--storage", store, "--backend", "inline", "--tracking", "none")
    sweeper(*arguments)
    before = {p: p.stat().st_mtime_ns for p in Path(store, "trials").rglob("*.*") if p.is_file() and p.name != ".lock"}
    again = sweeper(*arguments)
    assert "4 finished before, 0 to run" in again.stderr
    after = {p: p.stat().st_mtime_ns for p in Path(store, "trials").rglob("*.*") if p.is_file() and p.name != ".lock"}
    assert after == before
    rows = document("status", "tiny", "--storage", store)["trials"]
    assert [row["status"] for row in rows] == ["COMPLETE"] * 4
    assert all(0 <= row["metrics"]["pass_rate"] <= 1 and row["metrics"]["val_loss"] > 0 for row in rows)
    report = document("report", "tiny", "--storage", store)
    assert {claim["id"] for claim in report["claims"]} == {"single-epoch"}
    assert {"verdict", "estimate", "interval", "n"} <= set(report["claims"][0])
    assert len(report["trials"]) == 4
    html = Path(store, "studies", "tiny", "report.html").read_text()
    assert "no evidence about OPT" in html


def test_killed_and_run_again_ends_as_uninterrupted(tmp_path: Path, tiny: Path) -> None:
    whole, cut = str(tmp_path / "whole"), str(tmp_path / "cut")
    more = ("--backend", "inline", "--tracking", "none", "--set", "claims=[]", "--set", "axes.seed=[0]")
    more += ("--set", "axes.num_train_epochs=[1,12]")
    sweeper("run", str(tiny), "--storage", whole, *more)
    process = start("run", tiny, "--storage", cut, *more)
    deadline = time.monotonic() + 240
    while not list(Path(cut).glob("trials/*/checkpoints/*/sweeper-complete")):
        assert time.monotonic() < deadline, "no checkpoint was written"
        assert process.poll() is None, "ended before it was killed"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    sweeper("run", str(tiny), "--storage", cut, *more)
    rows = {
        name: document("status", "tiny", "--storage", store)["trials"] for name, store in (("a", whole), ("b", cut))
    }
    assert any(row["resumed_from_step"] for row in rows["b"]), "nothing went on from a checkpoint"
    for a, b in zip(rows["a"], rows["b"], strict=True):
        assert (a["fingerprint"], b["status"]) == (b["fingerprint"], "COMPLETE")
        for key in ("val_loss", "train_loss", "pass_rate", "steps"):
            assert a["metrics"][key] == b["metrics"][key], key


def test_failed_trial_is_a_row_and_code_1(tmp_path: Path, tiny: Path) -> None:
    store = str(tmp_path / "store")
    folder = tmp_path / "broken"
    tokenizer = train_tokenizer(["Thought: a\nAction: b\nAction Input: {}"], 512)
    tokenizer.save_pretrained(folder)
    model = instantiate(tiny_models.TINY | {"max_position_embeddings": 2048, "vocab_size": len(tokenizer)})
    with torch.no_grad():
        model.model.decoder.layers[1].fc2.weight[:] = float("nan")  # which no plan can see
    model.save_pretrained(folder)
    (tmp_path / "configs" / "models").mkdir(parents=True)
    (tmp_path / "configs" / "models" / "broken.yaml").write_text(f"name: broken\nsource: {folder}\n")
    tiny.write_text(TINY.replace("[opt-tiny-32, opt-tiny-64]", "[broken, opt-tiny-32]"))
    done = sweeper("run", str(tiny), "--storage", store, "--backend", "inline", "--tracking", "none", code=1)
    assert "2 failed" in done.stderr
    rows = document("status", "tiny", "--storage", store)["trials"]
    assert [row["status"] for row in rows] == ["FAILED"] * 2 + ["COMPLETE"] * 2
    assert rows[0]["failure"]["kind"] == "bad-input" and "NaN or infinite weights" in rows[0]["failure"]["message"]
    assert "Traceback" in rows[0]["failure"]["traceback"]
    claim = document("report", "tiny", "--storage", store)["claims"][0]
    assert claim["verdict"] == "inconclusive"


def test_ctrl_c_leaves_a_study_to_go_on_with(tmp_path: Path, tiny: Path) -> None:
    broken_off(tiny, tmp_path / "store", "inline")


@pytest.mark.parametrize("material", ["export", "real"])
def test_toolbench_answers_are_trained_on(tmp_path: Path, material: str, request: pytest.FixtureRequest) -> None:
    if material == "export":
        export_world(
            build_world(WorldConfig(train_queries=24, validation_queries=3, test_queries_per_subset=1)), tmp_path
        )
        answers = tmp_path / "answer"
    else:
        answers = request.getfixturevalue("real_toolbench") / "answer"
    store = str(tmp_path / "store")
    sets = ("--set", f"data.path={answers}", "--set", "axes.model=[opt-tiny-32-long]")
    sweeper("run", "toolbench-sample", *sets, "--storage", store, "--backend", "inline", "--tracking", "wandb")
    (row,) = document("status", "toolbench-sample", "--storage", store)["trials"]
    assert row["status"] == "COMPLETE"
    assert row["metrics"]["val_loss"] > 0
    assert row["metrics"]["pass_rate"] is None
    assert list(Path(store, "studies/toolbench-sample/wandb").rglob("*.wandb")), "an offline W&B run was written"

"""The trial path at OPT's true size, with random weights. `pytest -m true_size`: some minutes on a CPU, no GPU."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch


def benchmark(root: Path) -> Any:
    spec = importlib.util.spec_from_file_location("gpu", root / "benchmarks" / "gpu.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu"] = module  # its dataclass asks for it
    spec.loader.exec_module(module)
    return module


@pytest.mark.true_size
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("name", "layers", "parameters"),
    [("facebook/opt-125m", 12, 125_239_296), ("facebook/opt-350m", 2, None), ("facebook/opt-1.3b", 2, None)],
)
def test_opt_is_trained_resumed_and_evaluated(
    name: str, layers: int, parameters: int | None, root: Path, tmp_path: Path
) -> None:
    """The larger two with their own widths, positions and vocabulary, and as many layers as a CPU can bear."""
    gpu = benchmark(root)
    bench = gpu.bench_of("cpu", tmp_path)
    bench.configs = {name: gpu.KNOWN_CONFIGS[name] | {"num_hidden_layers": layers}}
    # Without instructions for it, bf16 is emulated, at a small part of float32's speed.
    precision = "bf16" if torch.cpu.get_capabilities().get("avx512_bf16") else "fp32"
    found = gpu.path(name, precision, bench, micro_batch=1)
    print(json.dumps(found, indent=1))
    assert found["status"] == "COMPLETE"
    assert found["parameters"] == (parameters or gpu.count_parameters(bench.configs[name]))
    assert found["precision"] == precision
    assert found["logits_of"] == "targets"
    assert (found["resumed_from_step"], found["steps"]) == (2, 5)
    assert found["val_loss"] < math.log(50272) - 0.3, "five steps have taught it more than chance"
    assert found["queries"] == 6


@pytest.mark.slow
def test_every_cell_of_the_gpu_benchmark_runs_as_a_miniature(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    command = [sys.executable, str(root / "benchmarks" / "gpu.py"), "--device", "cpu", "--minutes", "8"]
    subprocess.run([*command, "--json", str(out)], check=True, capture_output=True, timeout=540)
    document = json.loads(out.read_text())
    rows = {(row["what"], row["way"]): row for row in document["rows"]}
    assert not [row for row in document["rows"] if "error" in row]
    assert {key for key, row in rows.items() if "skipped" in row} == {("memory", "too small")}
    ways = [way for what, way in rows if what == "train"]
    assert ways == ["canonical", "plain TRL", "fast", "plain TRL, fast", "every token a target"]
    for way in ways:
        assert rows["train", way]["tokens_per_second"] > 0
        assert rows["train", way]["steps"] >= 1
    assert rows["train", "canonical"]["loss"] == pytest.approx(rows["train", "plain TRL"]["loss"], rel=1e-5)
    assert rows["train", "fast"]["loss"] == pytest.approx(rows["train", "plain TRL, fast"]["loss"], rel=1e-3)
    assert rows["train", "canonical"]["logits_of"] == "targets"
    assert rows["path", "bf16"]["resumed_from_step"] == 2
    assert rows["generate", "batch 4"]["tokens"] == 4 * rows["generate", "batch 1"]["tokens"]


@pytest.mark.slow
def test_gpu_benchmark_ends_in_time_and_says_what_it_left_out(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    command = [sys.executable, str(root / "benchmarks" / "gpu.py"), "--device", "cpu", "--minutes", "0.1"]
    subprocess.run([*command, "--json", str(out)], check=True, capture_output=True, timeout=300)
    rows = json.loads(out.read_text())["rows"]
    assert len(rows) == 9
    assert all("no time left" in row["skipped"] for row in rows)


@pytest.mark.slow
def test_model_that_does_not_fit_is_skipped_and_a_cell_that_fails_is_a_row(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu = benchmark(root)
    monkeypatch.setattr(gpu.Bench, "fits_gib", property(lambda self: 0.001))

    def fails(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(gpu, "path", fails)
    monkeypatch.setattr(gpu, "generate", fails)
    monkeypatch.setattr(gpu, "plain", fails)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu", "--json", str(tmp_path / "gpu.json")])
    monkeypatch.setattr(gpu, "STARTED", gpu.time.monotonic())
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    assert gpu.main() == 0
    rows = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert sum("GiB by the memory model" in row.get("skipped", "") for row in rows) == 3
    assert sum(row.get("error") == "OutOfMemoryError: CUDA out of memory" for row in rows) == 5
    assert "OutOfMemoryError" in capsys.readouterr().out

"""Is one fingerprint one experiment? Loss curves of one trial under engines that hold its weights in different ways.

    python benchmarks/precision.py [--steps 60] [--engines zero2 zero3]   # bf16 on a CPU; with a GPU also fp16

`single` keeps float32 weights, and autocast rounds a copy of them for each product. DeepSpeed's ZeRO keeps the model's
weights themselves in half precision, beside float32 masters in the optimizer. For each precision one trial is trained

- by `single` twice: what one engine differs by from itself;
- by `single` with its batch in two and four micro-batches, the same trial by definition: what rounding alone makes;
- by each ZeRO engine, with one worker, and by the first also in two and four micro-batches: what the precision of the
  weights makes, and what rounding makes of that.

Each figure is |difference of the losses| / loss, the mean over the logged steps and the largest. There is no dropout,
whose masks depend on the micro-batch. In fp32 all engines hold the same weights: the control.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from row import Row, finish

from sweeper import data
from sweeper.config import EngineSpec, Runtime, TrialSpec, find_sweep, load_sweep, read_yaml_as_dict
from sweeper.models.quiet_libraries import quiet_libraries
from sweeper.storage import Store
from sweeper.training import TrialJob, TrialRecord, train_trial
from sweeper.training.torchrun import make_torchrun_launcher

ROOT = Path(__file__).resolve().parents[1]
MODEL = "opt-tiny-64"
LEARNING_RATE = 1e-3
"""A tenth of the miniature's: see `training.py`."""
AGAIN = "single, run twice"
SPLITS = (2, 4)
"""Micro-batches of an optimizer step."""


def main() -> int:
    """Train all, print the differences."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--engines", nargs="+", default=["zero2", "zero3"])
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "bf16", "fp16"])
    asked = parser.parse_args()
    quiet_libraries()
    precisions = asked.precisions or ["fp32", "bf16", *(["fp16"] if torch.cuda.is_available() else [])]
    rows, curves = [], {}
    with tempfile.TemporaryDirectory() as name:
        trials = Trials(Path(name), asked.steps, cuda=torch.cuda.is_available())
        for precision in precisions:
            first, *others = asked.engines
            usual = trials.train(precision, "single")
            found = {AGAIN: trials.train(precision, "single")} | trials.split(precision, "single")
            found |= {engine: trials.train(precision, engine) for engine in asked.engines}
            split = trials.split(precision, first)
            for way, run in found.items():
                rows += compare(precision, way, "single", usual, run)
            for way, run in (split | {engine: found[engine] for engine in others}).items():
                rows += compare(precision, way, first, found[first], run)
            curves[precision] = {"single": usual} | found | split
            for way, run in curves[precision].items():
                print(f"  {precision}, {way}: validation loss {run['val_loss']:.6f}, {run['steps']}", flush=True)
    return finish(rows, curves=curves)


class Trials:
    """One trial, trained in several ways."""

    def __init__(self, folder: Path, steps: int, *, cuda: bool) -> None:
        world = "data.toolworld={seed: 1, train_queries: 240, validation_queries: 60}"
        self.sweep = load_sweep(
            find_sweep("quickstart"), [world, f"recipe.learning_rate={LEARNING_RATE}", f"recipe.max_steps={steps}"]
        )
        model = self.sweep.models[MODEL]
        self.model = model.model_copy(update={"config": (model.config or {}) | {"dropout": 0.0}})
        self.prepared = data.prepare_data(self.sweep.data, self.model, folder)
        self.store, self.cuda, self.runs = Store(folder), cuda, 0

    def train(self, precision: str, engine: str, parts: int = 1) -> dict[str, Any]:
        """Train once. Returns the logged losses, the validation loss, and what is recorded of the steps."""
        import pandas as pd

        self.runs += 1
        recipe = self.sweep.recipe
        split = {"per_device_train_batch_size": recipe.effective_batch_size // parts}
        spec = TrialSpec(
            model=self.model,
            data=self.sweep.data,
            recipe=recipe.model_copy(update={"precision": precision, "gradient_accumulation_steps": parts, **split}),
            seed=0,
            runtime=Runtime(engine=engine, gpus=1 if self.cuda else 0),
            engine=EngineSpec.model_validate(read_yaml_as_dict(ROOT / f"configs/engines/{engine}.yaml")),
        )
        job = TrialJob(spec, f"run-{self.runs}", self.prepared.fingerprint)
        launch = make_torchrun_launcher(job, self.store, _ignore) if spec.engine and spec.engine.distributed else None
        record: TrialRecord = train_trial(job, lambda: self.prepared, self.store, _ignore, launch)
        assert record.status == "COMPLETE", record.failure
        history = pd.read_parquet(self.store.trial_folder(job.fingerprint) / "history.parquet").dropna(subset=["loss"])
        kept = ("optimizer_steps", "updates_skipped", "master_dtype", "precision")
        return {
            "losses": history["loss"].tolist(),
            "val_loss": record.metrics["val_loss"],
            "steps": {key: record.applied[key] for key in kept if key in record.applied},
        }

    def split(self, precision: str, engine: str) -> dict[str, dict[str, Any]]:
        """Train the same trial in more micro-batches. Returns the runs by their descriptions."""
        return {f"{engine}, in {parts} micro-batches": self.train(precision, engine, parts) for parts in SPLITS}


def compare(precision: str, way: str, usual: str, one: dict[str, Any], other: dict[str, Any]) -> list[Row]:
    """Compare two curves: the mean and the largest relative difference."""
    pairs = zip(one["losses"], other["losses"], strict=True)
    apart = [abs(a - b) / abs(a) for a, b in pairs]
    what = f"{precision}, {way}: loss beside {usual}'s"
    return [
        Row(f"{what}, mean difference", "of the loss", [sum(apart) / len(apart)]),
        Row(f"{what}, largest difference", "of the loss", [max(apart)]),
    ]


def _ignore(progress: object) -> None:
    """Discard a report."""


if __name__ == "__main__":
    raise SystemExit(main())

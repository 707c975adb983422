"""What does a trial train at? Tokens per second, against the script that a user would write with TRL.

    python benchmarks/training.py [--pairs 3]                # the tiny ladder; about four minutes on two cores
    python benchmarks/training.py --profile opt-tiny-64      # where the time of both goes
    python benchmarks/training.py --loss facebook/opt-125m   # three ways to the loss at true size: time and memory

Ours is `train_trial` as a study calls it, with validation, checkpoints and divergence watch. Theirs is `SFTTrainer`
with its defaults but for the recipe, on the same tokens, with as many checkpoints, and evaluated after each epoch. Both
run in one warm process on one thread, in turns; that both have the same loss curve is checked in the same run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from row import Row, finish

from sweeper import data
from sweeper.config import Runtime, Sweep, TrialSpec, find_sweep, load_sweep
from sweeper.models import KNOWN_CONFIGS, compute_flops_per_token
from sweeper.models.quiet_libraries import quiet_libraries
from sweeper.storage import Store
from sweeper.training import TrialJob, train_trial
from sweeper.training.schedule import CHECKPOINTS_PER_TRIAL, choose_logging_steps, count_optimizer_steps

AIM = ">= 1.3"
SAME_CURVE = 1e-4
"""Largest relative difference between two losses at one step, by rounding."""
LEARNING_RATE = 1e-3
"""A tenth of the miniature's, at which training opt-tiny-96 makes 1e-3 of a difference of 1e-7 within ten steps: there
no two ways to the same loss have the same curve. What a step costs does not hang on it."""
TARGET_SHARE = 0.05
"""Of the tokens of ToolBench's rows of at most 2,048 tokens: 3.8 % in its raw answers, 5.6 % in ToolLLaMA's file."""
ORDER = ("ours", "theirs")

Curve = list[tuple[int, float]]


def main() -> int:
    """Measure in turn, print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3)
    # With 600 the losses of two exact ways come to differ by 5e-4: training makes more of every rounding.
    parser.add_argument("--queries", type=int, default=240, help="Training rows of the generated world.")
    parser.add_argument("--profile", metavar="MODEL")
    parser.add_argument("--loss", metavar="MODEL", choices=sorted(KNOWN_CONFIGS))
    asked = parser.parse_args()
    quiet_libraries()
    if asked.loss:
        print(json.dumps(losses(asked.loss), indent=2))
        return 0
    world = f"data.toolworld={{seed: 1, train_queries: {asked.queries}, validation_queries: 60}}"
    sweep = load_sweep(find_sweep("quickstart"), [world, f"recipe.learning_rate={LEARNING_RATE}"])
    if asked.profile:
        profile(sweep, asked.profile)
        return 0
    rows, sizes = [], []
    for model in sweep.models:
        with tempfile.TemporaryDirectory() as name:
            sizes.append(found := compare(Setup(sweep, model, Path(name)), asked.pairs))
        what, script = f"training {model}, one thread, one epoch", "a plain SFTTrainer script"
        rows.append(Row(what, "tokens/s", found["ours"], script, found["theirs"], aim=AIM))
        print(f"  {model}: {found['cpu_ratio']:.2f} by CPU time; curves differ by {found['curve_difference']:.1e}")
    return finish(rows, sizes=sizes)


class Setup:
    """One size's data and trial, and both ways of training it. Each returns (seconds, loss curve)."""

    def __init__(self, sweep: Sweep, model: str, folder: Path) -> None:
        chosen = sweep.models[model]
        recipe = sweep.recipe.model_copy(update={"num_train_epochs": 1.0})
        self.spec = TrialSpec(model=chosen, data=sweep.data, recipe=recipe, seed=0, runtime=Runtime())
        self.folder, self.runs = folder, 0
        self.prepared = data.prepare_data(sweep.data, chosen, folder / "data")
        self.tokens = self.prepared.manifest.tokens.train
        self.rows, self.validation = self.prepared.load_split("train"), self.prepared.load_split("validation")
        self.steps = count_optimizer_steps(recipe, len(self.rows))

    def ours(self) -> tuple[float, Curve]:
        import pandas as pd

        self.runs += 1
        store = Store(self.folder / f"ours-{self.runs}")
        job = TrialJob(self.spec, "trial", self.prepared.fingerprint)
        record = train_trial(job, lambda: self.prepared, store, lambda progress: None)
        assert record.status == "COMPLETE", record.failure
        history = pd.read_parquet(store.trial_folder("trial") / "history.parquet").dropna(subset=["loss"])
        seconds = record.metrics["train_seconds"]
        assert seconds is not None
        return seconds, list(zip(history["step"].astype(int), history["loss"], strict=True))

    def theirs(self) -> tuple[float, Curve]:
        import torch
        from transformers import set_seed
        from trl import SFTConfig, SFTTrainer

        from sweeper.models import build_model

        self.runs += 1
        torch.set_num_threads(1)
        recipe, tokenizer = self.spec.recipe, self.prepared.load_tokenizer()
        set_seed(self.spec.seed)
        config = SFTConfig(
            output_dir=str(self.folder / f"theirs-{self.runs}"),
            num_train_epochs=recipe.num_train_epochs,
            learning_rate=recipe.learning_rate,
            lr_scheduler_type=recipe.lr_scheduler_type,
            warmup_steps=recipe.warmup_steps,
            per_device_train_batch_size=recipe.per_device_train_batch_size,
            per_device_eval_batch_size=recipe.per_device_train_batch_size,
            gradient_accumulation_steps=recipe.gradient_accumulation_steps,
            max_grad_norm=recipe.max_grad_norm,
            optim=recipe.optim,
            weight_decay=recipe.weight_decay,
            bf16=False,
            gradient_checkpointing=False,
            use_cpu=True,
            seed=self.spec.seed,
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
            logging_steps=choose_logging_steps(recipe, self.steps),
            logging_first_step=True,
            save_steps=-(-self.steps // CHECKPOINTS_PER_TRIAL),
            eval_strategy="epoch",
            report_to="none",
            disable_tqdm=True,
            log_level="error",
        )
        trainer = SFTTrainer(
            model=build_model(self.spec.model, tokenizer, self.spec.seed),
            args=config,
            train_dataset=self.rows.select_columns(["input_ids", "labels"]),
            eval_dataset=self.validation.select_columns(["input_ids", "labels"]),
            processing_class=tokenizer,
        )
        started = time.monotonic()
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):  # it prints its log
            trainer.train()
        seconds = time.monotonic() - started
        return seconds, [(row["step"], row["loss"]) for row in trainer.state.log_history if "loss" in row]


def compare(setup: Setup, pairs: int) -> dict[str, Any]:
    """One size; the pair before the first is for imports and caches, and not counted."""
    rates: dict[str, list[float]] = {name: [] for name in ORDER}
    cpu: dict[str, list[float]] = {name: [] for name in ORDER}
    difference = 0.0
    for turn in range(pairs + 1):
        curves = {}
        for name in ORDER if turn % 2 else reversed(ORDER):
            before = time.process_time()
            seconds, curves[name] = getattr(setup, name)()
            if turn:
                rates[name].append(setup.tokens / seconds)
                cpu[name].append(time.process_time() - before)
        difference = max(difference, distance(curves["ours"], curves["theirs"]))
    assert difference < SAME_CURVE, f"not the same training: losses differ by {difference:.2g}"
    return {
        "model": setup.spec.model.name,
        "steps": setup.steps,
        "tokens": setup.tokens,
        **rates,
        # Of the whole call, building the model and writing its record too: on a busy machine the surer figure.
        "cpu_ratio": statistics.median(b / a for a, b in zip(cpu["ours"], cpu["theirs"], strict=True)),
        "curve_difference": difference,
    }


def distance(one: Curve, other: Curve) -> float:
    """Largest relative difference between two curves' losses; their steps must be the same."""
    assert [step for step, _ in one] == [step for step, _ in other]
    a, b = (np.array([loss for _, loss in curve]) for curve in (one, other))
    return float(np.max(np.abs(a - b) / np.abs(b)))


def profile(sweep: Sweep, model: str) -> None:
    """Both ways under torch.profiler after a run without: operators by their own time, and seconds outside of them."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    with tempfile.TemporaryDirectory() as name:
        setup = Setup(sweep, model, Path(name))
        for way in ORDER:
            run = getattr(setup, way)
            run()
            seconds, _ = run()
            with profiler(activities=[ProfilerActivity.CPU]) as found:
                run()
            table = found.key_averages()
            inside = sum(event.self_cpu_time_total for event in table) / 1e6
            print(f"{way}: {seconds:.2f} s for {setup.steps} steps, {1e3 * seconds / setup.steps:.1f} ms a step; ")
            print(f"in torch's operators {inside:.2f} s of the profiled run")
            print(table.table(sort_by="self_cpu_time_total", row_limit=14, max_name_column_width=60))


def losses(name: str) -> list[dict[str, Any]]:
    """One row of 2,048 tokens through a true-sized model with random weights: time of a step and peak memory."""
    found = []
    for way in ("all logits", "TRL's fused head", "targets alone"):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found.append(pool.apply(step_of, (name, way)))
    return found


def step_of(name: str, way: str, steps: int = 3) -> dict[str, Any]:
    """Forward and backward in float32 with gradient checkpointing; CPU seconds, median of `steps` after one more."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from trl.trainer.utils import add_fused_lm_head

    from sweeper.training.loss import patch_target_only_loss

    torch.manual_seed(0)
    fields = dict(KNOWN_CONFIGS[name])
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(fields.pop("model_type"), **fields)).train()
    model.activation_checkpointing_enable()
    fused = {}
    if way == "targets alone":
        assert patch_target_only_loss(model)
    elif way == "TRL's fused head":
        add_fused_lm_head(model, outputs=("log_probs", "entropy", "is_top1"))
        fused = {"fused_lm_head": True}
    ids = torch.randint(5, 50_000, (1, 2048))
    labels = ids.masked_fill(torch.arange(2048) < 2048 * (1 - TARGET_SHARE), -100)
    before, seconds = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, []
    for _ in range(steps + 1):
        torch.manual_seed(1)  # the same dropout in all of them
        started = time.process_time()
        loss = model(input_ids=ids, labels=labels, use_cache=False, **fused).loss
        loss.backward()
        seconds.append(time.process_time() - started)
        model.zero_grad(set_to_none=False)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    flops = compute_flops_per_token(KNOWN_CONFIGS[name], 2048)
    return {
        "model": name,
        "way": way,
        "loss": loss.item(),
        "cpu_seconds": statistics.median(seconds[1:]),
        "peak_gb": peak / 1e9,
        "above_weights_gb": (peak - before) / 1e9,
        "head_share_of_flops": flops.head / flops.total,
    }


if __name__ == "__main__":
    sys.exit(main())

"""What does one GPU make of it? Training and generating at OPT's true sizes, with random weights.

    python benchmarks/gpu.py [--minutes 8] [--json PATH]      # one GPU; no Ray, no model hub, no data needed
    python benchmarks/gpu.py --device cpu                     # a miniature of the same, to try this file

Needs torch, transformers, trl and datasets, and what they and this package's specifications bring (pydantic,
ruamel.yaml, pandas, filelock, fsspec). Rows of 2,048 tokens of which one in twenty is a target, as in ToolBench.

- train: tokens/s, model FLOPs utilisation and peak memory of the canonical recipe and of a fast variant (bf16, fused
  optimiser, no gradient checkpointing where the memory model says it fits), each beside a plain TRL script with the
  same recipe; of the fast one with flash attention where that is installed; and with every token a target, for which
  the memory model predicts the peak;
- path: the whole trial, prepared data to evaluation, interrupted and resumed;
- generate: the agent loop at several batch sizes;
- memory: a GPU made too small on purpose, and the micro-batch halved until it fits.

One failing cell is a row with its error. Each cell gets its share of what is left of the time; what is skipped is said.
The document is written anew after every cell.
"""

from __future__ import annotations

import time

STARTED = time.monotonic()

import argparse  # noqa: E402 (the clock runs while this imports)
import gc  # noqa: E402
import importlib.util  # noqa: E402
import json  # noqa: E402
import math  # noqa: E402
import os  # noqa: E402
import platform  # noqa: E402
import shutil  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import threading  # noqa: E402
from collections.abc import Callable  # noqa: E402
from contextlib import redirect_stdout, suppress  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # with several, the Trainer would use them all at once

import torch  # noqa: E402
from transformers import TrainerCallback  # noqa: E402

from sweeper import data  # noqa: E402
from sweeper.config import (  # noqa: E402
    EngineSpec,
    EvaluationSpec,
    ModelSpec,
    Recipe,
    Runtime,
    TrialSpec,
    load_data_spec,
    load_evaluation_spec,
    load_hardware_specs,
    read_yaml_as_dict,
)
from sweeper.models import KNOWN_CONFIGS, compute_flops_per_token, count_parameters, estimate_training_memory  # noqa: E402
from sweeper.models.memory import GIB  # noqa: E402
from sweeper.models.quiet_libraries import quiet_libraries  # noqa: E402
from sweeper.storage import Store  # noqa: E402

TARGET_SHARE = 0.05
"""Of the tokens of ToolBench's rows: 3.8 % in its raw answers, 5.6 % in ToolLLaMA's file (of the few that are here)."""
MOST_STEPS, WARM_UP = 12, 1
SIZES = ("facebook/opt-125m", "facebook/opt-350m", "facebook/opt-1.3b")
TINY = {"hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
SINGLE = EngineSpec(name="single")
FLASH, ALL_TARGETS = "fast, flash attention", "every token a target"
WAYS = ("canonical", "plain TRL", "fast", "plain TRL, fast", ALL_TARGETS)


@dataclass
class Bench:
    """What is measured on: a GPU and true sizes, or a CPU and a miniature of them."""

    cuda: bool
    configs: dict[str, dict[str, Any]]
    canonical: Recipe
    length: int
    folder: Path
    deadline: float
    """`time.monotonic()` by which a cell has to be through."""

    @property
    def fits_gib(self) -> float:
        """Memory of the GPU, GiB; unbounded on a CPU."""
        return torch.cuda.get_device_properties(0).total_memory / GIB if self.cuda else math.inf

    def peak_flops(self, precision: str) -> float:
        """FLOP/s of one GPU by its data sheet (`configs/hardware`); NaN where it is not known, and on a CPU."""
        name = torch.cuda.get_device_name(0) if self.cuda else ""
        known = [spec for spec in load_hardware_specs().values() if any(map(name.startswith, spec.device_names))]
        return known[0].tflops.get(precision, math.nan) * 1e12 if known else math.nan  # type: ignore[call-overload]

    def tokenizer(self) -> Any:
        """A byte-level BPE trained on fifty words: rows are drawn, only its special tokens are used."""
        return data.train_tokenizer([f"word {i} Action: call_{i}" for i in range(50)], 400)


def bench_of(device: str, folder: Path) -> Bench:
    canonical = Recipe.model_validate(read_yaml_as_dict(ROOT / "configs/recipes/canonical.yaml"))
    if device == "cuda":
        return Bench(True, {name: KNOWN_CONFIGS[name] for name in SIZES}, canonical, 2048, folder, math.inf)
    small = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "precision": "fp32"}
    loader = {"dataloader_num_workers": 0, "dataloader_pin_memory": False}
    fields = KNOWN_CONFIGS[SIZES[0]] | TINY | {"vocab_size": 500}
    return Bench(False, {"opt-tiny-32": fields}, canonical.model_copy(update=small | loader), 64, folder, math.inf)


class Stopwatch(TrainerCallback):
    """Times optimiser steps after the first, and ends the training in time."""

    def __init__(self, bench: Bench, most: int = MOST_STEPS + WARM_UP) -> None:
        self.bench, self.most = bench, most
        self.ends: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """The GPU has done what it was given, then the clock is read."""
        if self.bench.cuda:
            torch.cuda.synchronize()
        self.ends.append(time.monotonic())
        done = len(self.ends) > WARM_UP
        if len(self.ends) >= self.most or (done and time.monotonic() > self.bench.deadline):
            control.should_training_stop = True
        return control

    @property
    def step_seconds(self) -> float:
        """Mean over the steps after the warm-up."""
        counted = self.ends[WARM_UP - 1 :]
        return (counted[-1] - counted[0]) / (len(counted) - 1)


def model_of(config: dict[str, Any], bench: Bench, attention: str = "sdpa") -> Any:
    """Random float32 weights, drawn where they are used."""
    from transformers import OPTConfig, OPTForCausalLM

    torch.manual_seed(0)
    fields = {key: value for key, value in config.items() if key != "model_type"}
    with torch.device("cuda" if bench.cuda else "cpu"):
        model = OPTForCausalLM._from_config(OPTConfig(**fields), attn_implementation=attention, dtype=torch.float32)
    assert sum(p.numel() for p in model.parameters()) == count_parameters(config)
    return model


def rows_of(count: int, vocabulary: int, length: int, share: float = TARGET_SHARE) -> Any:
    """Drawn tokens, the last of them targets."""
    from datasets import Dataset

    ids = torch.randint(5, vocabulary, (count, length), generator=torch.Generator().manual_seed(0)).tolist()
    masked = length - max(2, round(share * length))
    labels = [[-100] * masked + row[masked:] for row in ids]
    return Dataset.from_dict({"input_ids": ids, "labels": labels, "length": [length] * count})


def train(name: str, way: str, bench: Bench) -> dict[str, Any]:
    """One size, one of `WAYS`."""
    config, recipe, attention, theirs = bench.configs[name], bench.canonical, "sdpa", way.startswith("plain TRL")
    if "fast" in way:
        faster = {"precision": "bf16", "optim": "adamw_torch_fused", "gradient_checkpointing": False}
        recipe = recipe.model_copy(update=faster)
        if predicted(config, recipe, bench).total_gib > bench.fits_gib:
            recipe = recipe.model_copy(update={"gradient_checkpointing": True})
        attention = "flash_attention_2" if way == FLASH else attention
    if not theirs and (need := predicted(config, recipe, bench).total_gib) > bench.fits_gib:
        return {"skipped": f"needs {need:.0f} GiB by the memory model"}
    steps = WARM_UP + (1 if way == ALL_TARGETS else MOST_STEPS)
    share = 1.0 if way == ALL_TARGETS else TARGET_SHARE
    rows = rows_of(recipe.effective_batch_size * steps, config["vocab_size"], bench.length, share)
    watch, model = Stopwatch(bench, steps), model_of(config, bench, attention)
    trainer = (plain if theirs else ours)(model, recipe, rows, bench, watch)
    if bench.cuda:
        torch.cuda.reset_peak_memory_stats()
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        trainer.train()
    rate = recipe.effective_batch_size * bench.length / watch.step_seconds
    flops = compute_flops_per_token(config, bench.length)
    scored = sum(label != -100 for label in rows[0]["labels"]) / bench.length
    needed = flops.body + flops.attention + flops.head * scored  # logits of masked tokens are not asked for
    memory = predicted(config, recipe, bench)
    return {
        "tokens_per_second": rate,
        "utilisation": needed * rate / bench.peak_flops(recipe.precision),
        "steps": len(watch.ends) - WARM_UP,
        "loss": next(row["loss"] for row in trainer.state.log_history if "loss" in row),
        "precision": recipe.precision,
        "attention": attention,
        "checkpointing": recipe.gradient_checkpointing,
        "logits_of": getattr(trainer, "logits_scope", "targets by TRL" if bench.cuda else "all by TRL"),
        "allocated_gib": torch.cuda.max_memory_allocated() / GIB if bench.cuda else math.nan,
        "reserved_gib": torch.cuda.max_memory_reserved() / GIB if bench.cuda else math.nan,
        # Of ours: the model knows no kernels of TRL's. A bound but for the way in which every token is a target.
        "predicted_tensors_gib": math.nan if theirs else (memory.total_bytes - memory.workspace) / GIB,
        "predicted_gib": math.nan if theirs else memory.total_gib,
    }


def predicted(config: dict[str, Any], recipe: Recipe, bench: Bench) -> Any:
    """The memory model, for rows whose every token may be a target."""
    micro = recipe.per_device_train_batch_size
    return estimate_training_memory(config, recipe, SINGLE, workers=1, micro_batch=micro, length=bench.length)


def ours(model: Any, recipe: Recipe, rows: Any, bench: Bench, watch: Any, share: Any = None) -> Any:
    """The trainer of a trial, with what looks on in one."""
    from sweeper.training.batching import split_batch
    from sweeper.training.callbacks import DivergenceCallback, ProgressCallback
    from sweeper.training.schedule import make_schedule
    from sweeper.training.sft_config import make_sft_config
    from sweeper.training.sft_trainer import LeanSFTTrainer
    from sweeper.training.step_readings import AppliedSettingsCallback

    share = share or split_batch(recipe, 1)
    spec = trial_of(recipe.model_copy(update={"max_steps": MOST_STEPS + WARM_UP}))
    size = data.DataSize(len(rows), len(rows) * bench.length, spec.data.vocab_size)
    schedule = make_schedule(spec, size)
    args = make_sft_config(recipe, 0, schedule, share, bench.folder / "out", cuda=bench.cuda)
    args.save_strategy = "no"
    readings = AppliedSettingsCallback(trial_of(recipe), schedule)
    looking_on = [
        readings,
        DivergenceCallback(recipe.divergence_ratio),
        ProgressCallback(lambda told: None),
    ]
    trainer = LeanSFTTrainer(
        model=model,
        args=args,
        train_dataset=rows,
        processing_class=bench.tokenizer(),
        batch_split=share,
        callbacks=[*looking_on, watch],
    )
    readings.watch(trainer)
    return trainer


def trial_of(recipe: Recipe) -> TrialSpec:
    """What it would be part of."""
    model = ModelSpec(name="bench", source="bench")
    return TrialSpec(model=model, data=load_data_spec("toolworld"), recipe=recipe, seed=0, runtime=Runtime())


def plain(model: Any, recipe: Recipe, rows: Any, bench: Bench, watch: Any) -> Any:
    """What a user would write for the same recipe."""
    from trl import SFTConfig, SFTTrainer

    args = SFTConfig(
        output_dir=str(bench.folder / "plain"),
        max_steps=MOST_STEPS + WARM_UP,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.lr_scheduler_type,
        warmup_steps=recipe.warmup_steps,
        per_device_train_batch_size=recipe.per_device_train_batch_size,
        gradient_accumulation_steps=recipe.gradient_accumulation_steps,
        max_grad_norm=recipe.max_grad_norm,
        optim=recipe.optim,
        weight_decay=recipe.weight_decay,
        fp16=recipe.precision == "fp16",
        bf16=recipe.precision == "bf16",
        activation_checkpointing=recipe.gradient_checkpointing,
        dataloader_num_workers=recipe.dataloader_num_workers,
        dataloader_pin_memory=recipe.dataloader_pin_memory,
        use_cpu=not bench.cuda,
        seed=0,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        log_level="error",
    )
    return SFTTrainer(model=model, args=args, train_dataset=rows, processing_class=bench.tokenizer(), callbacks=[watch])


class Interrupted(BaseException):
    """Stands for a kill in the middle of a trial."""


def path(name: str, precision: str, bench: Bench, *, micro_batch: int = 2) -> dict[str, Any]:
    """The whole trial: data, training cut off at step 3 of 5, resumed from its checkpoint, record, evaluation."""
    from sweeper.evaluation import evaluate_trial
    from sweeper.training import TrainingProgress, TrialJob, train_trial

    root = bench.folder
    parameters = count_parameters(bench.configs[name])
    need = (
        parameters * (4 + 3 * 12) + 10**9
    )  # weights; three checkpoints with two moments each (two stay, one is written)
    if shutil.disk_usage(root).free < need:
        return {"skipped": f"needs {need / 1e9:.0f} GB of disk"}
    world = {"seed": 1, "train_queries": 60, "validation_queries": 4, "test_queries_per_subset": 1}
    length = bench.configs[name]["max_position_embeddings"]
    spec = load_data_spec("toolworld", toolworld=world, max_length=length, api_format="toolbench")
    model = saved(name, bench, root / "weights")
    prepared = data.prepare_data(spec, model, root / "store")
    small = {"per_device_train_batch_size": micro_batch, "gradient_accumulation_steps": 2, "precision": precision}
    ends = {"max_steps": 5, "warmup_steps": 1, "dataloader_num_workers": 0, "dataloader_pin_memory": False}
    recipe = Recipe.model_validate(bench.canonical.model_dump() | small | ends)
    cores = float(os.cpu_count() or 1)
    trial = TrialSpec(model=model, data=spec, recipe=recipe, seed=0, runtime=Runtime(cpus=cores))
    store = Store(root / "store")

    def cut(progress: TrainingProgress) -> None:
        if progress.step >= 3:
            raise Interrupted

    started = time.monotonic()
    job = TrialJob(trial, "trial", prepared.fingerprint)
    with suppress(Interrupted):
        train_trial(job, lambda: prepared, store, cut)
    record = train_trial(job, lambda: prepared, store, lambda progress: None)
    if record.failure:
        raise RuntimeError(record.failure.traceback)
    trained = time.monotonic()
    asked = load_evaluation_spec("toolworld", max_new_tokens=16, max_steps=2, batch_size=6)
    summary = evaluate_trial(store, "trial", asked, spec, seed=0, threads=int(cores))
    return {
        "status": record.status,
        "parameters": record.parameters,
        "precision": record.applied["precision"],
        "logits_of": record.environment["logits_of"],
        "resumed_from_step": record.resumed_from_step,
        "steps": record.metrics["steps"],
        "loss": record.metrics["train_loss"],
        "val_loss": record.metrics["val_loss"],
        "seconds": trained - started,
        "queries": summary.queries,
        "evaluation_seconds": summary.eval_seconds,
    }


def saved(name: str, bench: Bench, folder: Path) -> ModelSpec:
    """A checkpoint as a pretrained one has it: the config's size, random weights, the generated world's tokeniser."""
    from sweeper.data.sources import open_source

    model = model_of(bench.configs[name], bench).cpu()
    world = load_data_spec("toolworld", toolworld={"seed": 1, "train_queries": 60})
    texts = (
        turn.content for _, talk in open_source(world).read_conversations(data.ReaderCounts()) for turn in talk.turns
    )
    tokenizer = data.train_tokenizer(texts, min(4096, bench.configs[name]["vocab_size"]))
    model.config.pad_token_id, model.config.eos_token_id = tokenizer.pad_token_id, tokenizer.eos_token_id
    model.config.bos_token_id = tokenizer.bos_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return ModelSpec(name=name.split("/")[-1], source=str(folder))


def generate(name: str, batch_size: int, bench: Bench) -> dict[str, Any]:
    """The agent loop over so many queries at once; random weights write until they may write no more."""
    from sweeper.evaluation.agent_loop import run_episodes
    from sweeper.evaluation.agent_run import load_local_agent
    from sweeper.evaluation.environments import make_environment
    from sweeper.evaluation.tasks import load_tasks

    world = {"seed": 1, "test_queries_per_subset": -(-batch_size // 6)}
    spec = load_data_spec("toolworld", toolworld=world, max_length=bench.configs[name]["max_position_embeddings"])
    asked: EvaluationSpec = load_evaluation_spec("toolworld", max_new_tokens=64, max_steps=2, batch_size=batch_size)
    saved(name, bench, bench.folder / "weights")
    agent = load_local_agent(str(bench.folder / "weights"), asked, spec, seed=0, threads=os.cpu_count() or 1)
    chosen, environment = load_tasks(asked, spec)[:batch_size], make_environment(asked, spec)
    run_episodes(chosen[:1], agent, environment, asked)  # kernels are loaded
    started = time.monotonic()
    episodes = run_episodes(chosen, agent, environment, asked)
    seconds, tokens = time.monotonic() - started, sum(episode.tokens for episode in episodes)
    rates = {"queries_per_second": len(episodes) / seconds, "tokens_per_second": tokens / seconds}
    return rates | {"tokens": tokens, "precision": str(next(agent.model.parameters()).dtype).removeprefix("torch.")}


def too_small(name: str, bench: Bench) -> dict[str, Any]:
    """A GPU whose memory lies between what micro-batches of 4 and of 8 are predicted to need; one step."""
    from sweeper.training.batching import split_batch
    from sweeper.training.trial import _retry_out_of_memory

    if not bench.cuda:
        return {"skipped": "a CPU's memory cannot be bounded"}
    # Without gradient checkpointing micro-batches of 4 and 8 rows lie far apart.
    config, recipe = bench.configs[name], bench.canonical.model_copy(update={"gradient_checkpointing": False})
    largest = recipe.per_device_train_batch_size
    needs = [
        estimate_training_memory(config, recipe, SINGLE, workers=1, micro_batch=size, length=bench.length)
        for size in (largest // 2, largest)
    ]
    limit = (
        sum(need.total_bytes - need.workspace for need in needs) / 2
    )  # of tensors: the allocator alone can be bounded
    rows = rows_of(recipe.effective_batch_size, config["vocab_size"], bench.length, 1.0)  # what is predicted

    def launch(at_most: int | None, generation: int | None) -> None:
        share = split_batch(recipe, 1, at_most)
        ours(model_of(config, bench), recipe, rows, bench, Stopwatch(bench, 1), share).train()

    torch.cuda.set_per_process_memory_fraction(limit / torch.cuda.get_device_properties(0).total_memory)
    try:
        too_much = _retry_out_of_memory(launch, trial_of(recipe), None)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    if not too_much:
        raise RuntimeError(f"a micro-batch of {largest} fits {limit / GIB:.2f} GiB: the memory model asks for more")
    return {"limit_gib": limit / GIB, "too_much": too_much}


Cell = tuple[str, str, str, Callable[[], dict[str, Any]]]
"""What, model, way, what to call."""


def cells(bench: Bench) -> list[Cell]:
    """What matters most first."""
    first = next(iter(bench.configs))
    found: list[Cell] = []
    flash = [FLASH] if bench.cuda and importlib.util.find_spec("flash_attn") else []
    for name in bench.configs:
        for way in (*WAYS, *flash):
            found.append(("train", name, way, lambda name=name, way=way: train(name, way, bench)))
    for precision in ("fp16", "bf16") if bench.cuda else ("bf16",):
        found.append(("path", first, precision, lambda precision=precision: path(first, precision, bench)))
    for size in (1, 16, 128) if bench.cuda else (1, 4):
        name = list(bench.configs)[len(bench.configs) // 2]
        found.append(("generate", name, f"batch {size}", lambda name=name, size=size: generate(name, size, bench)))
    found.append(("memory", first, "too small", lambda: too_small(first, bench)))
    for name in list(bench.configs)[1:]:
        found.append(("path", name, "bf16", lambda name=name: path(name, "bf16", bench)))
    return found


def least_seconds(what: str, model: str, bench: Bench) -> float:
    """Not begun with less left. A path writes five checkpoints, of 16 GB for the largest."""
    return 10 + (count_parameters(bench.configs[model]) / 1e7 if what == "path" and bench.cuda else 0)


def free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        with suppress(RuntimeError):  # after a fault on the GPU; the cell's own error says more
            torch.cuda.empty_cache()


def line(row: dict[str, Any]) -> str:
    """One row for people."""

    def shown(value: Any) -> str:
        return (
            f"{value:,.3g}"
            if isinstance(value, float) and abs(value) < 1000
            else f"{value:,.0f}"
            if isinstance(value, float)
            else str(value)
        )

    rest = {key: value for key, value in row.items() if key not in ("what", "model", "way")}
    text = ", ".join(f"{key} {shown(value)}" for key, value in rest.items())
    return f"{row['what']:8} {row['model']:18} {row['way']:21} {text}"


def main() -> int:
    """Every cell in turn; the table as it comes, the document at the end, also where time runs out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--minutes", type=float, default=8.0, help="It ends by then.")
    parser.add_argument("--json", type=Path, metavar="PATH")
    asked = parser.parse_args()
    quiet_libraries()
    end = STARTED + 60 * asked.minutes - 5
    rows: list[dict[str, Any]] = []
    top = tempfile.mkdtemp(prefix="sweeper-gpu-")
    bench = bench_of(asked.device, Path(top))
    waiting = cells(bench)
    lock, over, out = threading.Lock(), threading.Event(), sys.stdout

    def say(text: str) -> None:
        """Also while what a trainer prints goes nowhere."""
        print(text, file=out, flush=True)

    def write(left: list[dict[str, Any]]) -> None:
        if asked.json:
            document = about(bench) | {"seconds": time.monotonic() - STARTED, "rows": rows + left}
            asked.json.write_text(json.dumps(document, indent=1), encoding="utf-8")

    def finish(running: str) -> None:
        """What was not begun, the ratios, the document: once."""
        with lock:
            if over.is_set():
                return
            over.set()
            names = [{"what": what, "model": model, "way": way} for what, model, way, _ in waiting]
            left = [name | {"skipped": running if i == 0 else "no time left"} for i, name in enumerate(names)]
            for row in left + ratios(rows):
                say(line(row))
            write(left)
            shutil.rmtree(top, ignore_errors=True)

    def cut_off() -> None:
        finish("cut off: no time left")
        os._exit(0)  # a cell that hangs is in no state to be waited for

    alarm = threading.Timer(end - time.monotonic(), cut_off)
    alarm.daemon = True
    alarm.start()
    say(line({"what": "device", "model": about(bench)["device"], "way": "", "minutes": asked.minutes}))
    try:
        while waiting:
            what, model, way, call = waiting[0]
            left = end - time.monotonic()
            if left < least_seconds(what, model, bench):
                found: dict[str, Any] = {"skipped": f"no time left: {max(0.0, left):.0f} s are too few"}
            else:
                bench.deadline = time.monotonic() + left / len(waiting) * 0.7  # building and loading come first
                bench.folder = Path(tempfile.mkdtemp(dir=top))
                try:
                    found = call()
                except Exception as error:  # a row, not the end
                    found = {"error": f"{type(error).__name__}: {error}"[-2000:]}
                shutil.rmtree(bench.folder, ignore_errors=True)
            with lock:
                if over.is_set():
                    break
                rows.append({"what": what, "model": model, "way": way} | found)
                waiting.pop(0)
                say(line(rows[-1]))
                write([])
            free()
    finally:
        alarm.cancel()
        finish("broken off")
    assert "ray" not in sys.modules, "this benchmark is to run where Ray is not"
    return 0


def ratios(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ours against a plain TRL script with the same recipe, and with the canonical one, where both ran."""
    ran = {(row["model"], row["way"]): row for row in rows if "utilisation" in row}
    against = (
        ("canonical", "plain TRL"),
        ("fast", "plain TRL, fast"),
        (FLASH, "plain TRL, fast"),
        ("fast", "plain TRL"),
    )
    return [
        {
            "what": "ratio",
            "model": model,
            "way": way,
            "to": theirs,
            "tokens_per_second": ran[model, way]["tokens_per_second"] / ran[model, theirs]["tokens_per_second"],
            "first_loss": ran[model, way]["loss"] / ran[model, theirs]["loss"],
        }
        for model in dict.fromkeys(model for model, _ in ran)
        for way, theirs in against
        if (model, way) in ran and (model, theirs) in ran
    ]


def about(bench: Bench) -> dict[str, Any]:
    import transformers
    import trl

    return {
        "name": "gpu",
        "device": torch.cuda.get_device_name(0) if bench.cuda else platform.processor() or platform.machine(),
        "cuda": torch.version.cuda,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "trl": trl.__version__,
        "flash_attn": importlib.util.find_spec("flash_attn") is not None,
        "length": bench.length,
        "target_share": TARGET_SHARE,
    }


if __name__ == "__main__":
    sys.exit(main())

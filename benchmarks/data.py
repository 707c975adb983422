"""What does preparing data cost? Against the path a user would write, on a file of real examples repeated.

    python benchmarks/data.py [--source PATH] [--examples N] [--gigabytes G]

`--source` is any training data that `sweeper data inspect` takes (default: the generated world, in ToolBench's own
format). Its conversations are repeated with changed texts until there are N (default 20,000), so that no text of one
repetition is another's. The user's path: `json.load`, `tokenizer(...)` for each example, and TRL's own preparation.
Prints throughput, memory while streaming a file of G gigabytes (default 1), the time of a second preparation, how
often N trials tokenise, and the padding with and without length grouping. About a quarter of an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from row import Row, finish

from sweeper import data
from sweeper.config import DataSpec, ModelSpec, load_data_spec
from sweeper.data.api_formats.toolbench import API_MARKER
from sweeper.data.export import format_toolllama_example
from sweeper.data.sources import open_source
from sweeper.data.tokenize import SegmentTokenizer

MAX_LENGTH = 2048
BATCH_SIZE = 8
VOCABULARY = 16_000


def main() -> int:
    """Measure everything, print lines for people and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="toolworld")
    parser.add_argument("--examples", type=int, default=20_000)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        examples = [
            format_toolllama_example(c)
            for _, c in open_source(load_data_spec(asked.source)).read_conversations(data.ReaderCounts())
        ]
        model = tokenizer_of(examples, folder / "model")
        file = folder / "repeated.json"
        repeat(examples, file, lambda written, size: written >= asked.examples)
        found: dict[str, Any] = {"source": asked.source, "examples": asked.examples, "bytes": file.stat().st_size}
        say(f"{asked.examples:,} examples made of {len(examples):,} of {asked.source}, {found['bytes'] / 1e6:.0f} MB")
        found |= throughput(file, model, folder)
        found |= second_time(file, model, folder)
        found |= padding(file, model, folder)
        large = folder / "large.json"
        repeat(examples, large, lambda written, size: size >= asked.gigabytes * 1e9)
        found |= memory(large, model, folder)
    repeated = f"preparing {asked.examples:,} examples"
    rates = found["examples_per_second"]
    return finish(
        [
            Row(repeated, "examples/s", [rates["sweeper"]], "json.load, tokenizer, TRL", [rates["user"]], aim=">= 4"),
            Row("the same again, from the start of a process", "s", [found["second_preparation_seconds"]], aim="<= 2"),
            Row("calls of the tokeniser by 12 trials over them", "calls", [found["tokeniser_calls_of_12_trials"]]),
            Row(
                "padding of batches",
                "of the tokens",
                [found["padding"]["group_by_length"]],
                "random order",
                [found["padding"]["random"]],
            ),
            Row(f"peak memory, streaming {found['streamed_gb']:.2f} GB", "GB", [found["peak_gb"]], aim="<= 1"),
        ],
        found=found,
    )


def say(text: str) -> None:
    print(text, flush=True)


def spec(file: Path, fit: str = "truncate") -> DataSpec:
    return load_data_spec(str(file), max_length=MAX_LENGTH, fit=fit)


def tokenizer_of(examples: list[dict[str, Any]], folder: Path) -> ModelSpec:
    """A model folder with a byte-level BPE in it, as a pretrained model has one."""
    texts = (turn["value"] for row in examples for turn in row["conversations"])
    data.train_tokenizer(texts, VOCABULARY).save_pretrained(str(folder))
    (folder / "config.json").write_text(json.dumps({"model_type": "opt", "max_position_embeddings": MAX_LENGTH}))
    return ModelSpec(name="bench", source=str(folder))


def repeat(examples: list[dict[str, Any]], file: Path, enough: Callable[[int, int], bool]) -> None:
    """Write a list of examples, each repetition with texts of its own, until there are enough (number, bytes)."""
    written = 0
    with file.open("w", encoding="utf-8") as out:
        for row in (variant(row, k) for k in count() for row in examples):
            out.write("[" if written == 0 else ",\n")
            json.dump(row, out, ensure_ascii=False)
            written += 1
            if enough(written, out.tell()):
                break
        out.write("]")


def variant(row: dict[str, Any], k: int) -> dict[str, Any]:
    """The example with every text changed a little; those that were equal within a repetition stay equal."""
    change = {
        "system": lambda text: text.replace(API_MARKER, f" Variant {k}.{API_MARKER}"),
        "user": lambda text: text.replace("\nBegin!", f" Variant {k}.\nBegin!"),
        "assistant": lambda text: text.replace("\nThought: ", f"\nThought: {k}. ", 1),
        "function": lambda text: f"{text} {k}",
    }
    talk = [{"from": t["from"], "value": change[t["from"]](t["value"])} for t in row["conversations"]]
    return {"id": f"{row['id']} {k}", "conversations": talk}


def throughput(file: Path, model: ModelSpec, folder: Path) -> dict[str, Any]:
    """Examples a second, ours and the user's, each in a process of its own."""
    rates, rows = {}, {}
    for name, work in (("sweeper", ours), ("user", theirs)):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            examples, rows[name], seconds, peak = pool.apply(work, (file, model, folder / name))
        rates[name] = examples / seconds
        say(f"{name}: {seconds:.1f} s, {rates[name]:,.0f} examples/s, {rows[name]:,} rows, {peak:.2f} GB at its peak")
    ratio = rates["sweeper"] / rates["user"]
    say(f"throughput: {ratio:.1f} times the user's path (aim: at least 4)")
    return {"examples_per_second": rates, "rows": rows, "throughput_ratio": ratio}


def ours(file: Path, model: ModelSpec, storage: Path) -> tuple[int, int, float, float]:
    import datasets  # noqa: F401
    from transformers import AutoTokenizer  # noqa: F401  (both sides import before the clock starts)

    started = time.monotonic()
    manifest = data.prepare_data(spec(file), model, storage).manifest
    rows = manifest.rows.train + manifest.rows.validation
    return manifest.read, rows, time.monotonic() - started, peak_gb()


def theirs(file: Path, model: ModelSpec, folder: Path) -> tuple[int, int, float, float]:
    """What a user would write: read it all, tokenise one by one, let TRL build labels, truncate and drop."""
    from datasets import Dataset, disable_progress_bars
    from transformers import AutoTokenizer, OPTConfig, OPTForCausalLM
    from trl import SFTConfig, SFTTrainer

    disable_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(model.source)
    sizes = {"hidden_size": 8, "word_embed_proj_dim": 8, "ffn_dim": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    network = OPTForCausalLM(OPTConfig(vocab_size=len(tokenizer), **sizes))
    config = SFTConfig(
        output_dir=str(folder),
        max_length=MAX_LENGTH,
        report_to="none",
        use_cpu=True,
        bf16=False,
        completion_only_loss=True,
    )
    started = time.monotonic()
    examples = json.loads(file.read_text(encoding="utf-8"))

    def rows() -> Iterator[dict[str, list[int]]]:
        for example in examples:
            *prompt, target = example["conversations"]
            text = "".join(f"{turn['from'].title()}: {turn['value']}\n" for turn in prompt) + "Assistant:"
            before = tokenizer(text, add_special_tokens=False)["input_ids"]
            after = tokenizer(target["value"], add_special_tokens=False)["input_ids"]
            yield {
                "input_ids": [tokenizer.bos_token_id, *before, *after, tokenizer.eos_token_id],
                "completion_mask": [0] * (1 + len(before)) + [1] * (len(after) + 1),
            }

    dataset = Dataset.from_list(list(rows()))
    trainer = SFTTrainer(model=network, args=config, train_dataset=dataset, processing_class=tokenizer)
    return len(examples), len(trainer.train_dataset), time.monotonic() - started, peak_gb()


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def second_time(file: Path, model: ModelSpec, folder: Path) -> dict[str, Any]:
    """A new process that asks for what is there; and how often trials of one plan tokenise."""
    code = (
        "import sys, pathlib; from sweeper import data; from sweeper.config import DataSpec, ModelSpec;"
        "d, m, s = sys.argv[1:];"
        "data.prepare_data(DataSpec.model_validate_json(d), ModelSpec.model_validate_json(m), pathlib.Path(s))"
    )
    asked = [spec(file).model_dump_json(), model.model_dump_json(), str(folder / "sweeper")]
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", code, *asked], check=True)
    seconds = time.monotonic() - started
    say(f"second preparation, from the start of a process: {seconds:.1f} s (aim: below 2)")
    calls = 0
    tokenise = SegmentTokenizer._tokenize

    def counted(self: SegmentTokenizer, new: Any) -> Any:
        nonlocal calls
        calls += 1
        return tokenise(self, new)

    SegmentTokenizer._tokenize = counted  # type: ignore[method-assign]
    try:
        for _ in range(12):  # as many trials ask for their data
            data.prepare_data(spec(file), model, folder / "sweeper")
    finally:
        SegmentTokenizer._tokenize = tokenise  # type: ignore[method-assign]
    say(f"12 trials over data that are there: {calls} calls of the tokeniser")
    return {"second_preparation_seconds": seconds, "tokeniser_calls_of_12_trials": calls}


def padding(file: Path, model: ModelSpec, folder: Path) -> dict[str, Any]:
    """Share of a batch that is padding, over one epoch."""
    from transformers.trainer_pt_utils import DistributedLengthGroupedSampler

    prepared = data.prepare_data(spec(file, "keep-target"), model, folder / "sweeper")
    lengths = np.array(prepared.load_split("train")["length"])
    grouped = list(
        DistributedLengthGroupedSampler(BATCH_SIZE, lengths=lengths.tolist(), num_replicas=1, rank=0, seed=0)
    )
    orders = {"random": np.random.default_rng(0).permutation(len(lengths)), "group_by_length": np.array(grouped)}
    shares = {name: padded(lengths[order]) for name, order in orders.items()}
    say(", ".join(f"padding {name}: {share:.1%}" for name, share in shares.items()) + f" (batches of {BATCH_SIZE})")
    return {"padding": shares}


def padded(lengths: np.ndarray[Any, Any]) -> float:
    whole = lengths[: len(lengths) // BATCH_SIZE * BATCH_SIZE].reshape(-1, BATCH_SIZE)
    return float(1 - whole.sum() / (whole.max(axis=1) * BATCH_SIZE).sum())


def memory(file: Path, model: ModelSpec, folder: Path) -> dict[str, Any]:
    """Peak memory of preparing a large file, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        examples, _, seconds, peak = pool.apply(ours, (file, model, folder / "large"))
    size = file.stat().st_size / 1e9
    say(f"streaming {size:.2f} GB, {examples:,} examples: {peak:.2f} GB at its peak, {seconds:.0f} s (aim: below 1 GB)")
    return {"streamed_gb": size, "peak_gb": peak, "streaming_seconds": seconds}


if __name__ == "__main__":
    sys.exit(main())

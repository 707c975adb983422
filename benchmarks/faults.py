"""Is damage of the store told? Flips bits in every kind of file and reads everything again; 0 silent differences.

    python benchmarks/faults.py [--flips N] [--seed S]

A small study and a small search are trained once. For each kind of file, single bits are flipped, and the file is also
cut in half and emptied; after each fault the study is read as `sweeper report` does, or, for files that only a run
reads, as a run does. *Told*: an error names the file, or the trial is UNREADABLE, or a claim is labeled. *Harmless*:
every number is as before. *Silent*: another number without a word. *Crashed*: an exception that is not ours. The last
two must be 0.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from row import Row, finish

from sweeper.api import open_study
from sweeper.config import load_sweep
from sweeper.data import open_prepared_data
from sweeper.errors import SweeperError
from sweeper.evaluation import compute_suite_fingerprint, evaluate_trial
from sweeper.storage import Store

HERE = Path(__file__).resolve().parent
SWEEPS = HERE.parent / "tests" / "pinned"
NAMES = ("tiny", "looking")
Reader = Callable[[Path], Any]
"""Folder of a store -> everything that is read from it, as JSON."""


@dataclass
class Kind:
    """One kind of file, and how it is read."""

    name: str
    pattern: str
    read: Reader
    counts: Counter[str] = field(default_factory=Counter)


def train_studies(folder: Path) -> None:
    """Run both sweeps into a store."""
    for name in NAMES:
        command = [sys.executable, "-m", "sweeper", "run", str(SWEEPS / f"{name}.yaml"), "--storage", str(folder)]
        command += ["--backend", "inline", "--tracking", "none", "--accept-underpowered"]
        subprocess.run(command, check=True, capture_output=True)


def read_reports(folder: Path) -> Any:
    """Read both studies, as `sweeper report --json` prints them."""
    return [json.loads(json.dumps(open_study(name, folder)._document)) for name in NAMES]


def read_prepared_data(folder: Path) -> Any:
    """Read the rows and the tokenizer that a trial trains with."""
    found = []
    for path in sorted((folder / "data").glob("[0-9a-f]*")):
        prepared = open_prepared_data(Store(folder), path.name)
        rows = {split: prepared.load_split(split).to_dict() for split in ("train", "validation")}
        found.append([rows, prepared.load_tokenizer().get_vocab()])
    return found


def evaluate_again(folder: Path) -> Any:
    """Evaluate the first trial once more, from its model and from the episodes that are there."""
    sweep, store = load_sweep(SWEEPS / "tiny.yaml"), Store(folder)
    assert sweep.evaluation is not None
    suite = compute_suite_fingerprint(sweep.evaluation, sweep.data)
    fingerprint = sorted(path.parents[2].name for path in folder.glob(f"trials/*/evaluation/{suite}/episodes.jsonl"))[0]
    (store.evaluation_folder(fingerprint, suite) / "summary.json").unlink(missing_ok=True)
    summary = evaluate_trial(store, fingerprint, sweep.evaluation, sweep.data, seed=0, threads=1)
    return summary.to_document() | {"eval_seconds": 0, "files": {}}


def inject_faults(content: bytes, flips: int, rng: np.random.Generator) -> Iterator[bytes]:
    """Yield the file with one bit flipped, several times, then cut in half, and empty."""
    for place in rng.integers(0, 8 * len(content), flips):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << (place % 8)
        yield bytes(damaged)
    yield content[: len(content) // 2]
    yield b""


def classify(before: Any, folder: Path, read: Reader) -> str:
    """Read the store after a fault, and say what came of it."""
    try:
        after = read(folder)
    except SweeperError:
        return "told"
    except Exception as error:  # whatever a user would see as a traceback
        print(f"crashed: {error!r}", file=sys.stderr)
        return "crashed"
    if after == before:
        return "harmless"
    return "told" if isinstance(after, list) and any(map(is_labeled, after)) else "silent"


def is_labeled(document: Any) -> bool:
    """Whether a report says that something is damaged."""
    if not isinstance(document, dict):
        return False
    statuses = document.get("study", {}).get("statuses", {})
    return "UNREADABLE" in statuses or any(c["registration"]["label"] for c in document.get("later_claims", ()))


def try_kind(kind: Kind, store: Path, flips: int, rng: np.random.Generator) -> None:
    """Damage one file of a kind in every way, in a copy of the store."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(shutil.copytree(store, Path(name) / "store", symlinks=True))
        before = kind.read(folder)
        path = sorted(folder.glob(kind.pattern))[0]
        content = path.read_bytes()
        for damaged in inject_faults(content, flips, rng):
            path.write_bytes(damaged)
            kind.counts[classify(before, folder, kind.read)] += 1
            path.write_bytes(content)


def list_kinds() -> list[Kind]:
    """List every kind of file that a number rests on."""
    trial, evaluation = "trials/*", "trials/*/evaluation/*"
    read_by_report = {
        "record": f"{trial}/record.json",
        "history": f"{trial}/history.parquet",
        "summary": f"{evaluation}/summary.json",
        "outcomes": f"{evaluation}/outcomes.parquet",
        "sweep": "studies/tiny/sweep.yaml",
        "plan": "studies/tiny/plan.json",
        "claims": "studies/tiny/claims.json",
        "manifest of runs": "studies/tiny/manifest.json",
        "contamination": "studies/tiny/leakage.json",
        "resource usage": "studies/tiny/spent.json",
        "journal": "studies/looking/optuna.journal",
    }
    read_by_data = {
        "rows": "data/*/rows.arrow",
        "split": "data/*/train.npy",
        "tokenizer": "data/*/tokenizer/tokenizer.json",
        "manifest of data": "data/*/manifest.json",
    }
    read_by_evaluation = {
        "weights": f"{trial}/model/model.safetensors",
        "config of the model": f"{trial}/model/config.json",
        "episodes": f"{evaluation}/episodes.jsonl",
    }
    return [
        *(Kind(name, pattern, read_reports) for name, pattern in read_by_report.items()),
        *(Kind(name, pattern, read_prepared_data) for name, pattern in read_by_data.items()),
        *(Kind(name, pattern, evaluate_again) for name, pattern in read_by_evaluation.items()),
    ]


def main() -> int:
    """Try all kinds, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=40, help="single bits per kind of file")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, kinds = np.random.default_rng(options.seed), list_kinds()
    with tempfile.TemporaryDirectory() as name:
        store = Path(name) / "store"
        train_studies(store)
        print(f"{'file':22}{'faults':>8}{'told':>8}{'harmless':>10}{'silent':>8}{'crashed':>9}")
        for kind in kinds:
            try_kind(kind, store, options.flips, rng)
            c = kind.counts
            print(
                f"{kind.name:22}{c.total():>8}{c['told']:>8}{c['harmless']:>10}{c['silent']:>8}{c['crashed']:>9}",
                flush=True,
            )
    total = sum((kind.counts for kind in kinds), Counter[str]())
    rows = [
        Row("faults of the store that changed a number silently", "", [float(total["silent"])], aim="<= 0"),
        Row("faults that ended in a traceback", "", [float(total["crashed"])], aim="<= 0"),
    ]
    return finish(rows, faults=total.total(), kinds={kind.name: dict(kind.counts) for kind in kinds})


if __name__ == "__main__":
    sys.exit(main())

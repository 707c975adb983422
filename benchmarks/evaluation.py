"""What does batching bring? Episodes that step together against the one-query-at-a-time loop of ToolBench's pipeline.

    python benchmarks/evaluation.py [--model DIR] [--pairs 3]

`--model` is a checkpoint trained on the generated world (default: the quickstart's middle size is trained for some
seconds first). Both loops run the same queries with the same model, greedily; that their answers are the same is
counted. About five minutes on two cores.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from row import Row, finish

from sweeper.config import ModelSpec, find_sweep, load_sweep
from sweeper.data import load_tokenizer
from sweeper.evaluation.agent_loop import run_episodes
from sweeper.evaluation.agents.local import LocalAgent
from sweeper.evaluation.environments import make_environment
from sweeper.evaluation.episode import Episode
from sweeper.evaluation.tasks import load_tasks
from sweeper.models import load_pretrained
from sweeper.models.quiet_libraries import quiet_libraries

TRAIN = ("claims=[]", "axes.model=[opt-tiny-64]", "axes.num_train_epochs=[1]", "axes.seed=[0]")


def main() -> int:
    """Measure both loops in turn; print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--pairs", type=int, default=3)
    asked = parser.parse_args()
    quiet_libraries()
    ways: dict[str, list[float]] = {"alone": [], "anew": [], "kept": []}
    with tempfile.TemporaryDirectory() as folder:
        model = asked.model or trained(Path(folder))
        for _ in range(asked.pairs):
            alone, seconds = measure(model, batch_size=1, reuse=False)
            ways["alone"].append(len(alone) / seconds)
            for way in ("anew", "kept"):
                episodes, seconds = measure(model, batch_size=256, reuse=way == "kept")
                ways[way].append(len(episodes) / seconds)
                same = sum(a.texts == b.texts for a, b in zip(alone, episodes, strict=True))
                print(f"  {way}: {same} of {len(alone)} queries with the same texts", flush=True)
    one, what = "one query at a time", "the agent loop, batched"
    return finish(
        [
            Row(f"{what}, keys kept", "queries/s", ways["kept"], one, ways["alone"], aim=">= 5"),
            Row(f"{what}, keys kept", "queries/s", ways["kept"], "batched, prompts anew", ways["anew"]),
        ]
    )


def trained(folder: Path) -> Path:
    """The quickstart's middle size, one epoch."""
    sets = [part for value in TRAIN for part in ("--set", value)]
    command = [sys.executable, "-m", "sweeper", "run", "quickstart", "--backend", "inline", "--tracking", "none"]
    subprocess.run([*command, *sets, "--storage", str(folder)], check=True, stdout=subprocess.DEVNULL)
    (model,) = folder.glob("trials/*/model")
    return model


def measure(model: Path, *, batch_size: int, reuse: bool) -> tuple[list[Episode], float]:
    """Episodes and seconds of the whole suite; loading the model is not counted."""
    sweep = load_sweep(find_sweep("quickstart"))
    assert sweep.evaluation is not None
    evaluation = sweep.evaluation.model_copy(update={"batch_size": batch_size})
    parts: tuple[Any, Any] = load_pretrained(str(model)), load_tokenizer(ModelSpec(name="m", source=str(model)))
    agent = LocalAgent(*parts, evaluation, sweep.data, seed=0, reuse_cache=reuse)
    found, environment = load_tasks(evaluation, sweep.data), make_environment(evaluation, sweep.data)
    started = time.monotonic()
    return run_episodes(found, agent, environment, evaluation), time.monotonic() - started


if __name__ == "__main__":
    sys.exit(main())

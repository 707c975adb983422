"""A whole study on a store that only a server has: one machine is killed, another goes on, a third reads the result."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
from machines import Server
from warm import start, sweeper

pytestmark = pytest.mark.slow
ASKED = [
    "claims=[]",
    "axes.model=[opt-tiny-32]",
    "axes.num_train_epochs=[1]",
    "axes.seed=[0]",
    "recipe.warmup_steps=10",
    "data.toolworld={train_queries: 1800, validation_queries: 20, test_queries_per_subset: 1}",
]


def command(word: str, url: str, *more: str) -> list[str]:
    sets = [part for text in ASKED for part in ("--set", text)]
    return [word, "quickstart", "--storage", url, *more, *sets]


def machine(s3: Server, cache: Path) -> dict[str, str]:
    """The environment of a machine with a working copy of its own."""
    return os.environ | s3.environment() | {"SWEEPER_CACHE": str(cache), "OMP_NUM_THREADS": "1"}


def listing(s3: Server) -> list[str]:
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    return list(s3fs.S3FileSystem(use_listings_cache=False).find("study"))


def test_trial_resumes_on_another_machine_from_uploads(s3: Server, tmp_path: Path) -> None:
    import s3fs

    s3fs.S3FileSystem().mkdir("study")
    url, first, second = "s3://study/store", tmp_path / "first", tmp_path / "second"
    inline = ("--backend", "inline", "--tracking", "none")
    killed = start(*command("run", url, *inline), env=machine(s3, first))
    until = time.monotonic() + 300
    while not any("/checkpoints/" in key and key.endswith("sweeper-complete") for key in listing(s3)):
        assert killed.poll() is None
        assert time.monotonic() < until
        time.sleep(0.1)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not any(key.endswith("record.json") for key in listing(s3))

    done = sweeper(*command("run", url, *inline), env=machine(s3, second))
    assert url in done.stderr
    keys = listing(s3)
    assert not any("/checkpoints/" in key for key in keys), "they have served"
    for name in ("record.json", "model/model.safetensors", "history.parquet", "summary.json", "outcomes.parquet"):
        assert any(key.endswith(name) for key in keys), name

    status = sweeper(*command("status", url, "--json"), env=machine(s3, tmp_path / "third"))
    (row,) = json.loads(status.stdout)["trials"]
    assert row["status"] == "COMPLETE"
    assert row["resumed_from_step"] > 0
    assert row["metrics"]["pass_rate"] is not None

    sweeper(*command("report", url), env=machine(s3, tmp_path / "third"))
    assert any(key.endswith("studies/quickstart/report.html") for key in listing(s3))


def test_search_resumes_on_another_machine(s3: Server, tmp_path: Path) -> None:
    """Its history lies behind the URL with the records: nothing is proposed twice, and nothing is forgotten."""
    import s3fs

    s3fs.S3FileSystem().mkdir("searches")
    url, sweep = "s3://searches/store", tmp_path / "looking.yaml"
    sweep.write_text(
        "name: looking\nquestion: Which?\nrecipe: {extends: miniature, warmup_steps: 5}\n"
        "data: {extends: toolworld, toolworld: {seed: 1, train_queries: 100, validation_queries: 20}}\n"
        "evaluation: null\naxes: {model: [opt-tiny-32], seed: [0], learning_rate: {loguniform: [0.001, 0.1]}}\n"
        "search: {algorithm: random, trials: 3}\n"
    )

    def run(cache: str, trials: int) -> list[dict[str, object]]:
        asked = [str(sweep), "--set", f"search.trials={trials}", "--storage", url]
        environment = machine(s3, tmp_path / cache)
        inline = ["--backend", "inline", "--tracking", "none"]
        sweeper("run", *asked, *inline, env=environment)
        told = sweeper("search", "history", *asked, "--json", env=environment)
        found: list[dict[str, object]] = json.loads(told.stdout)["trials"]
        return found

    three, five = run("first", 3), run("second", 5)
    assert [row["state"] for row in five] == ["COMPLETE"] * 5
    assert five[:3] == three
    assert run("first", 5) == five

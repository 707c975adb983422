"""Configurations that are too large, contradict themselves or hold secrets: one line, exit code 2, and nothing written.

Each is given to the command line as a user would, and names the place at fault.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from warm import sweeper

SHARED = Path(__file__).resolve().parents[3] / "shared"
SWEEP = """
name: small
question: Does it run?
recipe: {extends: miniature, max_steps: 40}
data: {extends: toolworld, toolworld: {train_queries: 160, validation_queries: 8, test_queries_per_subset: 2}}
evaluation: toolworld
axes:
  model: [opt-tiny-32, opt-tiny-64]
  num_train_epochs: [1, 2]
  seed: [0, 1]
accept_underpowered: true
"""
BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]" for k in range(1, 10)]
)
SECRET = "hunter2"


def refuse(folder: Path, sweep: str, *options: str, command: str = "plan", code: int = 2) -> str:
    """Give a sweep to a command that must refuse it, and return what it says."""
    (folder / "sweep.yaml").write_text(sweep)
    store = folder / "store"
    before = sorted(folder.rglob("*"))
    storage = [] if command == "simulate" else ["--storage", str(store)]
    done = sweeper(command, str(folder / "sweep.yaml"), *storage, *options, code=code)
    assert "Traceback" not in done.stderr + done.stdout
    assert len(done.stderr) < 2_000, "a message, not the file"
    assert not (store / "studies").exists()
    assert [path for path in sorted(folder.rglob("*")) if store not in (path, *path.parents)] == before
    return done.stderr


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (BOMB, "more than 200,000 values"),
        (f"seed: {'[' * 600}1{']' * 600}", "nested too deeply"),
        (f"seed: {'[' * 90}1{']' * 90}", "nested more than 64 deep"),
        (f"text: &t {'x' * 60_000}\nseeds: [{', '.join(['*t'] * 1_000)}]", "more than 200,000 values"),
        (f"# {'x' * 2**20}\nseed: 1", "larger than 1,048,576 bytes"),
    ],
    ids=["alias bomb", "600 deep", "90 deep", "alias of a long text", "2 MB"],
)
@pytest.mark.parametrize("place", ["sweep", "model", "cluster", "truth"])
def test_yaml_bombs_are_refused_at_once(place: str, text: str, found: str, tmp_path: Path) -> None:
    started = time.monotonic()
    if place == "sweep":
        message = refuse(tmp_path, SWEEP + text)
    elif place == "model":
        (tmp_path / "configs/models").mkdir(parents=True)
        (tmp_path / "configs/models/mine.yaml").write_text("name: mine\n" + text)
        message = refuse(tmp_path, SWEEP.replace("opt-tiny-32", "mine"))
    else:
        (tmp_path / "other.yaml").write_text(text)
        command = {"cluster": "plan", "truth": "simulate"}[place]
        sweep = SWEEP + "claims: [single-epoch]\n"
        message = refuse(tmp_path, sweep, f"--{place}", str(tmp_path / "other.yaml"), command=command)
    assert found in message or (found == "nested too deeply" and "recursion" in message)
    assert time.monotonic() - started < 20


def test_alias_bomb_on_the_command_line_is_refused(tmp_path: Path) -> None:
    levels = [f"&a{k} [{', '.join([f'*a{k - 1}' if k else 'x'] * 10)}]" for k in range(7)]
    for given in (f"[{', '.join(levels)}]", f"{'[' * 600}1{']' * 600}"):
        message = refuse(tmp_path, SWEEP, "--set", f"axes.seed={given}")
        assert "more than 200,000 values" in message or "not a YAML value" in message


def test_a_long_axis_loads_as_fast_as_the_product_of_short_ones(tmp_path: Path) -> None:
    """8,000 seeds took two minutes to load, in copies of lists that grew with the square of their length."""
    from sweeper.config import expand_sweep, load_sweep

    long, short = tmp_path / "long.yaml", tmp_path / "short.yaml"
    short.write_text(SWEEP.replace("seed: [0, 1]", f"seed: {list(range(100))}\n  learning_rate: {rates(20)}"))
    long.write_text(SWEEP.replace("seed: [0, 1]", f"seed: {list(range(2_000))}"))
    seconds = []
    for path in (short, long):
        started = time.monotonic()
        assert len(expand_sweep(load_sweep(path))) == 8_000
        seconds.append(time.monotonic() - started)
    assert seconds[1] < 3 * seconds[0] + 2


@pytest.mark.parametrize("search", ["", "search: {algorithm: grid, metric: val_loss}\n"])
def test_axes_that_multiply_to_more_trials_than_memory_are_refused_at_once(search: str, tmp_path: Path) -> None:
    axes = f"  learning_rate: {rates(2_000)}\n  weight_decay: {rates(2_000)}\n  adam_epsilon: {rates(2_000)}\n"
    sweep = SWEEP.replace("seed: [0, 1]\n", f"seed: [0]\n{axes}") + search
    started = time.monotonic()
    assert "combinations" in refuse(tmp_path, sweep)
    assert time.monotonic() - started < 20


def rates(count: int) -> list[float]:
    return [0.001 + 0.0001 * k for k in range(count)]


@pytest.mark.parametrize("given", ["[1, '1']", "[1, 'x']", "['1']", "[1, [1]]", "[true, 2]", "[1, .inf]", "[1, 1e308]"])
def test_values_that_are_no_numbers_are_refused_with_a_claim(given: str, tmp_path: Path) -> None:
    sweep = SWEEP.replace("[1, 2]", given) + "claims: [single-epoch]\n"
    assert "num_train_epochs" in refuse(tmp_path, sweep)


@pytest.mark.parametrize("given", ["1e308", "1e300", "1" + "0" * 30, "-1", ".nan", "x"])
@pytest.mark.parametrize(
    "field",
    [
        "recipe.num_train_epochs",
        "recipe.max_steps",
        "recipe.warmup_steps",
        "recipe.per_device_train_batch_size",
        "recipe.gradient_accumulation_steps",
        "data.max_length",
        "data.vocab_size",
        "evaluation.max_steps",
        "runtime.default.cpus",
        "runtime.default.workers",
    ],
)
def test_numbers_that_overflow_are_refused(field: str, given: str, tmp_path: Path) -> None:
    from sweeper.config import load_sweep
    from sweeper.errors import ConfigError

    (tmp_path / "sweep.yaml").write_text(SWEEP)
    with pytest.raises(ConfigError, match=field.rpartition(".")[2]):
        load_sweep(tmp_path / "sweep.yaml", [f"{field}={given}"])


@pytest.mark.parametrize("layers", ["1000000000", "-1", "1.0e+9", "abc", "[2]", "1" + "0" * 30, "true"])
def test_model_with_an_impossible_number_of_layers_is_refused_at_once(layers: str, tmp_path: Path) -> None:
    (tmp_path / "configs/models").mkdir(parents=True)
    fields = "hidden_size: 32, ffn_dim: 64, num_attention_heads: 4, max_position_embeddings: 512"
    config = f"{{{fields}, num_hidden_layers: {layers}}}"
    (tmp_path / "configs/models/mine.yaml").write_text(f"name: mine\nconfig: {config}\n")
    started = time.monotonic()
    message = refuse(tmp_path, SWEEP.replace("opt-tiny-32", "mine"), command="run")
    assert "model mine" in message
    assert "num_hidden_layers" in message
    assert time.monotonic() - started < 20


def test_checkpoint_with_a_billion_layers_is_refused_at_once(tmp_path: Path) -> None:
    from sweeper.errors import ModelError
    from sweeper.models import load_pretrained

    config: dict[str, Any] = {"model_type": "gpt2", "n_layer": 10**9, "architectures": ["GPT2LMHeadModel"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="n_layer: 1000000000"):
        load_pretrained(str(tmp_path))


@pytest.mark.parametrize("options", [[], ["--set", "axes.lr_scheduler_type=[constant, linear]"]])
def test_constant_with_a_warm_up_is_refused(options: list[str], tmp_path: Path) -> None:
    sweep = SWEEP if options else SWEEP.replace("max_steps: 40", "max_steps: 40, lr_scheduler_type: constant")
    for command in ("plan", "run"):
        assert "constant_with_warmup" in refuse(tmp_path, sweep, *options, command=command)


def test_constant_with_a_warm_up_is_refused_in_the_shared_case(tmp_path: Path) -> None:
    case = SHARED / "cases/constant-warmup/sweep.yaml"
    if not case.is_file():
        pytest.skip("no ../shared/cases")
    assert "constant_with_warmup" in refuse(tmp_path, case.read_text(), command="run")


@pytest.mark.parametrize(
    "recipe", ["max_steps: 40, warmup_steps: 40", "warmup_steps: 40", "max_steps: 40, warmup_steps: 9999"]
)
def test_warm_up_longer_than_the_run_is_found_by_the_plan(recipe: str, tmp_path: Path) -> None:
    """Once for each model, of data that are not prepared: 160 queries in batches of 8 are 40 steps in two epochs."""
    sweep = SWEEP.replace("max_steps: 40", recipe).replace("num_train_epochs: [1, 2]", "num_train_epochs: [2]")
    for command in ("plan", "run"):
        message = refuse(tmp_path, sweep, command=command)
        assert "warmup_steps" in message
        assert message.count("a run of 40 optimizer steps") == 2


@pytest.mark.parametrize(
    "options",
    [
        ["--set", f"evaluation.llm.url=http://user:{SECRET}@127.0.0.1:1/v1", "--set", "evaluation.llm.model=j"],
        ["--set", f"evaluation.llm.url=http://127.0.0.1:1/v1?api_key={SECRET}", "--set", "evaluation.llm.model=j"],
        ["--set", f"evaluation.llm={{url: 'http://{SECRET}@127.0.0.1:1/v1', model: j}}"],
        ["--set", f"evaluation.url=http://user:{SECRET}@127.0.0.1:1"],
        ["--set", f"data.path=s3://key:{SECRET}/more@bucket"],
        ["--set", f"question=see https://user:{SECRET}@host"],
        ["--storage", f"s3://key:{SECRET}@bucket/x"],
        ["--storage", f"s3://key:{SECRET}/more@bucket/x"],
        ["--storage", f"https://host/x?token={SECRET}"],
        ["--address", f"http://user:{SECRET}@127.0.0.1:1"],
        ["--address", f"ray://user:{SECRET}@127.0.0.1:1"],
        ["--address", f"user:{SECRET}@127.0.0.1:1"],
        ["--address", f"http://user:{SECRET}@[::1"],
        ["--address", f"http://user:{SECRET}@host:99999"],
        ["--storage", f"s3://user:{SECRET}@[::1"],
        ["--set", f"http://user:{SECRET}@host"],
    ],
)
def test_secrets_are_neither_stored_nor_shown(options: list[str], tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    storage = [] if "--storage" in options else ["--storage", str(tmp_path / "store")]
    command = ["run", str(tmp_path / "sweep.yaml"), "--tracking", "none", *storage, *options]
    is_dialed = options[0] == "--address" and "://" in options[1] and options[1].endswith("@127.0.0.1:1")
    done = sweeper(*command, code=1 if is_dialed else 2)
    assert SECRET not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not any(SECRET in path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file())
    assert not (tmp_path / "store/studies").exists()


def test_secret_of_a_judges_endpoint_is_not_shown(tmp_path: Path) -> None:
    endpoint = ["--judge-endpoint", f"http://user:{SECRET}@127.0.0.1:1", "--judge-model", "j"]
    done = sweeper("judge", str(tmp_path), "--judge", "llm", *endpoint, code=2)
    assert SECRET not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_margin_at_or_above_its_reference_is_refused(tmp_path: Path) -> None:
    for margin in (0.02, 0.9):
        claim = f"claims: [{{extends: pass-rate, reference: 0.02, margin: {margin}}}]\n"
        assert "below the reference, 0.02" in refuse(tmp_path, SWEEP + claim, command="run")


def test_extended_claim_does_not_inherit_a_text_that_is_no_longer_true(tmp_path: Path) -> None:
    (tmp_path / "configs/claims").mkdir(parents=True)
    fixed = "id: best\ntext: The small one is best.\nkind: best-of\naxis: model\ncandidate: opt-tiny-32\nmargin: 0.05\n"
    (tmp_path / "configs/claims/fixed.yaml").write_text(fixed)
    message = refuse(tmp_path, SWEEP + "claims:\n  - extends: fixed\n    candidate: opt-tiny-64\n")
    assert "candidate: opt-tiny-64" in message
    assert "sweep.yaml:14" in message
    assert "The small one is best." in message
    own = "claims: [{extends: sweet-spot, candidate: opt-tiny-64, text: '{candidat} is best'}]\n"
    assert "`{candidat}`" in refuse(tmp_path, SWEEP + own)

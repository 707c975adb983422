"""Batched generation with a local checkpoint equals generation one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripted_agents import DATA, make_evaluation

from sweeper.config import ModelSpec
from sweeper.errors import EvaluationError, UsageError
from sweeper.evaluation.agent_loop import run_episodes
from sweeper.evaluation.agents.base import AgentInput
from sweeper.evaluation.agents.local import LocalAgent
from sweeper.evaluation.environments import make_environment
from sweeper.evaluation.episode import Episode
from sweeper.evaluation.tasks import load_tasks

SIZES = {"hidden_size": 32, "word_embed_proj_dim": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 64}
MODEL = ModelSpec(name="tiny", config=SIZES | {"max_position_embeddings": 400, "dropout": 0.0, "init_std": 0.08})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """Trained for some seconds: it writes calls, right ones and wrong ones, and goes on after their answers."""
    from sweeper import data
    from sweeper.config import Runtime, TrialSpec, find_sweep, load_sweep
    from sweeper.models import load_pretrained
    from sweeper.storage import Store
    from sweeper.training import TrialJob, train_trial

    folder = tmp_path_factory.mktemp("store")
    prepared = data.prepare_data(DATA, MODEL, folder)
    recipe = load_sweep(find_sweep("quickstart")).recipe.model_copy(update={"warmup_steps": 3})
    trial = TrialSpec(model=MODEL, data=DATA, recipe=recipe, seed=0, runtime=Runtime())
    job = TrialJob(trial, "f", prepared.fingerprint)
    record = train_trial(job, lambda: prepared, Store(folder), lambda progress: None)
    assert record.status == "COMPLETE", record.failure
    return load_pretrained(str(Store(folder).trial_folder("f") / "model")), prepared.load_tokenizer()


def run(model: tuple[Any, Any], reuse: bool = True, **fields: Any) -> list[Episode]:
    evaluation = make_evaluation(**fields)
    agent = LocalAgent(*model, evaluation, DATA, seed=0, reuse_cache=reuse)
    return run_episodes(load_tasks(evaluation, DATA), agent, make_environment(evaluation, DATA), evaluation)


@pytest.mark.slow
def test_batched_generation_with_cache_equals_one_by_one(model: tuple[Any, Any]) -> None:
    alone = run(model, reuse=False, batch_size=1)
    assert max(len(episode.texts) for episode in alone) > 1, "episodes of several steps"
    assert len({text for episode in alone for text in episode.texts}) > 5
    for reuse in (False, True):
        together = run(model, reuse=reuse)
        assert [e.texts for e in together] == [e.texts for e in alone]
        assert together == alone


@pytest.mark.slow
def test_cache_is_reused_between_steps(model: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    fed: list[tuple[str, int]] = []
    for name in ("_generate_from_scratch", "_generate_from_cache"):
        real = getattr(LocalAgent, name)
        monkeypatch.setattr(
            LocalAgent,
            name,
            lambda self, *a, real=real, name=name: fed.append((name, 1)) or real(self, *a),
        )
    run(model)
    assert ("_generate_from_cache", 1) in fed


@pytest.mark.slow
@pytest.mark.parametrize("words", ["CUDA out of memory", "CUBLAS_STATUS_ALLOC_FAILED"])
def test_out_of_memory_halves_the_batch_with_the_same_episodes(
    model: tuple[Any, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The allocator's error is injected: no more than four rows fit."""
    whole, real, sizes = run(model), LocalAgent._call_model, list[int]()

    def generate(self: LocalAgent, batch: Any, chosen: list[int], replies: Any) -> Any:
        sizes.append(len(chosen))
        if len(chosen) > 4:
            raise RuntimeError(words)
        return real(self, batch, chosen, replies)

    monkeypatch.setattr(LocalAgent, "_call_model", generate)
    evaluation = make_evaluation()
    agent = LocalAgent(*model, evaluation, DATA, seed=0)
    assert run_episodes(load_tasks(evaluation, DATA), agent, make_environment(evaluation, DATA), evaluation) == whole
    tried = agent.out_of_memory_at
    assert tried == [len(whole) // 2**n for n in range(len(tried))]
    assert tried[-1] // 2 in (3, 4)
    assert max(sizes[len(tried) :]) == tried[-1] // 2


@pytest.mark.slow
def test_out_of_memory_with_one_text_raises(model: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def generate(*_: Any) -> None:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(LocalAgent, "_call_model", generate)
    with pytest.raises(RuntimeError, match="out of memory"):
        run(model)


@pytest.mark.slow
def test_stopping_criteria_stop_texts_beyond_their_action(model: tuple[Any, Any]) -> None:
    import torch

    from sweeper.evaluation.agents.local import TOKENS_BETWEEN_CHECKS, _StopAfterAction

    _, tokenizer = model
    whole = '\nThought: \nAction: f\nAction Input: {"a": 1}'
    texts = [whole, whole + "\nThought: more and more", "no action at all, just words and words and words"]
    rows = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    width = -(-max(map(len, rows)) // TOKENS_BETWEEN_CHECKS) * TOKENS_BETWEEN_CHECKS
    ids = torch.tensor([row + [tokenizer.pad_token_id] * (width - len(row)) for row in rows])
    assert _StopAfterAction(tokenizer, 0)(ids, None).tolist() == [False, True, False]


@pytest.mark.slow
def test_prompt_that_does_not_fit_ends_the_episode_or_raises_if_none_fits(model: tuple[Any, Any]) -> None:
    agent = LocalAgent(*model, make_evaluation(), DATA, seed=0)
    sizes = [
        len(agent.prompt_fitter.make_prompt(agent._make_prompt(AgentInput(task, ())), 10**6))
        for task in load_tasks(make_evaluation(), DATA)
    ]
    assert min(sizes) < max(sizes)
    some = run(model, max_new_tokens=400 - min(sizes))
    longer = [episode for episode, size in zip(some, sizes, strict=True) if size > min(sizes)]
    assert {episode.ended for episode in longer} == {"context"}
    assert ("tokens" in longer[0].reason, longer[0].texts) == (True, [])
    for size in (400 - min(sizes) + 1, 400, 500):
        says = rf"max_new_tokens: {size}\n(.|\n)*400 positions(.|\n)*at most {400 - min(sizes)} "
        with pytest.raises(UsageError, match=says):
            run(model, max_new_tokens=size)


@pytest.mark.slow
def test_sampling_is_seeded_by_batch(model: tuple[Any, Any]) -> None:
    first, again = (run(model, temperature=1.0, batch_size=5) for _ in range(2))
    assert first == again
    assert [e.texts for e in first] != [e.texts for e in run(model, batch_size=5)]


def test_read_prefix_leaves_out_masked_tokens() -> None:
    import torch

    from sweeper.evaluation.agents.local import _CachedBatch

    kept = _CachedBatch([("s", "1")], torch.tensor([[0, 5, 6, 7, 2, 0]]), torch.tensor([[0, 1, 1, 0, 1, 0]]), None)
    assert np.array_equal(kept.read_prefix(0), [5, 6, 2])


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The folder of a base model as it is initialized, and its tokenizer."""
    from sweeper import data
    from sweeper.models import build_model

    folder = tmp_path_factory.mktemp("base")
    tokenizer = data.prepare_data(DATA, MODEL, folder).load_tokenizer()
    build_model(MODEL, tokenizer, 0).save_pretrained(folder / "model")
    return folder / "model", tokenizer


def test_generation_config_of_a_base_model_decides_no_evaluation(untrained: tuple[Path, Any], tmp_path: Path) -> None:
    import json
    import shutil

    from sweeper.models import load_pretrained

    folder, tokenizer = untrained
    base = Path(shutil.copytree(folder, tmp_path / "base"))
    stated = json.loads((base / "generation_config.json").read_text())
    penalty = {"repetition_penalty": 5.0, "do_sample": True, "temperature": 0.6, "min_new_tokens": 9}
    (base / "generation_config.json").write_text(json.dumps(stated | penalty))
    for temperature in (0.0, 0.7):
        plain, penalized = (
            run((load_pretrained(str(path)), tokenizer), temperature=temperature, max_new_tokens=8)
            for path in (folder, base)
        )
        assert [episode.texts for episode in plain] == [episode.texts for episode in penalized]
    child = tmp_path / "child"
    load_pretrained(str(base)).save_pretrained(child)
    saved = json.loads((child / "generation_config.json").read_text())
    assert not penalty.keys() & saved.keys(), "nor does it decide its child's, wherever that is served"
    assert saved["eos_token_id"] == tokenizer.eos_token_id


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(untrained: tuple[Path, Any], value: float) -> None:
    import torch

    from sweeper.models import load_pretrained

    folder, tokenizer = untrained
    broken = load_pretrained(str(folder))
    with torch.no_grad():
        broken.model.decoder.layers[1].fc1.weight[3, 5] = value
    with pytest.raises(EvaluationError, match=r"in 1 tensors, the first of them model.decoder.layers.1.fc1.weight"):
        run((broken, tokenizer))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite_end_the_evaluation(untrained: tuple[Path, Any], temperature: float) -> None:
    import torch

    from sweeper.models import load_pretrained

    folder, tokenizer = untrained
    huge = load_pretrained(str(folder))
    with torch.no_grad():
        for layer in huge.model.decoder.layers:
            layer.fc2.weight.fill_(1e38)
    with pytest.raises(EvaluationError, match="logits that are NaN or infinite"):
        run((huge, tokenizer), temperature=temperature)

"""Episodes in batches end as they would one by one; kept keys and values change nothing; a stopped run goes on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweeper.config import DataSpec, EvaluationSpec, ModelSpec
from sweeper.errors import EvaluationError, UsageError
from sweeper.evaluation.agent_loop import run_episodes
from sweeper.evaluation.agent_run import count_environment_calls, no_signal_reason, run_agent
from sweeper.evaluation.agents.base import AgentInput, Generation
from sweeper.evaluation.agents.local import LocalAgent
from sweeper.evaluation.environments import Observation, make_environment
from sweeper.evaluation.episode import Episode
from sweeper.evaluation.outcomes_table import read_outcomes
from sweeper.evaluation.suite_fingerprint import compute_suite_fingerprint
from sweeper.evaluation.tasks import Task, load_tasks
from sweeper.evaluation.trial_evaluation import evaluate_trial
from sweeper.storage import Store

DATA = DataSpec(
    name="w",
    source="toolworld",
    toolworld={"train_queries": 300, "validation_queries": 8, "test_queries_per_subset": 3},
    api_format="signature",
    fold_steps=True,
    max_length=300,
    vocab_size=320,
)
SIZES = {"hidden_size": 32, "word_embed_proj_dim": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 64}
MODEL = ModelSpec(name="tiny", config=SIZES | {"max_position_embeddings": 400, "dropout": 0.0, "init_std": 0.08})


def spec(**fields: Any) -> EvaluationSpec:
    base = {"name": "e", "environment": "toolworld", "judge": "oracle", "temperature": 0.0, "max_steps": 4}
    return EvaluationSpec.model_validate(base | {"max_new_tokens": 24, "batch_size": 64} | fields)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """Trained for some seconds: it writes calls, right ones and wrong ones, and goes on after their answers."""
    from sweeper import data
    from sweeper.config import Runtime, TrialSpec, find_sweep, load_sweep
    from sweeper.models import load_pretrained
    from sweeper.storage import Store
    from sweeper.training import train_trial

    folder = tmp_path_factory.mktemp("store")
    prepared = data.prepare_data(DATA, MODEL, folder)
    recipe = load_sweep(find_sweep("quickstart")).recipe.model_copy(update={"warmup_steps": 3})
    trial = TrialSpec(model=MODEL, data=DATA, recipe=recipe, seed=0, runtime=Runtime())
    record = train_trial(trial, "f", lambda: prepared, Store(folder), lambda progress: None)
    assert record.status == "COMPLETE", record.failure
    return load_pretrained(str(Store(folder).trial_folder("f") / "model")), prepared.load_tokenizer()


def run(model: tuple[Any, Any], reuse: bool = True, **fields: Any) -> list[Episode]:
    evaluation = spec(**fields)
    agent = LocalAgent(*model, evaluation, DATA, seed=0, reuse_cache=reuse)
    return run_episodes(load_tasks(evaluation, DATA), agent, make_environment(evaluation, DATA), evaluation)


@pytest.mark.slow
def test_batched_with_kept_keys_equals_one_at_a_time(model: tuple[Any, Any]) -> None:
    alone = run(model, reuse=False, batch_size=1)
    assert max(len(episode.texts) for episode in alone) > 1, "episodes of several steps"
    assert len({text for episode in alone for text in episode.texts}) > 5
    for reuse in (False, True):
        together = run(model, reuse=reuse)
        assert [e.texts for e in together] == [e.texts for e in alone]
        assert together == alone


@pytest.mark.slow
def test_keys_are_really_kept_and_only_where_they_fit(model: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_out_of_memory_goes_on_in_halves_with_the_same_episodes(
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
    evaluation = spec()
    agent = LocalAgent(*model, evaluation, DATA, seed=0)
    assert run_episodes(load_tasks(evaluation, DATA), agent, make_environment(evaluation, DATA), evaluation) == whole
    tried = agent.out_of_memory_at
    assert tried == [len(whole) // 2**n for n in range(len(tried))]
    assert tried[-1] // 2 in (3, 4)
    assert max(sizes[len(tried) :]) == tried[-1] // 2


@pytest.mark.slow
def test_out_of_memory_at_one_text_is_the_end(model: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def generate(*_: Any) -> None:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(LocalAgent, "_call_model", generate)
    with pytest.raises(RuntimeError, match="out of memory"):
        run(model)


@pytest.mark.slow
def test_a_text_stops_once_it_runs_past_its_action(model: tuple[Any, Any]) -> None:
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
def test_a_prompt_that_does_not_fit_ends_as_context_and_where_none_fits_nothing_runs(model: tuple[Any, Any]) -> None:
    agent = LocalAgent(*model, spec(), DATA, seed=0)
    sizes = [
        len(agent.prompt_fitter.make_prompt(*agent._unpack_input(AgentInput(task, ())), 10**6))
        for task in load_tasks(spec(), DATA)
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
def test_sampling_is_seeded_by_group(model: tuple[Any, Any]) -> None:
    first, again = (run(model, temperature=1.0, batch_size=5) for _ in range(2))
    assert first == again
    assert [e.texts for e in first] != [e.texts for e in run(model, batch_size=5)]


class Scripted:
    """Answers every talk alike; counts what it was asked. Its groups are pairs."""

    def __init__(self, die_after: int = 10**9) -> None:
        self.asked, self.groups, self.die_after = 0, list[int](), die_after
        self.out_of_memory_at = list[int]()

    def batches(self, found: Sequence[Task]) -> list[list[Task]]:
        return [list(found[i : i + 2]) for i in range(0, len(found), 2)]

    def start_batch(self, chunk: int) -> None:
        self.groups.append(chunk)

    def generate(self, talks: Sequence[AgentInput]) -> list[Generation]:
        if self.asked >= self.die_after:
            raise KeyboardInterrupt
        self.asked += len(talks)
        final = '\nThought: \nAction: Finish\nAction Input: {"return_type": "give_answer", "final_answer": "x"}'
        return [Generation(final, 3) for _ in talks]


def test_a_stopped_run_goes_on_with_the_groups_that_are_missing(tmp_path: Path) -> None:
    evaluation = spec()
    whole, _ = run_agent(tmp_path / "whole", Scripted(), evaluation, DATA, method="m")
    folder = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        run_agent(folder, Scripted(die_after=6), evaluation, DATA, method="m")
    with (folder / "episodes.jsonl").open("a") as file:
        file.write('{"query_id": "half of a li')
    again = Scripted()
    episodes, answers = run_agent(folder, again, evaluation, DATA, method="m")
    assert again.groups == [3, 4, 5, 6, 7, 8]
    assert episodes == whole
    assert [answer.ended for answer in answers] == ["answered"] * 18
    assert (folder / "answers.jsonl").read_bytes() == (tmp_path / "whole" / "answers.jsonl").read_bytes()


def test_a_torn_last_line_is_cut_off_and_its_episode_run_again(tmp_path: Path) -> None:
    evaluation = spec()
    whole, _ = run_agent(tmp_path, Scripted(), evaluation, DATA, method="m")
    file = tmp_path / "episodes.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    # Half of a character, and a separator that is the end of a line to Python and to nobody else.
    kept = [line.replace('"final_answer\\": \\"x', '"final_answer\\": \\"\u2028x') for line in lines[:16]]
    file.write_bytes("".join(kept).encode() + lines[16].encode()[:50] + "é".encode()[:1])
    again = Scripted()
    run_agent(tmp_path, again, evaluation, DATA, method="m")
    assert again.groups == [8], "only the group of the torn line"
    rows = [json.loads(line) for line in file.read_text().split("\n")[:-1]]
    assert sorted((row["subset"], row["query_id"]) for row in rows) == sorted((e.subset, e.query_id) for e in whole)


class Calling(Scripted):
    """Calls the first API that it is offered, then answers."""

    def generate(self, talks: Sequence[AgentInput]) -> list[Generation]:
        def text(talk: AgentInput) -> str:
            name, given = talk.task.functions[0]["name"], "{}"
            if talk.turns:
                name, given = "Finish", '{"return_type": "give_answer", "final_answer": "x"}'
            return f"\nThought: \nAction: {name}\nAction Input: {given}"

        return [Generation(text(talk), 3) for talk in talks]


def calling(folder: Path, environment: Callable[[str], Observation], monkeypatch: pytest.MonkeyPatch) -> list[Episode]:
    class Env:
        max_concurrent_calls = 1

        def execute(self, task: Task, name: str, arguments: dict[str, Any]) -> Observation:
            return environment(task.id)

    monkeypatch.setattr("sweeper.evaluation.agent_run.make_environment", lambda evaluation, data: Env())
    return run_agent(folder, Calling(), spec(), DATA, method="m")[0]


def test_faults_of_the_environment_are_counted_also_of_episodes_from_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def some(query: str) -> Observation:
        return Observation("{}", "missed", "not recorded") if int(query) % 2 else Observation("{}")

    episodes = calling(tmp_path, some, monkeypatch)
    counts = count_environment_calls(episodes)
    assert 0 < counts["missed"] < counts["calls"] == 18
    assert no_signal_reason(episodes) == ""
    assert count_environment_calls(calling(tmp_path, some, monkeypatch)) == counts
    assert json.loads((tmp_path / "environment.json").read_text()) == counts


@pytest.mark.parametrize(
    ("observation", "says"),
    [
        (Observation("{}", "missed", "not recorded"), r"none of 18 calls \(18 not recorded, 0 failed\): not recorded"),
        (Observation("{}", "failed", "status 404"), r"none of 18 calls \(0 not recorded, 18 failed\): status 404"),
        (Observation(None, "failed", "refused"), "none of 18 queries could be run: refused"),
        (Observation("{}", "substituted", "not recorded"), "^$"),
    ],
)
def test_an_environment_that_executes_nothing_leaves_no_rate(
    observation: Observation, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    episodes = calling(tmp_path, lambda query: observation, monkeypatch)
    assert re.search(says, no_signal_reason(episodes))
    assert {e.ended for e in episodes} == {"answered" if observation.text else "unreachable"}


def test_a_trial_whose_environment_is_down_has_no_summary_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    monkeypatch.setattr("sweeper.evaluation.trial_evaluation.load_local_agent", lambda *a, **k: Down())
    with pytest.raises(EvaluationError, match="connection refused"):
        evaluate_trial(store, "f", spec(), DATA, seed=0, threads=1)
    monkeypatch.setattr("sweeper.evaluation.trial_evaluation.load_local_agent", lambda *a, **k: Scripted())
    assert evaluate_trial(store, "f", spec(), DATA, seed=0, threads=1).unscored == 0


def test_several_judges_judge_the_same_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeper.evaluation.trial_evaluation.load_local_agent", lambda *a, **k: Scripted())
    evaluation = spec(also_judges=["rules"])
    store = Store(tmp_path)
    summary = evaluate_trial(store, "f", evaluation, DATA, seed=0, threads=1)
    alone = evaluate_trial(store, "g", spec(), DATA, seed=0, threads=1)
    for name in ("pass_rate", "queries", "calls_per_query"):
        assert getattr(summary, name) == getattr(alone, name), "the first judge's"
    assert compute_suite_fingerprint(evaluation, DATA) != compute_suite_fingerprint(spec(), DATA)
    found = read_outcomes(
        [store.evaluation_folder("f", compute_suite_fingerprint(evaluation, DATA)) / "outcomes.parquet"]
    )
    assert list(found["judge"].unique()) == ["oracle", "rules"]
    assert found.groupby("judge", observed=True).size().nunique() == 1
    with pytest.raises(ValueError, match="repeats a judge"):
        EvaluationSpec.model_validate(spec().model_dump() | {"also_judges": ["oracle"]})


class Down(Scripted):
    def generate(self, talks: Sequence[AgentInput]) -> list[Generation]:
        return [Generation(None, end_reason="unreachable", reason="connection refused") for _ in talks]


def test_what_an_endpoint_could_not_answer_is_asked_again_and_unscored(tmp_path: Path) -> None:
    from sweeper.evaluation.judges import JudgeContext, judge_answers, make_judge

    evaluation = spec()
    _, answers = run_agent(tmp_path, Down(), evaluation, DATA, method="m")
    votes = judge_answers(make_judge(evaluation.judge, JudgeContext(DATA)), answers)
    assert {vote.status for cast in votes for vote in cast} == {None}
    up = Scripted()
    _, answers = run_agent(tmp_path, up, evaluation, DATA, method="m")
    assert up.asked == 18
    assert {answer.ended for answer in answers} == {"answered"}


def test_a_stopped_evaluation_says_how_many_episodes_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sweeper.errors import StoppedError
    from sweeper.evaluation.judge_panel import JudgePanel
    from sweeper.evaluation.judges import JudgeContext
    from sweeper.evaluation.offline import ModelEvaluation, evaluate_model

    monkeypatch.setattr("sweeper.evaluation.offline.load_local_agent", lambda *a, **k: Scripted(die_after=6))
    monkeypatch.setattr("sweeper.evaluation.offline.compute_weights_fingerprint", lambda model: "w")
    told: list[float] = []
    with pytest.raises(StoppedError, match="6 episodes saved"):
        panel = JudgePanel(("rules",), JudgeContext(DATA))
        evaluate_model(ModelEvaluation("m", spec(), DATA, panel, tmp_path), told.append)
    assert told == sorted(told)
    assert StoppedError.exit_code == 130


def test_kept_tokens_are_those_of_the_prompt() -> None:
    import torch

    from sweeper.evaluation.agents.local import _CachedBatch

    kept = _CachedBatch([("s", "1")], torch.tensor([[0, 5, 6, 7, 2, 0]]), torch.tensor([[0, 1, 1, 0, 1, 0]]), None)
    assert np.array_equal(kept.read_prefix(0), [5, 6, 2])

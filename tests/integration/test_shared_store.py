"""Several machines share a store: data, records and evaluations of one are read by another, and made once."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from machines import Machines

from sweeper import data
from sweeper.config import DataSpec, EvaluationSpec, ModelSpec, load_sweep
from sweeper.errors import EvaluationError, StoreError
from sweeper.evaluation import EvaluationSummary, compute_suite_fingerprint, evaluate_trial
from sweeper.evaluation.agents.base import AgentInput, Generation
from sweeper.evaluation.tasks import Task
from sweeper.planning.plan import Plan
from sweeper.planning.planner import plan_sweep
from sweeper.results.study_tables import collect_study
from sweeper.storage import Store, read_json, write_bytes

ROOT = Path(__file__).resolve().parents[2]
WORLD = {"train_queries": 20, "validation_queries": 4, "test_queries_per_subset": 1}
DATA = DataSpec(
    name="w",
    source="toolworld",
    toolworld=WORLD,
    api_format="signature",
    fold_steps=True,
    max_length=300,
    vocab_size=320,
)
MODEL = ModelSpec(name="tiny", config={"hidden_size": 8})


def planned() -> Plan:
    overrides = ["claims=[]", "axes.model=[opt-tiny-32]", "axes.num_train_epochs=[1]", "axes.seed=[0, 1, 2]"]
    return plan_sweep(load_sweep(ROOT / "sweeps/quickstart.yaml", overrides))


def test_data_are_tokenized_once_for_all_machines(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = machines.here, machines.there
    made = data.prepare_data(DATA, MODEL, here)
    module = sys.modules["sweeper.data.prepare"]  # the name in the package is the function's
    monkeypatch.setattr(module, "_build_dataset", lambda *arguments: pytest.fail("tokenised again"))
    assert data.read_data_manifest(there, made.fingerprint) == made.manifest
    again = data.prepare_data(DATA, MODEL, there)
    assert again.directory == there.data_folder(made.fingerprint)
    for split in ("train", "validation"):
        assert again.load_split(split).to_list() == made.load_split(split).to_list()
    assert again.load_tokenizer().get_vocab() == made.load_tokenizer().get_vocab()
    assert data.open_prepared_data(there, made.fingerprint).manifest == made.manifest
    with pytest.raises(StoreError, match="manifest"):
        data.open_prepared_data(there, "0" * 16)


def test_prepared_data_with_an_interrupted_upload_are_not_used(
    far_machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = far_machines.here, far_machines.there
    upload = Store.push

    def cut(self: Store, path: Path, **options: Any) -> None:
        upload(self, path, patterns=["rows.arrow"], **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "push", cut)
    with pytest.raises(KeyboardInterrupt):
        data.prepare_data(DATA, MODEL, here)
    monkeypatch.undo()
    identity = data.fingerprint_data(DATA, MODEL)
    for store in (here, there):
        with pytest.raises(StoreError):
            data.open_prepared_data(store, identity)
    assert data.prepare_data(DATA, MODEL, there).manifest == data.open_prepared_data(here, identity).manifest


def test_status_is_read_from_another_machine(machines: Machines) -> None:
    here, there, plan = machines.here, machines.there, planned()
    done, running, _ = (trial.fingerprint for trial in plan.trials)
    record = {"fingerprint": done, "status": "DIVERGED", "model": "opt-tiny-32", "metrics": {"val_loss": 7.5}}
    here.publish(here.record_path(done), record)
    with here.lock_folder(here.trial_folder(running)):
        tables = collect_study(plan, there)
    assert [row.status for row in tables.trials] == ["PENDING", "RUNNING", "PENDING"], "trained, not evaluated"
    assert tables.trials[0].metrics["val_loss"] == 7.5
    failure = {"kind": "bug", "message": "no judge", "traceback": "…"}
    assert plan.sweep.evaluation is not None
    suite = compute_suite_fingerprint(plan.sweep.evaluation, plan.trials[0].spec.data)
    path = here.evaluation_folder(done, suite) / "failure.json"
    here.publish(path, failure)
    assert collect_study(plan, there).trials[0].to_document()["failure"] == failure
    here.delete(path)
    assert [row.status for row in collect_study(plan, there).trials] == ["PENDING"] * 3


class Scripted:
    """Answers at once; counts the times it is asked."""

    asked = 0
    out_of_memory_at: tuple[int, ...] = ()

    def __init__(self, model: str) -> None:
        assert (Path(model) / "model.safetensors").read_bytes() == b"weights"

    def batches(self, tasks: Sequence[Task]) -> list[list[Task]]:
        return [list(tasks)]

    def start_batch(self, chunk: int) -> None:
        pass

    def generate(self, talks: Sequence[AgentInput]) -> list[Generation]:
        Scripted.asked += 1
        text = 'Thought: done\nAction: Finish\nAction Input: {"return_type": "give_answer", "final_answer": "42"}'
        return [Generation(text) for _ in talks]


def test_evaluation_resumes_on_another_machine_and_ends_once(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = machines.here, machines.there
    write_bytes(here.trial_folder("f") / "model" / "model.safetensors", b"weights")
    here.push(here.trial_folder("f"))
    monkeypatch.setattr("sweeper.evaluation.trial_evaluation.load_local_agent", lambda model, *a, **k: Scripted(model))
    evaluation = EvaluationSpec(name="e", environment="toolworld", judge="oracle", max_steps=3, batch_size=8)
    judge = "sweeper.evaluation.trial_evaluation.judge_answers"

    def away(*arguments: object) -> None:
        raise EvaluationError("judge", found="away")

    with monkeypatch.context() as patch:
        patch.setattr(judge, away)
        with pytest.raises(EvaluationError, match="away"):
            evaluate_trial(here, "f", evaluation, DATA, seed=0, threads=1)
    asked = Scripted.asked
    assert asked > 0
    summary = evaluate_trial(there, "f", evaluation, DATA, seed=0, threads=1)
    assert Scripted.asked == asked, "the episodes of the first machine are judged by the second"
    monkeypatch.setattr(judge, away)
    assert evaluate_trial(here, "f", evaluation, DATA, seed=0, threads=1) == summary
    folder = here.evaluation_folder("f", compute_suite_fingerprint(evaluation, DATA))
    assert EvaluationSummary.from_document(read_json(folder / "summary.json")) == summary
    assert (folder / "outcomes.parquet").exists()

"""The likelihood of gold answers: against a plain loop, by both routes, and what is left out."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from scripted_agents import DATA, make_evaluation
from torch.nn.functional import cross_entropy

from sweeper import data, toolworld
from sweeper.config import ModelSpec
from sweeper.data.prompt_format import make_conversation_segments
from sweeper.data.readers.base import ReaderCounts
from sweeper.data.readers.toolbench import parse_toolbench_answer
from sweeper.errors import DataError, MissingPathError
from sweeper.evaluation.gold_likelihood import measure_gold_likelihood
from sweeper.evaluation.suite_fingerprint import compute_suite_fingerprint
from sweeper.evaluation.summary import EvaluationSummary
from sweeper.models import build_model
from sweeper.toolworld.toolbench_format import make_answer_document

SIZES = {"hidden_size": 32, "word_embed_proj_dim": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 64}
MODEL = ModelSpec(name="tiny", config=SIZES | {"max_position_embeddings": 700, "dropout": 0.0, "init_std": 0.3})
WIDE = DATA.model_copy(update={"max_length": 700})


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return data.prepare_data(DATA, MODEL, tmp_path_factory.mktemp("store")).load_tokenizer()


def make_model(tokenizer: Any) -> Any:
    torch.manual_seed(0)
    return build_model(MODEL, tokenizer, 0)


def test_the_likelihood_is_that_of_a_plain_loop(tokenizer: Any) -> None:
    """One answer after the other, every target by itself, without folding, padding or batches."""
    model, evaluation = make_model(tokenizer).eval(), make_evaluation(gold="toolworld")
    total, count = 0.0, 0
    world = toolworld.build_world(toolworld.WorldConfig.from_mapping(WIDE.toolworld))
    for query in world.splits["test"]:
        for step in parse_toolbench_answer("x", make_answer_document(query), ReaderCounts()):
            *prompt, target = make_conversation_segments(step, WIDE.api_format)
            encode = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]  # noqa: E731
            ids = [tokenizer.bos_token_id]
            for segment in prompt:
                ids += encode(segment.text) + ([tokenizer.eos_token_id] if segment.role == "assistant" else [])
            own = [*encode(target.text), tokenizer.eos_token_id]
            with torch.no_grad():
                logits = model(torch.tensor([ids + own])).logits[0]
            total += float(cross_entropy(logits[len(ids) - 1 : -1], torch.tensor(own), reduction="sum"))
            count += len(own)
    found = measure_gold_likelihood(model, tokenizer, evaluation, WIDE)
    assert found.nll == pytest.approx(total / count, rel=1e-4)
    assert (found.queries, found.left_out) == (18, 0)


def write_answers(folder: Path, n_queries: int) -> Path:
    world = toolworld.build_world(toolworld.WorldConfig.from_mapping(WIDE.toolworld))
    folder.mkdir()
    for query in world.splits["test"][:n_queries]:
        (folder / f"{query.query_id}_gold.json").write_text(json.dumps(make_answer_document(query)))
    return folder


def test_answers_of_a_folder_are_the_same(tokenizer: Any, tmp_path: Path) -> None:
    own = measure_gold_likelihood(make_model(tokenizer), tokenizer, make_evaluation(gold="toolworld"), WIDE)
    path = write_answers(tmp_path / "gold", 18)
    read = measure_gold_likelihood(make_model(tokenizer), tokenizer, make_evaluation(gold=str(path)), WIDE)
    assert read.nll == pytest.approx(own.nll, rel=1e-6) and read.queries == 18


def test_answers_to_other_queries_are_counted(tokenizer: Any, tmp_path: Path) -> None:
    path = write_answers(tmp_path / "gold", 2)
    world = toolworld.build_world(toolworld.WorldConfig.from_mapping(WIDE.toolworld))
    (path / "other.json").write_text(json.dumps(make_answer_document(world.splits["train"][0])))
    found = measure_gold_likelihood(make_model(tokenizer), tokenizer, make_evaluation(gold=str(path)), WIDE)
    assert found.queries == 2 and found.left_out == len(world.splits["train"][0].gold_calls) + 1
    for file in path.glob("*_gold.json"):
        file.unlink()
    with pytest.raises(DataError, match="none of them to one of these"):
        measure_gold_likelihood(make_model(tokenizer), tokenizer, make_evaluation(gold=str(path)), WIDE)


def test_answers_marked_invalid_are_counted(tokenizer: Any, tmp_path: Path) -> None:
    path = write_answers(tmp_path / "gold", 4)
    file = min(path.iterdir())
    document = json.loads(file.read_text())
    document["answer_generation"]["valid_data"] = False
    file.write_text(json.dumps(document))
    found = measure_gold_likelihood(make_model(tokenizer), tokenizer, make_evaluation(gold=str(path)), WIDE)
    assert (found.queries, found.left_out) == (3, 1)


@pytest.mark.parametrize("gold", ["missing/answers", "./missing/answers", "missing"])
def test_a_missing_path_is_not_looked_for_on_a_hub(gold: str) -> None:
    with pytest.raises(MissingPathError, match="no such file or folder"):
        compute_suite_fingerprint(make_evaluation(gold=gold), WIDE)


def test_a_search_on_validation_queries_measures_no_gold_answers(tmp_path: Path) -> None:
    from sweeper.config import find_sweep, load_sweep
    from sweeper.planning.planner import plan_sweep

    settings = ["evaluation.gold=toolworld", "search.metric=val_pass_rate", "claims=[]"]
    sweep = load_sweep(find_sweep("search"), settings, smoke_test=True)
    explored = [trial for trial in plan_sweep(sweep).trials if trial.evaluation and trial.role == "anchor"]
    assert explored
    for trial in explored:
        assert trial.evaluation is not None
        assert (trial.evaluation.split, trial.evaluation.gold) == ("validation", None)


def test_answers_that_do_not_fit_are_counted(tokenizer: Any) -> None:
    short = DATA.model_copy(update={"max_length": 24})
    found = measure_gold_likelihood(make_model(tokenizer), tokenizer, make_evaluation(gold="toolworld"), short)
    assert found.queries == 0 and found.left_out > 18 and math.isnan(found.nll)


def test_weights_that_are_no_numbers_give_no_number(tokenizer: Any) -> None:
    model = make_model(tokenizer)
    with torch.no_grad():
        next(model.parameters()).fill_(math.nan)
    assert math.isnan(measure_gold_likelihood(model, tokenizer, make_evaluation(gold="toolworld"), WIDE).nll)


def test_gold_answers_are_part_of_the_identity_only_where_there_are_any(tmp_path: Path) -> None:
    path = write_answers(tmp_path / "gold", 2)
    evaluations = [make_evaluation(gold=gold) for gold in (None, "toolworld", str(path))]
    names = [compute_suite_fingerprint(evaluation, WIDE) for evaluation in evaluations]
    assert len(set(names)) == 3
    moved = path.rename(tmp_path / "moved")
    assert compute_suite_fingerprint(make_evaluation(gold=str(moved)), WIDE) == names[2]
    with pytest.raises(MissingPathError):
        compute_suite_fingerprint(make_evaluation(gold=str(path)), WIDE)


def test_a_summary_has_gold_numbers_where_they_were_measured() -> None:
    assert "gold_nll" not in EvaluationSummary(pass_rate=0.5).to_document()
    summary = EvaluationSummary(pass_rate=0.5, gold_nll=1.5, gold_queries=18, gold_left_out=0)
    assert EvaluationSummary.from_document(summary.to_document()) == summary


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"gold": "toolworld", "split": "validation"}, "is about test queries"),
        (
            {"gold": "toolworld", "environment": "http", "url": "http://x", "judge": "rules", "queries": "q"},
            "leave out",
        ),
    ],
)
def test_gold_of_other_queries_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make_evaluation(**fields)

"""The likelihood of the gold answers of the test queries: a continuous measure beside the pass rate.

A pass rate is 0 until a model is good enough. The loss on gold answers falls before that, and predicts it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.config import DataSpec, EvaluationSpec
from sweeper.data.conversations import Conversation, ReaderCounts
from sweeper.data.length_policy import LengthPolicyCounts
from sweeper.data.readers.base import Source
from sweeper.data.readers.toolbench import parse_toolbench_answer
from sweeper.data.sources import GENERATED, open_source
from sweeper.data.tokenize import fold_examples, make_length_limiter, tokenize_rows
from sweeper.errors import DataError, MissingPathError
from sweeper.evaluation.tasks import load_evaluation_suite

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MAX_BATCH_TOKENS = 4096
"""Largest batch, padding included."""


@dataclass(frozen=True)
class GoldLikelihood:
    """The likelihood of gold answers under a model."""

    nll: float
    """Mean negative log-likelihood, nats per target token; NaN without any target."""
    queries: int
    """Test queries with a gold answer that counts."""
    left_out: int
    """Texts of gold answers that do not count: of no test query, unreadable, too long; and answers marked invalid."""


def measure_gold_likelihood(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, evaluation: EvaluationSpec, data: DataSpec
) -> GoldLikelihood:
    """Measure the likelihood of the gold answers of a suite's queries, each token given the true ones before it.

    The answers are formatted, fitted and tokenized as training data are. Losses of models with different tokenizers are
    not comparable: they have different tokens.

    Args:
        model: the model. Afterwards it may compute no logits where it is given labels.
        tokenizer: its tokenizer.
        evaluation: the suite, with `gold`.
        data: prompt format and lengths.

    Returns:
        The likelihood, and what it rests on.

    Raises:
        DataError: the answers cannot be read, or none belongs to a test query.
    """
    from transformers import DataCollatorForSeq2Seq

    from sweeper.training.loss import patch_target_only_loss
    from sweeper.training.validation import compute_validation_loss

    suite = load_evaluation_suite(evaluation, data)
    asked = {query.text.strip() for queries in suite.subsets.values() for query in queries}
    counts, lengths = ReaderCounts(), LengthPolicyCounts()
    answers = list(_read_answers(evaluation, data, counts))
    own = [answer for answer in answers if answer.query.strip() in asked]
    if not own:
        raise DataError(
            f"evaluation.gold {evaluation.gold}",
            requested=f"answers to {len(asked):,} test queries",
            found=f"{len(answers):,} texts of answers, none of them to one of these",
            hint="gold answers have the queries' own words; `gold: null` measures no likelihood",
        )
    limiter, cache = make_length_limiter(tokenizer, data.fit, data.max_length, data.api_format)
    folded = fold_examples(((None, answer) for answer in own), fold_steps=data.fold_steps)
    rows, kept, n_texts = [], set[str](), 0
    for row, tokens in tokenize_rows(folded, limiter, cache, lengths):
        rows.append({"input_ids": tokens.input_ids.tolist(), "labels": tokens.labels.tolist()})
        kept.add(row.full_conversation.query.strip())
        n_texts += len(row.examples)
    patch_target_only_loss(model)
    collate: Any = DataCollatorForSeq2Seq(tokenizer, model=None, padding=True, label_pad_token_id=-100)
    nll = compute_validation_loss(model, rows, collate, MAX_BATCH_TOKENS) if rows else float("nan")
    left_out = len(answers) - n_texts + counts.drop_counts.total() + counts.invalid_queries
    return GoldLikelihood(nll, len(kept), left_out)


def _read_answers(evaluation: EvaluationSpec, data: DataSpec, counts: ReaderCounts) -> Iterator[Conversation]:
    if evaluation.gold == GENERATED:
        from sweeper import toolworld
        from sweeper.toolworld.toolbench_format import make_answer_document

        world = toolworld.build_world(toolworld.WorldConfig.from_mapping(data.toolworld))
        for query in world.splits[evaluation.split]:
            yield from parse_toolbench_answer(str(query.query_id), make_answer_document(query), counts)
        return
    for _, conversation in open_gold_answers(evaluation, data).read_conversations(counts):
        yield conversation


def open_gold_answers(evaluation: EvaluationSpec, data: DataSpec) -> Source:
    """Open the gold answers at a path.

    Args:
        evaluation: has the path, as `gold`.
        data: how the answers are read.

    Raises:
        MissingPathError: there is no such path. Data of a hub are not looked for.
        DataError: the answers are of no known format.
    """
    path = Path(str(evaluation.gold)).expanduser()
    if not path.exists():
        hint = "set evaluation.gold to a path of answers, or to `toolworld`"
        raise MissingPathError(f"evaluation.gold {evaluation.gold}", found="no such file or folder", hint=hint)
    return open_source(data.model_copy(update={"source": "toolbench", "path": str(path)}))

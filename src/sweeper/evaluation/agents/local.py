"""Agent with a local checkpoint: batched generation that reuses the KV cache between steps."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import torch
from transformers import (
    DynamicCache,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from sweeper.config import DataSpec, EvaluationSpec
from sweeper.data import Prompt, make_length_limiter
from sweeper.data.length_policies.base import TokenIds
from sweeper.data.prompt_format import Segment
from sweeper.errors import NonFiniteModelError, UsageError, is_out_of_memory
from sweeper.evaluation.action import parse_action
from sweeper.evaluation.agents.base import Agent, AgentInput, Generation
from sweeper.evaluation.answers import QueryKey
from sweeper.evaluation.tasks import Task
from sweeper.interrupts import collect_garbage
from sweeper.models import list_nonfinite_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TOKENS_BETWEEN_CHECKS = 8
"""Tokens between checks for text after the action; each check decodes the text."""


@dataclass
class _CachedBatch:
    """A batch of episodes with its KV cache.

    `ids` and `mask`, (rows, length), describe the content of `cache`. Masked positions (padding, and tokens after the
    end of a row) are not attended to and do not count as positions.
    """

    episode_keys: list[QueryKey]
    ids: torch.Tensor
    mask: torch.Tensor
    cache: DynamicCache

    def read_prefix(self, row: int) -> TokenIds:
        """Return the cached tokens of a row, in order."""
        return self.ids[row][self.mask[row].bool()].cpu().numpy()  # type: ignore[no-any-return]


class LocalAgent(Agent):
    """Generates with a causal language model, in the format that it was trained on.

    What the evaluation states decides how: the model's own `generation_config` is replaced.

    Raises:
        EvaluationError: weights that are not finite.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        evaluation: EvaluationSpec,
        data: DataSpec,
        *,
        seed: int,
        reuse_cache: bool = True,
    ) -> None:
        _check_weights(model)
        self.model, self.tokenizer, self.evaluation = model.eval(), tokenizer, evaluation
        # `generate` fills what a call leaves open from here, such as the repetition penalty of a base model.
        model.generation_config = GenerationConfig()
        self.seed, self.reuse_cache = seed, reuse_cache
        self.prompt_fitter, self.token_cache = make_length_limiter(
            tokenizer, data.fit, data.max_length, data.api_format
        )
        positions: int | None = getattr(model.config, "max_position_embeddings", None)
        self.max_prompt_tokens = (positions or data.max_length) - evaluation.max_new_tokens
        """Longest prompt, in tokens, that leaves positions for a whole text."""
        self._cached_batches: list[_CachedBatch] = []
        self.out_of_memory_at: list[int] = []
        """Sizes of the batches that did not fit into memory."""

    def batches(self, tasks: Sequence[Task]) -> list[list[Task]]:
        """Group the tasks by length of their first prompt, longest first, so that there is little padding.

        Raises:
            UsageError: no first prompt fits, so that the settings alone would fail every episode.
        """
        inputs = [AgentInput(task, ()) for task in tasks]
        self.token_cache.tokenize_ahead(segment for entry in inputs for segment in self._make_segments(entry))
        sizes = {
            entry.task.key: sum(len(self.token_cache(segment)) for segment in self._make_segments(entry))
            for entry in inputs
        }
        ordered = sorted(tasks, key=lambda task: (-sizes[task.key], task.key))
        if self.max_prompt_tokens <= 0 or not any(self._first_prompt_fits(task) for task in reversed(ordered)):
            self._raise_no_prompt_fits(ordered[-1])
        size = self.evaluation.batch_size
        return [ordered[start : start + size] for start in range(0, len(ordered), size)]

    def _first_prompt_fits(self, task: Task) -> bool:
        return (
            self.prompt_fitter.make_prompt(self._make_prompt(AgentInput(task, ())), self.max_prompt_tokens) is not None
        )

    def _raise_no_prompt_fits(self, task: Task) -> NoReturn:
        whole = self.prompt_fitter.make_prompt(self._make_prompt(AgentInput(task, ())), sys.maxsize)
        shortest = 0 if whole is None else len(whole)
        answer = self.evaluation.max_new_tokens
        positions = self.max_prompt_tokens + answer
        hint = "a model with more positions"
        if positions > shortest:
            hint = f"a max_new_tokens of at most {positions - shortest} (--set max_new_tokens=N), or {hint}"
        raise UsageError(
            "evaluation",
            requested=f"max_new_tokens: {answer}",
            found=f"{positions} positions, {self.max_prompt_tokens} of them for a prompt; the shortest has {shortest}",
            hint=hint,
        )

    def start_batch(self, index: int) -> None:
        """Discard the KV cache of the previous batch, and seed the sampling of this one."""
        self._cached_batches = []
        torch.manual_seed(self.seed * 1_000_003 + index)

    def generate(self, inputs: Sequence[AgentInput]) -> list[Generation]:
        """Generate the next texts. A prompt that does not fit into the model ends its episode.

        When memory runs out, the batch is halved, down to one text at a time, and the KV cache is no longer reused.
        """
        generations: list[Generation] = []
        while len(generations) < len(inputs):
            max_rows = min([len(inputs), *(size // 2 for size in self.out_of_memory_at)])
            batch = inputs[len(generations) : len(generations) + max_rows]
            try:
                generations += self._generate_batch(batch)
                continue
            except Exception as error:
                if not is_out_of_memory(error) or len(batch) == 1:
                    raise
            # Outside of `except`: the error references the tensors of the failed computation.
            self.out_of_memory_at.append(len(batch))
            self._cached_batches, self.reuse_cache = [], False
            collect_garbage()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return generations

    @torch.inference_mode()
    def _generate_batch(self, inputs: Sequence[AgentInput]) -> list[Generation]:
        self.token_cache.tokenize_ahead(segment for entry in inputs for segment in self._make_segments(entry))
        prompts = [self.prompt_fitter.make_prompt(self._make_prompt(entry), self.max_prompt_tokens) for entry in inputs]
        fitting = {entry.task.key: i for i, entry in enumerate(inputs) if prompts[i] is not None}
        no_fit = Generation(None, reason=f"the prompt does not fit {self.max_prompt_tokens} tokens")
        generations = [no_fit for _ in inputs]
        continued: list[_CachedBatch] = []
        previous, self._cached_batches = self._cached_batches, []
        while previous:  # free what no episode continues before other batches fill its memory
            batch = previous.pop(0)
            rows = [
                row
                for row, key in enumerate(batch.episode_keys)
                if self._extends_cached_row(batch, row, prompts, fitting.get(key))
            ]
            if rows:
                continued.append(self._generate_from_cache(batch, rows, prompts, fitting, generations))
            del batch
        known = {key for batch in continued for key in batch.episode_keys}
        fresh = [i for key, i in fitting.items() if key not in known]
        if fresh:
            continued.append(self._generate_from_scratch(fresh, inputs, prompts, generations))
        self._cached_batches = continued if self.reuse_cache else []
        return generations

    def _make_prompt(self, agent_input: AgentInput) -> Prompt:
        task = agent_input.task
        return Prompt(task.system, task.query, task.api_list, agent_input.turns)

    def _make_segments(self, agent_input: AgentInput) -> list[Segment]:
        return self.prompt_fitter.make_prompt_segments(self._make_prompt(agent_input))

    def _extends_cached_row(
        self, batch: _CachedBatch, row: int, prompts: Sequence[TokenIds | None], i: int | None
    ) -> bool:
        """Return whether a prompt begins with the cached tokens.

        It does not where the tokenizer splits the model's text into other tokens than the model generated, or where the
        prompt was truncated.
        """
        prompt = None if i is None else prompts[i]
        if prompt is None:
            return False
        prefix = batch.read_prefix(row)
        return len(prompt) > len(prefix) and bool(np.array_equal(prompt[: len(prefix)], prefix))

    def _generate_from_scratch(
        self,
        chosen: list[int],
        inputs: Sequence[AgentInput],
        prompts: Sequence[TokenIds | None],
        generations: list[Generation],
    ) -> _CachedBatch:
        ids, mask = self._pad_left([_require_prompt(prompts, i) for i in chosen])
        keys = [inputs[i].task.key for i in chosen]
        return self._call_model(_CachedBatch(keys, ids, mask, DynamicCache()), chosen, generations)

    def _generate_from_cache(
        self,
        batch: _CachedBatch,
        rows: list[int],
        prompts: Sequence[TokenIds | None],
        fitting: dict[QueryKey, int],
        generations: list[Generation],
    ) -> _CachedBatch:
        keys = [batch.episode_keys[row] for row in rows]
        chosen = [fitting[key] for key in keys]
        new_tokens = [
            _require_prompt(prompts, i)[len(batch.read_prefix(row)) :] for i, row in zip(chosen, rows, strict=True)
        ]
        ids, mask = self._pad_left(new_tokens)
        picked = torch.tensor(rows, device=batch.ids.device)
        batch.cache.batch_select_indices(picked)
        ids, mask = torch.cat([batch.ids[picked], ids], dim=1), torch.cat([batch.mask[picked], mask], dim=1)
        return self._call_model(_CachedBatch(keys, ids, mask, batch.cache), chosen, generations)

    def _pad_left(self, rows: Sequence[TokenIds]) -> tuple[torch.Tensor, torch.Tensor]:
        width, pad = max(map(len, rows)), self.tokenizer.pad_token_id
        ids = [[pad] * (width - len(row)) + row.tolist() for row in rows]
        mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
        device = self.model.device
        return torch.tensor(ids, device=device), torch.tensor(mask, device=device)

    def _call_model(self, batch: _CachedBatch, chosen: list[int], generations: list[Generation]) -> _CachedBatch:
        """Generate, write the texts into `generations`, and return the batch with its extended cache."""
        start, pad, end = batch.ids.shape[1], self.tokenizer.pad_token_id, self.tokenizer.eos_token_id
        sampling: dict[str, object] = {"do_sample": False}
        if self.evaluation.temperature > 0:
            sampling = {"do_sample": True, "temperature": self.evaluation.temperature, "top_k": 0, "top_p": 1.0}
        settings = GenerationConfig(
            max_new_tokens=self.evaluation.max_new_tokens, pad_token_id=pad, eos_token_id=end, **sampling
        )
        out = self.model.generate(
            input_ids=batch.ids,
            attention_mask=batch.mask,
            past_key_values=batch.cache,
            generation_config=settings,
            logits_processor=LogitsProcessorList([_RefuseNonFiniteLogits(self.model.name_or_path)]),
            stopping_criteria=StoppingCriteriaList([_StopAfterAction(self.tokenizer, start)]),
            return_dict_in_generate=True,
        )
        written = out.sequences[:, start:]
        ended = (written == end) | (written == pad)
        before = ended.cumsum(dim=1) == 0
        for row, i in enumerate(chosen):
            ids = written[row][before[row]]
            generations[i] = Generation(self.tokenizer.decode(ids, skip_special_tokens=True), len(ids))
        # The last generated token was not fed back: the cache is one token shorter than the sequence.
        own = before | ((ended.cumsum(dim=1) == 1) & (written == end))
        mask = torch.cat([batch.mask, own.to(batch.mask.dtype)], dim=1)
        return _CachedBatch(batch.episode_keys, out.sequences[:, :-1], mask[:, :-1], out.past_key_values)


def _require_prompt(prompts: Sequence[TokenIds | None], i: int) -> TokenIds:
    prompt = prompts[i]
    assert prompt is not None  # noqa: S101 - rows are chosen among the prompts that fit
    return prompt


def _check_weights(model: PreTrainedModel) -> None:
    """Refuse weights from which every answer would be noise that is scored as 0 %."""
    if broken := list_nonfinite_weights(model):
        raise NonFiniteModelError(
            f"model {model.name_or_path}",
            found=f"NaN or infinite weights in {len(broken)} tensors, the first of them {broken[0]}",
            hint="its training diverged, or its file is damaged: train it again",
        )


class _RefuseNonFiniteLogits(LogitsProcessor):  # type: ignore[misc]
    """Ends the evaluation where a row has no largest logit: greedy would write token 0, and sampling would crash."""

    def __init__(self, model_name: str) -> None:
        self.model_name = model_name

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the scores as they are. A vocabulary's unused entries may be minus infinity."""
        if not bool(torch.isfinite(scores.amax(dim=-1)).all()):
            raise NonFiniteModelError(
                f"model {self.model_name}",
                found="logits that are NaN or infinite, from finite weights",
                hint="its weights have diverged: a smaller learning rate, or clipping",
            )
        return scores


class _StopAfterAction(StoppingCriteria):  # type: ignore[misc]
    """Stops a row that contains a whole action and further text, which would be ignored."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, start: int) -> None:
        self.tokenizer, self.start = tokenizer, start
        self.finished_rows: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: object, **_: object) -> torch.Tensor:
        """Return, of shape (rows,), whether to stop each row."""
        if self.finished_rows is None:
            self.finished_rows = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
        if (input_ids.shape[1] - self.start) % TOKENS_BETWEEN_CHECKS == 0:
            for row in (~self.finished_rows).nonzero().flatten().tolist():
                text = self.tokenizer.decode(input_ids[row, self.start :], skip_special_tokens=True)
                self.finished_rows[row] = bool(parse_action(text).extra_text)
        return self.finished_rows

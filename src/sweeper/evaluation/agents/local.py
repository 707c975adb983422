"""A local checkpoint: batched generation, keys and values kept from step to step."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import torch
from transformers import DynamicCache, StoppingCriteria, StoppingCriteriaList

from sweeper.config import DataSpec, EvaluationSpec
from sweeper.data import ApiList, make_length_limiter
from sweeper.errors import UsageError, is_out_of_memory
from sweeper.evaluation.action import parse_action
from sweeper.evaluation.agents.base import AgentInput, Generation
from sweeper.evaluation.tasks import Task

TOKENS_BETWEEN_CHECKS = 8
"""Tokens between looks at whether a text has run past its action: a look decodes it."""


@dataclass
class _CachedBatch:
    """A batch whose keys and values are kept. `ids` and `mask`, (rows, length), are what `cache` holds; masked
    positions (padding, and what came after a row's end) are attended by nobody and count as no position."""

    episode_keys: list[tuple[str, str]]
    ids: torch.Tensor
    mask: torch.Tensor
    cache: Any

    def read_prefix(self, row: int) -> np.ndarray[Any, Any]:
        """The tokens of a row that are kept, in order."""
        return self.ids[row][self.mask[row].bool()].cpu().numpy()  # type: ignore[no-any-return]


class LocalAgent:
    """A causal language model and its tokeniser, asked in the format it was trained in."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        evaluation: EvaluationSpec,
        data: DataSpec,
        *,
        seed: int,
        reuse_cache: bool = True,
    ) -> None:
        self.model, self.tokenizer, self.evaluation, self.seed, self.reuse_cache = (
            model.eval(),
            tokenizer,
            evaluation,
            seed,
            reuse_cache,
        )
        self.prompt_fitter, self.token_cache = make_length_limiter(
            tokenizer, data.fit, data.max_length, data.api_format
        )
        positions: int | None = getattr(model.config, "max_position_embeddings", None)
        self.max_prompt_tokens = (positions or data.max_length) - evaluation.max_new_tokens
        """Tokens a prompt may have, so that a whole answer still fits the model's positions."""
        self._cached_batches: list[_CachedBatch] = []
        self.out_of_memory_at: list[int] = []
        """Batches that did not fit into memory."""

    def batches(self, tasks: Sequence[Task]) -> list[list[Task]]:
        """By length of the first prompt, so that a batch holds little padding; the longest first.

        Raises UsageError where no first prompt fits: every episode would fail by its settings.
        """
        talks = [AgentInput(task, ()) for task in tasks]
        self.token_cache.tokenize_ahead(segment for talk in talks for segment in self._make_segments(talk))
        sizes = {talk.task.key: sum(len(self.token_cache(s)) for s in self._make_segments(talk)) for talk in talks}
        ordered = sorted(tasks, key=lambda task: (-sizes[task.key], task.key))
        if self.max_prompt_tokens <= 0 or not any(self._first_prompt_fits(task) for task in reversed(ordered)):
            self._raise_no_prompt_fits(ordered[-1])
        size = self.evaluation.batch_size
        return [ordered[start : start + size] for start in range(0, len(ordered), size)]

    def _first_prompt_fits(self, task: Task) -> bool:
        return (
            self.prompt_fitter.make_prompt(*self._unpack_input(AgentInput(task, ())), self.max_prompt_tokens)
            is not None
        )

    def _raise_no_prompt_fits(self, task: Task) -> NoReturn:
        whole = self.prompt_fitter.make_prompt(*self._unpack_input(AgentInput(task, ())), sys.maxsize)
        shortest = 0 if whole is None else len(whole)
        answer = self.evaluation.max_new_tokens
        positions = self.max_prompt_tokens + answer
        do = "a model with more positions"
        if positions > shortest:
            do = f"a max_new_tokens of at most {positions - shortest} (--set max_new_tokens=N), or {do}"
        raise UsageError(
            "evaluation",
            requested=f"max_new_tokens: {answer}",
            found=f"{positions} positions, which leave {self.max_prompt_tokens} tokens for a prompt; the shortest has {shortest}",
            hint=do,
        )

    def start_batch(self, index: int) -> None:
        """Forget the keys and values of the group before; seed the sampling of this one."""
        self._cached_batches = []
        torch.manual_seed(self.seed * 1_000_003 + index)

    def generate(self, inputs: Sequence[AgentInput]) -> list[Generation]:
        """The next texts; a prompt that cannot be fitted into the model ends its episode.

        Out of memory: again in halves, down to one text at a time, and from then on with no keys and values kept.
        """
        replies: list[Generation] = []
        while len(replies) < len(inputs):
            at_most = min([len(inputs), *(size // 2 for size in self.out_of_memory_at)])
            batch = inputs[len(replies) : len(replies) + at_most]
            try:
                replies += self._generate_batch(batch)
                continue
            except Exception as error:
                if not is_out_of_memory(error) or len(batch) == 1:
                    raise
            # Outside of `except`: the error holds on to what was being computed.
            self.out_of_memory_at.append(len(batch))
            self._cached_batches, self.reuse_cache = [], False
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return replies

    @torch.inference_mode()
    def _generate_batch(self, inputs: Sequence[AgentInput]) -> list[Generation]:
        self.token_cache.tokenize_ahead(segment for talk in inputs for segment in self._make_segments(talk))
        prompts = [self.prompt_fitter.make_prompt(*self._unpack_input(talk), self.max_prompt_tokens) for talk in inputs]
        where = {talk.task.key: i for i, talk in enumerate(inputs) if prompts[i] is not None}
        replies = [Generation(None, reason=f"the prompt does not fit {self.max_prompt_tokens} tokens") for _ in inputs]
        kept: list[_CachedBatch] = []
        left, self._cached_batches = self._cached_batches, []
        while left:  # what nobody goes on from must be gone before others fill its memory
            batch = left.pop(0)
            rows = [
                row
                for row, key in enumerate(batch.episode_keys)
                if self._extends_cached_row(batch, row, prompts, where.get(key))
            ]
            if rows:
                kept.append(self._generate_from_cache(batch, rows, prompts, where, replies))
            del batch
        known = {key for batch in kept for key in batch.episode_keys}
        fresh = [i for key, i in where.items() if key not in known]
        if fresh:
            kept.append(self._generate_from_scratch(fresh, inputs, prompts, replies))
        self._cached_batches = kept if self.reuse_cache else []
        return replies

    def _unpack_input(self, agent_input: AgentInput) -> tuple[str, str, ApiList, tuple[tuple[str, str], ...]]:
        return agent_input.task.system, agent_input.task.query, ApiList(agent_input.task.functions), agent_input.turns

    def _make_segments(self, agent_input: AgentInput) -> Any:
        return self.prompt_fitter.make_prompt_segments(*self._unpack_input(agent_input))

    def _extends_cached_row(self, batch: _CachedBatch, row: int, prompts: Sequence[Any], i: int | None) -> bool:
        """Whether a prompt begins with what is kept: it does not where the model wrote its text in other tokens than
        the tokeniser would, or where the prompt had to be cut."""
        if i is None:
            return False
        prefix, prompt = batch.read_prefix(row), prompts[i]
        return len(prompt) > len(prefix) and bool(np.array_equal(prompt[: len(prefix)], prefix))

    def _generate_from_scratch(
        self, chosen: list[int], inputs: Sequence[AgentInput], prompts: Sequence[Any], replies: list[Generation]
    ) -> _CachedBatch:
        ids, mask = self._pad_left([prompts[i] for i in chosen])
        keys = [inputs[i].task.key for i in chosen]
        return self._call_model(_CachedBatch(keys, ids, mask, DynamicCache()), chosen, replies)

    def _generate_from_cache(
        self,
        batch: _CachedBatch,
        rows: list[int],
        prompts: Sequence[Any],
        where: dict[Any, int],
        replies: list[Generation],
    ) -> _CachedBatch:
        keys = [batch.episode_keys[row] for row in rows]
        chosen = [where[key] for key in keys]
        rest = [prompts[i][len(batch.read_prefix(row)) :] for i, row in zip(chosen, rows, strict=True)]
        ids, mask = self._pad_left(rest)
        picked = torch.tensor(rows, device=batch.ids.device)
        batch.cache.batch_select_indices(picked)
        whole = torch.cat([batch.ids[picked], ids], dim=1), torch.cat([batch.mask[picked], mask], dim=1)
        return self._call_model(_CachedBatch(keys, *whole, batch.cache), chosen, replies)

    def _pad_left(self, rows: Sequence[Any]) -> tuple[torch.Tensor, torch.Tensor]:
        width, pad = max(map(len, rows)), self.tokenizer.pad_token_id
        ids = [[pad] * (width - len(row)) + row.tolist() for row in rows]
        mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
        device = self.model.device
        return torch.tensor(ids, device=device), torch.tensor(mask, device=device)

    def _call_model(self, batch: _CachedBatch, chosen: list[int], replies: list[Generation]) -> _CachedBatch:
        """Generate, put the texts into `replies`, and return the batch with what is now in its cache."""
        start, pad, end = batch.ids.shape[1], self.tokenizer.pad_token_id, self.tokenizer.eos_token_id
        sampling: dict[str, Any] = {"do_sample": False}
        if self.evaluation.temperature > 0:
            sampling = {"do_sample": True, "temperature": self.evaluation.temperature, "top_k": 0, "top_p": 1.0}
        out = self.model.generate(
            input_ids=batch.ids,
            attention_mask=batch.mask,
            past_key_values=batch.cache,
            max_new_tokens=self.evaluation.max_new_tokens,
            pad_token_id=pad,
            eos_token_id=end,
            stopping_criteria=StoppingCriteriaList([_StopAfterAction(self.tokenizer, start)]),
            return_dict_in_generate=True,
            **sampling,
        )
        written = out.sequences[:, start:]
        ended = (written == end) | (written == pad)
        before = ended.cumsum(dim=1) == 0
        for row, i in enumerate(chosen):
            ids = written[row][before[row]]
            replies[i] = Generation(self.tokenizer.decode(ids, skip_special_tokens=True), len(ids))
        # The last token generated was never fed back: the cache is one shorter than the sequence.
        mine = before | ((ended.cumsum(dim=1) == 1) & (written == end))
        mask = torch.cat([batch.mask, mine.to(batch.mask.dtype)], dim=1)
        return _CachedBatch(batch.episode_keys, out.sequences[:, :-1], mask[:, :-1], out.past_key_values)


class _StopAfterAction(StoppingCriteria):  # type: ignore[misc]
    """Stops a row once it holds a whole action and something after it: nothing that follows is read."""

    def __init__(self, tokenizer: Any, start: int) -> None:
        self.tokenizer, self.start = tokenizer, start
        self.finished_rows: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """(rows,) of bool."""
        if self.finished_rows is None:
            self.finished_rows = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
        if (input_ids.shape[1] - self.start) % TOKENS_BETWEEN_CHECKS == 0:
            for row in (~self.finished_rows).nonzero().flatten().tolist():
                text = self.tokenizer.decode(input_ids[row, self.start :], skip_special_tokens=True)
                self.finished_rows[row] = bool(parse_action(text).extra_text)
        return self.finished_rows

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

from sweeper.data import ApiList, fitter
from sweeper.errors import UsageError, is_out_of_memory
from sweeper.evaluate.action import parse_action
from sweeper.evaluate.agent import Reply, Talk
from sweeper.evaluate.tasks import Task
from sweeper.spec import DataSpec, EvaluationSpec

CHECK_EVERY = 8
"""Tokens between looks at whether a text has run past its action: a look decodes it."""


@dataclass
class _Kept:
    """A batch whose keys and values are kept. `ids` and `mask`, (rows, length), are what `cache` holds; masked
    positions (padding, and what came after a row's end) are attended by nobody and count as no position."""

    keys: list[tuple[str, str]]
    ids: torch.Tensor
    mask: torch.Tensor
    cache: Any

    def prefix(self, row: int) -> np.ndarray[Any, Any]:
        """The tokens of a row that are kept, in order."""
        return self.ids[row][self.mask[row].bool()].cpu().numpy()  # type: ignore[no-any-return]


class LocalAgent:
    """A causal language model and its tokeniser, asked in the format it was trained in."""

    def __init__(
        self, model: Any, tokenizer: Any, evaluation: EvaluationSpec, data: DataSpec, *, seed: int, reuse: bool = True
    ) -> None:
        self.model, self.tokenizer, self.evaluation, self.seed, self.reuse = (
            model.eval(),
            tokenizer,
            evaluation,
            seed,
            reuse,
        )
        self.fit, self.texts = fitter(tokenizer, data.fit, data.max_length, data.api_format)
        positions: int | None = getattr(model.config, "max_position_embeddings", None)
        self.room = (positions or data.max_length) - evaluation.max_new_tokens
        """Tokens a prompt may have, so that a whole answer still fits the model's positions."""
        self._kept: list[_Kept] = []
        self.out_of_memory_at: list[int] = []
        """Batches that did not fit into memory."""

    def chunks(self, tasks: Sequence[Task]) -> list[list[Task]]:
        """By length of the first prompt, so that a batch holds little padding; the longest first.

        Raises UsageError where no first prompt fits: every episode would fail by its settings.
        """
        talks = [Talk(task, ()) for task in tasks]
        self.texts.ahead(segment for talk in talks for segment in self._segments(talk))
        sizes = {talk.task.key: sum(len(self.texts(s)) for s in self._segments(talk)) for talk in talks}
        ordered = sorted(tasks, key=lambda task: (-sizes[task.key], task.key))
        if self.room <= 0 or not any(self._fits(task) for task in reversed(ordered)):
            self._refuse(ordered[-1])
        size = self.evaluation.batch_size
        return [ordered[start : start + size] for start in range(0, len(ordered), size)]

    def _fits(self, task: Task) -> bool:
        return self.fit.prompt(*self._parts(Talk(task, ())), self.room) is not None

    def _refuse(self, task: Task) -> NoReturn:
        whole = self.fit.prompt(*self._parts(Talk(task, ())), sys.maxsize)
        shortest = 0 if whole is None else len(whole)
        answer = self.evaluation.max_new_tokens
        positions = self.room + answer
        do = "a model with more positions"
        if positions > shortest:
            do = f"a max_new_tokens of at most {positions - shortest} (--set max_new_tokens=N), or {do}"
        raise UsageError(
            "evaluation",
            asked=f"max_new_tokens: {answer}",
            found=f"{positions} positions, which leave {self.room} tokens for a prompt; the shortest has {shortest}",
            do=do,
        )

    def begin(self, chunk: int) -> None:
        """Forget the keys and values of the group before; seed the sampling of this one."""
        self._kept = []
        torch.manual_seed(self.seed * 1_000_003 + chunk)

    def reply(self, talks: Sequence[Talk]) -> list[Reply]:
        """The next texts; a prompt that cannot be fitted into the model ends its episode.

        Out of memory: again in halves, down to one text at a time, and from then on with no keys and values kept.
        """
        replies: list[Reply] = []
        while len(replies) < len(talks):
            at_most = min([len(talks), *(size // 2 for size in self.out_of_memory_at)])
            batch = talks[len(replies) : len(replies) + at_most]
            try:
                replies += self._reply(batch)
                continue
            except Exception as error:
                if not is_out_of_memory(error) or len(batch) == 1:
                    raise
            # Outside of `except`: the error holds on to what was being computed.
            self.out_of_memory_at.append(len(batch))
            self._kept, self.reuse = [], False
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return replies

    @torch.inference_mode()
    def _reply(self, talks: Sequence[Talk]) -> list[Reply]:
        self.texts.ahead(segment for talk in talks for segment in self._segments(talk))
        prompts = [self.fit.prompt(*self._parts(talk), self.room) for talk in talks]
        where = {talk.task.key: i for i, talk in enumerate(talks) if prompts[i] is not None}
        replies = [Reply(None, reason=f"the prompt does not fit {self.room} tokens") for _ in talks]
        kept: list[_Kept] = []
        left, self._kept = self._kept, []
        while left:  # what nobody goes on from must be gone before others fill its memory
            batch = left.pop(0)
            rows = [row for row, key in enumerate(batch.keys) if self._continues(batch, row, prompts, where.get(key))]
            if rows:
                kept.append(self._generate_from(batch, rows, prompts, where, replies))
            del batch
        known = {key for batch in kept for key in batch.keys}
        fresh = [i for key, i in where.items() if key not in known]
        if fresh:
            kept.append(self._generate_anew(fresh, talks, prompts, replies))
        self._kept = kept if self.reuse else []
        return replies

    def _parts(self, talk: Talk) -> tuple[str, str, ApiList, tuple[tuple[str, str], ...]]:
        return talk.task.system, talk.task.query, ApiList(talk.task.functions), talk.turns

    def _segments(self, talk: Talk) -> Any:
        return self.fit.prompt_segments(*self._parts(talk))

    def _continues(self, batch: _Kept, row: int, prompts: Sequence[Any], i: int | None) -> bool:
        """Whether a prompt begins with what is kept: it does not where the model wrote its text in other tokens than
        the tokeniser would, or where the prompt had to be cut."""
        if i is None:
            return False
        prefix, prompt = batch.prefix(row), prompts[i]
        return len(prompt) > len(prefix) and bool(np.array_equal(prompt[: len(prefix)], prefix))

    def _generate_anew(
        self, chosen: list[int], talks: Sequence[Talk], prompts: Sequence[Any], replies: list[Reply]
    ) -> _Kept:
        ids, mask = self._left_padded([prompts[i] for i in chosen])
        keys = [talks[i].task.key for i in chosen]
        return self._generate(_Kept(keys, ids, mask, DynamicCache()), chosen, replies)

    def _generate_from(
        self, batch: _Kept, rows: list[int], prompts: Sequence[Any], where: dict[Any, int], replies: list[Reply]
    ) -> _Kept:
        keys = [batch.keys[row] for row in rows]
        chosen = [where[key] for key in keys]
        rest = [prompts[i][len(batch.prefix(row)) :] for i, row in zip(chosen, rows, strict=True)]
        ids, mask = self._left_padded(rest)
        picked = torch.tensor(rows, device=batch.ids.device)
        batch.cache.batch_select_indices(picked)
        whole = torch.cat([batch.ids[picked], ids], dim=1), torch.cat([batch.mask[picked], mask], dim=1)
        return self._generate(_Kept(keys, *whole, batch.cache), chosen, replies)

    def _left_padded(self, rows: Sequence[Any]) -> tuple[torch.Tensor, torch.Tensor]:
        width, pad = max(map(len, rows)), self.tokenizer.pad_token_id
        ids = [[pad] * (width - len(row)) + row.tolist() for row in rows]
        mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
        device = self.model.device
        return torch.tensor(ids, device=device), torch.tensor(mask, device=device)

    def _generate(self, batch: _Kept, chosen: list[int], replies: list[Reply]) -> _Kept:
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
            stopping_criteria=StoppingCriteriaList([_PastItsAction(self.tokenizer, start)]),
            return_dict_in_generate=True,
            **sampling,
        )
        written = out.sequences[:, start:]
        ended = (written == end) | (written == pad)
        before = ended.cumsum(dim=1) == 0
        for row, i in enumerate(chosen):
            ids = written[row][before[row]]
            replies[i] = Reply(self.tokenizer.decode(ids, skip_special_tokens=True), len(ids))
        # The last token generated was never fed back: the cache is one shorter than the sequence.
        mine = before | ((ended.cumsum(dim=1) == 1) & (written == end))
        mask = torch.cat([batch.mask, mine.to(batch.mask.dtype)], dim=1)
        return _Kept(batch.keys, out.sequences[:, :-1], mask[:, :-1], out.past_key_values)


class _PastItsAction(StoppingCriteria):  # type: ignore[misc]
    """Stops a row once it holds a whole action and something after it: nothing that follows is read."""

    def __init__(self, tokenizer: Any, start: int) -> None:
        self.tokenizer, self.start = tokenizer, start
        self.done: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """(rows,) of bool."""
        if self.done is None:
            self.done = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
        if (input_ids.shape[1] - self.start) % CHECK_EVERY == 0:
            for row in (~self.done).nonzero().flatten().tolist():
                text = self.tokenizer.decode(input_ids[row, self.start :], skip_special_tokens=True)
                self.done[row] = bool(parse_action(text).beyond)
        return self.done

"""Batched generation with a local model: prompts in, texts out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch


class LocalModel:
    """A causal language model and its tokeniser, ready to continue prompts."""

    def __init__(self, model: Any, tokenizer: Any, *, temperature: float, seed: int) -> None:
        self.model, self.tokenizer, self.temperature = model.eval(), tokenizer, temperature
        self.positions: int | None = getattr(model.config, "max_position_embeddings", None)
        """Tokens that prompt and answer may have together; None where the model states no limit."""
        torch.manual_seed(seed)

    @torch.inference_mode()
    def continue_prompts(
        self, prompts: Sequence[np.ndarray[Any, Any] | None], max_new_tokens: int, batch_size: int
    ) -> list[str | None]:
        """Texts in the order of `prompts` (token ids); None for a prompt that is None: one that could not be fitted.

        Batches go by length, so that a batch holds little padding; padding is on the left.
        """
        texts: list[str | None] = [None] * len(prompts)
        fitting = [(i, ids.tolist()) for i, ids in enumerate(prompts) if ids is not None]
        fitting.sort(key=lambda item: len(item[1]))
        for start in range(0, len(fitting), batch_size):
            batch = fitting[start : start + batch_size]
            answers = self._generate([ids for _, ids in batch], max_new_tokens)
            for (i, _), text in zip(batch, answers, strict=True):
                texts[i] = text
        return texts

    def _generate(self, prompts: list[list[int]], max_new_tokens: int) -> list[str]:
        width, pad = max(map(len, prompts)), self.tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts], device=self.model.device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=self.model.device)
        sampling: dict[str, Any] = {"do_sample": False}
        if self.temperature > 0:
            sampling = {"do_sample": True, "temperature": self.temperature, "top_k": 0, "top_p": 1.0}
        out = self.model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=max_new_tokens,
            pad_token_id=pad,
            eos_token_id=self.tokenizer.eos_token_id,
            **sampling,
        )
        texts: list[str] = self.tokenizer.batch_decode(out[:, width:], skip_special_tokens=True)
        return texts

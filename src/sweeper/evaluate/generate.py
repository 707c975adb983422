"""Batched generation with a local model: prompts in, texts out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


class LocalModel:
    """A causal language model and its tokeniser, ready to continue prompts."""

    def __init__(self, model: Any, tokenizer: Any, *, temperature: float, seed: int) -> None:
        self.model, self.tokenizer, self.temperature = model.eval(), tokenizer, temperature
        self.positions = getattr(model.config, "max_position_embeddings", None)
        torch.manual_seed(seed)

    @torch.inference_mode()
    def continue_prompts(self, prompts: Sequence[list[int]], max_new_tokens: int, batch_size: int) -> list[str | None]:
        """Texts in the order of `prompts` (token ids); None where prompt and answer do not fit the positions.

        Batches go by length, so that a batch holds little padding; padding is on the left.
        """
        texts: list[str | None] = [None] * len(prompts)
        fitting = [i for i, ids in enumerate(prompts) if self._fits(len(ids), max_new_tokens)]
        fitting.sort(key=lambda i: len(prompts[i]))
        for start in range(0, len(fitting), batch_size):
            batch = fitting[start : start + batch_size]
            for i, text in zip(batch, self._generate([prompts[i] for i in batch], max_new_tokens), strict=True):
                texts[i] = text
        return texts

    def _fits(self, prompt: int, new: int) -> bool:
        return self.positions is None or prompt + new <= self.positions

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

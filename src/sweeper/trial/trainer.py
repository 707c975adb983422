"""TRL's SFTTrainer without the metrics that cost a pass over the logits at every step."""

from __future__ import annotations

from typing import Any

from transformers import Trainer
from trl import SFTTrainer


class LeanSFTTrainer(SFTTrainer):  # type: ignore[misc]
    """The same loss and gradients as SFTTrainer; entropy and token accuracy per step are left out."""

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean negative log-likelihood per target token of the whole effective batch, by `Trainer` itself."""
        inputs["use_cache"] = False
        return Trainer.compute_loss(self, model, inputs, return_outputs, num_items_in_batch)

"""TRL's SFTTrainer with two differences: no metrics that cost a pass over the logits at every step, and an order of
length-grouped examples that a resumed run repeats."""

from __future__ import annotations

from typing import Any

from torch.utils.data import RandomSampler
from transformers import Trainer
from trl import SFTTrainer


class LeanSFTTrainer(SFTTrainer):  # type: ignore[misc]
    """The same loss and gradients as SFTTrainer; entropy and token accuracy per step are left out."""

    sampled_by = ""
    """The strategy of the sampler that served the data, for asked against applied."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """Groups of similar length in an order of (seed, epoch) alone.

        Transformers' own draws it from the global generator, and a run resumed within an epoch would see another one.
        Accelerate shards the batches over workers afterwards: hence one replica here.
        """
        from transformers.trainer_pt_utils import DistributedLengthGroupedSampler

        if self.args.train_sampling_strategy != "group_by_length":
            sampler = super()._get_train_sampler(train_dataset)
            self.sampled_by = {RandomSampler: "random"}.get(type(sampler), type(sampler).__name__)
            return sampler
        self.sampled_by = "group_by_length"
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps
        lengths = list(self.train_dataset["length"])
        return DistributedLengthGroupedSampler(batch, lengths=lengths, num_replicas=1, rank=0, seed=self.args.data_seed)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean negative log-likelihood per target token of the whole effective batch, by `Trainer` itself."""
        inputs["use_cache"] = False
        return Trainer.compute_loss(self, model, inputs, return_outputs, num_items_in_batch)

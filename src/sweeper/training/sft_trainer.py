"""TRL's SFTTrainer with three differences: logits of target tokens alone and no metrics made of them, an order of
examples that a resumed run repeats, and batches that several workers share without repeating an example.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from torch.utils.data import RandomSampler, Sampler
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import SFTTrainer

from sweeper.training.engine import BatchSplit
from sweeper.training.loss import patch_target_only_loss


class LeanSFTTrainer(SFTTrainer):  # type: ignore[misc]
    """The same loss and gradients as SFTTrainer; entropy and token accuracy per step are left out."""

    sampling_strategy = ""
    """The strategy of the sampler that served the data, for asked against applied."""

    unlogged_loss: tuple[float, int | None] = (0.0, None)
    """Of the run that is gone on from: sum of the losses since its last logged step, and that step."""

    def __init__(self, *, batch_split: BatchSplit | None = None, train_dataset: Any, **rest: Any) -> None:
        self._example_count, self._padding_rows = len(train_dataset), 0
        self._batch_split = batch_split
        if batch_split and batch_split.workers > 1:
            # Accelerate would fill up the last batches of an epoch with its first examples, and train them twice.
            self._padding_rows = -self._example_count % (batch_split.micro_batch * batch_split.workers)
            train_dataset = _add_padding_rows(train_dataset, self._padding_rows, rest["processing_class"].pad_token_id)
        super().__init__(train_dataset=train_dataset, **rest)
        self.add_callback(_SamplerEpochCallback())
        self.logits_scope = "targets" if patch_target_only_loss(self.model) else "all"
        """The tokens whose logits are computed in training."""

    @property
    def padding_rows_seen(self) -> int:
        """Rows of one token and no target, trained on so that every worker has a batch at the end of each epoch."""
        return self._padding_rows * int(self.state.epoch or 0.0)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """Groups of similar length in an order of (seed, epoch) alone; random ones as Accelerate orders them.

        Transformers draws its groups from the global generator, and a run resumed within an epoch would see others.
        The order is the same for every number of workers: Accelerate deals out the batches afterwards.
        """
        from transformers.trainer_pt_utils import DistributedLengthGroupedSampler

        sampler: Any
        if self.args.train_sampling_strategy == "group_by_length":
            self.sampling_strategy = "group_by_length"
            workers = self._batch_split.workers if self._batch_split else 1
            batch = self.args.train_batch_size * self.args.gradient_accumulation_steps * workers
            lengths = list(self.train_dataset["length"])[: self._example_count]
            seed = self.args.data_seed
            sampler = DistributedLengthGroupedSampler(batch, lengths=lengths, num_replicas=1, rank=0, seed=seed)
        else:
            sampler = super()._get_train_sampler(train_dataset)
            self.sampling_strategy = {RandomSampler: "random"}.get(type(sampler), type(sampler).__name__)
            if self._padding_rows:
                from accelerate.data_loader import SeedableRandomSampler

                sampler = SeedableRandomSampler(range(self._example_count), data_seed=self.args.data_seed)
        return _PaddedSampler(sampler, self._example_count, self._padding_rows) if self._padding_rows else sampler

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean negative log-likelihood per target token of the whole effective batch, by `Trainer` itself."""
        inputs["use_cache"] = False
        return Trainer.compute_loss(self, model, inputs, return_outputs, num_items_in_batch)


class _SamplerEpochCallback(TrainerCallback):
    """Says to the sampler which epoch begins. A run that goes on within an epoch is served by Accelerate's sampler that
    skips, around the one that deals out batches to the workers: they do not pass it on, and the rest of that epoch
    would come in the order of the first one."""

    def on_epoch_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        train_dataloader: Any = None,
        **kwargs: Any,
    ) -> None:
        """Called before the batches of an epoch, or of what is left of it, are asked for."""
        batches = train_dataloader.batch_sampler
        while hasattr(batches, "batch_sampler"):
            batches = batches.batch_sampler
        if hasattr(batches.sampler, "set_epoch"):
            steps = math.ceil(len(train_dataloader) / args.gradient_accumulation_steps)
            batches.sampler.set_epoch(state.global_step // steps)


class _PaddedSampler(Sampler[int]):
    """Another sampler's examples, then the stand-ins."""

    def __init__(self, sampler: Any, count: int, padding_rows: int) -> None:
        self.sampler, self.count, self.padding_rows = sampler, count, padding_rows

    def __iter__(self) -> Iterator[int]:
        yield from self.sampler
        yield from range(self.count, self.count + self.padding_rows)

    def __len__(self) -> int:
        return self.count + self.padding_rows

    def set_epoch(self, epoch: int) -> None:
        """Accelerate says it at the start of each epoch."""
        self.sampler.set_epoch(epoch)


def _add_padding_rows(rows: Any, count: int, token: int) -> Any:
    """The rows, and `count` of one token without a target: they change neither loss nor gradient."""
    from datasets import Dataset, concatenate_datasets

    if not count:
        return rows
    row = {"input_ids": [[token]] * count, "labels": [[-100]] * count, "length": [1] * count}
    return concatenate_datasets([rows, Dataset.from_dict(row, features=rows.features)])

"""TRL's SFTTrainer with three differences.

It computes only the logits of target tokens, and no metrics from them; a resumed run repeats the order of examples; and
several workers share a batch without repeating an example.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from torch.utils.data import Sampler
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import SFTTrainer

from sweeper.errors import UsageError
from sweeper.training.batching import BatchSplit
from sweeper.training.loss import patch_target_only_loss

_SAMPLING_STRATEGIES = {
    "RandomSampler": "random",
    "SeedableRandomSampler": "random",
    "DistributedLengthGroupedSampler": "group_by_length",
}


class LeanSFTTrainer(SFTTrainer):  # type: ignore[misc]
    """The same loss and gradients as SFTTrainer; entropy and token accuracy per step are left out."""

    rows_trained = 0
    """Examples that this worker trained on since the trainer was made, without padding rows."""

    unlogged_loss: tuple[float, int | None] = (0.0, None)
    """Sum of the losses since the last logged step of the run that this one resumes, and that step."""

    def __init__(self, *, batch_split: BatchSplit | None = None, train_dataset: Any, **rest: Any) -> None:
        self._example_count, self._padding_rows = len(train_dataset), 0
        self._batch_split = batch_split
        if batch_split and batch_split.workers > 1:
            # Accelerate would fill the last batches of an epoch with its first examples, and train those twice.
            self._padding_rows = -self._example_count % (batch_split.micro_batch * batch_split.workers)
            train_dataset = _add_padding_rows(train_dataset, self._padding_rows, rest["processing_class"].pad_token_id)
        super().__init__(train_dataset=train_dataset, **rest)
        self.add_callback(_SamplerEpochCallback())
        self.logits_scope = "targets" if patch_target_only_loss(self.model) else "all"
        """The tokens whose logits are computed in training."""
        self._clip_gradients = self.accelerator.clip_grad_norm_
        self._clipping: tuple[Any, float] = (math.nan, math.nan)
        self.accelerator.clip_grad_norm_ = self._record_clipping

    def _record_clipping(self, parameters: Any, max_norm: float, *rest: Any, **named: Any) -> Any:
        norm = self._clip_gradients(parameters, max_norm, *rest, **named)
        self._clipping = norm, float(max_norm)
        return norm

    def read_clipping(self) -> tuple[float, float | None]:
        """Return the last step's gradient norm before clipping, and the norm to which what clipped it clips, if any.

        That is DeepSpeed's engine, or else Accelerate, which measures without clipping where the norm is infinite.
        """
        engine = getattr(self, "deepspeed", None)
        if engine is not None:
            norm = engine.get_global_grad_norm()
            return math.nan if norm is None else float(norm), float(engine.gradient_clipping()) or None
        norm, threshold = self._clipping
        return float(norm), None if math.isinf(threshold) else threshold

    @property
    def sampling_strategy(self) -> str:
        """The strategy of the sampler that the batches come from; the sampler's class for an unknown one."""
        batches = self.callback_handler.train_dataloader.batch_sampler
        while hasattr(batches, "batch_sampler"):
            batches = batches.batch_sampler
        sampler = batches.sampler
        if isinstance(sampler, _PaddedSampler):
            sampler = sampler.sampler
        name = type(sampler).__name__
        return _SAMPLING_STRATEGIES.get(name, name)

    @property
    def padding_rows_seen(self) -> int:
        """Padding rows trained so far: one token, no target; with them every worker has a batch at an epoch's end."""
        return self._padding_rows * int(self.state.epoch or 0.0)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """Return the sampler of the recipe's strategy, followed by the padding rows.

        The order is the same for any number of workers: Accelerate distributes the batches afterwards.
        """
        match self.args.train_sampling_strategy:
            case "group_by_length":
                sampler = self._make_length_sampler()
            case "random":
                sampler = self._make_random_sampler(train_dataset)
            case unknown:
                raise UsageError("recipe", requested=f"train_sampling_strategy {unknown}", found="no such strategy")
        return _PaddedSampler(sampler, self._example_count, self._padding_rows) if self._padding_rows else sampler

    def _make_length_sampler(self) -> Any:
        """Sample groups of similar length in an order that depends on seed and epoch alone.

        Transformers draws its groups from the global generator: a run resumed within an epoch would draw others.
        """
        from transformers.trainer_pt_utils import DistributedLengthGroupedSampler

        workers = self._batch_split.workers if self._batch_split else 1
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps * workers
        lengths = list(self.train_dataset["length"])[: self._example_count]
        seed = self.args.data_seed
        return DistributedLengthGroupedSampler(batch, lengths=lengths, num_replicas=1, rank=0, seed=seed)

    def _make_random_sampler(self, train_dataset: Any) -> Any:
        """Sample at random, in the order of Accelerate's seedable sampler."""
        sampler = super()._get_train_sampler(train_dataset)
        if self._padding_rows:
            from accelerate.data_loader import SeedableRandomSampler

            return SeedableRandomSampler(range(self._example_count), data_seed=self.args.data_seed)
        return sampler

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the mean negative log-likelihood per target token of the effective batch, as `Trainer` computes it."""
        inputs["use_cache"] = False
        labels = inputs["labels"]
        self.rows_trained += int((labels != -100).any(dim=1).sum()) if self._padding_rows else len(labels)
        return Trainer.compute_loss(self, model, inputs, return_outputs, num_items_in_batch)


class _SamplerEpochCallback(TrainerCallback):
    """Sets the sampler's epoch.

    A run resumed within an epoch uses Accelerate's skipping sampler, around the one that distributes batches to the
    workers. Neither forwards the epoch, so the rest of that epoch would come in the order of the first one.
    """

    def on_epoch_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        train_dataloader: Any = None,
        **kwargs: Any,
    ) -> None:
        """Set it before the first batch of an epoch, or of the rest of one."""
        batches = train_dataloader.batch_sampler
        while hasattr(batches, "batch_sampler"):
            batches = batches.batch_sampler
        if hasattr(batches.sampler, "set_epoch"):
            steps = math.ceil(len(train_dataloader) / args.gradient_accumulation_steps)
            batches.sampler.set_epoch(state.global_step // steps)


class _PaddedSampler(Sampler[int]):
    """Another sampler's examples, then the padding rows."""

    def __init__(self, sampler: Any, count: int, padding_rows: int) -> None:
        self.sampler, self.count, self.padding_rows = sampler, count, padding_rows

    def __iter__(self) -> Iterator[int]:
        yield from self.sampler
        yield from range(self.count, self.count + self.padding_rows)

    def __len__(self) -> int:
        return self.count + self.padding_rows

    def set_epoch(self, epoch: int) -> None:
        """Pass the epoch on; Accelerate calls this at the start of each."""
        self.sampler.set_epoch(epoch)


def _add_padding_rows(rows: Any, count: int, token: int) -> Any:
    """Append `count` rows of one token without a target, which change neither loss nor gradient."""
    from datasets import Dataset, concatenate_datasets

    if not count:
        return rows
    row = {"input_ids": [[token]] * count, "labels": [[-100]] * count, "length": [1] * count}
    return concatenate_datasets([rows, Dataset.from_dict(row, features=rows.features)])

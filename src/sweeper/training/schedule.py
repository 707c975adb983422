"""The step counts of a training run: when it logs, saves, decays and ends. Planning and training share them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from sweeper.config import ModelSpec, Recipe, TrialSpec
from sweeper.data import DataSize
from sweeper.errors import ModelError, UsageError
from sweeper.models import compute_flops_per_token, compute_forward_flops, load_config
from sweeper.training.pruning import Pruner, compute_rung_steps

CHECKPOINTS_PER_TRIAL = 5
RATE_SHAPES = ("linear", "cosine", "constant", "constant_with_warmup", "warmup_stable_decay")
"""Shapes of a schedule that a recipe can name (`lr_scheduler_type`)."""
MIN_BUDGET_STEPS = 20
"""Fewest optimizer steps of a compute budget. With fewer, rounding to whole steps alone can miss the budget by more
than 2.5 %, and the rows of a last, partial epoch need not have the mean length."""


@dataclass(frozen=True)
class RowFlops:
    """Training compute of one model on one data set; NaN for an architecture whose FLOPs are unknown."""

    per_token: float
    """FLOPs, forward and backward, in rows of the mean length."""
    forward_per_token: float
    """Those of the forward pass alone."""
    mean_length: float
    """Tokens of a training row."""

    @property
    def per_row(self) -> float:
        """FLOPs of one row of the mean length."""
        return self.per_token * self.mean_length


@dataclass(frozen=True)
class TrainingSchedule:
    """The step counts of one training run.

    A branch trains the steps after `start_step`; those before it are its trunk's.
    """

    examples: int
    """Training rows."""
    effective_batch_size: int
    """Rows per optimizer step."""
    total_steps: int
    """Optimizer steps of the whole run."""
    warmup_steps: int
    """Optimizer steps of the linear warm-up."""
    decay_steps: int | None
    """Optimizer steps of the final decay; None for a schedule without `decay_fraction`."""
    start_step: int
    """Optimizer steps taken by the trunk; 0 for a trial that is no branch."""
    logging_steps: int
    """Optimizer steps from one row of the history to the next."""
    flops: RowFlops
    """Training compute of the run's rows."""
    branch_steps: frozenset[int] = frozenset()
    """Optimizer steps whose checkpoint other trials continue from."""
    rung_resources: Mapping[int, int] = field(default_factory=dict)
    """Optimizer step -> resource, in the rungs' unit, at which a search compares this trial with others."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of one epoch."""
        return math.ceil(self.examples / self.effective_batch_size)

    @property
    def ends_with_epoch(self) -> bool:
        """Whether the last step is also the last of an epoch."""
        return self.total_steps % self.steps_per_epoch == 0

    @property
    def save_steps(self) -> int:
        """Optimizer steps from one checkpoint to the next."""
        return max(1, math.ceil((self.total_steps - self.start_step) / CHECKPOINTS_PER_TRIAL))

    @property
    def examples_seen(self) -> int:
        """Rows that the whole run trains on, repetitions counted."""
        return self.count_examples_seen(self.total_steps)

    @property
    def train_flops(self) -> float:
        """FLOPs of the whole run; NaN where unknown."""
        return self.flops.per_row * self.examples_seen

    @property
    def shared_train_flops(self) -> float:
        """FLOPs of the steps before `start_step`; NaN where unknown."""
        return self.flops.per_row * self.count_examples_seen(self.start_step)

    def count_examples_seen(self, steps: int) -> int:
        """Return the rows that the first `steps` optimizer steps train on, repetitions counted."""
        return _count_examples(self.examples, self.effective_batch_size, steps)


def make_schedule(spec: TrialSpec, size: DataSize, pruner: Pruner | None = None) -> TrainingSchedule:
    """Compute the schedule of a trial.

    Args:
        size: rows, tokens and vocabulary of its prepared data.
        pruner: the search that may stop it early; a population keeps a checkpoint at each of its rungs.

    Raises:
        UsageError: a compute budget that the model cannot meet. `check_schedule` checks the rest.
    """
    recipe, flops = spec.recipe, compute_row_flops(spec.model, spec.recipe, size)
    steps = count_optimizer_steps(recipe, size.rows, flops.per_row)
    decay = count_decay_steps(recipe, steps)
    start = 0
    if spec.branch is not None:
        start = steps - (decay or 0) if spec.branch.step is None else spec.branch.step
    rungs: dict[int, int] = {}
    if pruner is not None:
        tokens = count_examples_seen(recipe, size.rows, steps) * flops.mean_length
        per_epoch = count_steps_per_epoch(recipe, size.rows)
        rungs = compute_rung_steps(pruner.rungs, pruner.scheduler, steps, tokens=tokens, steps_per_epoch=per_epoch)
    # The members of a population can continue from any rung of the others.
    shared = frozenset(rungs) if pruner is not None and pruner.scheduler == "pbt" else frozenset[int]()
    return TrainingSchedule(
        examples=size.rows,
        effective_batch_size=recipe.effective_batch_size,
        total_steps=steps,
        warmup_steps=recipe.warmup_steps,
        decay_steps=decay,
        start_step=start,
        logging_steps=choose_logging_steps(recipe, steps),
        flops=flops,
        branch_steps=shared | _compute_branch_steps(spec, size.rows),
        rung_resources=rungs,
    )


def _compute_branch_steps(spec: TrialSpec, examples: int) -> frozenset[int]:
    """Return the steps at which a trunk keeps a checkpoint: where the decay of each of its arms begins."""
    ends = [
        (recipe, count_optimizer_steps(recipe, examples))
        for recipe in (spec.make_recipe_for_epochs(epochs) for epochs in spec.branch_points)
    ]
    return frozenset(steps - (count_decay_steps(recipe, steps) or 0) for recipe, steps in ends)


def compute_row_flops(model: ModelSpec, recipe: Recipe, size: DataSize) -> RowFlops:
    """Return the training compute of a model on a data set, from its config alone; NaN where it is unknown."""
    mean_length = size.tokens / size.rows
    try:
        config = load_config(model, size.vocab_size)
        per_token = compute_flops_per_token(config, mean_length, recipe).total
        return RowFlops(per_token, compute_forward_flops(config, 1, mean_length), mean_length)
    except ModelError:  # it can still be trained; a compute budget for it is refused
        return RowFlops(math.nan, math.nan, mean_length)


def count_steps_per_epoch(recipe: Recipe, examples: int) -> int:
    """Return ceil(examples / effective batch): like the Trainer, keep an epoch's last, smaller batch."""
    return math.ceil(examples / recipe.effective_batch_size)


def count_optimizer_steps(recipe: Recipe, examples: int, flops_per_row: float = math.nan) -> int:
    """Return the optimizer steps of a run: by `max_steps`, by compute, or else by epochs.

    Under a compute budget it is the number whose rows come nearest to `train_flops_budget`.

    Args:
        recipe: the hyperparameters.
        examples: training rows.
        flops_per_row: FLOPs of one row, forward and backward; NaN where unknown.

    Raises:
        UsageError: a budget of fewer than `MIN_BUDGET_STEPS` steps, or one for a model of unknown FLOPs.
    """
    if recipe.max_steps is not None:
        return recipe.max_steps
    per_epoch = count_steps_per_epoch(recipe, examples)
    if recipe.train_flops_budget is None:
        return math.ceil(recipe.num_train_epochs * per_epoch)
    requested = f"train_flops_budget {recipe.train_flops_budget:.3g}"
    if math.isnan(flops_per_row):
        raise UsageError("recipe", requested=requested, found="a model of unknown FLOPs", hint="recipe.max_steps")
    wanted = recipe.train_flops_budget / flops_per_row
    epochs, rest = divmod(wanted, examples)
    below = int(epochs) * per_epoch + int(rest // recipe.effective_batch_size)
    steps = min(below, below + 1, key=lambda count: abs(count_examples_seen(recipe, examples, count) - wanted))
    if steps < MIN_BUDGET_STEPS:
        step = flops_per_row * recipe.effective_batch_size
        raise UsageError(
            "recipe",
            requested=requested,
            found=f"a model and batch of {step:.3g} FLOPs per optimizer step: {steps} steps",
            hint=f"a budget of at least {MIN_BUDGET_STEPS * step:.3g} (for this model), or a smaller batch",
        )
    return steps


def check_schedule(spec: TrialSpec, schedule: TrainingSchedule) -> None:
    """Refuse a schedule that the run cannot follow as written.

    Raises:
        UsageError: a warm-up that does not end before the run or its decay, or an unreachable change.
    """
    check_warmup(spec, schedule.total_steps, schedule.examples)
    check_decay(spec.recipe, schedule.total_steps)
    for epochs in spec.branch_points:
        arm = spec.make_recipe_for_epochs(epochs)
        check_decay(arm, count_optimizer_steps(arm, schedule.examples))
    check_hyperparameter_changes(spec, schedule.total_steps)


def check_warmup(spec: TrialSpec, total_steps: int, examples: int | None = None) -> None:
    """Refuse a warm-up that does not end before the run.

    Args:
        spec: the trial.
        total_steps: optimizer steps of the run.
        examples: training rows; None while the data are not prepared.

    Raises:
        UsageError: there is no step after the warm-up.
    """
    if spec.recipe.warmup_steps >= total_steps:
        rows = "" if examples is None else f"{examples} examples, "
        raise UsageError(
            f"trial of {spec.model.name}",
            requested=f"recipe.warmup_steps {spec.recipe.warmup_steps}",
            found=f"a run of {total_steps} optimizer steps ({rows}effective batch {spec.recipe.effective_batch_size})",
            hint="fewer warmup_steps, a smaller batch, or more data"
            if spec.recipe.max_steps is None
            else "fewer warmup_steps, or more max_steps",
        )


def check_hyperparameter_changes(spec: TrialSpec, total_steps: float) -> None:
    """Refuse changes that a run cannot apply.

    Raises:
        UsageError: a change after the last of `total_steps` optimizer steps, or one with several workers (untested).
    """
    if not spec.recipe.changes:
        return
    if (last := spec.recipe.changes[-1].step) >= total_steps:
        raise UsageError(
            "recipe",
            requested=f"a change at step {last}",
            found=f"a run of {total_steps:g} optimizer steps",
            hint="an earlier step, or a longer run",
        )
    if spec.engine and spec.engine.distributed:
        raise UsageError(
            "recipe",
            requested="changes during a run",
            found=f"engine {spec.engine.name}, with which several workers train one model",
            hint="engine: single",
        )


def count_decay_steps(recipe: Recipe, steps: int) -> int | None:
    """Return the steps over which a run of `steps` decays to 0; None for a schedule without `decay_fraction`."""
    return None if recipe.decay_fraction is None else max(1, round(recipe.decay_fraction * steps))


def check_decay(recipe: Recipe, steps: int) -> None:
    """Refuse a decay that begins before the warm-up has ended.

    Raises:
        UsageError: the decay of a run of `steps` optimizer steps overlaps its warm-up.
    """
    if recipe.decay_fraction is not None:
        compute_decay_start(recipe, steps)


def compute_decay_start(recipe: Recipe, steps: int) -> int:
    """Return the optimizer steps before the decay of `warmup_stable_decay` begins.

    Raises:
        UsageError: the warm-up has not ended by then.
    """
    start = steps - (count_decay_steps(recipe, steps) or 0)
    if start < max(recipe.warmup_steps, 1):
        raise UsageError(
            "recipe",
            requested=f"warmup_steps {recipe.warmup_steps}, decay_fraction {recipe.decay_fraction}",
            found=f"a run of {steps} optimizer steps, whose decay begins after {start}",
            hint="fewer warmup_steps, a smaller decay_fraction, a smaller batch, or more data",
        )
    return start


def compute_rate_share(shape: str, step: int, schedule: TrainingSchedule) -> float:
    """Return the share of its peak that a learning rate should have, computed apart from the library that sets it.

    Args:
        shape: one of `RATE_SHAPES`.
        step: optimizer steps taken before.
        schedule: length of the run, its warm-up and its decay.

    Example:
        >>> flops = RowFlops(1.0, 1.0, 1.0)
        >>> schedule = TrainingSchedule(80, 8, 10, 4, None, 0, 1, flops)
        >>> [compute_rate_share("linear", step, schedule) for step in (0, 1, 4, 7)]
        [0.0, 0.25, 1.0, 0.5]
    """
    total, warmup = schedule.total_steps, schedule.warmup_steps
    if shape != "constant" and step < warmup:
        return step / warmup
    remaining = (total - step) / max(1, total - warmup)
    match shape:
        case "linear":
            return max(0.0, remaining)
        case "cosine":
            return max(0.0, (1 + math.cos(math.pi * (1 - remaining))) / 2)
        case "warmup_stable_decay":
            return max(0.0, min(1.0, (total - step) / (schedule.decay_steps or 1)))
        case _:
            return 1.0


def choose_logging_steps(recipe: Recipe, steps: int) -> int:
    """Return the steps between two rows of the history: at least twenty rows where there are enough steps.

    Runs with `decay_fraction` that differ only in their number of whole epochs log at the same steps.
    Until the shorter one decays they have the same history, and the same rows decide whether they diverged.
    """
    if recipe.decay_fraction is not None and recipe.ends_by_epochs:
        steps = min(steps, round(steps / recipe.num_train_epochs))
    return max(1, min(10, steps // 20))


def count_examples_seen(recipe: Recipe, examples: int, steps: int) -> int:
    """Return the rows that `steps` optimizer steps train on, repetitions counted."""
    return _count_examples(examples, recipe.effective_batch_size, steps)


def _count_examples(examples: int, batch: int, steps: int) -> int:
    epochs, rest = divmod(steps, math.ceil(examples / batch))
    return epochs * examples + min(rest * batch, examples)

"""The reusable pieces of a sweep, each one file under `configs/`. The text under a field is its documentation."""

from __future__ import annotations

import itertools
from typing import Any, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

LengthPolicy = Literal["strict", "keep-target", "compact-apis", "truncate"]
LENGTH_POLICIES: tuple[LengthPolicy, ...] = get_args(LengthPolicy)


class FrozenConfig(BaseModel):
    """Frozen, and unknown keys fail. Validators refuse; they never repair."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, use_attribute_docstrings=True)


RuntimeTunable = Literal["learning_rate", "max_grad_norm", "weight_decay"]
RUNTIME_TUNABLES: tuple[RuntimeTunable, ...] = get_args(RuntimeTunable)
"""Fields of a recipe that can change while a model trains."""


class HyperparameterChange(FrozenConfig):
    """Hyperparameters that are others from an optimiser step on. What is not given stays as it was: it is not written,
    and its default is never read."""

    step: int = Field(gt=0)
    """Optimiser steps taken before it holds."""
    learning_rate: FiniteFloat = Field(default=1.0, gt=0)
    """The schedule's peak; its shape goes on."""
    max_grad_norm: FiniteFloat | None = Field(default=None, gt=0)
    """Clipping; `null` switches it off."""
    weight_decay: FiniteFloat = Field(default=0.0, ge=0)
    """Of the parameters that decay."""

    @model_validator(mode="after")
    def _check_not_empty(self) -> HyperparameterChange:
        if not self.changed_values:
            raise ValueError(f"a change of nothing: give one of {', '.join(RUNTIME_TUNABLES)}")
        return self

    @model_serializer(mode="wrap")
    def _serialize_changed_values(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in dump(self).items() if key in self.model_fields_set}

    @property
    def changed_values(self) -> dict[RuntimeTunable, float | None]:
        """What it changes, and to what."""
        return {field: getattr(self, field) for field in RUNTIME_TUNABLES if field in self.model_fields_set}


class Recipe(FrozenConfig):
    """Fixed hyperparameters, spelled as `transformers.TrainingArguments` spells them."""

    num_train_epochs: FiniteFloat = Field(gt=0)
    """Passes over the training set, each run with its own full schedule. Without effect under one of the next two."""
    max_steps: int | None = Field(default=None, gt=0)
    """Optimiser steps of a run; `null` ends it by `num_train_epochs`."""
    train_flops_budget: FiniteFloat | None = Field(default=None, gt=0)
    """Training compute of a run, FLOPs (`sweeper.models.flops`): every size takes as many optimiser steps as come
    nearest to it. Not together with `max_steps`."""
    learning_rate: FiniteFloat = Field(gt=0)
    """Peak learning rate, reached at the end of the warm-up."""
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup", "warmup_stable_decay"]
    """Shape of the schedule after the warm-up. The paper does not state one. `warmup_stable_decay` (Hu et al. 2024,
    MiniCPM; Hägele et al. 2024) stays at the peak, and falls linearly to 0 over the last `decay_fraction`."""
    decay_fraction: FiniteFloat | None = Field(default=None, gt=0, lt=1)
    """Share of a run's optimiser steps over which `warmup_stable_decay` decays; no other schedule has it."""
    warmup_steps: int = Field(ge=0)
    """Optimiser steps of linear warm-up."""
    per_device_train_batch_size: int = Field(gt=0)
    """Examples per forward pass (micro-batch). Not part of a trial's identity; its product with the next is."""
    gradient_accumulation_steps: int = Field(gt=0)
    """Micro-batches per optimiser step on one worker; effective batch = this x per_device_train_batch_size."""
    max_grad_norm: FiniteFloat | None = Field(gt=0)
    """Gradients are clipped to this global L2 norm; `null` switches clipping off."""
    optim: Literal["adamw_torch", "adamw_torch_fused"]
    """Optimiser."""
    weight_decay: FiniteFloat = Field(ge=0)
    """AdamW's decoupled weight decay."""
    adam_beta1: FiniteFloat = Field(default=0.9, ge=0, lt=1)
    """AdamW's first-moment decay."""
    adam_beta2: FiniteFloat = Field(default=0.999, ge=0, lt=1)
    """AdamW's second-moment decay."""
    adam_epsilon: FiniteFloat = Field(default=1e-8, gt=0)
    """AdamW's epsilon."""
    precision: Literal["fp32", "fp16", "bf16"]
    """Arithmetic of the forward and backward pass; the master weights are always float32."""
    gradient_checkpointing: bool
    """Recompute activations in the backward pass: less memory, more time, same result."""
    train_sampling_strategy: Literal["random", "group_by_length"] = "random"
    """Order of examples: shuffled, or shuffled in groups of similar length, which leaves little padding."""
    dataloader_num_workers: int = Field(default=0, ge=0)
    """Data-loader processes. Not part of a trial's identity."""
    dataloader_pin_memory: bool = False
    """Page-locked host memory. Not part of a trial's identity."""
    divergence_ratio: FiniteFloat = Field(default=2.0, gt=1)
    """A trial is DIVERGED when its mean loss over ten logged steps exceeds this multiple of the first logged loss."""
    changes: tuple[HyperparameterChange, ...] = ()
    """What changes during a run, in the order of the steps; population based training finds such recipes."""

    @model_serializer(mode="wrap")
    def _serialize_without_empty_changes(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without any it is written as it always was: identities and searches that have begun stay what they are."""
        return {key: value for key, value in dump(self).items() if key != "changes" or value}

    @model_validator(mode="after")
    def _check_change_order(self) -> Recipe:
        steps = [change.step for change in self.changes]
        if any(later <= step for step, later in itertools.pairwise(steps)):
            raise ValueError(f"`changes` at steps {steps}: each should come after the one before")
        return self

    @model_validator(mode="after")
    def _check_single_end(self) -> Recipe:
        if self.max_steps is not None and self.train_flops_budget is not None:
            raise ValueError("`max_steps` and `train_flops_budget` both say when a run ends: give one of them")
        return self

    @model_validator(mode="after")
    def _check_decay_fraction(self) -> Recipe:
        if (self.lr_scheduler_type == "warmup_stable_decay") != (self.decay_fraction is not None):
            raise ValueError("`lr_scheduler_type: warmup_stable_decay` and `decay_fraction` go together")
        return self

    @property
    def segments(self) -> list[tuple[int, dict[RuntimeTunable, float | None]]]:
        """(optimiser steps before it, the values that then hold) of the start and of every change."""
        found: list[tuple[int, dict[RuntimeTunable, float | None]]] = [
            (0, {field: getattr(self, field) for field in RUNTIME_TUNABLES})
        ]
        for change in self.changes:
            found.append((change.step, found[-1][1] | change.changed_values))
        return found

    @property
    def ends_by_epochs(self) -> bool:
        """Whether `num_train_epochs` says when a run ends."""
        return self.max_steps is None and self.train_flops_budget is None

    @property
    def effective_batch_size(self) -> int:
        """Examples per optimiser step, over all workers."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps


class Branch(FrozenConfig):
    """Where a trial begins that goes on from another one, its trunk, instead of from the start."""

    trunk: str = Field(min_length=1)
    """Fingerprint of the trial that keeps the checkpoint that this one goes on from."""
    step: int | None = Field(default=None, gt=0)
    """Optimiser step of that checkpoint; `null`: where this one's own decay begins. Given, it saves time and nothing
    hangs on it: where the checkpoint is gone, the trial is trained from the start to the same end."""


class ModelSpec(FrozenConfig):
    """One rung of a ladder: pretrained (`source`) or built from a config with random weights (`config`)."""

    name: str = Field(min_length=1)
    """The name used on the `model` axis."""
    source: str | None = None
    """Hub id or local directory of a pretrained causal language model."""
    config: dict[str, Any] | None = None
    """`OPTConfig` fields (with `model_type: gpt_neox`: `GPTNeoXConfig`'s) of a model built from scratch; its
    vocabulary is that of the tokeniser trained on the data."""

    @model_validator(mode="after")
    def _check_single_origin(self) -> ModelSpec:
        if (self.source is None) == (self.config is None):
            raise ValueError("give exactly one of `source` (pretrained) and `config` (built from scratch)")
        return self


class AssumedSize(FrozenConfig):
    """What the size of a data set is taken to be in costs, until it is prepared. Never part of an identity."""

    examples: int | None = Field(default=None, gt=0)
    """Training rows; `null`: the training queries of the generated world."""
    mean_tokens: FiniteFloat | None = Field(default=None, gt=0)
    """Mean tokens of a row, at most `max_length`; `null`: all rows are as long as that, so costs are upper bounds."""


class DataSpec(FrozenConfig):
    """Which examples are trained on and how they become tokens. All of it is part of a trial's identity."""

    name: str = Field(min_length=1)
    """The name shown in reports."""
    source: Literal["toolworld", "toolbench"]
    """`toolworld` is generated; `toolbench` is read from `path`."""
    path: str | None = None
    """ToolBench training data: a folder of answers, ToolLLaMA's released file (or the folder of its train and eval
    files), or a Hugging Face dataset by folder or hub id."""
    toolworld: dict[str, Any] = Field(default_factory=dict)
    """Settings of the generated world: seed, numbers of queries."""
    api_format: Literal["toolbench", "signature"]
    """How APIs are listed in the system message: ToolBench's Python text, or one `name(arg: type)` line each."""
    fold_steps: bool
    """Train the steps of one answer as one row with the loss on each of them, where one is a prefix of the next."""
    max_length: int = Field(gt=0)
    """Longest row, tokens; at most the model's positions."""
    fit: LengthPolicy = "strict"
    """What becomes of an example longer than that: dropped; its prompt's middle cut; its API list shortened (example
    values, then descriptions, then unused APIs); or its end cut off, target and all, as TRL does. All are counted."""
    extend_positions: Literal["interpolate"] | None = None
    """Stretch the model's table of learned positions to `max_length` by linear interpolation."""
    validation_fraction: FiniteFloat = Field(default=0.1, gt=0, lt=1)
    """Share of queries held out for the validation loss (toolworld has its own split)."""
    vocab_size: int = Field(default=512, ge=300)
    """Vocabulary of the tokeniser trained on the corpus, for models built from a config."""
    assumed: AssumedSize | None = None
    """Their size, taken where `sweeper plan` has to say what a sweep costs before they are prepared."""


class LlmSpec(FrozenConfig):
    """A language model that judges, behind any OpenAI-compatible endpoint. Its key comes from the environment alone."""

    url: str = Field(min_length=1)
    """Base URL, such as `http://127.0.0.1:8000/v1`."""
    model: str = Field(min_length=1)
    """Name of the model at that endpoint."""
    votes: int = Field(default=4, gt=0)
    """Judgements of each answer; their majority decides. ToolEval takes at least 4."""
    temperature: FiniteFloat = Field(default=0.2, ge=0)
    """Sampling temperature of the judge; ToolEval's is 0.2."""
    concurrency: int = Field(default=16, gt=0)
    """Requests in flight at once. Does not change a result."""
    requests_per_minute: FiniteFloat | None = Field(default=None, gt=0)
    """Requests sent per minute at most; `null` sets no limit."""
    timeout_seconds: FiniteFloat = Field(default=60, gt=0)
    """One try of a request ends after this; it is tried 6 times, with growing waits."""
    input_price: FiniteFloat | None = Field(default=None, ge=0)
    """Price of a million input tokens, so that money is counted; in any currency."""
    output_price: FiniteFloat | None = Field(default=None, ge=0)
    """Price of a million output tokens."""
    structured: Literal["json_schema", "json_object", "none"] = "json_schema"
    """How the endpoint is asked for JSON; `none` for servers that know neither of the others."""


JudgeName = Literal["oracle", "rules", "llm"]


class EvaluationSpec(FrozenConfig):
    """How a trained model is tried as an agent. Not part of a trial's identity: it has its own."""

    name: str = Field(min_length=1)
    """The name shown in reports."""
    queries: str | None = None
    """Folder of ToolBench's or StableToolBench's test queries (`test_instruction/`, `test_query_ids/`); `null` asks the
    generated world's."""
    split: Literal["test", "validation"] = "test"
    """Of the generated world's queries: a search goes by those of `validation`, a report by those of `test`."""
    environment: Literal["toolworld", "replay", "http"]
    """Where calls are executed: in the generated world, from recorded responses, or by StableToolBench's server."""
    recorded: str | None = None
    """For `replay`: a folder of ToolBench answers, or of StableToolBench's response cache."""
    on_miss: Literal["error", "same-api"] = "error"
    """For `replay`, where a call was not recorded: an error observation, or the first recorded response of that API."""
    url: str | None = None
    """For `http`: address of a server that speaks StableToolBench's `/virtual` protocol."""
    judge: JudgeName
    """Who decides whether a query was solved: toolworld's oracle, fixed rules, or a language model."""
    also_judges: list[JudgeName] = Field(default_factory=list)
    """Others who judge the same answers. They decide no claim but `judge-independent`; the report shows what each claim
    would come to under each of them."""
    llm: LlmSpec | None = None
    """The judge `llm`."""
    temperature: FiniteFloat = Field(default=0.1, ge=0)
    """Sampling temperature; 0 is greedy. The paper uses 0.1."""
    max_steps: int = Field(default=10, gt=0)
    """Calls per query, `Finish` included. The paper allows 10."""
    max_new_tokens: int = Field(default=512, gt=0)
    """Tokens generated per step at most."""
    max_episode_tokens: int | None = Field(default=None, gt=0)
    """Tokens generated per query at most, over all steps; `null` sets no limit."""
    batch_size: int = Field(gt=0)
    """Episodes stepped together. Greedy results do not hang on it."""

    @model_validator(mode="after")
    def _check_requirements(self) -> EvaluationSpec:
        if len(set(self.judges)) < len(self.judges):
            raise ValueError(f"`also_judges` repeats a judge: {', '.join(self.judges)}")
        for value, key in (("replay", "recorded"), ("http", "url")):
            if self.environment == value and getattr(self, key) is None:
                raise ValueError(f"`environment: {value}` needs `{key}`")
        if "llm" in self.judges and self.llm is None:
            raise ValueError("`judge: llm` needs `llm`")
        if ("oracle" in self.judges or self.environment == "toolworld") and self.queries is not None:
            raise ValueError("toolworld's environment and oracle know its own queries alone: leave out `queries`")
        if self.split == "validation" and self.environment != "toolworld":
            raise ValueError("only the generated world has validation queries: `split: test`")
        if "oracle" in self.judges and self.environment != "toolworld":
            raise ValueError("the oracle judges toolworld's episodes alone: `judge: rules` or `judge: llm`")
        return self

    @property
    def judges(self) -> list[JudgeName]:
        """Every judge; the first leads."""
        return [self.judge, *self.also_judges]


class EngineSpec(FrozenConfig):
    """How the workers of one trial share a model. Never changes what a trial is, only where its memory lies."""

    name: str = Field(min_length=1)
    """The name used under `runtime`."""
    distributed: bool = False
    """Whether several workers can train one model together, one process and at most one GPU each."""
    zero_stage: Literal[0, 2, 3] = 0
    """DeepSpeed's ZeRO: 2 shares out optimiser states and gradients, 3 the parameters too, 0 is without DeepSpeed."""
    offload: bool = False
    """Keep optimiser states and parameters in host memory (ZeRO 3 alone)."""

    @model_validator(mode="after")
    def _check_zero_options(self) -> EngineSpec:
        if self.zero_stage and not self.distributed:
            raise ValueError("ZeRO shares a model out: `zero_stage` needs `distributed: true`")
        if self.offload and self.zero_stage != 3:
            raise ValueError("`offload` needs `zero_stage: 3`")
        return self


AUTO_ENGINES = ("single", "zero2", "zero3", "zero3-offload")
"""What `engine: auto` chooses from, the simplest first."""


class Runtime(FrozenConfig):
    """What one trial of a model is given. Never part of a trial's identity."""

    engine: str = "single"
    """An engine of `configs/engines/`; `auto`: the first of single, zero2, zero3, zero3-offload that fits the GPU."""
    workers: int = Field(default=1, gt=0)
    """Processes that train one model together; with `engine: auto`, at most. They share out the effective batch."""
    micro_batch: int | None = Field(default=None, gt=0)
    """Examples per forward pass of one worker, at most: less memory, the same effective batch. Else the recipe's."""
    checkpoints: Literal["last", "best", "none-after-evaluation"] = "last"
    """What stays of a trained trial: its model; also the checkpoint of lowest validation loss; or, once it is
    evaluated, neither."""
    cpus: FiniteFloat = Field(default=1, gt=0)
    """CPU cores of one worker; PyTorch's thread count is its floor (at least 1)."""
    gpus: FiniteFloat = Field(default=0, ge=0)
    """GPUs of one worker, at most 1; a fraction packs several trials on one."""
    hardware: str | None = None
    """The GPU it is planned for, of `configs/hardware/`: `engine: auto` needs it, and the plan then says what fits."""

    @model_validator(mode="after")
    def _check_gpu_share(self) -> Runtime:
        if self.gpus > 1:
            raise ValueError(f"`gpus: {self.gpus:g}`: a worker has one GPU at most; ask for more `workers`")
        if self.workers > 1 and 0 < self.gpus < 1:
            raise ValueError(f"`gpus: {self.gpus:g}` with {self.workers} workers: GPUs are shared by one-worker trials")
        return self


ClaimKind = Literal["reaches", "best-of", "no-gain-beyond", "stabilises", "generalises", "judge-independent", "cheaper"]
_ARM_FIELDS = {"axis", "candidate"}
CLAIM_FIELDS: dict[str, tuple[set[str], set[str]]] = {
    "reaches": ({"reference", "direction"}, _ARM_FIELDS),
    "best-of": (_ARM_FIELDS, {"reading", "protocol"}),
    "no-gain-beyond": (_ARM_FIELDS, {"overfitting"}),
    "stabilises": (_ARM_FIELDS | {"metric"}, {"against", "spread_of"}),
    "generalises": ({"direction"}, _ARM_FIELDS),
    "judge-independent": ({"metric", "reference"}, set()),
    "cheaper": (
        _ARM_FIELDS | {"metric", "against", "reference"},
        {"price_per_hour", "amortised_over", "protocol"},
    ),
}
"""Kind of a claim -> the fields it needs, and those it may have, besides what every claim has."""
PROTOCOL_FIELDS: dict[str, tuple[set[str], set[str]]] = {
    "identical": (set(), set()),
    "tuned": ({"tuned_axis", "selection_seeds"}, {"confirmation_seeds"}),
    "equal-compute": (set(), {"compute_axis", "train_flops"}),
    "searched": (set(), set()),
}
"""Protocol of a claim -> the fields it needs, and those it may have."""
_METRIC_BY_KIND = {"stabilises": "divergence_rate", "judge-independent": "agreement", "cheaper": "cost_per_solved"}
_DATA_AXES = ("fit", "max_length")


class Claim(FrozenConfig):
    """A statement registered before the run, with its test. A field that its kind or protocol has no use for is an
    error, and so is a missing one."""

    id: str = Field(min_length=1)
    """Name of the claim in reports."""
    text: str = Field(min_length=1)
    """The claim in one sentence."""
    kind: ClaimKind
    """`reaches`: an arm's pass rate is at least, at most or about `reference`, within the margin.
    `best-of`: the candidate is the best value of the axis, in the sense of `reading`.
    `no-gain-beyond`: no arm beyond the candidate beats it by the margin (non-inferiority to each).
    `stabilises`: fewer runs diverge at the candidate than at each other value, and seeds spread no more there.
    `generalises`: an arm's pass rate on unseen tools and categories minus that on seen ones, within the margin.
    `judge-independent`: judges agree above `reference`, give the same pass rate within the margin, and the sweep's
    other claims end alike under each of them.
    `cheaper`: cost per solved query of the candidate over that of `against` is below `reference`, at a pass rate that
    is lower by less than the margin."""
    metric: Literal["pass_rate", "divergence_rate", "agreement", "cost_per_solved"] = Field(
        default="pass_rate", validate_default=True
    )
    """What is tested: `divergence_rate` (share of runs) for `stabilises`, `agreement` (Gwet's AC1) for
    `judge-independent`, `cost_per_solved` (a ratio) for `cheaper`, `pass_rate` (a rate, 0 to 1) for all others."""
    axis: str | None = Field(default=None, validate_default=True)
    """The axis whose arms are compared: `model`, a field of the recipe, or the data's `fit` or `max_length`."""
    candidate: str | FiniteFloat | None = Field(default=None, validate_default=True)
    """The arm the claim is about: a value of that axis."""
    against: list[str | FiniteFloat | None] = Field(default_factory=list, validate_default=True)
    """The values it is held against (`null`: clipping off). `cheaper` takes exactly one; `stabilises` all others of the
    axis where none is given. The other kinds compare with the whole axis."""
    reference: FiniteFloat | None = Field(default=None, gt=0, validate_default=True)
    """The number claimed. `reaches`: a pass rate, 0 to 1. `judge-independent`: the AC1 to exceed, below 1. `cheaper`:
    the ratio of costs to stay below (1: merely cheaper; 0.5: at most half)."""
    direction: Literal["at-least", "at-most", "about"] | None = Field(default=None, validate_default=True)
    """`reaches`: which side of the reference is claimed. `generalises`: `at-least`, unseen falls short of seen by less
    than the margin; `about`, they differ by less than it. The direction of the other kinds is part of their kind."""
    reading: Literal["beats-smaller", "interior", "smallest-non-inferior"] = Field(
        default="beats-smaller", validate_default=True
    )
    """What "best" means for `best-of`; the others are reported beside it. `beats-smaller`: superior to every smaller
    arm, and no larger one better by the margin. `interior`: superior to both neighbours on the axis.
    `smallest-non-inferior`: no arm better by the margin, and every smaller arm worse by more than the margin."""
    margin: FiniteFloat = Field(gt=0, lt=1)
    """Difference, as a rate, below which two values count as equal. `stabilises`: of the divergence rates, and of the
    spreads over seeds (in nats with `spread_of: val_loss`). `cheaper`: of the pass rates. `judge-independent`: of the
    pass rate under two judges."""
    alpha: FiniteFloat = Field(default=0.05, gt=0, lt=1)
    """Error level of each comparison."""
    assumed_discordance: FiniteFloat = Field(default=0.2, gt=0, lt=1)
    """For planning: share of queries on which two equally good runs differ."""
    assumed_seed_sd: FiniteFloat = Field(default=0.02, ge=0, lt=1)
    """For planning: standard deviation over seeds of a run's pass rate, as a rate."""
    where: dict[str, Any] = Field(default_factory=dict)
    """Fixed values of other axes; axes not named here are matched between the compared arms. `reaches` and
    `generalises` are about one arm: they name a value of every axis that varies, but the seed."""
    overfitting: bool = Field(default=False, validate_default=True)
    """`no-gain-beyond`: also report whether the validation loss (nats per target token) rises beyond the candidate. It
    does not decide the claim."""
    spread_of: Literal["pass_rate", "val_loss"] = Field(default="pass_rate", validate_default=True)
    """`stabilises`: what spreads over seeds. A diverged run passes nothing; it has no validation loss and is left out
    of that spread."""
    price_per_hour: dict[str, FiniteFloat] = Field(default_factory=dict, validate_default=True)
    """`cheaper`: arm -> price of an hour of what one of its runs occupies, in any currency. Without it, cost is time,
    which compares arms on the same hardware alone."""
    amortised_over: int | None = Field(default=None, gt=0, validate_default=True)
    """`cheaper`: queries over which a training run's cost is spread; `null`: those of the suite."""
    protocol: Literal["identical", "tuned", "equal-compute", "searched"] = Field(
        default="identical", validate_default=True
    )
    """How arms of `best-of` and `cheaper` are made comparable. `identical`: the same hyperparameters. `tuned`: each arm
    at its own value of `tuned_axis`, of equally many tried, chosen by validation loss on `selection_seeds` and compared
    on other seeds alone. `equal-compute`: each arm's run at a common number of training FLOPs, within 5 %. `searched`:
    each model as a search with `equal_per: model` found it, on the seeds that confirm."""
    tuned_axis: str | None = Field(default=None, validate_default=True)
    """`tuned`: the axis from which each arm gets its own value."""
    selection_seeds: list[int] = Field(default_factory=list, validate_default=True)
    """`tuned`: seeds on which values are chosen; never used to compare."""
    confirmation_seeds: list[int] = Field(default_factory=list, validate_default=True)
    """`tuned`: seeds on which arms are compared; all others of the sweep where none is given."""
    compute_axis: str = Field(default="num_train_epochs", validate_default=True)
    """`equal-compute`: the axis along which training length varies."""
    train_flops: FiniteFloat | None = Field(default=None, gt=0, validate_default=True)
    """`equal-compute`: the common budget, FLOPs of one training run; `null`: that of the candidate's run to which the
    other arms come closest."""

    @field_validator(
        *("metric", "axis", "candidate", "against", "reference", "direction", "reading", "overfitting", "spread_of"),
        *("price_per_hour", "amortised_over", "protocol"),
    )
    @classmethod
    def _check_kind_field(cls, value: Any, info: ValidationInfo) -> Any:
        kind, name = info.data.get("kind"), str(info.field_name)
        if kind is None:
            return value
        needs, may = CLAIM_FIELDS[kind]
        given = value != cls.model_fields[name].get_default(call_default_factory=True)
        if name == "metric":
            wanted = _METRIC_BY_KIND.get(kind, "pass_rate")
            if value != wanted:
                raise ValueError(f"`kind: {kind}` needs `metric: {wanted}`")
            return value
        _check_field_allowed(f"kind: {kind}", name, given, needs, may)
        if name == "axis" and value is not None and value not in ("model", *Recipe.model_fields, *_DATA_AXES):
            raise ValueError("not an axis: `model`, a field of the recipe, `fit` or `max_length`")
        if name == "candidate" and (value is None) != (info.data.get("axis") is None):
            raise ValueError("`axis` and `candidate` name an arm together")
        if name == "against" and kind == "cheaper" and len(value) != 1:
            raise ValueError(f"`kind: cheaper` takes exactly one arm to compare with, not {len(value)}")
        if name == "against" and info.data.get("candidate") in value and info.data.get("candidate") is not None:
            raise ValueError("the candidate cannot be held against itself")
        if name == "reference" and kind in ("reaches", "judge-independent") and value >= 1:
            raise ValueError("should be below 1: rates and agreement are shares, not percent")
        if name == "direction" and kind == "generalises" and value == "at-most":
            raise ValueError("`kind: generalises` knows `at-least` and `about`")
        if name == "price_per_hour" and value:
            lacking = [str(arm) for arm in (info.data.get("candidate"), *info.data.get("against", ()))]
            lacking = [arm for arm in lacking if not value.get(_normalize_arm(arm), 0) > 0]
            if lacking:
                raise ValueError(f"no price above 0 for {lacking}")
        return value

    @field_validator("tuned_axis", "selection_seeds", "confirmation_seeds", "compute_axis", "train_flops")
    @classmethod
    def _check_protocol_field(cls, value: Any, info: ValidationInfo) -> Any:
        protocol, name = info.data.get("protocol"), str(info.field_name)
        if protocol is None:
            return value
        given = value != cls.model_fields[name].get_default(call_default_factory=True)
        _check_field_allowed(f"protocol: {protocol}", name, given, *PROTOCOL_FIELDS[protocol])
        free = {"tuned": "tuned_axis", "equal-compute": "compute_axis"}.get(protocol)
        if name == free and value == info.data.get("axis"):
            raise ValueError("the axis that is compared: nothing would be left to choose from")
        both = set(value) & set(info.data.get("selection_seeds", ())) if name == "confirmation_seeds" else set()
        if both:
            raise ValueError(f"seeds {sorted(both)} are selection seeds too: what chose an arm cannot confirm it")
        return value


def _check_field_allowed(
    choice: str, name: str, is_given: bool, required_fields: set[str], optional_fields: set[str]
) -> None:
    if name in required_fields and not is_given:
        raise ValueError(f"`{choice}` needs `{name}`")
    if is_given and name not in required_fields | optional_fields:
        takes = ", ".join(f"`{field}`" for field in sorted(required_fields | optional_fields))
        raise ValueError(f"`{choice}` has no use for `{name}`" + (f"; it takes {takes}" if takes else ""))


def _normalize_arm(arm: str) -> str:
    """An arm as written in `price_per_hour`: `1.0` is `1`."""
    try:
        return f"{float(arm):g}"
    except ValueError:
        return arm


class ReferenceRow(FrozenConfig):
    """One published model."""

    model: str = Field(min_length=1)
    """Its name, as published."""
    rates: dict[str, FiniteFloat]
    """Subset -> pass rate, percent."""
    overall: FiniteFloat = Field(ge=0, le=100)
    """The published overall or average, percent."""


class Reference(FrozenConfig):
    """A published table. It stands beside our results, and never in their columns."""

    name: str = Field(min_length=1)
    """Name of its file."""
    title: str = Field(min_length=1)
    """Name shown in reports."""
    source: str = Field(min_length=1)
    """Where it was published."""
    date: str = Field(min_length=4)
    """When, as YYYY-MM."""
    judge: str = Field(min_length=1)
    """Who judged, how often."""
    query_set: str = Field(min_length=1)
    """Which queries."""
    definition: Literal["strict", "stabletoolbench", "tooleval"]
    """What counted as passed."""
    rows: list[ReferenceRow]
    """Its models."""

"""The reusable pieces of a sweep, each one file under `configs/`. The text under a field is its documentation."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

FitPolicy = Literal["strict", "keep-target", "compact-apis", "truncate"]
FIT_POLICIES: tuple[FitPolicy, ...] = get_args(FitPolicy)


class Part(BaseModel):
    """Frozen, and unknown keys fail. Validators refuse; they never repair."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, use_attribute_docstrings=True)


class Recipe(Part):
    """Fixed hyperparameters, spelled as `transformers.TrainingArguments` spells them."""

    num_train_epochs: FiniteFloat = Field(gt=0)
    """Passes over the training set, each run with its own full schedule."""
    learning_rate: FiniteFloat = Field(gt=0)
    """Peak learning rate, reached at the end of the warm-up."""
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"]
    """Shape of the schedule after the warm-up. The paper does not state one."""
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

    @property
    def effective_batch_size(self) -> int:
        """Examples per optimiser step, over all workers."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps


class ModelSpec(Part):
    """One rung of a ladder: pretrained (`source`) or built from a config with random weights (`config`)."""

    name: str = Field(min_length=1)
    """The name used on the `model` axis."""
    source: str | None = None
    """Hub id or local directory of a pretrained causal language model."""
    config: dict[str, Any] | None = None
    """`OPTConfig` fields of a model built from scratch; its vocabulary is that of the tokeniser trained on the data."""

    @model_validator(mode="after")
    def _exactly_one_origin(self) -> ModelSpec:
        if (self.source is None) == (self.config is None):
            raise ValueError("give exactly one of `source` (pretrained) and `config` (built from scratch)")
        return self


class DataSpec(Part):
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
    fit: FitPolicy = "strict"
    """What becomes of an example longer than that: dropped; its prompt's middle cut; its API list shortened (example
    values, then descriptions, then unused APIs); or its end cut off, target and all, as TRL does. All are counted."""
    extend_positions: Literal["interpolate"] | None = None
    """Stretch the model's table of learned positions to `max_length` by linear interpolation."""
    validation_fraction: FiniteFloat = Field(default=0.1, gt=0, lt=1)
    """Share of queries held out for the validation loss (toolworld has its own split)."""
    vocab_size: int = Field(default=512, ge=300)
    """Vocabulary of the tokeniser trained on the corpus, for models built from a config."""


class LlmSpec(Part):
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


class EvaluationSpec(Part):
    """How a trained model is tried as an agent. Not part of a trial's identity: it has its own."""

    name: str = Field(min_length=1)
    """The name shown in reports."""
    queries: str | None = None
    """Folder of ToolBench's or StableToolBench's test queries (`test_instruction/`, `test_query_ids/`); `null` asks the
    generated world's."""
    environment: Literal["toolworld", "replay", "http"]
    """Where calls are executed: in the generated world, from recorded responses, or by StableToolBench's server."""
    recorded: str | None = None
    """For `replay`: a folder of ToolBench answers, or of StableToolBench's response cache."""
    on_miss: Literal["error", "same-api"] = "error"
    """For `replay`, where a call was not recorded: an error observation, or the first recorded response of that API."""
    url: str | None = None
    """For `http`: address of a server that speaks StableToolBench's `/virtual` protocol."""
    judge: Literal["oracle", "rules", "llm"]
    """Who decides whether a query was solved: toolworld's oracle, fixed rules, or a language model."""
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
    def _what_it_needs(self) -> EvaluationSpec:
        for choice, key in (("environment: replay", "recorded"), ("environment: http", "url"), ("judge: llm", "llm")):
            field, value = choice.split(": ")
            if getattr(self, field) == value and getattr(self, key) is None:
                raise ValueError(f"`{choice}` needs `{key}`")
        if (self.judge == "oracle" or self.environment == "toolworld") and self.queries is not None:
            raise ValueError("toolworld's environment and oracle know its own queries alone: leave out `queries`")
        if self.judge == "oracle" and self.environment != "toolworld":
            raise ValueError("the oracle judges toolworld's episodes alone: `judge: rules` or `judge: llm`")
        return self


class EngineSpec(Part):
    """How a trial uses hardware."""

    name: str = Field(min_length=1)
    """The name used under `runtime`."""
    workers: int = Field(gt=0, le=1)
    """Processes that train one model together."""


class Runtime(Part):
    """What one trial of a model is given. Never part of a trial's identity."""

    engine: str = "single"
    """An engine of `configs/engines/`."""
    cpus: FiniteFloat = Field(default=1, gt=0)
    """CPU cores for one trial; PyTorch's thread count is its floor (at least 1)."""
    gpus: FiniteFloat = Field(default=0, ge=0)
    """GPUs for one trial; a fraction packs several trials on one."""


class Claim(Part):
    """A statement registered before the run, with its test."""

    id: str = Field(min_length=1)
    """Name of the claim in reports."""
    text: str = Field(min_length=1)
    """The claim in one sentence."""
    kind: Literal["best-of", "no-gain-beyond"]
    """`best-of`: candidate beats every smaller arm, no larger arm beats it by the margin.
    `no-gain-beyond`: no arm beyond the candidate beats it by the margin."""
    axis: Literal["model", "num_train_epochs"]
    """The axis whose arms are compared."""
    candidate: str | FiniteFloat
    """The arm the claim is about."""
    metric: Literal["pass_rate"] = "pass_rate"
    """What is compared."""
    margin: FiniteFloat = Field(gt=0, lt=1)
    """Difference, as a rate, below which two arms count as equal."""
    alpha: FiniteFloat = Field(default=0.05, gt=0, lt=1)
    """Error level of each comparison."""
    where: dict[str, Any] = Field(default_factory=dict)
    """Fixed values of other axes; axes not named here are matched between the compared arms."""


class ReferenceRow(Part):
    """One published model."""

    model: str = Field(min_length=1)
    """Its name, as published."""
    rates: dict[str, FiniteFloat]
    """Subset -> pass rate, percent."""
    overall: FiniteFloat = Field(ge=0, le=100)
    """The published overall or average, percent."""


class Reference(Part):
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

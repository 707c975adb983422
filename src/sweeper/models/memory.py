"""GPU memory of training, from a config alone: what `sweeper plan` prints, and what `engine: auto` chooses by.

The memory of a step peaks at one of four moments: at the end of the forward pass, in the backward pass of the loss, in
that of a layer, or at the optimizer's update. A GPU must hold the largest of them. Gradients count at all of them: from
the second micro-batch of a step on, those of the earlier ones exist.

Tests compare it with PyTorch's MemTracker and DeepSpeed's estimators. It has not been measured on a GPU yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from typing import assert_never

from sweeper.config import AUTO_ENGINES, EngineSpec, Recipe, read_optimizer_traits
from sweeper.errors import ModelError
from sweeper.models.architecture import Architecture, ModelConfig
from sweeper.models.parameter_counts import count_trainable_parameters

GIB = 2.0**30
CUDA_CONTEXT_BYTES = 1.0 * GIB
"""Bytes of CUDA's context, loaded kernels and the workspaces of cuBLAS and NCCL. Assumed, not measured."""
FRAGMENTATION_SHARE = 0.05
"""Memory that PyTorch's allocator reserves beyond that of tensors, as a share of it. Assumed, not measured."""
ZERO_REDUCE_BUCKET_ELEMENTS = 5 * 10**8
"""Elements of ZeRO's gradient buffer: DeepSpeed's default `reduce_bucket_size`."""
ZERO3_LIVE_PARAMETERS = 10**9
"""Parameters that ZeRO 3 keeps gathered at a time: DeepSpeed's default `stage3_max_live_parameters`."""
LOSS_CHUNK_TOKENS = 2048
"""Target tokens whose logits exist at the same time during training (`sweeper.training.loss`)."""


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes on one GPU at the peak of a training step."""

    weights: float
    """Parameters, and autocast's copies of them in half precision."""
    gradients: float
    """Gradients, and the buckets of DistributedDataParallel."""
    optimizer: float
    """The optimizer's states, its temporaries at the update, and under ZeRO float32 weights and gradients."""
    activations: float
    """Tensors kept for the backward pass, and those of the layer whose backward pass runs."""
    logits: float
    """Logits, and in the loss their log-probabilities and gradients."""
    workspace: float
    """CUDA's context, ZeRO's buffers and the allocator's overhead: the assumed part."""

    @property
    def total_bytes(self) -> float:
        """Sum of all parts, bytes."""
        return float(sum(astuple(self)))

    @property
    def total_gib(self) -> float:
        """Sum of all parts, GiB."""
        return self.total_bytes / GIB


def estimate_training_memory(
    config: ModelConfig, recipe: Recipe, engine: EngineSpec, *, workers: int, micro_batch: int, length: int
) -> TrainingMemory:
    """Estimate the peak memory of one GPU.

    Args:
        config: the model's config.
        recipe: precision, gradient checkpointing and optimizer.
        engine: how the workers share the model.
        workers: processes that train together; 1 for an engine that is not distributed.
        micro_batch: rows of one forward pass.
        length: tokens of a row, padding included.

    Returns:
        Bytes of weights, gradients, optimizer states, activations and logits, and their sum.

    Raises:
        ModelError: another architecture, or a missing field.

    Example:
        >>> from sweeper.config import find_sweep, load_model_spec, load_sweep
        >>> sweep = load_sweep(find_sweep("canonical"))
        >>> config = load_config(load_model_spec("opt-350m"), vocab_size=0)
        >>> memory = estimate_training_memory(
        ...     config, sweep.recipe, sweep.engines["single"], workers=1, micro_batch=2, length=1024
        ... )
        >>> round(memory.total_gib, 1)
        8.0
    """
    model = Architecture.parse(config)
    is_half = recipe.precision != "fp32"
    is_autocast = is_half and not engine.zero_stage
    count, head, layers = model.parameters, model.head_parameters, model.num_layers
    trainable = count_trainable_parameters(model, recipe).total
    weights, gradients, optimizer = estimate_model_states(
        count,
        trainable,
        count_largest_module(config),
        engine,
        state_bytes=read_optimizer_traits(recipe.optim).state_bytes,
        is_half_precision=is_half,
        workers=workers,
    )
    residual, inner = (2 if is_half and not is_autocast else 4), (2 if is_half else 4)
    tokens, is_padded = micro_batch * length, micro_batch > 1

    layer = tokens * _estimate_layer_bytes(model, residual, inner, length, is_autocast=is_autocast, is_padded=is_padded)
    in_backward = float(tokens) * (inner * model.feed_forward_width + residual * model.hidden_size)
    if recipe.gradient_checkpointing:
        kept, in_backward = float(layers * tokens * residual * model.hidden_size), in_backward + layer
    else:
        kept = layers * layer
    kept += tokens * _estimate_bytes_outside_layers(model, residual, inner) + (tokens * length if is_padded else 0)

    cast_at_end = 2 * (model.body_parameters + head) if is_autocast else 0
    if recipe.gradient_checkpointing:
        cast_in_loss = 2 * head if is_autocast else 0
        cast_in_layer = (cast_at_end - cast_in_loss) / layers
    else:
        cast_in_loss = cast_in_layer = cast_at_end
    # A config does not tell how many tokens are targets, so all are assumed to be. When the loss runs in chunks, the
    # gradients of the head are accumulated beside those of the chunk, and those of its inputs wait for the last chunk.
    is_chunked = engine.zero_stage != 3 and tokens > LOSS_CHUNK_TOKENS
    scores = (LOSS_CHUNK_TOKENS if is_chunked else tokens) * model.vocab_size
    accumulated = inner * head + 4 * tokens * head // model.vocab_size if is_chunked else 0
    moments = (
        (cast_at_end, optimizer, kept, scores * (8 + (inner if is_half else 0))),
        (cast_in_loss, optimizer, kept, scores * 12 + accumulated),
        (cast_in_layer, optimizer, kept + in_backward, 0),
        (0, optimizer + _estimate_update_bytes(trainable, recipe, engine, workers), 0, 0),
    )
    cast, states, activations, logits = max(moments, key=sum)
    tensors = weights + cast + gradients + states + activations + logits
    workspace = CUDA_CONTEXT_BYTES + FRAGMENTATION_SHARE * tensors + _estimate_zero_buffer_bytes(count, engine, inner)
    return TrainingMemory(weights + cast, gradients, states, activations, logits, workspace)


def choose_engine(
    config: ModelConfig,
    recipe: Recipe,
    engines: Mapping[str, EngineSpec],
    *,
    workers: int,
    micro_batch_for: Callable[[int], int],
    length: int,
    memory_gib: float,
) -> tuple[EngineSpec, int] | None:
    """Choose the first of `AUTO_ENGINES` that fits a GPU.

    `single` uses one worker, the others all of them. With one worker, ZeRO has nothing to partition, and only its
    offload can help.

    Args:
        config: the model's config.
        recipe: precision, gradient checkpointing and optimizer.
        engines: engines by name; those of `AUTO_ENGINES` that are missing are not considered.
        workers: the most workers available.
        micro_batch_for: number of workers -> rows of a micro-batch.
        length: tokens of a row.
        memory_gib: memory of one GPU, GiB.

    Returns:
        The engine and its number of workers; None if none fits.

    Raises:
        ModelError: another architecture, or a missing field.

    Example:
        >>> from sweeper.config import find_sweep, load_model_spec, load_sweep
        >>> sweep = load_sweep(find_sweep("scaling"))
        >>> config = load_config(load_model_spec("opt-1.3b"), vocab_size=0)
        >>> options = {"workers": 4, "micro_batch_for": lambda workers: 2, "length": 1024, "memory_gib": 22.0}
        >>> engine, workers = choose_engine(config, sweep.recipe, sweep.engines, **options)
        >>> engine.name, workers
        ('zero2', 4)
    """
    for name in AUTO_ENGINES:
        engine = engines.get(name)
        if engine is None or (workers == 1 and engine.distributed and not engine.offload):
            continue
        used = workers if engine.distributed else 1
        required = estimate_training_memory(
            config, recipe, engine, workers=used, micro_batch=micro_batch_for(used), length=length
        )
        if required.total_gib <= memory_gib:
            return engine, used
    return None


def estimate_model_states(
    parameters: int,
    trainable: int,
    largest_module_size: int,
    engine: EngineSpec,
    *,
    state_bytes: float,
    is_half_precision: bool,
    workers: int,
) -> tuple[float, float, float]:
    """Estimate the bytes per GPU of weights, gradients and optimizer states, without activations.

    Without ZeRO and with AdamW: 4 + 4 + 8 bytes per parameter, all float32 (Rajbhandari et al. 2020, section 3.1,
    without the half-precision weights, which autocast makes on the fly). DistributedDataParallel holds gradients a
    second time in its buckets (`gradient_as_bucket_view` is off by default). With ZeRO and half precision:
    `estimate_zero2_model_states_mem_needs` and `estimate_zero3_model_states_mem_needs` of DeepSpeed 0.19.8, whose 18
    partitioned bytes are split here into 2 of half precision, 8 of float32 weights and gradients, and AdamW's 8.
    Without half precision, 2 becomes 4.

    Args:
        parameters: parameters of the model.
        trainable: those that are trained, which have gradients and optimizer states.
        largest_module_size: parameters of its largest module (`count_largest_module`).
        engine: how the workers share the model.
        state_bytes: bytes of optimizer states per trained parameter.
        is_half_precision: whether the recipe computes in half precision.
        workers: processes that train together.

    Returns:
        Bytes of (weights, gradients, optimizer states).
    """
    count, trained, low = float(parameters), float(trainable), 2 if is_half_precision else 4
    share, trained_share, partitioned = count / workers, trained / workers, 8 + state_bytes
    gathered = float(low * largest_module_size)
    match engine.zero_stage:
        case 0:
            buckets = 4 * trained if engine.distributed and workers > 1 else 0.0
            return 4 * count, 4 * trained + buckets, state_bytes * trained
        case 2:
            return low * count, low * trained_share, partitioned * trained_share
        case 3 if engine.offload:
            return gathered, gathered, 0.0
        case 3:
            return gathered + low * share, gathered, partitioned * trained_share
        case _:
            assert_never(engine.zero_stage)


def count_largest_module(config: ModelConfig) -> int:
    """Count the parameters of the largest module, an embedding or a feed-forward matrix; ZeRO 3 gathers it whole.

    Raises:
        ModelError: another architecture, or a missing field.
    """
    model = Architecture.parse(config)
    feed_forward = model.hidden_size * model.feed_forward_width + model.feed_forward_width
    return max(model.head_parameters, feed_forward)


def _estimate_layer_bytes(
    model: Architecture, residual: int, inner: int, length: int, *, is_autocast: bool, is_padded: bool
) -> float:
    """Estimate the bytes per token that one layer keeps for its backward pass.

    Itemized as in Korthikanti et al. 2022 (arXiv 2205.05198), section 4.1, who get 34 x hidden for their layer in half
    precision. Here autocast keeps the residual stream in float32 (inputs of norms), and casts the input of OPT's query,
    key and value once for each; ReLU keeps one tensor where GELU keeps two; rotary positions keep rotated queries and
    keys beside the unrotated. Fused attention (sdpa) keeps no scores, but the padding mask as a bias, one row per
    token. Eager attention keeps the softmax in float32 and its cast.

    Args:
        residual: bytes of a number in the residual stream.
        inner: bytes of any other number.
        length: tokens of a row.
        is_autocast: whether autocast makes the half-precision copies.
        is_padded: whether rows have a padding mask.
    """
    if model.family == "opt":
        qkv_input, qkv = inner * (3 if is_autocast else 1), 3 * inner
    else:
        qkv_input, qkv = inner, 5 * inner
    dropout_masks = 2 if model.has_dropout else 0
    per_channel = model.norms_on_residual * residual + qkv_input + qkv + inner + dropout_masks + inner
    activation = model.feed_forward_width * inner * (1 if model.is_relu else 2)
    match model.attention:
        case "sdpa":
            scores = inner * length if is_padded else 0
        case "eager":
            scores = _get_head_count(model) * length * (4 if inner == 4 else 4 + inner)
        case other:
            found = f"attn_implementation: {other}, which is not modeled"
            raise ModelError("models", requested="training memory", found=found, hint="sdpa or eager")
    return float(model.hidden_size * per_channel + activation + scores)


def _estimate_bytes_outside_layers(model: Architecture, residual: int, inner: int) -> int:
    """Estimate the bytes per token between the last layer and the logits: inputs of final norm, projection and head."""
    final_norm = residual * model.hidden_size if model.has_final_norm else 0
    projection = inner * model.hidden_size if model.has_projections else 0
    return final_norm + projection + inner * model.embedding_width


def _estimate_update_bytes(trainable: int, recipe: Recipe, engine: EngineSpec, workers: int) -> float:
    """Estimate the bytes of the optimizer's temporaries. An offloaded optimizer runs on the host."""
    if engine.offload:
        return 0.0
    return read_optimizer_traits(recipe.optim).update_bytes * trainable / (workers if engine.zero_stage else 1)


def _estimate_zero_buffer_bytes(parameters: int, engine: EngineSpec, inner: int) -> float:
    """Estimate the bytes of DeepSpeed's own buffers at their default sizes, which its estimators exclude."""
    if not engine.zero_stage:
        return 0.0
    live = min(parameters, ZERO3_LIVE_PARAMETERS) if engine.zero_stage == 3 else 0
    return float(inner * (ZERO_REDUCE_BUCKET_ELEMENTS + live))


def _get_head_count(model: Architecture) -> int:
    if not model.num_heads:
        raise ModelError(
            "models", requested="the memory of eager attention", found="a config without `num_attention_heads`"
        )
    return int(model.num_heads)

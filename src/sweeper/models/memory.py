"""GPU memory of training, from a config alone: what `sweeper plan` prints, and what `engine: auto` chooses by.

A step peaks at one of four moments: the end of the forward pass, the backward pass through the loss, that through a
layer, or the optimiser's update. The largest of them is what a GPU has to hold. Gradients count at all of them: from
the second micro-batch of a step on, those of the earlier ones are there.

Tests hold it to PyTorch's MemTracker and to DeepSpeed's estimators. No GPU has been measured yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from typing import Any

from sweeper.config import AUTO_ENGINES, EngineSpec, Recipe
from sweeper.errors import ModelError
from sweeper.models.parameter_counts import (
    count_non_embedding_parameters,
    count_output_head_parameters,
    count_parameters,
)

GIB = 2.0**30
CUDA_CONTEXT_BYTES = 1.0 * GIB
"""Bytes of CUDA's context, loaded kernels and the workspaces of cuBLAS and NCCL: an estimate, not measured."""
FRAGMENTATION_SHARE = 0.05
"""What PyTorch's allocator reserves beyond what tensors take, as a share of that: an estimate, not measured."""
ZERO_REDUCE_BUCKET_ELEMENTS = 5 * 10**8
"""Elements of the buffer that ZeRO collects gradients in: DeepSpeed's default `reduce_bucket_size`."""
ZERO3_LIVE_PARAMETERS = 10**9
"""Parameters that ZeRO 3 may keep gathered at a time: DeepSpeed's default `stage3_max_live_parameters`."""
LOSS_CHUNK_TOKENS = 2048
"""Target tokens whose logits training holds at a time (`sweeper.training.loss`)."""


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes on one GPU at the moment at which training needs most."""

    weights: float
    """Parameters, and autocast's copies of them in half precision."""
    gradients: float
    """Gradients, and the buckets of DistributedDataParallel."""
    optimizer: float
    """AdamW's moments, its temporaries at the update, and under ZeRO float32 weights and gradients."""
    activations: float
    """What layers keep for the backward pass, and what that adds within one layer."""
    logits: float
    """Logits, and in the loss their log-probabilities and gradients."""
    workspace: float
    """CUDA's context, ZeRO's buffers and the allocator's slack: the part that is estimated."""

    @property
    def total_bytes(self) -> float:
        """All of it, bytes."""
        return float(sum(astuple(self)))

    @property
    def total_gib(self) -> float:
        """All of it, GiB."""
        return self.total_bytes / GIB


def estimate_training_memory(
    config: dict[str, Any], recipe: Recipe, engine: EngineSpec, *, workers: int, micro_batch: int, length: int
) -> TrainingMemory:
    """Memory of one GPU where `workers` train together on micro-batches of `micro_batch` rows, padded to `length`
    tokens. An engine that is not distributed knows one worker. Raises ModelError.
    """
    half = recipe.precision != "fp32"
    autocast = half and not engine.zero_stage
    count, head, layers = (
        count_parameters(config),
        count_output_head_parameters(config),
        int(config["num_hidden_layers"]),
    )
    weights, gradients, optimizer = estimate_model_states(
        count, count_largest_module(config), engine, is_half_precision=half, workers=workers
    )
    residual, inner = (2 if half and not autocast else 4), (2 if half else 4)
    tokens = micro_batch * length

    layer = tokens * _estimate_layer_bytes(config, residual, inner, length, autocast=autocast, padded=micro_batch > 1)
    within = float(tokens) * (inner * _get_feed_forward_width(config) + residual * int(config["hidden_size"]))
    if recipe.gradient_checkpointing:
        kept, within = float(layers * tokens * residual * int(config["hidden_size"])), within + layer
    else:
        kept = layers * layer
    kept += tokens * _estimate_bytes_outside_layers(config, residual, inner) + (
        tokens * length if micro_batch > 1 else 0
    )

    copies = 2 * (count_non_embedding_parameters(config) + head) if autocast else 0
    later = (2 * head if autocast else 0) if recipe.gradient_checkpointing else copies
    one_layer = (copies - later) / layers if recipe.gradient_checkpointing else copies
    # How many tokens are targets is not known from a config: as many as there can be. In pieces, the gradients of the
    # head are summed up beside the piece's, and those of its inputs wait for the last piece.
    pieces = engine.zero_stage != 3 and tokens > LOSS_CHUNK_TOKENS
    scores = (LOSS_CHUNK_TOKENS if pieces else tokens) * int(config["vocab_size"])
    summed = inner * head + 4 * tokens * head // int(config["vocab_size"]) if pieces else 0
    moments = (
        (copies, optimizer, kept, scores * (8 + (inner if half else 0))),
        (later, optimizer, kept, scores * 12 + summed),
        (one_layer, optimizer, kept + within, 0),
        (0, optimizer + _estimate_update_bytes(count, recipe, engine, workers), 0, 0),
    )
    cast, states, activations, logits = max(moments, key=sum)
    tensors = weights + cast + gradients + states + activations + logits
    workspace = CUDA_CONTEXT_BYTES + FRAGMENTATION_SHARE * tensors + _estimate_zero_buffer_bytes(count, engine, inner)
    return TrainingMemory(weights + cast, gradients, states, activations, logits, workspace)


def choose_engine(
    config: dict[str, Any],
    recipe: Recipe,
    engines: Mapping[str, EngineSpec],
    *,
    workers: int,
    micro_batch_for: Callable[[int], int],
    length: int,
    memory_gib: float,
) -> tuple[EngineSpec, int] | None:
    """The first of `ENGINES` that fits into `memory_gib` (GiB of one GPU), with its number of workers; None: none does.

    `single` takes one worker, the others all `workers`; with one, ZeRO has nothing to share out, and only its offload
    is left. `micro_batch_of(workers)`: rows of a micro-batch when so many train together. Raises ModelError.
    """
    for name in AUTO_ENGINES:
        engine = engines.get(name)
        if engine is None or (workers == 1 and engine.distributed and not engine.offload):
            continue
        used = workers if engine.distributed else 1
        need = estimate_training_memory(
            config, recipe, engine, workers=used, micro_batch=micro_batch_for(used), length=length
        )
        if need.total_gib <= memory_gib:
            return engine, used
    return None


def estimate_model_states(
    parameters: int, largest_module_size: int, engine: EngineSpec, *, is_half_precision: bool, workers: int
) -> tuple[float, float, float]:
    """Bytes per GPU of weights, gradients and optimiser, without activations. `largest`: see `largest_module`.

    Without ZeRO: 4 + 4 + 8 bytes a parameter, all float32 (Rajbhandari et al. 2020, section 3.1, without half weights:
    autocast makes those on the fly); DistributedDataParallel holds gradients a second time in its buckets
    (`gradient_as_bucket_view` is off by default). With ZeRO and `half`: `estimate_zero2_model_states_mem_needs` and
    `estimate_zero3_model_states_mem_needs` of DeepSpeed 0.19.8, whose 18 bytes shared out are split here into 2 of
    half precision and 16 of float32 weights, gradients and moments. Without `half`, 4 stands for 2.
    """
    count = float(parameters)
    if not engine.zero_stage:
        buckets = 4 * count if engine.distributed and workers > 1 else 0.0
        return 4 * count, 4 * count + buckets, 8 * count
    low, share = (2 if is_half_precision else 4), count / workers
    if engine.zero_stage == 2:
        return low * count, low * share, 16 * share
    gathered = float(low * largest_module_size)
    if engine.offload:
        return gathered, gathered, 0.0
    return gathered + low * share, gathered, 16 * share


def count_largest_module(config: dict[str, Any]) -> int:
    """Parameters of the largest single module, which ZeRO 3 gathers whole: an embedding or a feed-forward matrix.

    Raises ModelError.
    """
    wide = _get_feed_forward_width(config)
    matrix = int(config["hidden_size"]) * wide + wide
    return max(count_output_head_parameters(config), matrix)


def _estimate_layer_bytes(
    config: dict[str, Any], residual: int, inner: int, length: int, *, autocast: bool, padded: bool
) -> float:
    """Bytes that one layer keeps for its backward pass, per token.

    Korthikanti et al. 2022 (arXiv 2205.05198), section 4.1, item by item: 34 x hidden for their layer in half
    precision. Here autocast leaves the residual stream in float32 (norms' inputs), and casts the input of OPT's query,
    key and value once for each; ReLU keeps one tensor where GELU keeps two; rotary positions keep rotated queries and
    keys beside the unrotated. Fused attention (sdpa) has no scores; its backward keeps the padding mask as a bias, one
    row per token. Eager attention keeps the softmax in float32 and what it is cast to.
    """
    hidden, wide = int(config["hidden_size"]), _get_feed_forward_width(config)
    if _is_opt(config):
        norms, into_qkv, qkv = 2 * residual, inner * (3 if autocast else 1), 3 * inner
        dropout, gelu = config.get("dropout", 0.1), config.get("activation_function", "relu") != "relu"
    else:
        norms = residual * (1 if config.get("use_parallel_residual", True) else 2)
        into_qkv, qkv = inner, 5 * inner
        dropout, gelu = config.get("hidden_dropout", 0.0), config.get("hidden_act", "gelu") != "relu"
    masks = 2 if dropout else 0
    per_channel = norms + into_qkv + qkv + inner + masks + inner
    if config.get("attn_implementation", "sdpa") == "eager":
        scores = _get_head_count(config) * length * (4 if inner == 4 else 4 + inner)
    else:
        scores = inner * length if padded else 0
    return float(hidden * per_channel + wide * inner * (2 if gelu else 1) + scores)


def _estimate_bytes_outside_layers(config: dict[str, Any], residual: int, inner: int) -> int:
    """Bytes kept between the last layer and the logits, per token: inputs of the last norm, OPT-350M's projection, and
    the head.
    """
    hidden = int(config["hidden_size"])
    width = count_output_head_parameters(config) // int(config["vocab_size"])
    normed = not _is_opt(config) or config.get("do_layer_norm_before", True)
    return (residual * hidden if normed else 0) + (inner * hidden if width != hidden else 0) + inner * width


def _estimate_update_bytes(parameters: int, recipe: Recipe, engine: EngineSpec, workers: int) -> float:
    """Bytes of the square roots that AdamW makes for all parameters at once (`foreach`, its default on CUDA)."""
    if recipe.optim == "adamw_torch_fused" or engine.offload:
        return 0.0
    return 4.0 * parameters / (workers if engine.zero_stage else 1)


def _estimate_zero_buffer_bytes(parameters: int, engine: EngineSpec, inner: int) -> float:
    """Bytes of DeepSpeed's own buffers at their default sizes, which its estimators leave out."""
    if not engine.zero_stage:
        return 0.0
    live = min(parameters, ZERO3_LIVE_PARAMETERS) if engine.zero_stage == 3 else 0
    return float(inner * (ZERO_REDUCE_BUCKET_ELEMENTS + live))


def _is_opt(config: dict[str, Any]) -> bool:
    return bool(config.get("model_type", "opt") == "opt")


def _get_feed_forward_width(config: dict[str, Any]) -> int:
    return int(config["ffn_dim" if _is_opt(config) else "intermediate_size"])


def _get_head_count(config: dict[str, Any]) -> int:
    if not config.get("num_attention_heads"):
        raise ModelError(
            "models", requested="the memory of eager attention", found="a config without `num_attention_heads`"
        )
    return int(config["num_attention_heads"])

"""Models: their size, FLOPs and memory from a config alone, and loading or building them.

Example:
    >>> from sweeper.config import load_model_spec
    >>> config = load_config(load_model_spec("opt-350m"), vocab_size=0)
    >>> f"{count_parameters(config):,} parameters"
    '331,196,416 parameters'
    >>> f"{compute_train_flops(config, tokens=1e9, mean_length=1024):.2e} FLOPs"
    '2.28e+18 FLOPs'
"""

from sweeper.models.architecture import Architecture, ModelConfig, read_size
from sweeper.models.flops import TokenFlops, compute_flops_per_token, compute_forward_flops, compute_train_flops
from sweeper.models.known_configs import KNOWN_CONFIGS, load_config
from sweeper.models.loading import (
    build_model,
    compute_weights_fingerprint,
    find_hub_commit,
    list_nonfinite_weights,
    load_pretrained,
)
from sweeper.models.memory import LOSS_CHUNK_TOKENS, TrainingMemory, choose_engine, estimate_training_memory
from sweeper.models.parameter_counts import (
    TrainableParameters,
    count_non_embedding_parameters,
    count_parameters,
    count_trainable_parameters,
    parse_model_architecture,
)
from sweeper.models.position_embeddings import (
    count_positions,
    get_max_positions,
    interpolate_positions,
    resolve_extended_positions,
)

__all__ = [
    "KNOWN_CONFIGS",
    "LOSS_CHUNK_TOKENS",
    "Architecture",
    "ModelConfig",
    "TokenFlops",
    "TrainableParameters",
    "TrainingMemory",
    "build_model",
    "choose_engine",
    "compute_flops_per_token",
    "compute_forward_flops",
    "compute_train_flops",
    "compute_weights_fingerprint",
    "count_non_embedding_parameters",
    "count_parameters",
    "count_positions",
    "count_trainable_parameters",
    "estimate_training_memory",
    "find_hub_commit",
    "get_max_positions",
    "interpolate_positions",
    "list_nonfinite_weights",
    "load_config",
    "load_pretrained",
    "parse_model_architecture",
    "read_size",
    "resolve_extended_positions",
]

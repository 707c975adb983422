"""The ladder: sizes from the config alone, and models loaded or built."""

from sweeper.models.catalogue import KNOWN_CONFIGS, config_of
from sweeper.models.flops import TokenFlops, flops_per_token, forward_flops, train_flops
from sweeper.models.loading import build, load, weights_fingerprint
from sweeper.models.memory import TARGETS_AT_ONCE, Memory, choose_engine, training_memory
from sweeper.models.positions import positions, stretch_positions, stretched_to
from sweeper.models.sizes import non_embedding_count, parameter_count, parameters

__all__ = [
    "KNOWN_CONFIGS",
    "TARGETS_AT_ONCE",
    "Memory",
    "TokenFlops",
    "build",
    "choose_engine",
    "config_of",
    "flops_per_token",
    "forward_flops",
    "load",
    "non_embedding_count",
    "parameter_count",
    "parameters",
    "positions",
    "stretch_positions",
    "stretched_to",
    "train_flops",
    "training_memory",
    "weights_fingerprint",
]

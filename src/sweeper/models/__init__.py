"""The ladder: sizes from the config alone, and models loaded or built."""

from sweeper.models.catalogue import KNOWN_CONFIGS, config_of
from sweeper.models.loading import build, load, weights_fingerprint
from sweeper.models.positions import positions, stretch_positions, stretched_to
from sweeper.models.sizes import parameter_count, parameters

__all__ = [
    "KNOWN_CONFIGS",
    "build",
    "config_of",
    "load",
    "parameter_count",
    "parameters",
    "positions",
    "stretch_positions",
    "stretched_to",
    "weights_fingerprint",
]

"""What is asked: YAML -> Sweep -> list[TrialSpec], and the fingerprint that says when two trials are the same."""

from sweeper.spec.identity import TRAINING_SEMANTICS, fingerprint
from sweeper.spec.load import find_sweep, load_data, load_model, load_sweep
from sweeper.spec.parts import Claim, DataSpec, EngineSpec, EvaluationSpec, ModelSpec, Recipe, Runtime
from sweeper.spec.sweep import DATA_AXES, Sweep, TrialSpec, expand
from sweeper.spec.yaml_source import read_plain, write_yaml

__all__ = [
    "DATA_AXES",
    "TRAINING_SEMANTICS",
    "Claim",
    "DataSpec",
    "EngineSpec",
    "EvaluationSpec",
    "ModelSpec",
    "Recipe",
    "Runtime",
    "Sweep",
    "TrialSpec",
    "expand",
    "find_sweep",
    "fingerprint",
    "load_data",
    "load_model",
    "load_sweep",
    "read_plain",
    "write_yaml",
]

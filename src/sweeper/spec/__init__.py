"""What is asked: YAML -> Sweep -> list[TrialSpec], and the fingerprint that says when two trials are the same."""

from sweeper.spec.identity import TRAINING_SEMANTICS, fingerprint
from sweeper.spec.load import (
    find_sweep,
    load_data,
    load_evaluation,
    load_hardware,
    load_model,
    load_references,
    load_sweep,
)
from sweeper.spec.parts import (
    ENGINES,
    FIT_POLICIES,
    Claim,
    DataSpec,
    EngineSpec,
    EvaluationSpec,
    HardwareSpec,
    JudgeName,
    LlmSpec,
    ModelSpec,
    Recipe,
    Reference,
    Runtime,
)
from sweeper.spec.sweep import DATA_AXES, Sweep, TrialSpec, expand
from sweeper.spec.yaml_source import read_plain, write_yaml

__all__ = [
    "DATA_AXES",
    "ENGINES",
    "FIT_POLICIES",
    "TRAINING_SEMANTICS",
    "Claim",
    "DataSpec",
    "EngineSpec",
    "EvaluationSpec",
    "HardwareSpec",
    "JudgeName",
    "LlmSpec",
    "ModelSpec",
    "Recipe",
    "Reference",
    "Runtime",
    "Sweep",
    "TrialSpec",
    "expand",
    "find_sweep",
    "fingerprint",
    "load_data",
    "load_evaluation",
    "load_hardware",
    "load_model",
    "load_references",
    "load_sweep",
    "read_plain",
    "write_yaml",
]

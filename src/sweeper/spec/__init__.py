"""What is asked: YAML -> Sweep -> list[TrialSpec], and the fingerprint that says when two trials are the same."""

from sweeper.spec.budget import BudgetSpec
from sweeper.spec.hardware import HardwareSpec, Range
from sweeper.spec.identity import TRAINING_SEMANTICS, fingerprint
from sweeper.spec.load import (
    find_sweep,
    hardware_named,
    load_data,
    load_evaluation,
    load_hardware,
    load_model,
    load_references,
    load_sweep,
    sweep_files,
)
from sweeper.spec.parts import (
    ENGINES,
    FIT_POLICIES,
    Branch,
    Claim,
    DataSpec,
    EngineSpec,
    EvaluationSpec,
    JudgeName,
    LlmSpec,
    ModelSpec,
    Recipe,
    Reference,
    Runtime,
)
from sweeper.spec.search import ConfirmSpec, Rungs, Scheduler, SearchedAxis, SearchSpec
from sweeper.spec.sweep import DATA_AXES, Sweep, TrialSpec, cell, expand
from sweeper.spec.yaml_source import read_plain, write_yaml

__all__ = [
    "DATA_AXES",
    "ENGINES",
    "FIT_POLICIES",
    "TRAINING_SEMANTICS",
    "Branch",
    "BudgetSpec",
    "Claim",
    "ConfirmSpec",
    "DataSpec",
    "EngineSpec",
    "EvaluationSpec",
    "HardwareSpec",
    "JudgeName",
    "LlmSpec",
    "ModelSpec",
    "Range",
    "Recipe",
    "Reference",
    "Rungs",
    "Runtime",
    "Scheduler",
    "SearchSpec",
    "SearchedAxis",
    "Sweep",
    "TrialSpec",
    "cell",
    "expand",
    "find_sweep",
    "fingerprint",
    "hardware_named",
    "load_data",
    "load_evaluation",
    "load_hardware",
    "load_model",
    "load_references",
    "load_sweep",
    "read_plain",
    "sweep_files",
    "write_yaml",
]

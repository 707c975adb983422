"""Sweeps as typed configuration: YAML -> `Sweep` -> list of `TrialSpec`, and the fingerprint of a trial.

    sweep = load_sweep(find_sweep("quickstart"), overrides=["axes.seed=[0,1]"])
    trials = expand_sweep(sweep)

Every class here is frozen, and an unknown key is an error with file, line and the nearest known key.
"""

from sweeper.config.base import Choice
from sweeper.config.claim import Claim
from sweeper.config.data import DATA_AXES, DataSpec
from sweeper.config.estimate import UNKNOWN_ESTIMATE, ZERO_ESTIMATE, Estimate, sum_estimates
from sweeper.config.evaluation import EvaluationSpec, JudgeName, LlmSpec
from sweeper.config.fingerprint import TRAINING_SEMANTICS, compute_trial_fingerprint
from sweeper.config.library import (
    find_hardware_spec,
    load_data_spec,
    load_evaluation_spec,
    load_hardware_specs,
    load_model_spec,
    load_references,
)
from sweeper.config.loading import find_sweep, list_sweep_files, list_sweep_names, load_sweep, parse_sweep
from sweeper.config.model import ModelSpec
from sweeper.config.recipe import (
    RUNTIME_TUNABLES,
    HyperparameterChange,
    OptimizerTraits,
    Recipe,
    RuntimeTunable,
    read_optimizer_traits,
)
from sweeper.config.reference import Reference
from sweeper.config.resources import BudgetSpec, HardwareSpec
from sweeper.config.runtime import AUTO_ENGINES, EngineSpec, Runtime
from sweeper.config.search import (
    ConfirmSpec,
    PbtConfig,
    Rungs,
    SearchedAxis,
    SearchSpec,
    read_scheduler_traits,
)
from sweeper.config.sweep import Branch, Sweep, TrialSpec, expand_sweep, make_trial
from sweeper.config.yaml_limits import copy_within_limits, read_limited_text
from sweeper.config.yaml_lines import read_yaml_as_dict, to_plain, write_yaml

__all__ = [
    "AUTO_ENGINES",
    "DATA_AXES",
    "RUNTIME_TUNABLES",
    "TRAINING_SEMANTICS",
    "UNKNOWN_ESTIMATE",
    "ZERO_ESTIMATE",
    "Branch",
    "BudgetSpec",
    "Choice",
    "Claim",
    "ConfirmSpec",
    "DataSpec",
    "EngineSpec",
    "Estimate",
    "EvaluationSpec",
    "HardwareSpec",
    "HyperparameterChange",
    "JudgeName",
    "LlmSpec",
    "ModelSpec",
    "OptimizerTraits",
    "PbtConfig",
    "Recipe",
    "Reference",
    "Rungs",
    "Runtime",
    "RuntimeTunable",
    "SearchSpec",
    "SearchedAxis",
    "Sweep",
    "TrialSpec",
    "compute_trial_fingerprint",
    "copy_within_limits",
    "expand_sweep",
    "find_hardware_spec",
    "find_sweep",
    "list_sweep_files",
    "list_sweep_names",
    "load_data_spec",
    "load_evaluation_spec",
    "load_hardware_specs",
    "load_model_spec",
    "load_references",
    "load_sweep",
    "make_trial",
    "parse_sweep",
    "read_limited_text",
    "read_optimizer_traits",
    "read_scheduler_traits",
    "read_yaml_as_dict",
    "sum_estimates",
    "to_plain",
    "write_yaml",
]

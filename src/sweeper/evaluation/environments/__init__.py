"""Environments execute an agent's calls. Each is one file that defines `make_environment`.

The name of the file is the value of `environment:` in an evaluation's YAML.
"""

from __future__ import annotations

from sweeper.config import DataSpec, EvaluationSpec
from sweeper.evaluation.environments.base import Environment, EnvironmentFactory, Fault, Observation
from sweeper.registry import Registry

__all__ = ["ENVIRONMENTS", "Environment", "Fault", "Observation", "make_environment"]

ENVIRONMENTS: Registry[EnvironmentFactory] = Registry("environment", "evaluation/environments", "make_environment")


def make_environment(evaluation: EvaluationSpec, data: DataSpec) -> Environment:
    """Build the environment of an evaluation.

    Raises:
        UsageError: an unknown name or a wrong setting.
        DataError: recorded responses that cannot be read.
    """
    return ENVIRONMENTS.load(evaluation.environment)(evaluation, data)

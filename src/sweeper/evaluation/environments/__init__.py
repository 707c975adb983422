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

    Args:
        evaluation: names the environment.
        data: holds the settings of a generated world.

    Returns:
        The environment.

    Raises:
        UsageError: an unknown name or a wrong setting.
        DataError: recorded responses that cannot be read.

    Example:
        >>> from sweeper.config import load_data_spec, load_evaluation_spec
        >>> evaluation, data = load_evaluation_spec("toolworld"), load_data_spec("toolworld")
        >>> task, environment = load_tasks(evaluation, data)[0], make_environment(evaluation, data)
        >>> environment.execute(task, "no_such_function", {}).text
        '{"error": "No such function name: no_such_function", "response": ""}'
    """
    return ENVIRONMENTS.load(evaluation.environment)(evaluation, data)

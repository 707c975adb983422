"""Environments are selected by name."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from scripted_agents import DATA, make_evaluation

from sweeper.errors import UsageError
from sweeper.evaluation.environments import ENVIRONMENTS, make_environment
from sweeper.evaluation.environments.toolworld import ToolWorldEnvironment


def test_environments_are_the_files_of_the_folder() -> None:
    assert ENVIRONMENTS.names == ("http", "replay", "toolworld")
    assert isinstance(make_environment(make_evaluation(), DATA), ToolWorldEnvironment)


def test_unknown_environment_is_an_error() -> None:
    with pytest.raises(ValidationError, match="no environment of this name"):
        make_evaluation(environment="toolword")
    evaluation = make_evaluation().model_copy(update={"environment": "toolword"})
    with pytest.raises(UsageError, match="toolword"):
        make_environment(evaluation, DATA)

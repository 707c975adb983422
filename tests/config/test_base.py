"""Fields that are validated against the files of a package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import ValidationError

from sweeper.config import Choice
from sweeper.config.base import FrozenConfig
from sweeper.config.yaml_lines import YamlFile
from sweeper.registry import Registry

PACKAGES: Registry[object] = Registry("agent", "evaluation/agents", "make_agent")


class AgentConfig(FrozenConfig):
    agent: Annotated[str, Choice(PACKAGES)]


def test_choice_accepts_the_names_of_a_registry() -> None:
    assert [AgentConfig(agent=name).agent for name in PACKAGES.names] == ["local", "openai"]


@pytest.mark.parametrize("name", ["base", "opanai", "", None, 3])
def test_choice_refuses_any_other_value(name: object) -> None:
    with pytest.raises(ValidationError):
        AgentConfig.model_validate({"agent": name})


def test_unknown_choice_is_an_error_with_line_and_nearest_name(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text("# an agent\nagent: opanai\n")
    source = YamlFile.read(path)
    with pytest.raises(ValidationError) as failure:
        AgentConfig.model_validate(source.content)
    error = source.make_validation_error(failure.value, ["agent"])
    assert (error.where, error.requested) == (f"{path}:2", "agent: opanai")
    assert (error.found, error.hint) == ("no agent of this name", "did you mean `openai`? known: local, openai")


def test_frozen_config_refuses_unknown_keys_and_changes() -> None:
    with pytest.raises(ValidationError):
        AgentConfig.model_validate({"agent": "local", "extra": 1})
    with pytest.raises(ValidationError):
        AgentConfig(agent="local").agent = "openai"  # type: ignore[misc]

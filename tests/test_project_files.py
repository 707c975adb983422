"""Files for those who join the project: changelog, citation, hooks, editor settings, hosted CI."""

from __future__ import annotations

import configparser
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import sweeper

ROOT = Path(__file__).resolve().parents[1]
CHANGE_TYPES = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def load_yaml(name: str) -> Any:
    return YAML(typ="safe", pure=True).load((ROOT / name).read_text())


def test_changelog_has_the_unreleased_and_the_current_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## \[(.+?)\]", text, re.MULTILINE)
    assert versions[0] == "Unreleased"
    assert sweeper.__version__ in versions
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= CHANGE_TYPES


def test_citation_is_of_this_version() -> None:
    citation = load_yaml("CITATION.cff")
    assert {"cff-version", "message", "title", "authors", "license"} <= citation.keys()
    assert (citation["cff-version"], citation["version"]) == ("1.2.0", sweeper.__version__)
    assert all("name" in author or "family-names" in author for author in citation["authors"])


def test_pre_commit_hooks_are_installed_by_setup() -> None:
    subprocess.run(
        [sys.executable, "-m", "pre_commit", "validate-config", ROOT / ".pre-commit-config.yaml"], check=True
    )
    for hook in load_yaml(".pre-commit-config.yaml")["repos"][0]["hooks"]:
        program = shlex.split(hook["entry"])[0]
        assert program.startswith(".venv/bin/")
        assert (Path(sys.executable).parent / Path(program).name).exists(), hook["id"]


def test_editor_settings_are_those_of_the_formatter() -> None:
    parser = configparser.ConfigParser()
    parser.read_string("[top]\n" + (ROOT / ".editorconfig").read_text())
    assert parser["*"]["max_line_length"] == "120"
    assert "line-length = 120" in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("event", ["push", "pull_request", "schedule"])
def test_hosted_ci_runs_what_ci_runs(event: str) -> None:
    workflow = load_yaml(".github/workflows/ci.yaml")
    assert event in workflow["on"]
    assert any(".ci/run" in step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"])

from __future__ import annotations

import pytest
from commands import document
from rich.console import Console

from sweeper.cli.doctor import EnvironmentCheck, EnvironmentReport, check_environment
from sweeper.cli.tables_study import render_environment_table


def test_check_environment_has_a_row_per_part() -> None:
    report = check_environment()
    names = [check.name for check in report.checks]
    assert {"python", "torch", "ray", "deepspeed", "gpu", "disk", "browser"} <= set(names)
    assert report.ok, report.to_json()


def test_only_a_missing_part_prevents_the_quickstart() -> None:
    optional, missing = (
        EnvironmentCheck("gpu", "optional", "none"),
        EnvironmentCheck("trl", "missing", "-", "make setup"),
    )
    assert EnvironmentReport(2, (optional,)).ok
    report = EnvironmentReport(2, (optional, missing))
    assert not report.ok
    assert report.to_json()["checks"] == [
        {"name": "gpu", "state": "optional", "found": "none", "do": ""},
        {"name": "trl", "state": "missing", "found": "-", "do": "make setup"},
    ]
    console = Console(width=100, record=True)
    console.print(render_environment_table(report))
    text = console.export_text()
    assert "make setup" in text and "2 CPU cores; the quickstart cannot run here" in text


@pytest.mark.slow
def test_doctor_prints_its_checks_as_json() -> None:
    found = document("doctor")
    assert found["ok"]
    assert {"python", "torch", "ray", "gpu", "disk"} <= {check["name"] for check in found["checks"]}

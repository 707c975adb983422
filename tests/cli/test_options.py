from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweeper.cli.app import app


def test_storage_is_read_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPER_STORAGE", str(tmp_path / "elsewhere"))
    failure = CliRunner().invoke(app, ["report", "quickstart"]).exception
    assert f"has not run in {tmp_path / 'elsewhere'}" in str(failure)


@pytest.mark.parametrize("value", ["--votes=0", "--items=0", "--input-price=-1"])
def test_numbers_out_of_range_are_refused(value: str) -> None:
    done = CliRunner().invoke(app, ["judge", "answers", value])
    assert done.exit_code == 2
    assert value.partition("=")[0] in done.output

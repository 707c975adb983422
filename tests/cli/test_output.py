from __future__ import annotations

import json

import pytest

from sweeper.cli.output import check_choice, exit_on_interrupt, print_json
from sweeper.errors import UsageError


def test_print_json_writes_undefined_numbers_as_null(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"rate": float("nan"), "name": "é"})
    text = capsys.readouterr().out
    assert json.loads(text) == {"rate": None, "name": "é"}
    assert text.startswith('{\n  "rate"')


def test_print_json_indents_only_small_studies(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"trials": [0] * 1_001})
    assert capsys.readouterr().out.count("\n") == 1


def test_check_choice_names_the_choices() -> None:
    check_choice("--backend", "ray", ("ray", "inline"))
    with pytest.raises(UsageError, match="one of: ray, inline"):
        check_choice("--backend", "slurm", ("ray", "inline"))


def test_exit_on_interrupt_ends_with_code_130(capsys: pytest.CaptureFixture[str]) -> None:
    @exit_on_interrupt
    def command() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        command()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "Interrupted; nothing saved yet. Run again to restart.\n"

"""The command line itself: help, version, old spellings, and how errors end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import sweeper
from sweeper.cli import main
from sweeper.cli.app import app
from sweeper.errors import UsageError

COMMANDS = [
    *([name] for name in ("plan", "claims", "simulate", "run", "status", "report", "evaluate", "judge", "compare")),
    *(["data", name] for name in ("inspect", "prepare", "export", "leakage")),
    *(["cluster", name] for name in ("up-local", "down-local", "drain", "submit")),
    ["search", "history"],
    ["doctor"],
]


def read_help(*words: str) -> str:
    done = CliRunner().invoke(app, [*words, "-h"])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_its_name_and_two_help_options(words: list[str]) -> None:
    text = read_help(*words)
    assert f"{' '.join(words)} " in text
    assert text == CliRunner().invoke(app, [*words, "--help"]).output


def test_help_lists_every_command() -> None:
    top = read_help()
    for words in COMMANDS:
        assert f"\n│ {words[0]} " in top
        assert len(words) == 1 or f"\n│ {words[1]} " in read_help(words[0])


def test_version_option_prints_the_version() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.stdout) == (0, f"sweeper {sweeper.__version__}\n")


def test_package_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "sweeper", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"sweeper {sweeper.__version__}\n"


def test_cluster_leave_is_a_hidden_alias_of_drain() -> None:
    assert read_help("cluster", "leave") == read_help("cluster", "drain")
    assert "leave" not in read_help("cluster")


def test_rehearse_is_a_hidden_alias_of_smoke_test(tmp_path: Path) -> None:
    words = ["run", "no-such-sweep", "--storage", str(tmp_path / "store")]
    for option in ("--rehearse", "--smoke-test"):
        failure = CliRunner().invoke(app, [*words, option]).exception
        assert isinstance(failure, UsageError) and "no-such-sweep" in str(failure)
    assert CliRunner().invoke(app, [*words, "--rehearsal"]).exit_code == 2, "not an option: click refuses it"
    assert "rehearse" not in read_help("run")


def test_main_prints_an_unusable_path_as_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sweeper", "judge", str(tmp_path), "--storage", str(tmp_path / "s")])
    with pytest.raises(SystemExit) as failure:
        main()
    assert failure.value.code in (1, 2)
    assert "found:" in capsys.readouterr().err


def test_ctrl_c_while_importing_ends_without_a_traceback() -> None:
    code = (
        "import sys, builtins; import sweeper.cli\n"
        "def interrupt(name, *rest, real=builtins.__import__):\n"
        "    if name == 'sweeper.cli.app': raise KeyboardInterrupt\n"
        "    return real(name, *rest)\n"
        "builtins.__import__ = interrupt\n"
        "sweeper.cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "")

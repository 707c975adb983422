from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.api import RunOptions, submit_run
from sweeper.errors import UsageError


def test_a_backend_without_a_cluster_refuses_addresses(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="runs trials in this process"):
        submit_run("quickstart", "http://127.0.0.1:1", str(tmp_path), backend="inline")


def test_an_address_of_a_running_cluster_takes_no_jobs(tmp_path: Path) -> None:
    assert submit_run("quickstart", "127.0.0.1:6379", str(tmp_path)) is None


@pytest.mark.parametrize(("option", "value"), [("backend", "slurm"), ("tracking", "paper")])
def test_unknown_choice_is_refused_before_anything_is_sent(option: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=value):
        options = {"options": RunOptions(tracking=value)} if option == "tracking" else {option: value}
        submit_run("quickstart", "http://127.0.0.1:1", str(tmp_path), **options)


def test_options_become_words_of_the_command() -> None:
    assert RunOptions().list_words() == ["--tracking", "wandb"]
    words = RunOptions("none", smoke_test=True, accept_underpowered=True).list_words()
    assert words == ["--tracking", "none", "--smoke-test", "--accept-underpowered"]

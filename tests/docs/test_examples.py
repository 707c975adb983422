"""The examples of the documentation work: Python runs, sweeps load, and commands exist as they are written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main
from doc_examples import (
    PAGES,
    ROOT,
    check_command,
    copy_project,
    name_page,
    read_blocks,
    read_commands,
    run_in_copy,
    run_python_blocks,
    split_command,
)

from sweeper.cli.app import app

PROGRAM = typer.main.get_command(app)
LANGUAGES = {"", "python", "yaml", "json", "console", "bash"}
LOAD_YAML = """
import sys
from doc_yaml import load_page_yaml
load_page_yaml(sys.argv[1])
"""


def list_pages(*languages: str) -> list[Path]:
    return [page for page in PAGES if any(block.language in languages for block in read_blocks(page))]


@pytest.mark.parametrize("page", PAGES, ids=name_page)
def test_blocks_are_in_a_language_that_is_checked(page: Path) -> None:
    assert {block.language for block in read_blocks(page)} <= LANGUAGES


@pytest.mark.parametrize("page", PAGES, ids=name_page)
def test_commands_exist_as_they_are_written(page: Path) -> None:
    for line, words, is_complete in read_commands(page):
        try:
            check_command(words, PROGRAM, is_complete=is_complete)
        except AssertionError as error:
            pytest.fail(f"{name_page(page)}: {line}: {error}")


def test_commands_are_found_in_blocks_and_in_text() -> None:
    commands = [words for page in PAGES for _, words, _ in read_commands(page)]
    assert len(commands) > 50
    assert ["run", "quickstart"] in commands


@pytest.mark.parametrize(
    "line",
    [
        "sweeper rum quickstart",
        "sweeper run quickstart --rehearsal",
        "sweeper run",
        "sweeper run quickstart twice",
        "sweeper data prepare",
        "sweeper plan quickstart --cluster",
    ],
)
def test_wrong_commands_are_refused(line: str) -> None:
    words = split_command(line)
    assert words is not None
    with pytest.raises(AssertionError):
        check_command(words, PROGRAM, is_complete=True)


@pytest.mark.slow
@pytest.mark.parametrize("page", list_pages("python"), ids=name_page)
def test_python_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    """Blocks with a title are files, whose tests run; the others run in order, in one namespace."""
    folder = copy_project(tmp_path, page)
    blocks = read_blocks(page, "python")
    run_python_blocks(folder, [block for block in blocks if not block.title])
    if files := [block.title for block in blocks if block.title]:
        for command in (("check",), ("format", "--check")):
            run_in_copy(folder, "-m", "ruff", *command, *files)
    if tests := [block.title for block in blocks if block.title.startswith("tests/")]:
        assert "passed" in run_in_copy(folder, "-m", "pytest", "-m", "", "-p", "no:cacheprovider", *tests)


@pytest.mark.slow
@pytest.mark.parametrize("page", list_pages("yaml"), ids=name_page)
def test_yaml_of_a_page_loads(page: Path, tmp_path: Path) -> None:
    folder = copy_project(tmp_path, page)
    code = f"import sys; sys.path.insert(0, 'tests/helpers')\n{LOAD_YAML}"
    loaded = run_in_copy(folder, "-c", code, str(folder / name_page(page)))
    assert len(loaded.splitlines()) == len(read_blocks(page, "yaml"))


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_outside_of_the_site_exist(name: str) -> None:
    text = (ROOT / name).read_text()
    links = [target for target in re.findall(r"\]\(([^)#]+)", text) if not target.startswith("http")]
    assert links
    assert [target for target in links if not (ROOT / target).exists()] == []

"""The examples of the documentation: code blocks of Markdown pages, and a copy of the project to run them in."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(path for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")) if "adr" not in path.parts)
"""All pages but the decision records, which quote what no longer exists."""
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[a-z]*)(?P<options>.*)$")
_TITLE = re.compile(r'title="([^"]+)"')
_RUN_BLOCKS = """
import json, sys
import sweeper
namespace = {"__name__": "__main__"}
for place, source in json.load(sys.stdin):
    exec(compile(source, place, "exec"), namespace)
"""


@dataclass(frozen=True)
class Block:
    """A fenced code block."""

    place: str
    """Page and line."""
    language: str
    title: str
    """Path of the file that it shows, relative to the project; '' for none."""
    text: str


def name_page(path: Path) -> str:
    """Path of a page relative to the project."""
    return str(path.relative_to(ROOT))


def read_blocks(page: Path, language: str | None = None) -> list[Block]:
    """The fenced blocks of a page, in order."""
    blocks, lines = [], iter(enumerate(page.read_text().splitlines(), 1))
    for number, line in lines:
        if (opening := _FENCE.match(line)) is None:
            continue
        content = []
        for _, inner in lines:
            if inner.strip() == "```":
                break
            content.append(inner)
        else:
            raise AssertionError(f"{name_page(page)}:{number}: the block has no end")
        title = _TITLE.search(opening["options"])
        text = textwrap.dedent("\n".join(content)) + "\n"
        blocks.append(Block(f"{name_page(page)}:{number}", opening["language"], title[1] if title else "", text))
    return [block for block in blocks if language in (None, block.language)]


def read_commands(page: Path) -> Iterator[tuple[str, list[str], bool]]:
    """Yield (line, words, whether it stands in a code block) of every `sweeper` command of a page."""
    text = page.read_text()
    without_fences = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
    indented = [line for line in without_fences.splitlines() if line.startswith("    ")]
    for block in ["\n".join(indented), *(b.text for b in read_blocks(page) if b.language in ("", "console", "bash"))]:
        for line in block.replace("\\\n", " ").splitlines():
            for command in re.split(r"&&|\|", line):
                if (words := split_command(command.strip().removeprefix("$ "))) is not None:
                    yield line.strip(), words, True
    for span in re.findall(r"`(sweeper [^`]+)`", without_fences):
        if (words := split_command(span)) is not None:
            yield span, words, False


def split_command(line: str) -> list[str] | None:
    """The words of a command after `sweeper`, without brackets and dots of a synopsis; None for another command."""
    if not line.startswith("sweeper "):
        return None
    words = [word.strip("[]….&").removesuffix("]...") for word in shlex.split(line, comments=True)]
    return [word for word in words[1:] if word]


def copy_project(folder: Path, page: Path) -> Path:
    """Copy a page and what its examples need, and write the files that it shows."""
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("src/sweeper", "configs", "sweeps", "tests/helpers"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("pyproject.toml", "tests/conftest.py", name_page(page)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    for block in read_blocks(page):
        if block.title:
            path = folder / block.title
            assert not path.exists(), f"{block.place}: {block.title} exists"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
    return folder


def run_in_copy(folder: Path, *command: str, stdin: str = "") -> str:
    """Run Python with arguments in a copied project; what it printed."""
    process = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder / "src"), "SWEEPER_STORAGE": "storage"},
        input=stdin,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, f"{process.stdout}\n{process.stderr}"
    return process.stdout


def run_python_blocks(folder: Path, blocks: Sequence[Block]) -> str:
    """Run the blocks of a page in one process with one namespace; what they printed."""
    check = f"import sweeper; assert sweeper.__file__.startswith({str(folder)!r})"
    sources = [("check", check), *((block.place, block.text) for block in blocks)]
    return run_in_copy(folder, "-c", _RUN_BLOCKS, stdin=json.dumps(sources))


def check_command(words: Sequence[str], root: Any, *, is_complete: bool) -> None:
    """Check a command against the program: its name, its options, and the number of its arguments."""
    command, rest = root, list(words)
    while getattr(command, "commands", None) and rest and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"no command {rest[0]!r}"
        command = command.commands[rest.pop(0)]
    options = {option: each for each in command.params if each.param_type_name == "option" for option in each.opts}
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    given = 0
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            given += 1
            continue
        name, has_value, _ = word.partition("=")
        assert name in {*options, "--help"}, f"no option {name}"
        if name in options and not options[name].is_flag and not has_value and is_complete:
            assert rest and not rest[0].startswith("--"), f"{name} without a value"
        if name in options and not options[name].is_flag and not has_value and rest:
            rest.pop(0)
    if not any(each.nargs == -1 for each in arguments):
        assert given <= len(arguments), f"{given} arguments, not {len(arguments)}"
    if is_complete:
        assert given >= sum(each.required for each in arguments), "an argument is missing"

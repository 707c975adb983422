"""Hook of MkDocs: generates `reference/cli.md` from the Typer application."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer
import typer.main
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from sweeper.cli.app import app

PAGE = "reference/cli.md"
_TYPE_NAMES = {"str": "TEXT", "int": "INTEGER", "float": "NUMBER", "path": "PATH"}
_INTRODUCTION = """# Command line

Every command and option, generated from the program itself.

| exit code | means |
|---|---|
| 0 | the work is done |
| 1 | the work failed, or trials failed |
| 2 | the request is wrong; nothing was started |
| 130 | stopped by Ctrl-C; the same command resumes |
| 143 | stopped by SIGTERM after saving a checkpoint |
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page."""
    files.append(File.generated(config, PAGE, content="\n".join(write_page())))
    return files


def write_page() -> Iterator[str]:
    """Yield the lines of the page."""
    yield _INTRODUCTION
    for path, command in walk_commands(("sweeper",), typer.main.get_command(app)):
        yield from write_command(path, command)


def walk_commands(path: tuple[str, ...], command: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command with the words that call it, a group before its commands."""
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from walk_commands((*path, name), inner)


def write_command(path: tuple[str, ...], command: Any) -> Iterator[str]:
    """Yield the section of one command."""
    title = " ".join(path)
    yield f"{'#' * min(len(path) + 1, 3)} `{title}` {{ #{'-'.join(path)} }}\n"
    yield f"{command.help or ''}\n"
    groups = getattr(command, "commands", {})
    if groups:
        links = [f"[`{name}`](#{'-'.join((*path, name))})" for name in groups]
        yield f"Commands: {', '.join(links)}.\n"
    else:
        yield f"```console\n$ {' '.join((title, *list_arguments(command)))} [OPTIONS]\n```\n"
    context = typer.Context(command, info_name=title)
    for parameter in command.params:
        yield from write_parameter(parameter, context)


def list_arguments(command: Any) -> list[str]:
    """List the arguments of a command as its usage has them."""
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    names = [each.name.upper() + ("..." if each.nargs == -1 else "") for each in arguments]
    return [name if each.required else f"[{name}]" for name, each in zip(names, arguments, strict=True)]


def write_parameter(parameter: Any, context: typer.Context) -> Iterator[str]:
    """Yield the definition of an argument or an option."""
    names = [parameter.name.upper()] if parameter.param_type_name == "argument" else parameter.opts
    facts = []
    if not getattr(parameter, "is_flag", False):
        facts.append(parameter.metavar or name_type(parameter, context))
    if parameter.multiple or parameter.nargs == -1:
        facts.append("repeatable")
    if parameter.required:
        facts.append("required")
    elif parameter.default not in (None, False):
        facts.append(f"default `{parameter.default}`")
    if parameter.envvar:
        facts.append(f"environment variable `{parameter.envvar}`")
    listed = ", ".join(f"`{name}`{{ .field }}" for name in names)
    yield f'{listed} <span class="field-facts">{" · ".join(facts)}</span>\n'
    yield f":   {' '.join((parameter.help or '').split())}\n"


def name_type(parameter: Any, context: typer.Context) -> str:
    """Return what stands for a value: `<list[str]>` of Typer becomes `TEXT`."""
    name = parameter.display_type(context).strip("<>").removeprefix("list[").removesuffix("]")
    return _TYPE_NAMES.get(name.lower(), name)

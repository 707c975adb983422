"""Choices that a user makes by name. A choice is one file of a package: adding the file adds the choice.

    JUDGES: Registry[JudgeFactory] = Registry("judge", "evaluation/judges", attribute="make_judge")

`judges/llm.py` is then the judge `llm`. Names can be listed and checked without importing any of the files, so a
configuration can be validated by packages that must not import the implementations.
"""

from __future__ import annotations

import ast
import importlib
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar, cast

from sweeper.errors import UsageError, suggest_nearest

__all__ = ["Registry"]

T = TypeVar("T")
_SOURCE = Path(__file__).parent
_NO_CHOICE = ("base",)


class Registry(Generic[T]):
    """The files of one package as named choices.

    Args:
        kind: what a choice is called in messages, e.g. `judge`.
        folder: the package, relative to `sweeper`, e.g. `evaluation/judges`.
        attribute: the name that every file of it defines.
        separator: stands in names where file names have `_`.

    Files whose name begins with `_`, and `base.py`, are no choices. `best_of.py` is the choice `best-of`.

    Example:
        >>> environments = Registry("environment", "evaluation/environments", "make_environment")
        >>> "replay" in environments.names
        True
        >>> environments.check("reply")
        Traceback (most recent call last):
        sweeper.errors.UsageError: environment
          requested: reply
          found:     no environment of this name
          hint:      did you mean `replay`? known: http, replay, toolworld
    """

    def __init__(self, kind: str, folder: str, attribute: str, separator: str = "-") -> None:
        self.kind, self.folder, self.attribute, self.separator = kind, folder, attribute, separator

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All choices, in alphabetical order. Imports nothing."""
        stems = (path.stem for path in (_SOURCE / self.folder).glob("*.py"))
        return tuple(sorted(s.replace("_", self.separator) for s in stems if s[0] != "_" and s not in _NO_CHOICE))

    def check(self, name: str, where: str | None = None) -> str:
        """Return `name` if it is a choice.

        Raises:
            UsageError: an unknown name; the message lists those known.
        """
        if name not in self.names:
            found = f"no {self.kind} of this name"
            raise UsageError(where or self.kind, requested=name, found=found, hint=suggest_nearest(name, self.names))
        return name

    def read_literal(self, name: str, constant: str) -> object:
        """Return a constant of a choice's file, which has to be a Python literal. Imports nothing.

        Raises:
            UsageError: an unknown name.
            LookupError: the file defines no such literal.
        """
        path = _SOURCE / self.folder / f"{self.check(name).replace(self.separator, '_')}.py"
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            if any(isinstance(target, ast.Name) and target.id == constant for target in targets):
                return cast(object, ast.literal_eval(cast(ast.Assign, node).value))
        raise LookupError(f"{path} defines no {constant}")

    def load(self, name: str) -> T:
        """Import the file of a choice and return what it defines.

        Raises:
            UsageError: an unknown name.
        """
        module = f"sweeper.{self.folder.replace('/', '.')}.{self.check(name).replace(self.separator, '_')}"
        return cast(T, getattr(importlib.import_module(module), self.attribute))

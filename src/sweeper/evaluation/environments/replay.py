"""Recorded responses: what an API once answered to exactly these arguments."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from sweeper.data.api_names import standardize_name
from sweeper.errors import DataError
from sweeper.evaluation.environments import Observation
from sweeper.evaluation.tasks import Task

MISS_MESSAGE = "This call was not recorded."
MAX_KEY_CHARACTERS = 20_000
"""Longer recorded inputs are skipped: they are parsed as literals."""

OnMiss = Literal["error", "same-api"]


class ReplayEnvironment:
    """Recorded responses by function name and arguments; on a miss, what `on_miss` says."""

    def __init__(self, responses: dict[tuple[str, str], str], on_miss: OnMiss) -> None:
        self.responses, self.on_miss = responses, on_miss
        self.first_responses: dict[str, str] = {}
        for (name, _), response in responses.items():
            self.first_responses.setdefault(name, response)

    @classmethod
    def read_folder(cls, folder: Path, on_miss: OnMiss) -> ReplayEnvironment:
        """From ToolBench answers, or from StableToolBench's cache: `<Category>/<tool>_for_<Category>/<api>.json`,
        each an object of Python-text arguments -> `{"error", "response"}`.

        Raises DataError for a damaged file, and where nothing is recorded.
        """
        recorded: dict[tuple[str, str], str] = {}
        for file in sorted(folder.rglob("*.json")):
            for name, arguments, response in _read_recorded_calls(file, folder):
                recorded.setdefault((name, to_canonical_json(arguments)), response)
        if not recorded:
            raise DataError(f"replay {folder}", requested="recorded responses", found="none in it")
        return cls(recorded, on_miss)

    def execute(self, task: Task, name: str, arguments: dict[str, Any]) -> Observation:
        """The recorded response to exactly these arguments, else what `on_miss` says."""
        apis = task.apis.get(name)
        names = [name] if apis is None else [name, f"{apis.api}_for_{apis.tool}"]
        for known in names:
            if (found := self.responses.get((known, to_canonical_json(arguments)))) is not None:
                return Observation(found)
        if self.on_miss == "same-api":
            for known in names:
                if known in self.first_responses:
                    return Observation(self.first_responses[known], "substituted", MISS_MESSAGE)
        return Observation(json.dumps({"error": MISS_MESSAGE, "response": ""}), "missed", MISS_MESSAGE)


def to_canonical_json(arguments: Any) -> str:
    """One text for equal arguments, whatever the order of their keys."""
    return json.dumps(arguments, sort_keys=True, ensure_ascii=False, default=str)


def _read_recorded_calls(file: Path, folder: Path) -> Iterator[tuple[str, Any, str]]:
    try:
        document = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"replay {file}", found=f"not readable as JSON: {error}") from error
    if not isinstance(document, dict):
        return
    if isinstance(document.get("answer_generation"), dict):
        yield from _read_answer_calls(document["answer_generation"])
    elif len(file.relative_to(folder).parts) >= 3:
        yield from _read_cache_calls(document, file)


def _read_answer_calls(answer: dict[str, Any]) -> Iterator[tuple[str, Any, str]]:
    for messages in answer.get("train_messages") or []:
        for asked, told in pairwise(messages):
            call = asked.get("function_call") if isinstance(asked, dict) else None
            if not isinstance(call, dict) or not isinstance(told, dict) or told.get("role") != "function":
                continue
            try:
                arguments = json.loads(str(call.get("arguments")))
            except (ValueError, RecursionError):
                continue  # what is no JSON never reaches an environment
            yield str(call.get("name")), arguments, str(told.get("content") or "")


def _read_cache_calls(document: dict[str, Any], file: Path) -> Iterator[tuple[str, Any, str]]:
    category, tool = file.parent.parent.name, file.parent.name
    name = f"{standardize_name(file.stem)}_for_{standardize_name(tool.removesuffix(f'_for_{category}'))}"
    for key, response in document.items():
        if len(key) > MAX_KEY_CHARACTERS:
            continue
        try:
            arguments = ast.literal_eval(key)  # literals only: nothing in it is run
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        yield name, arguments, json.dumps(response, ensure_ascii=False)

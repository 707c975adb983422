"""The environment `replay`: recorded responses, looked up by exact arguments."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Literal, assert_never

from sweeper.config import DataSpec, EvaluationSpec
from sweeper.data.api_names import standardize_name
from sweeper.errors import DataError
from sweeper.evaluation.environments.base import Environment, Observation
from sweeper.evaluation.tasks import Task
from sweeper.storage import JsonTextError, list_files, parse_json

MISS_MESSAGE = "This call was not recorded."
MAX_KEY_CHARACTERS = 20_000
"""Longer recorded inputs are skipped, since they are parsed as Python literals."""

OnMiss = Literal["error", "same-api"]


class ReplayEnvironment(Environment):
    """Returns recorded responses.

    Args:
        responses: (function name, canonical JSON of the arguments) -> response.
        on_miss: what to return for a call that was not recorded: an error, or the first response of the same API.
    """

    def __init__(self, responses: dict[tuple[str, str], str], on_miss: OnMiss) -> None:
        self.responses, self.on_miss = responses, on_miss
        self.first_responses: dict[str, str] = {}
        for (name, _), response in responses.items():
            self.first_responses.setdefault(name, response)

    @classmethod
    def read_folder(cls, folder: Path, on_miss: OnMiss) -> ReplayEnvironment:
        """Read ToolBench's answers, or StableToolBench's cache.

        The files of that cache are `<Category>/<tool>_for_<Category>/<api>.json`: arguments as Python text ->
        `{"error", "response"}`.

        Raises:
            DataError: a damaged file, or a folder without recorded responses.
        """
        recorded: dict[tuple[str, str], str] = {}
        for file in list_files(folder, "*.json").files:
            for name, arguments, response in _read_recorded_calls(file, folder):
                recorded.setdefault((name, to_canonical_json(arguments)), response)
        if not recorded:
            raise DataError(f"replay {folder}", requested="recorded responses", found="none in it")
        return cls(recorded, on_miss)

    def execute(self, task: Task, name: str, arguments: Mapping[str, object]) -> Observation:
        """Return the response recorded for exactly these arguments, or else apply `on_miss`."""
        api = task.apis.get(name)
        recorded_names = [name] if api is None else [name, f"{api.api}_for_{api.tool}"]
        for known in recorded_names:
            if (response := self.responses.get((known, to_canonical_json(arguments)))) is not None:
                return Observation(response)
        match self.on_miss:
            case "same-api":
                for known in recorded_names:
                    if known in self.first_responses:
                        return Observation(self.first_responses[known], "substituted", MISS_MESSAGE)
            case "error":
                pass
            case _:
                assert_never(self.on_miss)
        return Observation(json.dumps({"error": MISS_MESSAGE, "response": ""}), "missed", MISS_MESSAGE)


def make_environment(evaluation: EvaluationSpec, data: DataSpec) -> ReplayEnvironment:
    """Read the responses in `evaluation.recorded`."""
    return ReplayEnvironment.read_folder(Path(str(evaluation.recorded)).expanduser(), evaluation.on_miss)


def to_canonical_json(arguments: object) -> str:
    """Return the same text for equal arguments, regardless of the order of their keys."""
    return json.dumps(arguments, sort_keys=True, ensure_ascii=False, default=str)


def _read_recorded_calls(file: Path, folder: Path) -> Iterator[tuple[str, object, str]]:
    try:
        document = parse_json(file.read_bytes(), unique_keys=True).value
    except (OSError, JsonTextError) as error:
        raise DataError(f"replay {file}", found=f"cannot be read: {error}") from error
    if not isinstance(document, dict):
        return
    if isinstance(answer := document.get("answer_generation"), dict):
        yield from _read_answer_calls(answer)
    elif len(file.relative_to(folder).parts) >= 3:
        yield from _read_cache_calls(document, file)


def _read_answer_calls(answer: Mapping[str, object]) -> Iterator[tuple[str, object, str]]:
    message_lists = answer.get("train_messages")
    for messages in message_lists if isinstance(message_lists, list) else []:
        for message, following in pairwise(messages):
            call = message.get("function_call") if isinstance(message, dict) else None
            if not isinstance(call, dict) or not isinstance(following, dict) or following.get("role") != "function":
                continue
            try:
                arguments = json.loads(str(call.get("arguments")))
            except (ValueError, RecursionError):
                continue  # arguments that are not JSON never reach an environment
            yield str(call.get("name")), arguments, str(following.get("content") or "")


def _read_cache_calls(document: Mapping[str, object], file: Path) -> Iterator[tuple[str, object, str]]:
    category, tool = file.parent.parent.name, file.parent.name
    name = f"{standardize_name(file.stem)}_for_{standardize_name(tool.removesuffix(f'_for_{category}'))}"
    for key, response in document.items():
        if len(key) > MAX_KEY_CHARACTERS:
            continue
        try:
            arguments = ast.literal_eval(key)  # literals only: nothing is executed
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        yield name, arguments, json.dumps(response, ensure_ascii=False)
